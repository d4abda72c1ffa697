// The faults of transports/faulty.h: each happens, each only as described, and a seed repeats them.
#include "transports/faulty.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/transports/fabric_harness.h"
#include "transports/loopback.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kSlots = 64, kSlotSize = 256;

// A faulty sender and a faulty receiver on one hub.
struct Pair {
  explicit Pair(const FaultOptions& sending, const FaultOptions& receiving = {}) {
    const auto make = [&](const FaultOptions& options) {
      auto faulty = std::make_unique<FaultyFabric>(std::move(*make_loopback(hub)), options);
      return faulty;
    };
    from.fabric = make(sending);
    to.fabric = make(receiving);
    sender = static_cast<FaultyFabric*>(from.fabric.get());
    receiver = static_cast<FaultyFabric*>(to.fabric.get());
    source = std::move(*sender->allocate(kSlots * kSlotSize));
    sink = std::move(*receiver->allocate(kSlots * kSlotSize));
    link = std::move(*sender->connect(receiver->address()));
    target = std::move(*link->open(sink->remote()));
  }

  Errc put(std::uint64_t number) {
    const std::size_t at = number % kSlots * kSlotSize;
    fill(source->memory().bytes().subspan(at, kSlotSize), number);
    return link->put({.source = source.get(),
                      .source_offset = at,
                      .size = kSlotSize,
                      .target = target.get(),
                      .target_offset = at,
                      .notice = as_notice(number),
                      .token = number});
  }
  bool landed(std::uint64_t number) const {
    return first_difference(sink->memory().bytes().subspan(number % kSlots * kSlotSize, kSlotSize), number) ==
           kSlotSize;
  }
  void settle() {
    for (int i = 0; i < 50; ++i) {
      from.poll();
      to.poll();
    }
  }
  std::map<std::uint64_t, int> notices() const {
    std::map<std::uint64_t, int> times;
    for (const Notice& notice : to.events.notices) ++times[from_notice<std::uint64_t>(notice)];
    return times;
  }

  std::shared_ptr<LoopbackHub> hub = std::make_shared<LoopbackHub>();
  Side from, to;
  FaultyFabric* sender = nullptr;
  FaultyFabric* receiver = nullptr;
  std::unique_ptr<Region> source, sink;
  std::unique_ptr<Link> link;
  std::unique_ptr<Target> target;
};

TEST(Faulty, RefusalsStartNothingAndPass) {
  Pair pair({.refuse = 0.5});
  EXPECT_TRUE(pair.sender->limits().reliable);
  int refused = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    while (pair.put(i) == Errc::would_block) {
      ++refused;
      EXPECT_FALSE(pair.sender->arm()) << "whoever is refused must not fall asleep over it";
    }
    pair.settle();
  }
  EXPECT_GT(refused, 10);
  EXPECT_EQ(pair.sender->counts().refused, static_cast<std::uint64_t>(refused));
  EXPECT_EQ(pair.from.events.ended.size(), 40u);
  EXPECT_EQ(pair.to.events.notices.size(), 40u);
}

TEST(Faulty, LateAndShuffledNoticesAllArriveAfterTheirBytes) {
  Pair pair({.delay_ended = 0.5}, {.delay_notice = 0.5, .reorder = 0.5});
  EXPECT_TRUE(pair.receiver->limits().reliable);
  for (std::uint64_t i = 0; i < 60; ++i) {
    ASSERT_EQ(pair.put(i), Errc::ok);
    pair.from.poll();
    if (i % 3 == 0) pair.to.poll();
  }
  pair.settle();
  std::vector<std::uint64_t> order;
  for (const Notice& notice : pair.to.events.notices) order.push_back(from_notice<std::uint64_t>(notice));
  EXPECT_EQ(order.size(), 60u);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  for (const auto& [number, times] : pair.notices()) {
    EXPECT_EQ(times, 1);
    EXPECT_TRUE(pair.landed(number));
  }
  EXPECT_EQ(pair.from.events.ended.size(), 60u);
  EXPECT_GT(pair.sender->counts().delayed, 0u);
  EXPECT_GT(pair.receiver->counts().delayed, 0u);
  EXPECT_GT(pair.receiver->counts().reordered, 0u);
}

TEST(Faulty, DroppedPutsLeaveNothingAndEndAllTheSame) {
  Pair pair({.drop_put = 0.5});
  EXPECT_FALSE(pair.sender->limits().reliable);
  for (std::uint64_t i = 0; i < 60; ++i) {
    ASSERT_EQ(pair.put(i), Errc::ok);
    pair.settle();
  }
  const auto notices = pair.notices();
  EXPECT_GT(pair.sender->counts().dropped, 10u);
  EXPECT_EQ(notices.size() + pair.sender->counts().dropped, 60u);
  for (std::uint64_t i = 0; i < 60; ++i) EXPECT_EQ(pair.landed(i), notices.contains(i)) << i;
  EXPECT_EQ(pair.from.events.ended.size(), 60u);
}

TEST(Faulty, DuplicatesComeTwiceAndNoMore) {
  Pair pair({}, {.duplicate_notice = 0.5});
  EXPECT_FALSE(pair.receiver->limits().reliable);
  for (std::uint64_t i = 0; i < 40; ++i) ASSERT_EQ(pair.link->notify(as_notice(i)), Errc::ok);
  pair.settle();
  std::uint64_t twice = 0;
  for (const auto& [number, times] : pair.notices()) {
    EXPECT_TRUE(times == 1 || times == 2);
    twice += times == 2 ? 1 : 0;
  }
  EXPECT_EQ(pair.notices().size(), 40u);
  EXPECT_EQ(twice, pair.receiver->counts().duplicated);
  EXPECT_GT(twice, 5u);
}

TEST(Faulty, ACutPutLandsInPartWithoutItsNoticeAndBreaksTheLink) {
  Pair pair({.cut_put = 1});
  ASSERT_EQ(pair.put(3), Errc::ok);
  EXPECT_EQ(pair.put(4), Errc::peer_gone);
  pair.settle();
  ASSERT_EQ(pair.from.events.ended.size(), 1u);
  EXPECT_EQ(pair.from.events.ended[0].status, Errc::peer_gone);
  EXPECT_EQ(pair.from.events.ended[0].token, 3u);
  EXPECT_EQ(pair.from.events.down, std::vector{pair.link->id()});
  EXPECT_TRUE(pair.to.events.notices.empty());
  const auto slot = pair.sink->memory().bytes().subspan(3 * kSlotSize, kSlotSize);
  const std::size_t landed = first_difference(slot, 3);
  EXPECT_LT(landed, kSlotSize);
  EXPECT_TRUE(std::all_of(slot.begin() + static_cast<std::ptrdiff_t>(landed), slot.end(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Faulty, ALinkTakenDownIsToldOnceAndRefuses) {
  Pair pair({});
  pair.sender->take_down(pair.link->id());
  EXPECT_FALSE(pair.sender->arm());
  pair.settle();
  pair.sender->take_down(pair.link->id());
  pair.settle();
  EXPECT_EQ(pair.from.events.down, std::vector{pair.link->id()});
  EXPECT_EQ(pair.put(0), Errc::peer_gone);
  EXPECT_EQ(pair.link->notify({}), Errc::peer_gone);
  EXPECT_EQ(pair.link->open(pair.sink->remote()).error().code, Errc::peer_gone);
}

TEST(Faulty, SilenceHoldsBothDirectionsAndLosesNothing) {
  Pair pair({});
  auto back = std::move(*pair.receiver->connect(pair.sender->address()));
  pair.sender->go_silent();
  std::uint64_t taken = 0;
  while (taken < kSlots && pair.put(taken) == Errc::ok) ++taken;
  EXPECT_EQ(taken, pair.sender->limits().puts_in_flight_max);
  EXPECT_EQ(pair.link->notify({}), Errc::would_block) << "bounded, silent or not";
  ASSERT_EQ(back->notify(as_notice(std::uint64_t{7})), Errc::ok);
  pair.settle();
  EXPECT_TRUE(pair.from.events.empty());
  EXPECT_TRUE(pair.to.events.empty());
  pair.sender->resume();
  pair.settle();
  EXPECT_EQ(pair.from.events.notices.size(), 1u);
  EXPECT_EQ(pair.from.events.ended.size(), taken);
  EXPECT_EQ(pair.notices().size(), taken);
  for (std::uint64_t i = 0; i < taken; ++i) EXPECT_TRUE(pair.landed(i));
}

TEST(Faulty, PutsThatWaitInSilenceEndWithTheirLink) {
  Pair pair({});
  pair.sender->go_silent();
  ASSERT_EQ(pair.put(1), Errc::ok);
  pair.target.reset();
  pair.link.reset();
  pair.sender->resume();
  pair.settle();
  ASSERT_EQ(pair.from.events.ended.size(), 1u);
  EXPECT_EQ(pair.from.events.ended[0].status, Errc::peer_gone);
  EXPECT_TRUE(pair.to.events.notices.empty());
}

TEST(Faulty, ASeedRepeatsEveryFault) {
  const auto run = [](std::uint64_t seed) {
    Pair pair({.seed = seed, .refuse = 0.2, .delay_ended = 0.3, .drop_put = 0.2},
              {.seed = seed + 1, .delay_notice = 0.3, .reorder = 0.3, .duplicate_notice = 0.2});
    std::vector<std::uint64_t> story;
    for (std::uint64_t i = 0; i < 60; ++i) {
      story.push_back(static_cast<std::uint64_t>(pair.put(i)));
      pair.from.poll();
      pair.to.poll();
    }
    pair.settle();
    for (const Notice& notice : pair.to.events.notices) story.push_back(from_notice<std::uint64_t>(notice));
    for (const Ended& ended : pair.from.events.ended) story.push_back(ended.token);
    return story;
  };
  EXPECT_EQ(run(5), run(5));
  EXPECT_NE(run(5), run(6));
}

}  // namespace
}  // namespace gossamer::testing
