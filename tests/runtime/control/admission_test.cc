// Who lets a returning peer in, and how it is found: whatever happens to it meanwhile.
#include "tests/runtime/control/fixture.h"

namespace gossamer {
namespace {

std::string error_of(const Result<Roster>& result) { return result ? "no error" : result.error().message; }

TEST(Admission, GoesOnAtTheNextRankWhenTheOneThatLetsInDies) {
  Peers run(5, elastic);
  std::unique_ptr<Control> earlier = std::move(run.controls[3]);
  std::thread restart([&] {
    const auto roster = run.restart(3, 4);
    ASSERT_TRUE(roster) << error_of(roster);
    EXPECT_FALSE(roster->peers[0].alive);
  });
  std::this_thread::sleep_for(200ms);  // it waits at rank 0
  run.kill(0);
  std::this_thread::sleep_for(100ms);
  earlier.reset();
  restart.join();
  EXPECT_EQ(run.rosters[3].peers[3].incarnation, 2u);
}

TEST(Admission, WhoLeavesWhileItJoinsIsDoneAtOnce) {
  Log log = Log::silent();
  auto control = Control::start(test_options(2, 0), log);  // the other one never comes
  ASSERT_TRUE(control) << control.error().message;
  std::thread leaver([&] {
    std::this_thread::sleep_for(100ms);
    EXPECT_TRUE((*control)->leave(1s));
  });
  const auto begun = std::chrono::steady_clock::now();
  const auto roster = (*control)->join("transport");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kPlenty / 2);
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::interrupted);
  leaver.join();
}

TEST(Admission, WhoAskedTheOneThatDiesHasHeardOfOthers) {
  Peers run(4, elastic);
  std::unique_ptr<Control> earlier = std::move(run.controls[3]);
  const std::string rendezvous = run[0].address();
  std::thread restart([&] {
    const auto roster = run.restart(3, rendezvous);
    EXPECT_TRUE(roster) << error_of(roster);
  });
  std::this_thread::sleep_for(200ms);
  run.kill(0);
  earlier.reset();
  restart.join();
}

TEST(Admission, SendsThoseThatWaitOnWhenALowerRankReturns) {
  Peers run(4, elastic);
  run.kill(0);
  std::unique_ptr<Control> earlier = std::move(run.controls[3]);
  std::thread restart([&] {
    const auto roster = run.restart(3, 2);
    ASSERT_TRUE(roster) << error_of(roster);
    EXPECT_EQ(roster->peers[0].incarnation, 2u);
  });
  std::this_thread::sleep_for(200ms);  // it waits at rank 1
  ASSERT_TRUE(run.restart(0, 2));
  std::this_thread::sleep_for(100ms);
  earlier.reset();
  restart.join();
}

TEST(Admission, SendsThoseThatWaitOnWhenItLeaves) {
  Peers run(4, elastic);
  std::unique_ptr<Control> earlier = std::move(run.controls[3]);
  std::thread restart([&] {
    const auto roster = run.restart(3, 2);
    EXPECT_TRUE(roster) << error_of(roster);
  });
  std::this_thread::sleep_for(200ms);
  ASSERT_TRUE(run[0].leave(kPlenty));
  earlier.reset();
  restart.join();
}

// One address for all, as launchers give it: that of rank 0, which is gone.
TEST(OneAddressForAll, FindsTheRunAgainWhenThePeerThatListenedThereReturns) {
  Log log = Log::silent();
  std::string address;
  {
    auto probe = Control::start(test_options(1, 0), log);
    ASSERT_TRUE(probe);
    address = (*probe)->address();
  }
  Peers run(4, [&](ControlOptions& options) {
    options.elastic = true;
    options.rendezvous = address;
  });
  ASSERT_EQ(run[0].address(), address);
  run.kill(0);
  auto roster = run.restart(0, address);
  ASSERT_TRUE(roster) << error_of(roster);
  EXPECT_EQ(roster->peers[0].incarnation, 2u);
  // Another one returns there while nobody listens, and is on the way when rank 0 does.
  run.kill(0);
  run.kill(3);
  std::thread other([&] {
    const auto back = run.restart(3, address);
    EXPECT_TRUE(back) << error_of(back);
  });
  std::this_thread::sleep_for(100ms);
  roster = run.restart(0, address);
  EXPECT_TRUE(roster) << error_of(roster);
  other.join();
  EXPECT_EQ(run.rosters[0].peers[0].incarnation, 3u);
  EXPECT_EQ(run.rosters[3].peers[3].incarnation, 2u);
  expect_all_meet(run);
}

TEST(OneAddressForAll, AnotherRunThatIsCollectedThereIsLeftAlone) {
  Peers run(3, elastic);
  const std::string address = run[0].address();
  const auto port = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  run.kill(0);
  std::vector<std::unique_ptr<Control>> others;
  for (PeerId rank = 0; rank < 2; ++rank) {
    ControlOptions options = test_options(2, rank, rank == 0 ? "" : address);
    options.port = rank == 0 ? port : 0;
    options.elastic = true;
    options.run_hash = 0x77;
    auto control = Control::start(options, run.log);
    ASSERT_TRUE(control) << control.error().message;
    others.push_back(std::move(*control));
  }
  in_parallel(2, [&](std::size_t i) {
    if (i == 1) std::this_thread::sleep_for(300ms);  // some invitations come
    const auto roster = others[i]->join("");
    ASSERT_TRUE(roster) << error_of(roster);
    EXPECT_FALSE(roster->started);
  });
}

TEST(Admission, OfTwoProcessesOfOneRankTheSecondWaitsForTheFirst) {
  Peers run(4, [](ControlOptions& options) {
    options.elastic = true;
    options.join_deadline = 3s;
  });
  run.kill(3);
  std::vector<std::unique_ptr<Control>> controls(2);
  std::vector<Result<Roster>> rosters(2, fail(Errc::internal, "not joined"));
  in_parallel(2, [&](std::size_t i) {
    ControlOptions options = test_options(4, 3, run[i + 1].address());
    options.elastic = true;
    options.join_deadline = 3s;
    auto control = Control::start(options, run.log);
    ASSERT_TRUE(control);
    rosters[i] = (*control)->join("");
    if (rosters[i]) controls[i] = std::move(*control);
  });
  ASSERT_NE(rosters[0].has_value(), rosters[1].has_value())
      << error_of(rosters[0]) << ", " << error_of(rosters[1]);
  const auto& late = rosters[rosters[0] ? 1 : 0];
  EXPECT_EQ(late.error().code, Errc::timed_out);
  EXPECT_NE(error_of(late).find("the earlier peer 3"), std::string::npos) << error_of(late);
}

TEST(Admission, ANewcomerThatDiesAtOnceIsADeathLikeAnyOther) {
  Peers run(4, elastic);
  Hearing hearing(run[0]);
  std::string all = "-2.1";
  run.kill(2);
  for (Incarnation life = 2; life < 8; ++life) {
    ASSERT_TRUE(run.restart(2, 3));
    run.kill(2);
    all += " +2." + std::to_string(life) + " -2." + std::to_string(life);
  }
  EXPECT_EQ(hearing.until(all), all) << "rank 0 lets in, and so misses none";
  ASSERT_TRUE(run.restart(2, 1));
  expect_all_meet(run);
}

}  // namespace
}  // namespace gossamer
