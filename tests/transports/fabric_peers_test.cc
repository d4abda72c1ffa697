// What transports/fabric.h promises about peers that come, sleep and go, over every backend.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/transports/fabric_fixture.h"

namespace gossamer::testing {
namespace {

class FabricPeers : public FabricFixture {};

TEST_P(FabricPeers, PutsUnderWayEndWhenThePeerGoes) {
  Side sender = make_side(), receiver = make_side();
  constexpr std::size_t kSize = 400'000;
  auto source = allocate(sender, kSize);
  auto sink = allocate(receiver, kSize);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  const std::uint64_t first = 0;
  ASSERT_EQ(
      link->put({.source = source.get(), .size = kSize, .target = target.get(), .notice = as_notice(first)}),
      Errc::ok);
  // Until the other side has heard of this one it says goodbye to nobody; only the end of its process tells then.
  ASSERT_TRUE(wait_until({&sender, &receiver}, [&] { return sender.events.ended.size() == 1 && receiver.events.notices.size() == 1; }));
  std::uint64_t started = 1;
  for (int i = 0; i < 8; ++i) {
    const Errc status = link->put({.source = source.get(),
                                   .size = kSize,
                                   .target = target.get(),
                                   .notice = as_notice(started),
                                   .token = started});
    if (status == Errc::ok) ++started;
  }
  ASSERT_GT(started, 1u);
  sink.reset();
  receiver.fabric.reset();
  EXPECT_TRUE(wait_until(
      {&sender}, [&] { return sender.events.ended.size() == started && !sender.events.down.empty(); }))
      << started - sender.events.ended.size() << " puts never ended, down: " << sender.events.down.size();
  EXPECT_EQ(sender.events.down, std::vector{link->id()}) << "named once";
  for (const Ended& end : sender.events.ended)
    EXPECT_TRUE(end.status == Errc::ok || end.status == Errc::peer_gone);
  EXPECT_EQ(link->put({.source = source.get(), .size = 1, .target = target.get()}), Errc::peer_gone);
  EXPECT_EQ(link->notify({}), Errc::peer_gone);
  EXPECT_EQ(link->open({}).error().code, Errc::peer_gone);
  (void)wait_until(
      {&sender}, [] { return false; }, std::chrono::milliseconds(30));
  EXPECT_EQ(sender.events.ended.size(), started) << "each put ends once";
  EXPECT_EQ(sender.events.down.size(), 1u);
}

TEST_P(FabricPeers, ASecondPeerIsUndisturbed) {
  Side sender = make_side(), doomed = make_side(), stable = make_side();
  constexpr std::size_t kSize = 100'000;
  auto source = allocate(sender, kSize);
  auto doomed_sink = allocate(doomed, kSize), stable_sink = allocate(stable, kSize);
  auto doomed_link = connect(sender, doomed), stable_link = connect(sender, stable);
  auto doomed_target = open(*doomed_link, doomed_sink->remote()),
       stable_target = open(*stable_link, stable_sink->remote());
  fill_region(*source, 0, kSize, 9);
  const std::uint64_t hello = 0;
  ASSERT_EQ(doomed_link->notify(as_notice(hello)), Errc::ok);
  ASSERT_EQ(stable_link->notify(as_notice(hello)), Errc::ok);
  ASSERT_TRUE(wait_until({&sender, &doomed, &stable},
                         [&] { return !doomed.events.notices.empty() && !stable.events.notices.empty(); }));
  stable.events.clear();
  std::size_t doomed_puts = 0;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    if (i == 5) {
      doomed_sink.reset();
      doomed.fabric.reset();
    }
    const Errc status = doomed_link->put({.source = source.get(), .size = kSize, .target = doomed_target.get(), .token = 1000 + i});
    if (status == Errc::ok) ++doomed_puts;
    ASSERT_EQ(put_patiently(*stable_link,
                            {.source = source.get(),
                             .size = kSize,
                             .target = stable_target.get(),
                             .notice = as_notice(i),
                             .token = i},
                            {&sender, &stable}),
              Errc::ok);
  }
  // A notice may be there before the sender's device has said that its put has ended.
  EXPECT_TRUE(wait_until({&sender, &stable}, [&] {
    return stable.events.notices.size() == 20 && !sender.events.down.empty() && sender.events.ended.size() == 20 + doomed_puts;
  })) << sender.events.ended.size() << " of 20 and " << doomed_puts << " puts ended";
  EXPECT_EQ(sender.events.down, std::vector{doomed_link->id()});
  EXPECT_EQ(first_wrong(*stable_sink, 0, kSize, 9), kSize);
  EXPECT_EQ(std::count_if(sender.events.ended.begin(), sender.events.ended.end(),
                          [](const Ended& end) { return end.token <= 20 && end.status == Errc::ok; }),
            20);
}

TEST_P(FabricPeers, APutToARegionThatIsGoneBreaksTheLinkInsteadOfVanishing) {
  Side sender = make_side(), receiver = make_side();
  auto source = allocate(sender, 100);
  auto sink = allocate(receiver, 100);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  sink.reset();
  ASSERT_EQ(link->put({.source = source.get(), .size = 100, .target = target.get(), .token = 7}), Errc::ok);
  EXPECT_TRUE(wait_until({&sender, &receiver},
                         [&] { return !sender.events.down.empty() && !sender.events.ended.empty(); }));
  EXPECT_TRUE(receiver.events.notices.empty());
}

TEST_P(FabricPeers, APeerThatReturnsIsReachedAgain) {
  Side sender = make_side();
  auto source = allocate(sender, 5000);
  fill_region(*source, 0, 5000, 4);
  std::string old_address;
  for (std::uint64_t life = 0; life < 3; ++life) {
    Side receiver = make_side();
    EXPECT_NE(receiver.fabric->address(), old_address);
    old_address = receiver.fabric->address();
    auto sink = allocate(receiver, 5000);
    auto link = connect(sender, receiver);
    auto target = open(*link, sink->remote());
    ASSERT_EQ(
        link->put({.source = source.get(), .size = 5000, .target = target.get(), .notice = as_notice(life)}),
        Errc::ok);
    ASSERT_TRUE(wait_until({&sender, &receiver},
                           [&] { return !receiver.events.notices.empty() && !sender.events.ended.empty(); }));
    EXPECT_EQ(first_wrong(*sink, 0, 5000, 4), 5000u);
    sender.events.clear();
    sink.reset();
    receiver.fabric.reset();
    EXPECT_TRUE(wait_until({&sender}, [&] { return !sender.events.down.empty(); }));
    EXPECT_EQ(sender.events.down, std::vector{link->id()});
    sender.events.clear();
  }
  // The address of a peer that is gone for good.
  auto late = sender.fabric->connect(old_address);
  ASSERT_TRUE(late);
  if (sees_connect_failures()) {
    EXPECT_TRUE(wait_until({&sender}, [&] { return !sender.events.down.empty(); }));
    EXPECT_EQ((*late)->notify({}), Errc::peer_gone);
  }
}

TEST_P(FabricPeers, ManyPeersTalkToEachOther) {
  constexpr std::size_t kPeers = 8;
  struct Member {
    Side side;
    std::unique_ptr<Region> source, sink;
    std::vector<std::unique_ptr<Link>> links;
    std::vector<std::unique_ptr<Target>> targets;
  };
  std::vector<Member> members(kPeers);
  std::vector<Side*> sides;
  for (Member& member : members) {
    member.side = make_side();
    member.source = allocate(member.side, 9000);
    member.sink = allocate(member.side, kPeers * 9000);
    sides.push_back(&member.side);
  }
  for (std::size_t from = 0; from < kPeers; ++from) {
    fill_region(*members[from].source, 0, 9000, from);
    for (std::size_t to = 0; to < kPeers; ++to) {
      members[from].links.push_back(from == to ? nullptr : connect(members[from].side, members[to].side));
      members[from].targets.push_back(
          from == to ? nullptr : open(*members[from].links[to], members[to].sink->remote()));
    }
  }
  for (std::uint64_t from = 0; from < kPeers; ++from)
    for (std::uint64_t to = 0; to < kPeers; ++to)
      if (from != to) {
        ASSERT_EQ(members[from].links[to]->put({.source = members[from].source.get(),
                                                .size = 9000,
                                                .target = members[from].targets[to].get(),
                                                .target_offset = from * 9000,
                                                .notice = as_notice(from)}),
                  Errc::ok);
      }
  EXPECT_TRUE(wait_until(sides, [&] {
    return std::all_of(sides.begin(), sides.end(), [](const Side* side) {
      return side->events.notices.size() == kPeers - 1 && side->events.ended.size() == kPeers - 1;
    });
  }));
  for (std::size_t to = 0; to < kPeers; ++to)
    for (std::size_t from = 0; from < kPeers; ++from)
      if (from != to) {
        EXPECT_EQ(first_wrong(*members[to].sink, from * 9000, 9000, from), 9000u);
      }
  for (Member& member : members) {
    const Traffic traffic = member.side.fabric->traffic();
    EXPECT_EQ(traffic.bytes_sent, (kPeers - 1) * (9000 + 8));
    EXPECT_EQ(traffic.bytes_received, (kPeers - 1) * (9000 + 8));
    EXPECT_EQ(traffic.puts_sent, kPeers - 1);
    member.targets.clear();
  }
}

TEST_P(FabricPeers, ALinkClosedWithPutsUnderWayStillEndsThem) {
  Side sender = make_side(), receiver = make_side();
  auto source = allocate(sender, 400'000);
  auto sink = allocate(receiver, 400'000);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  for (std::uint64_t i = 0; i < 4; ++i)
    ASSERT_EQ(link->put({.source = source.get(), .size = 400'000, .target = target.get(), .token = i}),
              Errc::ok);
  target.reset();
  link.reset();
  EXPECT_TRUE(wait_until({&sender, &receiver}, [&] { return sender.events.ended.size() == 4; }));
  EXPECT_TRUE(sender.events.down.empty()) << "whoever closed it knows";
}

TEST_P(FabricPeers, AFabricMayGoBeforeWhatWasMadeFromIt) {
  Side sender = make_side(), receiver = make_side();
  auto source = allocate(sender, 100'000);
  auto sink = allocate(receiver, 100'000);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  const Put put{.source = source.get(), .size = 100'000, .target = target.get()};
  ASSERT_EQ(link->put(put), Errc::ok);
  receiver.fabric.reset();
  sender.fabric.reset();
  EXPECT_EQ(link->put(put), Errc::peer_gone);
  EXPECT_EQ(link->notify({}), Errc::peer_gone);
  EXPECT_FALSE(link->open(sink->remote()));
  target.reset();
  link.reset();
  source.reset();
}

// What it said, its goodbye included, may lie there unread when somebody looks again; then it is not called back.
TEST_P(FabricPeers, OneMayComeAndGoWhileTheOtherSeldomLooks) {
  for (const int seldom : {1, 4, 16}) {
    Side host = make_side(), guest = make_side();
    auto back = connect(host, guest), there = connect(guest, host);
    const Put put{.notice = as_notice(seldom)};
    ASSERT_EQ(put_patiently(*there, put, {&guest, &host}), Errc::ok);
    int looks = 0;
    EXPECT_TRUE(wait_until({&guest}, [&] {
      if (++looks % seldom == 0) host.poll();
      return !guest.events.ended.empty();
    }));
    there.reset();
    guest.fabric.reset();
    (void)wait_until({&host}, [&] { return !host.events.down.empty(); }, std::chrono::milliseconds(100) * kSlowness);
    EXPECT_LE(host.events.notices.size(), 1u);
    EXPECT_LE(host.events.down.size(), 1u);
    EXPECT_TRUE(host.events.ended.empty());
  }
}

// One thread for each fabric, each sleeping without a timeout that could hide a lost wake-up.
TEST_P(FabricPeers, NoWakeUpIsLostInTenThousandRounds) {
  const std::uint64_t kRounds = 10'000 / static_cast<std::uint64_t>(kSlowness);
  Side sides[2] = {make_side(), make_side()};
  std::atomic<std::uint64_t> slept{0};
  std::atomic<bool> lost{false};
  const auto play = [&](Side& me, std::unique_ptr<Link> link, bool serves) {
    std::uint64_t next = 0;
    if (serves) {
      EXPECT_EQ(link->notify(as_notice(next)), Errc::ok);
    }
    while (next < kRounds && !lost) {
      me.poll();
      for (const Notice& notice : me.events.notices) {
        EXPECT_EQ(from_notice<std::uint64_t>(notice), next);
        if (!serves || next + 1 < kRounds) {
          const std::uint64_t answer = serves ? next + 1 : next;
          EXPECT_EQ(link->notify(as_notice(answer)), Errc::ok);
        }
        ++next;
      }
      if (!me.events.empty() || next >= kRounds) {
        me.events.clear();
        continue;
      }
      if (!me.fabric->arm()) continue;
      pollfd descriptor{me.fabric->wait_fd(), POLLIN, 0};
      if (::poll(&descriptor, 1, 5000 * kSlowness) == 0) lost = true;
      slept.fetch_add(1, std::memory_order_relaxed);
    }
    // The last answer must leave before the fabric rests.
    (void)wait_until(
        {&me}, [] { return false; }, std::chrono::milliseconds(20));
  };
  auto there = connect(sides[0], sides[1]), back = connect(sides[1], sides[0]);
  std::thread other([&] { play(sides[1], std::move(back), false); });
  play(sides[0], std::move(there), true);
  other.join();
  EXPECT_FALSE(lost) << "a peer slept for seconds although its neighbour had written";
  EXPECT_GT(slept.load(), 0u) << "nobody ever slept, so this test tried nothing";
}

TEST_P(FabricPeers, AnIdleFabricSleeps) {
  Side sides[2] = {make_side(), make_side()};
  auto link = connect(sides[0], sides[1]);
  ASSERT_EQ(link->notify(as_notice(std::uint64_t{1})), Errc::ok);
  ASSERT_TRUE(wait_until({&sides[0], &sides[1]}, [&] { return !sides[1].events.notices.empty(); }));
  (void)wait_until(
      {&sides[0], &sides[1]}, [] { return false; }, std::chrono::milliseconds(50));  // wire-up settles
  int wakes = 0;
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  while (std::chrono::steady_clock::now() < until) {
    for (Side& side : sides) side.poll();
    const bool first = sides[0].fabric->arm(), second = sides[1].fabric->arm();
    ++wakes;
    if (!first || !second) continue;
    pollfd descriptors[2] = {{sides[0].fabric->wait_fd(), POLLIN, 0},
                             {sides[1].fabric->wait_fd(), POLLIN, 0}};
    ::poll(descriptors, 2, 50);
  }
  EXPECT_LT(wakes, 50) << "with nothing to do, the fabrics kept their thread busy";
}

// Sender and receiver on threads of their own, data checked on arrival.
TEST_P(FabricPeers, TwoThreadsMoveDataThroughSleepingReceivers) {
  constexpr std::size_t kSize = 70'000;
  constexpr std::uint64_t kPuts = 300;
  Side sender = make_side(), receiver = make_side();
  auto source = allocate(sender, kSize);
  auto sink = allocate(receiver, kSize);
  auto link = connect(sender, receiver);
  auto back = connect(receiver, sender);
  auto target = open(*link, sink->remote());
  std::thread other([&] {
    std::uint64_t seen = 0;
    EXPECT_TRUE(wait_until({&receiver}, [&] {
      for (const Notice& notice : receiver.events.notices) {
        EXPECT_EQ(from_notice<std::uint64_t>(notice), seen);
        EXPECT_EQ(first_wrong(*sink, 0, kSize, seen), kSize) << "put " << seen;
        EXPECT_EQ(back->notify(as_notice(seen)), Errc::ok);
        ++seen;
      }
      receiver.events.clear();
      return seen == kPuts;
    }));
    (void)wait_until(
        {&receiver}, [] { return false; }, std::chrono::milliseconds(20));
  });
  for (std::uint64_t i = 0; i < kPuts; ++i) {
    fill_region(*source, 0, kSize, i);
    ASSERT_EQ(
        link->put({.source = source.get(), .size = kSize, .target = target.get(), .notice = as_notice(i)}),
        Errc::ok);
    ASSERT_TRUE(wait_until({&sender}, [&] {
      return !sender.events.ended.empty() && !sender.events.notices.empty();
    })) << i;
    sender.events.clear();
  }
  other.join();
}

INSTANTIATE_TEST_SUITE_P(Over, FabricPeers, ::testing::ValuesIn(all_backends()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(OnDevice, FabricPeers, ::testing::ValuesIn(device_backends()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
