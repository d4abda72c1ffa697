// Real processes that are killed or stopped, and started again.
#include <algorithm>

#include "base/random.h"
#include "tests/runtime/control/processes.h"

namespace gossamer {
namespace {

constexpr Duration kSilence = 500ms;

void elastic_and_impatient(ControlOptions& options) {
  options.elastic = true;
  options.silence_deadline = kSilence;
}

// What everybody says of a rank that ended and came back.
void expect_return(Processes& processes, PeerId victim, pid_t before, const std::string& how,
                   Incarnation life) {
  const std::string rank = std::to_string(victim);
  for (const PeerId other : all_but(processes.size(), victim)) {
    const std::string death = processes.line(other);
    EXPECT_EQ(death.rfind("death " + rank + " " + how + " pid " + std::to_string(before), 0), 0u)
        << other << ": " << death;
    EXPECT_EQ(processes.line(other), "returned " + rank + " " + std::to_string(life) + " pid " +
                                         std::to_string(processes.pid(victim)))
        << other;
  }
}

class KilledAndStartedAgain : public testing::TestWithParam<PeerId> {};

TEST_P(KilledAndStartedAgain, IsToldByEverybodyForThreeLives) {
  const PeerId victim = GetParam();
  Processes processes(5, elastic_and_impatient);
  all_start(processes);
  for (Incarnation life = 2; life <= 4; ++life) {
    const pid_t before = processes.pid(victim);
    processes.end(victim);
    processes.restart(victim, processes.address((victim + life) % 5));
    EXPECT_EQ(processes.started(victim), life);
    expect_return(processes, victim, before, "connection reset", life);
  }
  all_leave(processes, {0, 1, 2, 3, 4});
}

INSTANTIATE_TEST_SUITE_P(TheCollectorOrAnother, KilledAndStartedAgain, testing::Values(0u, 3u));

TEST(StoppedAndStartedAgain, ComesBackAfterTheSilenceDeadlineAndTheEarlierProcessLearnsOfIt) {
  Processes processes(5, elastic_and_impatient);
  all_start(processes);
  // The earlier process lives on, and its reports with it.
  const pid_t before = processes.pid(2);
  const int reports = processes.forget(2);
  ::kill(before, SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  processes.restart(2, processes.address(4));
  EXPECT_EQ(processes.started(2), 2u);
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, kSilence - 100ms);
  EXPECT_LT(took, 5s);
  expect_return(processes, 2, before, "silence", 2);
  ::kill(before, SIGCONT);
  std::string fate;
  char buffer[1024];
  for (ssize_t got; (got = ::read(reports, buffer, sizeof buffer)) > 0;)
    fate.append(buffer, static_cast<std::size_t>(got));
  ::close(reports);
  EXPECT_NE(fate.find("expelled rank "), std::string::npos) << fate;
  EXPECT_NE(fate.find("took this peer for dead: it fell silent"), std::string::npos) << fate;
  int status = 0;
  ::waitpid(before, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 6);
  all_leave(processes, {0, 1, 2, 3, 4});
}

TEST(StoppedAndStartedAgain, WhoIsToLetInMayBeStopped) {
  Processes processes(5, elastic_and_impatient);
  all_start(processes);
  processes.signal(0, SIGSTOP);
  processes.end(3);
  processes.restart(3, processes.address(4));  // which sends it to rank 0 for now
  EXPECT_EQ(processes.started(3), 2u);
  const pid_t stopped = processes.pid(0);
  processes.end(0);
  processes.restart(0, processes.address(1));
  EXPECT_EQ(processes.started(0), 2u);
  EXPECT_NE(processes.pid(0), stopped);
  for (const PeerId rank : {1u, 2u, 4u}) {
    std::vector<std::string> lines;
    for (int i = 0; i < 4; ++i) lines.push_back(processes.line(rank));
    for (const char* expected :
         {"death 0 silence", "death 3 connection reset", "returned 3 2 ", "returned 0 2 "})
      EXPECT_EQ(std::count_if(lines.begin(), lines.end(),
                              [&](const std::string& line) { return line.rfind(expected, 0) == 0; }),
                1)
          << rank << ", " << expected;
  }
  EXPECT_EQ(processes.line(3).rfind("returned 0 2 ", 0), 0u);
  all_leave(processes, {0, 1, 2, 3, 4});
}

// Kills and restarts for ten seconds, often the lowest ranks, two at once, or a newcomer that is about to be
// let in.
TEST(Churn, LeavesEverybodyAgreedOnWhoLives) {
  constexpr PeerId kPeers = 16;
  constexpr auto kEvery = 200ms;
  Processes processes(kPeers, [](ControlOptions& options) { options.elastic = true; });
  all_start(processes);
  Random random(20261122, Purpose::test);
  const auto draw = [&](std::uint32_t below) { return static_cast<PeerId>(random() % below); };
  std::vector<Incarnation> lives(kPeers, 1);
  std::size_t restarts = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (auto next = begin; next < begin + 10s; next += kEvery) {
    std::this_thread::sleep_until(next);
    std::vector<PeerId> victims = {draw(3) == 0 ? draw(2) : draw(kPeers)};
    if (draw(4) == 0) victims.push_back((victims[0] + 1 + draw(kPeers - 1)) % kPeers);
    PeerId via = draw(kPeers);
    while (std::count(victims.begin(), victims.end(), via) != 0) via = draw(kPeers);
    for (const PeerId victim : victims) processes.end(victim);
    for (const PeerId victim : victims) processes.restart(victim, processes.address(via));
    if (draw(4) == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(draw(20)));
      processes.end(victims[0]);
      processes.restart(victims[0], processes.address(via));
    }
    for (const PeerId victim : victims) {
      const Incarnation life = processes.started(victim);
      ASSERT_GT(life, lives[victim]) << "rank " << victim << ", " << processes.log_path(victim);
      lives[victim] = life;
      ++restarts;
    }
  }
  EXPECT_GE(restarts, 30u);
  std::string expected = "state";
  for (const Incarnation life : lives) expected += " " + std::to_string(life);
  for (PeerId rank = 0; rank < kPeers; ++rank) {
    std::string state;
    const bool agrees = eventually(
        [&] {
          processes.signal(rank, SIGUSR1);
          state = processes.line(rank, "state");
          return state == expected || state.empty();
        },
        5s);
    EXPECT_TRUE(agrees && !state.empty()) << rank << "\n  says    " << state << "\n  but is  " << expected
                                          << "\n  " << processes.log_path(rank);
  }
  for (PeerId rank = 0; rank < kPeers; ++rank) processes.signal(rank, SIGTERM);
  for (PeerId rank = 0; rank < kPeers; ++rank) EXPECT_EQ(processes.line(rank), "left") << rank;
}

}  // namespace
}  // namespace gossamer
