// Real processes that are killed and stopped: every survivor learns of each death once, within the deadline.
#include <fstream>

#include "tests/runtime/control/processes.h"

namespace gossamer {
namespace {

constexpr Duration kSilence = 500ms;

void impatient(ControlOptions& options) { options.silence_deadline = kSilence; }

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Killed : public testing::TestWithParam<PeerId> {};

TEST_P(Killed, IsNamedOnceByEverySurvivorAndItsLog) {
  const PeerId victim = GetParam();
  Processes processes(6, impatient);
  all_start(processes);
  const auto begin = std::chrono::steady_clock::now();
  processes.signal(victim, SIGKILL);
  const std::vector<PeerId> survivors = all_but(6, victim);
  for (const PeerId rank : survivors) {
    const std::string line = processes.line(rank);
    EXPECT_EQ(line.rfind("death " + std::to_string(victim) + " connection reset pid " + std::to_string(processes.pid(victim)), 0), 0u)
        << rank << ": " << line;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  all_leave(processes, survivors);
  for (const PeerId rank : survivors) {
    const std::string log = text_of(processes.log_path(rank));
    EXPECT_NE(log.find("rank " + std::to_string(victim) + " (host "), std::string::npos) << log;
    EXPECT_NE(log.find("silent for "), std::string::npos) << log;
  }
}

INSTANTIATE_TEST_SUITE_P(TheCollectorOrAnother, Killed, testing::Values(0u, 3u));

TEST(Stopped, IsNamedBySilenceAndLearnsOfItsFateWhenItWakes) {
  Processes processes(5, impatient);
  all_start(processes);
  const auto begin = std::chrono::steady_clock::now();
  processes.signal(2, SIGSTOP);
  for (const PeerId rank : {0u, 1u, 3u, 4u}) {
    const std::string line = processes.line(rank);
    EXPECT_EQ(line.rfind("death 2 silence", 0), 0u) << rank << ": " << line;
    // The last number is how long it was silent, in milliseconds.
    EXPECT_GE(std::stoll(line.substr(line.rfind(' ') + 1)), kSilence / 1ms) << line;
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, kSilence - 100ms);
  EXPECT_LT(took, 10s);
  processes.signal(2, SIGCONT);
  const std::string fate = processes.line(2);
  EXPECT_EQ(fate.rfind("expelled", 0), 0u) << fate;
  EXPECT_NE(fate.find("took this peer for dead: it fell silent"), std::string::npos) << fate;
  all_leave(processes, {0, 1, 3, 4});
}

TEST(Stopped, ForLessThanTheDeadlineHarmsNobody) {
  Processes processes(3, impatient);
  all_start(processes);
  processes.signal(1, SIGSTOP);
  std::this_thread::sleep_for(kSilence / 4);
  processes.signal(1, SIGCONT);
  std::this_thread::sleep_for(kSilence * 2);
  all_leave(processes, {0, 1, 2});
}

}  // namespace
}  // namespace gossamer
