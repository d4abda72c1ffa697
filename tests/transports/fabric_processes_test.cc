// Fabrics between real processes: data is right, and a peer killed without warning hangs nobody.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/transports/fabric_child.h"
#include "tests/transports/fabric_harness.h"

namespace gossamer::testing {
namespace {

class FabricProcesses : public ::testing::TestWithParam<Wire> {
 protected:
  struct Label {
    std::uint64_t number, size, offset;
  };

  void SetUp() override {
    if (const std::string reason = missing(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    me_ = make();
    auto source = me_.fabric->allocate(8 << 20);
    ASSERT_TRUE(source) << source.error().message;
    source_ = std::move(*source);
  }

  Side make() {
    auto fabric = make_fabric(GetParam());
    EXPECT_TRUE(fabric) << fabric.error().message;
    return {std::move(*fabric), {}};
  }

  struct Path {
    std::unique_ptr<Link> link;
    std::unique_ptr<Target> target;
    void close() {
      target.reset();
      link.reset();
    }
  };
  Path reach(Child& child) {
    std::string address;
    RemoteRegion region;
    EXPECT_TRUE(child.hello(&address, &region)) << "the other process did not start";
    EXPECT_TRUE(child.tell(me_.fabric->address()));
    Path path;
    auto link = me_.fabric->connect(address);
    EXPECT_TRUE(link) << link.error().message;
    path.link = std::move(*link);
    auto target = path.link->open(region);
    EXPECT_TRUE(target) << target.error().message;
    path.target = std::move(*target);
    return path;
  }

  Errc put(const Path& path, std::uint64_t number, std::size_t size) {
    const Label label{number, size, 0};
    return path.link->put({.source = source_.get(),
                           .size = size,
                           .target = path.target.get(),
                           .notice = as_notice(label),
                           .token = number});
  }

  // Sends put `number` and waits for the verdict of the other process.
  void exchange(const Path& path, std::uint64_t number, std::size_t size) {
    fill(source_->memory().bytes().first(size), number);
    ASSERT_EQ(put(path, number, size), Errc::ok);
    ASSERT_TRUE(wait_until({&me_}, [&] { return !me_.events.notices.empty() && !me_.events.ended.empty(); }));
    const auto bytes = me_.events.notices[0].bytes();
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
              std::to_string(number) + " good");
    me_.events.clear();
  }

  // Destroys the survivor's fabric; a tear-down that hangs is what the alarm of the test runner would see.
  void tear_down_in_time() {
    const auto start = std::chrono::steady_clock::now();
    me_.fabric.reset();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5) * kSlowness);
  }

  Side me_;
  std::unique_ptr<Region> source_;
};

TEST_P(FabricProcesses, DataIsRightOnTheOtherSide) {
  Child child(GetParam(), "sink");
  const Path path = reach(child);
  std::uint64_t number = 1;
  for (const std::size_t size : {0, 1, 100, 8'000, 9'001, 65'536, 1'000'003, 8 << 20})
    ASSERT_NO_FATAL_FAILURE(exchange(path, number++, size)) << size;
  for (int i = 0; i < 200; ++i) ASSERT_NO_FATAL_FAILURE(exchange(path, number++, 3'000));
  EXPECT_TRUE(me_.events.down.empty());
  EXPECT_EQ(child.finish(), 0);
  // It went in good order, so its link goes down whatever the wire.
  EXPECT_TRUE(wait_until({&me_}, [&] { return !me_.events.down.empty(); }));
}

TEST_P(FabricProcesses, AKilledPeerHangsNobodyAndDisturbsNoOther) {
  Child doomed(GetParam(), "sink"), stable(GetParam(), "sink");
  Path to_doomed = reach(doomed);
  const Path to_stable = reach(stable);
  ASSERT_NO_FATAL_FAILURE(exchange(to_doomed, 1, 100'000));
  ASSERT_NO_FATAL_FAILURE(exchange(to_stable, 2, 100'000));
  doomed.kill();

  // More than any queue holds: they are refused or they end, and the other peer is served meanwhile.
  std::size_t accepted = 0;
  for (std::uint64_t i = 0; i < 1000; ++i)
    if (put(to_doomed, 10'000 + i, 100'000) == Errc::ok) ++accepted;
  EXPECT_LE(accepted, me_.fabric->limits().puts_in_flight_max);
  EXPECT_TRUE(wait_until({&me_}, [&] { return !me_.events.down.empty() && me_.events.ended.size() == accepted; }))
      << me_.events.ended.size() << " of " << accepted << " ended";
  EXPECT_EQ(me_.events.down, std::vector{to_doomed.link->id()});
  EXPECT_EQ(put(to_doomed, 99, 10), Errc::peer_gone);
  std::size_t ended = me_.events.ended.size();
  me_.events.ended.clear();
  for (std::uint64_t i = 100; i < 110; ++i) {
    fill(source_->memory().bytes().first(50'000), i);
    ASSERT_EQ(put(to_stable, i, 50'000), Errc::ok);
    ASSERT_TRUE(wait_until({&me_}, [&] { return !me_.events.notices.empty(); }));
    const auto bytes = me_.events.notices[0].bytes();
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
              std::to_string(i) + " good");
    me_.events.notices.clear();
  }
  // Whoever knows that the peer is dead closes the link, and then every put has ended.
  to_doomed.close();
  for (int i = 0; i < 100; ++i) me_.poll();
  ended += static_cast<std::size_t>(std::count_if(me_.events.ended.begin(), me_.events.ended.end(),
                                                  [](const Ended& end) { return end.token >= 10'000; }));
  EXPECT_EQ(ended, accepted);
  EXPECT_EQ(stable.finish(), 0);
  tear_down_in_time();
}

TEST_P(FabricProcesses, WhatAKilledPeerKeptInSharedMemoryIsRemovedByItsNeighbours) {
  Child child(GetParam(), "sink");
  const Path path = reach(child);
  ASSERT_NO_FATAL_FAILURE(exchange(path, 1, 100'000));
  // As libfabric's shm calls it; the others have no names there.
  const auto kept = [prefix = std::to_string(child.number()) + ':'] {
    return std::ranges::count_if(std::filesystem::directory_iterator("/dev/shm"),
                                 [&](const auto& file) { return file.path().filename().string().starts_with(prefix); });
  };
  child.kill();
  EXPECT_TRUE(wait_until({&me_}, [&] { return !me_.events.down.empty(); }));
  EXPECT_EQ(kept(), 0);
}

TEST_P(FabricProcesses, APeerKilledInTheMiddleOfAPutHangsNobody) {
  Child child(GetParam(), "stuck");
  Path path = reach(child);
  ASSERT_NO_FATAL_FAILURE(exchange(path, 1, 1000));
  // The other side does not poll: these cannot finish where a put needs its receiver.
  std::size_t accepted = 0;
  for (std::uint64_t i = 0; i < 200; ++i)
    if (put(path, 10 + i, 4 << 20) == Errc::ok) ++accepted;
  ASSERT_GT(accepted, 0u);
  for (int i = 0; i < 20; ++i) me_.poll();
  child.kill();
  (void)wait_until(
      {&me_}, [&] { return me_.events.ended.size() == accepted; }, std::chrono::milliseconds(300));
  path.close();
  for (int i = 0; i < 100; ++i) me_.poll();
  EXPECT_TRUE(wait_until({&me_}, [&] { return me_.events.ended.size() == accepted; }));
  tear_down_in_time();
}

TEST_P(FabricProcesses, ARestartedPeerIsReachedByItsNewAddress) {
  for (int life = 0; life < 3; ++life) {
    Child child(GetParam(), "sink");
    const Path path = reach(child);
    ASSERT_NO_FATAL_FAILURE(exchange(path, static_cast<std::uint64_t>(life), 20'000));
    child.kill();
    EXPECT_TRUE(wait_until({&me_}, [&] { return !me_.events.down.empty(); }));
    me_.events.clear();
  }
}

INSTANTIATE_TEST_SUITE_P(Over, FabricProcesses, ::testing::ValuesIn(all_wires()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
