// What peers of one run may rely on: joining, barriers, leaving, and what their errors say.
#include "runtime/control/control.h"

#include <poll.h>

#include <unistd.h>

#include <atomic>
#include <set>

#include "tests/runtime/control/fixture.h"

namespace gossamer {
namespace {


std::string error_of(const Result<Roster>& result) { return result ? "no error" : result.error().message; }

TEST(Join, EveryPeerGetsTheSameRosterAndItsOwnRank) {
  Peers run(5);
  for (PeerId rank = 0; rank < 5; ++rank) {
    const Roster& roster = run.rosters[rank];
    EXPECT_EQ(roster.self, rank);
    ASSERT_EQ(roster.peers.size(), 5u);
    for (PeerId other = 0; other < 5; ++other) {
      EXPECT_EQ(roster.peers[other].rank, other);
      EXPECT_EQ(roster.peers[other].transport_address, "transport of " + std::to_string(other));
      EXPECT_EQ(roster.peers[other].address + ":" + std::to_string(roster.peers[other].control_port), run[other].address());
      EXPECT_EQ(roster.peers[other].pid, ::getpid());
      EXPECT_FALSE(roster.peers[other].host.empty());
    }
  }
  run.leave();
  EXPECT_EQ(run.log.problems(), 0u);
}

TEST(Join, OnePeerAloneIsARun) {
  Peers run(1);
  EXPECT_TRUE(run[0].barrier("start", kPlenty));
  ASSERT_TRUE(run[0].send(0, "note", "to myself"));
  const auto messages = run[0].receive(kPlenty);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].bytes, "to myself");
  run.leave();
}

TEST(Join, TheAddressOfAnyPeerWillDo) {
  // A chain: 0 collects, 1 knows 0, 2 knows 1, and so on; and the collector is not rank 0.
  Log log = Log::silent();
  std::vector<std::unique_ptr<Control>> controls;
  for (PeerId i = 0; i < 5; ++i) {
    auto control = Control::start(test_options(5, 4 - i, i == 0 ? "" : controls[i - 1]->address()), log);
    ASSERT_TRUE(control) << control.error().message;
    controls.push_back(std::move(*control));
  }
  in_parallel(5, [&](std::size_t i) {
    const auto roster = controls[i]->join("");
    EXPECT_TRUE(roster) << roster.error().message;
    if (!roster) return;
    EXPECT_EQ(roster->self, 4 - i);
  });
}

TEST(Join, PeersThatNameEachOtherInACircleAgreeOnACollector) {
  Log log = Log::silent();
  // Ports have to be known before they are listened on.
  std::vector<std::uint16_t> ports;
  {
    std::vector<std::unique_ptr<Control>> probes;
    for (int i = 0; i < 3; ++i) {
      auto probe = Control::start(test_options(1, 0), log);
      ASSERT_TRUE(probe);
      const std::string address = (*probe)->address();
      ports.push_back(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
      probes.push_back(std::move(*probe));
    }
  }
  std::vector<std::unique_ptr<Control>> controls;
  for (PeerId i = 0; i < 3; ++i) {
    ControlOptions options = test_options(3, i, "127.0.0.1:" + std::to_string(ports[(i + 1) % 3]));
    options.port = ports[i];
    auto control = Control::start(options, log);
    ASSERT_TRUE(control) << control.error().message;
    controls.push_back(std::move(*control));
  }
  in_parallel(3, [&](std::size_t i) { EXPECT_TRUE(controls[i]->join("")); });
}

TEST(Join, WithOneAddressForAllRankZeroCollectsThere) {
  Log log = Log::silent();
  std::string address;
  {
    auto probe = Control::start(test_options(1, 0), log);
    ASSERT_TRUE(probe);
    address = (*probe)->address();
  }
  // The others come first, as they may under a launcher.
  std::vector<Result<Roster>> rosters(3, fail(Errc::internal, "not joined"));
  in_parallel(3, [&](std::size_t i) {
    if (i == 0) std::this_thread::sleep_for(100ms);
    auto control = Control::start(test_options(3, static_cast<PeerId>(i), address), log);
    ASSERT_TRUE(control) << control.error().message;
    EXPECT_EQ((*control)->address() == address, i == 0);
    rosters[i] = (*control)->join("");
    EXPECT_TRUE((*control)->barrier("end", kPlenty));
    EXPECT_TRUE((*control)->leave(kPlenty));
  });
  for (const auto& roster : rosters) EXPECT_TRUE(roster) << error_of(roster);
}

TEST(Join, PeersWithoutRankGetTheFreeOnes) {
  Log log = Log::silent();
  auto first = Control::start(test_options(4, std::nullopt), log);
  ASSERT_TRUE(first);
  std::vector<std::unique_ptr<Control>> controls;
  controls.push_back(std::move(*first));
  for (const std::optional<PeerId> rank : {std::optional<PeerId>(2), std::optional<PeerId>(), std::optional<PeerId>()}) {
    auto control = Control::start(test_options(4, rank, controls[0]->address()), log);
    ASSERT_TRUE(control);
    controls.push_back(std::move(*control));
  }
  std::vector<PeerId> ranks(4);
  in_parallel(4, [&](std::size_t i) {
    const auto roster = controls[i]->join("");
    ASSERT_TRUE(roster) << roster.error().message;
    ranks[i] = roster->self;
  });
  EXPECT_EQ(ranks[0], 0u);
  EXPECT_EQ(ranks[1], 2u);
  EXPECT_EQ(std::set<PeerId>(ranks.begin(), ranks.end()).size(), 4u);
}

TEST(Join, TheDeadlineNamesWhoNeverCameAtTheCollectorAndAtTheOthers) {
  Log log = Log::silent();
  std::vector<std::unique_ptr<Control>> controls;
  for (const PeerId rank : {0u, 1u, 3u}) {
    ControlOptions options = test_options(5, rank, controls.empty() ? "" : controls[0]->address());
    // Rank 1 hears it from the collector; rank 3 loses its patience before, and still knows.
    options.join_deadline = rank == 3 ? 600ms : rank == 1 ? Duration(kPlenty) : 1200ms;
    auto control = Control::start(options, log);
    ASSERT_TRUE(control);
    controls.push_back(std::move(*control));
  }
  std::vector<Result<Roster>> results(3, Roster{});
  const auto begin = std::chrono::steady_clock::now();
  in_parallel(3, [&](std::size_t i) { results[i] = controls[i]->join(""); });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  for (const auto& result : results) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::timed_out) << result.error().message;
  }
  EXPECT_NE(error_of(results[0]).find("missing: ranks 2-4"), std::string::npos) << error_of(results[0]);
  EXPECT_NE(error_of(results[1]).find("missing: ranks 2-4"), std::string::npos) << error_of(results[1]);
  EXPECT_NE(error_of(results[2]).find("missing: ranks 2 and 4"), std::string::npos) << error_of(results[2]);
}

TEST(Join, WhereNobodyListensTheErrorSaysSo) {
  Log log = Log::silent();
  ControlOptions options = test_options(2, 1, "127.0.0.1:9");
  options.join_deadline = 300ms;
  auto control = Control::start(options, log);
  ASSERT_TRUE(control) << control.error().message;
  const auto roster = (*control)->join("");
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::timed_out);
  EXPECT_NE(error_of(roster).find("127.0.0.1:9"), std::string::npos) << error_of(roster);
}

// One that does not fit is refused at once, and the run goes on without it.
struct Misfit {
  const char* what;
  std::function<void(ControlOptions&)> make;
  Errc code;
  const char* says;
};

class Misfits : public testing::TestWithParam<Misfit> {};

TEST_P(Misfits, AreRefusedInWordsAndDisturbNobody) {
  Log log = Log::silent();
  std::vector<std::unique_ptr<Control>> controls;
  for (PeerId rank = 0; rank < 2; ++rank) {
    auto control = Control::start(test_options(3, rank, rank == 0 ? "" : controls[0]->address()), log);
    ASSERT_TRUE(control);
    controls.push_back(std::move(*control));
  }
  std::vector<Result<Roster>> rosters(3, fail(Errc::internal, "not joined"));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 2; ++i) threads.emplace_back([&, i] { rosters[i] = controls[i]->join(""); });

  ControlOptions options = test_options(3, 2, controls[1]->address());
  GetParam().make(options);
  std::this_thread::sleep_for(100ms);  // rank 1 comes before its double
  {
    auto misfit = Control::start(options, log);
    ASSERT_TRUE(misfit) << misfit.error().message;
    const auto refused = (*misfit)->join("");
    EXPECT_FALSE(refused);
    EXPECT_EQ(refused.error().code, GetParam().code) << error_of(refused);
    EXPECT_NE(error_of(refused).find(GetParam().says), std::string::npos) << error_of(refused);
  }
  EXPECT_GE(log.problems(), 1u);

  auto last = Control::start(test_options(3, 2, controls[0]->address()), log);
  ASSERT_TRUE(last);
  rosters[2] = (*last)->join("");
  for (std::thread& thread : threads) thread.join();
  for (const auto& roster : rosters) EXPECT_TRUE(roster) << error_of(roster);
}

INSTANTIATE_TEST_SUITE_P(
    All, Misfits,
    testing::Values(Misfit{"SameRank", [](ControlOptions& o) { o.rank = 1; }, Errc::invalid_argument, "rank 1 is taken by pid"},
                    Misfit{"OtherVersion", [](ControlOptions& o) { o.software_version = "other"; }, Errc::version,
                           "it is Gossamer 'other', the collector is 'test'"},
                    Misfit{"OtherRunFile", [](ControlOptions& o) { o.run_hash = 0x99; }, Errc::version, "run file differs"},
                    Misfit{"OtherSize", [](ControlOptions& o) { o.peers = 4; }, Errc::version, "expects 4 peers"},
                    Misfit{"RankTooLarge",
                           [](ControlOptions& o) {
                             o.peers = 9;
                             o.rank = 7;
                           },
                           Errc::invalid_argument, "rank 7 does not exist in a run of 3 peers"}),
    [](const auto& info) { return info.param.what; });

TEST(Join, WhoComesTooLateIsToldThatTheRunHasStarted) {
  Peers run(2);
  auto late = Control::start(test_options(2, 1, run[1].address()), run.log);
  ASSERT_TRUE(late);
  const auto roster = (*late)->join("");
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::unsupported);
  EXPECT_NE(error_of(roster).find("has started already"), std::string::npos) << error_of(roster);
  in_parallel(2, [&](std::size_t i) { EXPECT_TRUE(run[i].barrier("together", kPlenty)); });
}

TEST(Start, APortInUseIsNamedWithTheRemedy) {
  Log log = Log::silent();
  auto first = Control::start(test_options(1, 0), log);
  ASSERT_TRUE(first);
  const std::string address = (*first)->address();
  const std::string port = address.substr(address.rfind(':') + 1);
  ControlOptions options = test_options(1, 0);
  options.port = static_cast<std::uint16_t>(std::stoi(port));
  const auto second = Control::start(options, log);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::address_in_use);
  EXPECT_NE(second.error().message.find("port " + port), std::string::npos) << second.error().message;
  EXPECT_NE(second.error().message.find("0 takes any free one"), std::string::npos);
}

TEST(Start, OptionsThatMakeNoSenseAreRefused) {
  Log log = Log::silent();
  const std::vector<std::function<void(ControlOptions&)>> wrongs = {
      [](ControlOptions& o) { o.peers = 0; },
      [](ControlOptions& o) { o.rank = 3; },
      [](ControlOptions& o) { o.heartbeat = Duration::zero(); },
      [](ControlOptions& o) { o.silence_deadline = o.heartbeat; },
      [](ControlOptions& o) { o.rendezvous = "nowhere"; },
      [](ControlOptions& o) { o.host = "192.0.2.7"; },
      [](ControlOptions& o) { o.host = "no-such-interface0"; },
  };
  for (std::size_t i = 0; i < wrongs.size(); ++i) {
    ControlOptions options = test_options(3, 0);
    wrongs[i](options);
    const auto control = Control::start(options, log);
    ASSERT_FALSE(control) << i;
    EXPECT_EQ(control.error().code, Errc::invalid_argument) << control.error().message;
  }
}

TEST(Barriers, NobodyPassesBeforeAllHaveCome) {
  Peers run(6);
  for (int use = 0; use < 3; ++use) {
    std::atomic<int> arrived{0};
    in_parallel(6, [&](std::size_t i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(7 * ((i + static_cast<std::size_t>(use)) % 6)));
      ++arrived;
      const auto result = run[i].barrier("again", kPlenty);
      EXPECT_TRUE(result) << result.error().message;
      EXPECT_EQ(arrived, 6);
    });
  }
}

TEST(Barriers, TheDeadlineNamesWhoIsMissingToEverybody) {
  Peers run(4);
  in_parallel(4, [&](std::size_t i) {
    if (i == 2) return;
    const auto result = run[i].barrier("start", 500ms);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::timed_out);
    EXPECT_NE(result.error().message.find("missing: rank 2 (host "), std::string::npos) << i << ": " << result.error().message;
  });
}

TEST(Barriers, DoesNotWaitForThoseThatLeftEvenTheCoordinator) {
  Peers run(5);
  in_parallel(5, [&](std::size_t i) {
    if (i < 2) {
      std::this_thread::sleep_for(50ms);
      EXPECT_TRUE(run[i].leave(kPlenty));
    } else {
      const auto result = run[i].barrier("the rest", kPlenty);
      EXPECT_TRUE(result) << result.error().message;
    }
  });
}

TEST(Leave, IsNoDeathAndEverybodyHearsOfIt) {
  Peers run(8);
  ASSERT_TRUE(run[3].leave(kPlenty));
  ASSERT_TRUE(run[0].leave(kPlenty));  // the collector is a peer like any other
  for (const PeerId rank : {1u, 2u, 4u, 5u, 6u, 7u}) {
    EXPECT_TRUE(eventually([&] { return run[rank].departed().size() == 2; })) << rank;
    EXPECT_TRUE(run[rank].deaths().empty());
    const auto sent = run[rank].send(3, "note", "are you there?");
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, Errc::peer_gone);
    EXPECT_NE(sent.error().message.find("has left"), std::string::npos);
  }
  EXPECT_EQ(run.log.problems(), 0u);
}

TEST(Leave, OfAllAtOnceKillsNobody) {
  Peers run(16);
  run.leave();
  EXPECT_EQ(run.log.problems(), 0u);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_TRUE(run[i].deaths().empty());
}

TEST(Leave, WaitsUntilEverythingSentHasArrived) {
  Peers run(2);
  ASSERT_TRUE(run[1].send(0, "model", std::string(20 << 20, 'x')));
  ASSERT_TRUE(run[1].leave(kPlenty));
  const auto messages = run[0].receive(Duration::zero());
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].bytes.size(), std::size_t{20} << 20);
}

TEST(Deaths, OfAPeerIsReportedOnceByEverySurvivorAndTheBarrierGoesOn) {
  Peers run(7);
  run.controls[0].reset();  // a Control that goes without leaving is a crash; here, the collector's
  for (std::size_t rank = 1; rank < 7; ++rank) {
    std::vector<Death> deaths;
    EXPECT_TRUE(eventually([&] {
      for (Death& death : run[rank].deaths()) deaths.push_back(std::move(death));
      return !deaths.empty();
    })) << rank;
    std::this_thread::sleep_for(20ms);
    for (Death& death : run[rank].deaths()) deaths.push_back(std::move(death));
    ASSERT_EQ(deaths.size(), 1u);
    EXPECT_EQ(deaths[0].rank, 0u);
    EXPECT_EQ(deaths[0].host, run.rosters[rank].peers[0].host);
    EXPECT_TRUE(run[rank].departed().empty());
    const auto sent = run[rank].send(0, "note", "hello?");
    EXPECT_EQ(sent.error().code, Errc::peer_gone);
  }
  in_parallel(6, [&](std::size_t i) {
    const auto result = run[i + 1].barrier("survivors", kPlenty);
    EXPECT_TRUE(result) << result.error().message;
  });
}

TEST(Deaths, OfNeighboursAtTheSameTimeIsReportedEach) {
  Peers run(10);
  for (const std::size_t rank : {3u, 4u, 5u, 6u}) run.controls[rank].reset();
  for (const std::size_t rank : {0u, 1u, 2u, 7u, 8u, 9u}) {
    std::set<PeerId> dead;
    EXPECT_TRUE(eventually([&] {
      for (const Death& death : run[rank].deaths()) EXPECT_TRUE(dead.insert(death.rank).second);
      return dead.size() == 4;
    })) << rank;
    EXPECT_EQ(dead, (std::set<PeerId>{3, 4, 5, 6}));
  }
}

TEST(Wake, TheDescriptorIsReadableExactlyWhileSomethingIsToBeTaken) {
  Peers run(3);
  pollfd waiting{run[0].wake_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  ASSERT_TRUE(run[1].send(0, "note", "1"));
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  EXPECT_EQ(run[0].receive(Duration::zero()).size(), 1u);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
  run.controls[2].reset();
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  EXPECT_EQ(run[0].deaths().size(), 1u);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);
}

}  // namespace
}  // namespace gossamer
