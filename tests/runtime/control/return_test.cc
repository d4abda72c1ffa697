// Peers that are started again and come to the running run: what they and the others may rely on.
#include <poll.h>

#include <atomic>

#include "tests/runtime/control/fixture.h"

namespace gossamer {
namespace {

constexpr PeerId kPeers = 5;

std::string error_of(const Result<Roster>& result) {
  return result ? "no error" : result.error().message;
}

// The next message from a rank, or "nothing".
std::string next_from(Control& control, PeerId rank) {
  const auto until = std::chrono::steady_clock::now() + kPlenty;
  while (std::chrono::steady_clock::now() < until) {
    for (const Message& message : control.receive(20ms))
      if (message.from == rank) return message.bytes;
    if (!control.deaths().empty()) return "a death";
  }
  return "nothing";
}

class OfRank : public testing::TestWithParam<PeerId> {};

TEST_P(OfRank, IsHeardOfByEverybodyBehindItsDeath) {
  const PeerId victim = GetParam();
  Peers run(kPeers, elastic);
  run.kill(victim);
  const PeerId via = (victim + 2) % kPeers;
  const auto roster = run.restart(victim, via);
  ASSERT_TRUE(roster) << error_of(roster);
  EXPECT_TRUE(roster->started);
  EXPECT_EQ(roster->self, victim);
  for (PeerId rank = 0; rank < kPeers; ++rank) {
    const Roster::Entry& entry = roster->peers[rank];
    EXPECT_TRUE(entry.alive) << rank;
    EXPECT_EQ(entry.incarnation, rank == victim ? 2u : 1u);
    EXPECT_EQ(entry.transport_address,
              (rank == victim ? "another transport of " : "transport of ") + std::to_string(rank));
    if (rank == victim) continue;
    std::vector<Death> deaths;
    std::vector<Roster::Entry> returned;
    EXPECT_TRUE(eventually([&] {
      for (Death& death : run[rank].deaths()) deaths.push_back(std::move(death));
      for (Roster::Entry& back : run[rank].returned()) returned.push_back(std::move(back));
      return !returned.empty();
    })) << rank;
    ASSERT_EQ(deaths.size(), 1u);
    EXPECT_EQ(deaths[0].rank, victim);
    EXPECT_EQ(deaths[0].incarnation, 1u);
    ASSERT_EQ(returned.size(), 1u);
    EXPECT_EQ(returned[0].rank, victim);
    EXPECT_EQ(returned[0].incarnation, 2u);
    EXPECT_EQ(returned[0].transport_address, "another transport of " + std::to_string(victim));
    EXPECT_EQ(returned[0].address + ":" + std::to_string(returned[0].control_port), run[victim].address());
    EXPECT_TRUE(returned[0].alive);
  }
  EXPECT_TRUE(run[victim].deaths().empty());
  EXPECT_TRUE(run[victim].returned().empty()) << "it has not returned to itself";
  expect_all_meet(run);
  run.leave();
}

INSTANTIATE_TEST_SUITE_P(TheCollectorTheLastOrAnother, OfRank, testing::Values(0u, 2u, kPeers - 1));

TEST(Return, ThriceGivesThreeMoreLives) {
  Peers run(4, elastic);
  Hearing hearing(run[0]);
  for (int life = 2; life <= 4; ++life) {
    run.kill(2);
    const auto roster = run.restart(2, 3);
    ASSERT_TRUE(roster) << error_of(roster);
    EXPECT_EQ(roster->peers[2].incarnation, static_cast<Incarnation>(life));
  }
  const std::string all = "-2.1 +2.2 -2.2 +2.3 -2.3 +2.4";
  EXPECT_EQ(hearing.until(all), all);
  Hearing late(run[1]);  // who takes nothing in between still sees the lives apart
  EXPECT_EQ(late.until(all), all);
  expect_all_meet(run);
}

TEST(Return, OfTwoAtOnceAndOfTheLowestRanksInSuccession) {
  Peers run(6, elastic);
  for (const auto& [a, b, via] : {std::tuple<PeerId, PeerId, PeerId>{2, 3, 5}, {0, 1, 4}, {0, 5, 2}}) {
    run.kill(a);
    run.kill(b);
    std::thread first([&run, a = a, via = via] {
      const auto roster = run.restart(a, via);
      EXPECT_TRUE(roster) << error_of(roster);
    });
    const auto roster = run.restart(b, via);
    EXPECT_TRUE(roster) << error_of(roster);
    first.join();
  }
  // Nobody is told of what its own roster has said already.
  const std::vector<Incarnation> lives = {3, 2, 2, 2, 1, 2};
  for (PeerId rank = 0; rank < 6; ++rank) {
    std::vector<Incarnation> known;
    for (const Roster::Entry& entry : run.rosters[rank].peers) known.push_back(entry.incarnation);
    EXPECT_TRUE(eventually([&] {
      for (const Death& death : run[rank].deaths()) EXPECT_EQ(death.incarnation, known[death.rank]) << rank;
      for (const Roster::Entry& entry : run[rank].returned()) {
        EXPECT_GT(entry.incarnation, known[entry.rank]) << rank;
        known[entry.rank] = entry.incarnation;
      }
      return known == lives;
    })) << rank;
  }
  expect_all_meet(run);
}

TEST(Return, ToOnePeerThatIsLeft) {
  Peers run(3, elastic);
  run.kill(0);
  run.kill(1);
  ASSERT_TRUE(run.restart(0, 2));
  EXPECT_TRUE(run.rosters[0].peers[2].alive);
  ASSERT_TRUE(run.restart(1, 0));
  EXPECT_EQ(run.rosters[1].peers[0].incarnation, 2u);
  EXPECT_EQ(Hearing(run[0]).until("+1.2"), "+1.2");
  EXPECT_TRUE(
      eventually([hearing = std::make_shared<Hearing>(run[2])] { return hearing->so_far().size() == 19; }));
  expect_all_meet(run);
}

TEST(Return, WithoutARankGetsTheOneThatIsGone) {
  Peers run(4, elastic);
  run.kill(2);
  ControlOptions options = test_options(4, std::nullopt, run[3].address());
  options.elastic = true;
  auto control = Control::start(options, run.log);
  ASSERT_TRUE(control);
  const auto roster = (*control)->join("");
  ASSERT_TRUE(roster) << error_of(roster);
  EXPECT_EQ(roster->self, 2u);
  EXPECT_EQ(roster->peers[2].incarnation, 2u);
}

TEST(Return, OfAPeerThatHadLeftIsNoDeath) {
  Peers run(4, elastic);
  ASSERT_TRUE(run[1].leave(kPlenty));
  ASSERT_TRUE(eventually([&] { return run[3].departed() == std::vector<PeerId>{1}; }));
  const auto roster = run.restart(1, 3);
  ASSERT_TRUE(roster) << error_of(roster);
  for (const PeerId rank : {0u, 2u, 3u}) {
    EXPECT_EQ(Hearing(run[rank]).until("+1.2"), "+1.2");
    EXPECT_TRUE(run[rank].departed().empty());
  }
  expect_all_meet(run);
}

TEST(Return, ItsRosterSaysWhoIsGone) {
  Peers run(5, elastic);
  ASSERT_TRUE(run[4].leave(kPlenty));
  run.kill(1);
  run.kill(2);
  ASSERT_TRUE(eventually([&] { return run[0].departed().size() == 1 && run[3].departed().size() == 1; }));
  Hearing hearing(run[3]);
  ASSERT_TRUE(eventually([&] { return hearing.so_far().size() == 9; })) << hearing.so_far();
  const auto roster = run.restart(2, 3);
  ASSERT_TRUE(roster) << error_of(roster);
  for (PeerId rank = 0; rank < 5; ++rank)
    EXPECT_EQ(roster->peers[rank].alive, rank != 1 && rank != 4) << rank;
  EXPECT_EQ(run[2].departed(), std::vector<PeerId>{4});
  EXPECT_TRUE(run[2].deaths().empty());
  const auto sent = run[2].send(1, "note", "hello?");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::peer_gone);
  EXPECT_EQ(run[2].send(4, "note", "hello?").error().message, "rank 4 had left before this peer came");
}

TEST(Return, WaitsWhileTheEarlierLifeIsNotKnownToBeDead) {
  Peers run(4, elastic);
  std::unique_ptr<Control> earlier = std::move(run.controls[2]);
  std::atomic<bool> back{false};
  std::thread restart([&] {
    const auto roster = run.restart(2, 3);
    back = true;
    ASSERT_TRUE(roster) << error_of(roster);
    EXPECT_EQ(roster->peers[2].incarnation, 2u);
  });
  std::this_thread::sleep_for(300ms);
  EXPECT_FALSE(back);
  EXPECT_TRUE(earlier->standing());
  earlier.reset();
  restart.join();
  expect_all_meet(run);
}

TEST(Return, ThatNeverComesToPassSaysWhoLives) {
  Peers run(3, [](ControlOptions& options) {
    options.elastic = true;
    options.join_deadline = 1s;
  });
  const std::unique_ptr<Control> earlier = std::move(run.controls[1]);
  const auto begin = std::chrono::steady_clock::now();
  const auto roster = run.restart(1, 2);
  ASSERT_FALSE(roster);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(roster.error().code, Errc::timed_out);
  EXPECT_NE(error_of(roster).find("the earlier peer 1 (host "), std::string::npos) << error_of(roster);
  EXPECT_NE(error_of(roster).find(", pid " + std::to_string(::getpid()) + ") is not known to be dead yet"),
            std::string::npos);
  EXPECT_TRUE(earlier->standing());
}

TEST(Return, ToADeadRendezvousSaysWhichAddressIsNeeded) {
  Peers run(3, [](ControlOptions& options) {
    options.elastic = true;
    options.join_deadline = 500ms;
  });
  const std::string dead = run[1].address();
  run.kill(1);
  const auto roster = run.restart(1, dead);
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::timed_out);
  EXPECT_NE(error_of(roster).find(dead), std::string::npos) << error_of(roster);
  EXPECT_NE(error_of(roster).find("a peer needs the address of one that lives"), std::string::npos)
      << error_of(roster);
}

struct Misfit {
  const char* what;
  std::function<void(ControlOptions&)> make;
  Errc code;
  const char* says;
};

class ReturningMisfits : public testing::TestWithParam<Misfit> {};

TEST_P(ReturningMisfits, AreRefusedAsAtTheStart) {
  Peers run(3, elastic);
  run.kill(2);
  ControlOptions options = test_options(3, 2, run[1].address());
  options.elastic = true;
  GetParam().make(options);
  auto control = Control::start(options, run.log);
  ASSERT_TRUE(control) << control.error().message;
  const auto refused = (*control)->join("");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, GetParam().code) << error_of(refused);
  EXPECT_NE(error_of(refused).find(GetParam().says), std::string::npos) << error_of(refused);
  EXPECT_TRUE(run.restart(2, 1)) << "it disturbs nobody";
}

INSTANTIATE_TEST_SUITE_P(
    All, ReturningMisfits,
    testing::Values(Misfit{"OtherVersion", [](ControlOptions& o) { o.software_version = "other"; },
                           Errc::version, "it is Gossamer 'other', the run is 'test'"},
                    Misfit{"OtherRunFile", [](ControlOptions& o) { o.run_hash = 0x99; }, Errc::version,
                           "run file differs"},
                    Misfit{"NotElastic", [](ControlOptions& o) { o.elastic = false; }, Errc::version,
                           "its run is not elastic"},
                    Misfit{"RankTooLarge",
                           [](ControlOptions& o) {
                             o.peers = 9;
                             o.rank = 7;
                           },
                           Errc::invalid_argument, "rank 7 does not exist in a run of 3 peers"}),
    [](const auto& info) { return info.param.what; });

TEST(Return, ToARunThatIsNotElasticIsRefused) {
  Peers run(3);
  run.kill(1);
  const auto roster = run.restart(1, 2);
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::unsupported);
  EXPECT_NE(error_of(roster).find("has started already"), std::string::npos) << error_of(roster);
  EXPECT_NE(error_of(roster).find("is not elastic"), std::string::npos) << error_of(roster);
}

TEST(Return, MessagesDoNotCrossFromOneLifeToAnother) {
  Peers run(3, elastic);
  // Of the earlier life: one message that is here when it dies, and one that is queued for it.
  ASSERT_TRUE(run[2].send(0, "note", "from the first life"));
  ASSERT_TRUE(eventually([&] {
    pollfd waiting{run[0].wake_fd(), POLLIN, 0};
    return ::poll(&waiting, 1, 10) == 1;
  }));
  run.kill(2);
  for (int i = 0; i < 50; ++i) {
    if (!run[0].send(2, "note", "to the first life")) break;
    std::this_thread::sleep_for(1ms);
  }
  ASSERT_TRUE(run.restart(2, 1));
  ASSERT_TRUE(run[2].send(0, "note", "from the second life"));
  std::this_thread::sleep_for(200ms);
  // Rank 0 has taken neither the death nor the return: to it this is still the first life.
  EXPECT_EQ(run[0].send(2, "note", "to nobody").error().code, Errc::peer_gone);
  Hearing hearing(run[0]);
  EXPECT_EQ(hearing.until("-2.1 +2.2"), "-2.1 +2.2");
  ASSERT_TRUE(run[0].send(2, "note", "to the second life"));
  EXPECT_EQ(next_from(run[0], 2), "from the second life");
  EXPECT_EQ(next_from(run[2], 0), "to the second life");
}

TEST(Return, WhatWasReceivedBeforeItWasToldIsOfTheEarlierLife) {
  Peers run(3, elastic);
  ASSERT_TRUE(run[2].send(0, "note", "from the first life"));
  ASSERT_TRUE(run[2].leave(kPlenty));  // so all of it has arrived
  ASSERT_TRUE(run.restart(2, 1));
  ASSERT_TRUE(run[2].send(0, "note", "from the second life"));
  std::this_thread::sleep_for(200ms);
  const auto messages = run[0].receive(Duration::zero());
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].bytes, "from the first life");
  EXPECT_EQ(run[0].returned().size(), 1u);
  EXPECT_EQ(next_from(run[0], 2), "from the second life");
}

TEST(Return, LeavesNoPartOfALongMessageBehind) {
  // The earlier life dies in the middle of a message in either direction.
  Peers run(2, elastic);
  const std::string bulk(std::size_t{64} << 20, 'x');
  ASSERT_TRUE(run[0].send(1, "bulk", bulk));
  ASSERT_TRUE(run[1].send(0, "bulk", bulk));
  run.kill(1);
  ASSERT_TRUE(run.restart(1, 0));
  ASSERT_TRUE(run[1].send(0, "note", "short"));
  EXPECT_EQ(Hearing(run[0]).until("-1.1 +1.2"), "-1.1 +1.2");
  ASSERT_TRUE(run[0].send(1, "note", "as short")) << "its account is empty again";
  EXPECT_EQ(next_from(run[0], 1), "short");
  EXPECT_EQ(next_from(run[1], 0), "as short");
  run.leave();
}

TEST(Return, WakesWhoeverWaits) {
  Peers run(3, elastic);
  run.kill(2);
  pollfd waiting{run[0].wake_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  ASSERT_EQ(run[0].deaths().size(), 1u);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  std::thread receiver([&] {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(run[0].receive("note", kPlenty).empty());
    EXPECT_LT(std::chrono::steady_clock::now() - begin, kPlenty / 2);
  });
  ASSERT_TRUE(run.restart(2, 1));
  receiver.join();
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  EXPECT_EQ(run[0].returned().size(), 1u);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
}

// ---- Barriers

TEST(ReturnedPeers, CountAtABarrierThatIsNotOpen) {
  Peers run(4, elastic);
  in_parallel(4, [&](std::size_t i) { EXPECT_TRUE(run[i].barrier("step", kPlenty)); });
  run.kill(3);
  ASSERT_TRUE(run.restart(3, 2));
  // It has missed the first use; all of them mean the second one now.
  std::atomic<int> arrived{0};
  in_parallel(4, [&](std::size_t i) {
    if (i == 3) std::this_thread::sleep_for(200ms);
    ++arrived;
    const auto result = run[i].barrier("step", kPlenty);
    EXPECT_TRUE(result) << i << ": " << result.error().message;
    EXPECT_EQ(arrived, 4);
  });
  in_parallel(4, [&](std::size_t i) { EXPECT_TRUE(run[i].barrier("step", kPlenty)); });
}

TEST(ReturnedPeers, MeetThoseThatWaitAlreadyEvenWhereTheEarlierLifeHadArrived) {
  for (const PeerId victim : {0u, 3u}) {  // the coordinator, and another
    Peers run(4, elastic);
    std::vector<std::thread> threads;
    std::atomic<int> passed{0};
    for (PeerId rank = 0; rank < 3; ++rank) {
      const PeerId waits = victim == 0 ? rank + 1 : rank;
      if (waits == 2) continue;  // it comes last
      threads.emplace_back([&run, &passed, waits] {
        const auto result = run[waits].barrier("step", kPlenty);
        EXPECT_TRUE(result) << waits << ": " << result.error().message;
        ++passed;
      });
    }
    std::thread earlier([&] { EXPECT_FALSE(run[victim].barrier("step", 300ms)); });
    earlier.join();
    run.kill(victim);
    ASSERT_TRUE(run.restart(victim, 2));
    std::thread last([&] { EXPECT_TRUE(run[2].barrier("step", kPlenty)); });
    std::this_thread::sleep_for(200ms);
    EXPECT_EQ(passed, 0) << "the new life of rank " << victim << " has not arrived";
    EXPECT_TRUE(run[victim].barrier("step", kPlenty));
    last.join();
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace gossamer
