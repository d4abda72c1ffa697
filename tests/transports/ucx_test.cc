// What is UCX's alone: regions of neighbours that cannot be mapped, and keys that lie.
#include "transports/ucx.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/transports/fabric_harness.h"
#include "transports/ucx_wire.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kSize = 3'000'000;

struct Pair {
  Side sender, receiver;
  std::unique_ptr<Region> source, sink;
  std::unique_ptr<Link> link;

  explicit Pair(const UcxOptions& options = {.tls = "posix,sysv,self"}) {
    sender = make(options);
    receiver = make(options);
    source = std::move(*sender.fabric->allocate(kSize));
    sink = std::move(*receiver.fabric->allocate(kSize));
    link = std::move(*sender.fabric->connect(receiver.fabric->address()));
  }
  static Side make(const UcxOptions& options) {
    auto fabric = make_ucx(options);
    EXPECT_TRUE(fabric) << fabric.error().message;
    return {std::move(*fabric), {}};
  }
  // Puts of all sizes arrive whole.
  void exchange(const RemoteRegion& region) {
    auto target = std::move(*link->open(region));
    std::uint64_t number = 0;
    for (const std::size_t size : {std::size_t{1}, std::size_t{200}, std::size_t{9'000}, std::size_t{100'000}, kSize}) {
      fill(source->memory().bytes().first(size), ++number);
      ASSERT_EQ(link->put({.source = source.get(), .size = size, .target = target.get(), .notice = as_notice(number)}),
                Errc::ok);
      ASSERT_TRUE(wait_until({&sender, &receiver},
                             [&] { return !receiver.events.notices.empty() && !sender.events.ended.empty(); }))
          << size << " bytes did not arrive";
      EXPECT_EQ(from_notice<std::uint64_t>(receiver.events.notices[0]), number);
      EXPECT_EQ(sender.events.ended[0].status, Errc::ok);
      EXPECT_EQ(first_difference(sink->memory().bytes().first(size), number), size);
      sender.events.clear();
      receiver.events.clear();
    }
  }
};

TEST(Ucx, MemoryOfANeighbourIsMapped) {
  Pair pair;
  pair.exchange(pair.sink->remote());
  EXPECT_EQ(pair.sender.fabric->description().find("not everywhere"), std::string::npos);
}

// The checksum guards against accidents, not against malice.
TEST(Ucx, AKeyWhoseHandleLiesIsNotMappedAndItsRegionReachedByMessages) {
  using Lie = std::function<void(SharedHandle&)>;
  for (const Lie& lie : {Lie([](SharedHandle& handle) { handle.process = 1; }), Lie([](SharedHandle& handle) { handle.descriptor = 0; }),
                         Lie([](SharedHandle& handle) { ++handle.inode; }), Lie([](SharedHandle& handle) { ++handle.device; }),
                         Lie([](SharedHandle& handle) { handle.size *= 2; }), Lie([](SharedHandle& handle) { handle.size = 1; })}) {
    Pair pair;
    RemoteRegion region = pair.sink->remote();
    auto key = wire::unpack_region_key(region.key);
    ASSERT_TRUE(key);
    lie(key->memory);
    region.key = pack(*key);
    pair.exchange(region);
    EXPECT_NE(pair.sender.fabric->description().find("not everywhere: "), std::string::npos)
        << pair.sender.fabric->description();
  }
}

TEST(Ucx, AKeyAndAHandleThatAgreeOnALieAreNotMappedEither) {
  Pair pair;
  RemoteRegion region = pair.sink->remote();
  auto key = wire::unpack_region_key(region.key);
  ASSERT_TRUE(key);
  key->size = key->memory.size = region.size = std::uint64_t{1} << 40;
  region.key = pack(*key);
  pair.exchange(region);
}

// The largest there are; the rendezvous of each waits until the receiver polls.
TEST(Ucx, ManyLargePutsByMessagesOverSharedMemoryAllArrive) {
  Pair pair({.tls = "posix,sysv,self", .map_neighbours = false});
  auto target = std::move(*pair.link->open(pair.sink->remote()));
  fill(pair.source->memory().bytes(), 1);
  const std::size_t puts = pair.sender.fabric->limits().puts_in_flight_max;
  for (std::uint64_t i = 0; i < puts; ++i)
    ASSERT_EQ(pair.link->put({.source = pair.source.get(), .size = kSize, .target = target.get(), .notice = as_notice(i), .token = i}),
              Errc::ok);
  EXPECT_EQ(pair.link->put({.source = pair.source.get(), .size = kSize, .target = target.get()}), Errc::would_block);
  EXPECT_TRUE(wait_until({&pair.sender, &pair.receiver}, [&] {
    return pair.receiver.events.notices.size() == puts && pair.sender.events.ended.size() == puts;
  }));
  EXPECT_EQ(first_difference(pair.sink->memory().bytes(), 1), kSize);
}

// UCX takes what it finds of a list, were it only the way to itself.
TEST(Ucx, TransportsThatReachNobodyElseAreRefused) {
  const auto fabric = make_ucx({.tls = "tcp,self", .net_devices = "nosuchdevice0"});
  ASSERT_FALSE(fabric);
  EXPECT_EQ(fabric.error().code, Errc::unsupported);
  EXPECT_NE(fabric.error().message.find("nosuchdevice0"), std::string::npos) << fabric.error().message;
}

TEST(Ucx, AKeyFitsItsContract) {
  Pair pair;
  EXPECT_LE(pair.sink->remote().key.size(), 256u);
}

}  // namespace
}  // namespace gossamer::testing
