// Who waits for a slow neighbour sleeps.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

// Seconds of processor time that a process has used.
double processor_seconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string skipped;
  double user = 0, system = 0;
  for (int i = 0; i < 11; ++i) rest >> skipped;
  rest >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

struct Wire {
  const char* label;
  Words sets;
};

void PrintTo(const Wire& wire, std::ostream* out) { *out << wire.label; }

class Waiting : public testing::TestWithParam<Wire> {};

TEST_P(Waiting, ForAStragglerTakesLessThanATenthOfACore) {
  const Scratch scratch;
  const std::string out = scratch / "out";
  // Seven peers wait nine tenths of the time.
  Words sets = {"trainer.pace=50 ms", "trainer.slow={peer: 3, factor: 10}", "trainer.steps=100000", "report.interval_steps=1",
                "report.evaluate_every_epochs=0"};
  sets.insert(sets.end(), GetParam().sets.begin(), GetParam().sets.end());
  Process run(digits("d-psgd", out, sets), scratch);
  ASSERT_TRUE(eventually(kPatience, [&] {
    std::ifstream rows(out + "/peer-7.jsonl");
    return rows.peek() != std::ifstream::traits_type::eof();
  })) << run.err() << whereabouts(out);
  std::vector<pid_t> peers;
  for (std::size_t rank = 0; rank < 8; ++rank) peers.push_back(peer_process(out, rank));
  std::vector<double> used;
  for (const pid_t pid : peers) used.push_back(-processor_seconds(pid));
  const auto begun = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  for (std::size_t rank = 0; rank < 8; ++rank) used[rank] += processor_seconds(peers[rank]);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  double most = 0;
  for (std::size_t rank = 0; rank < 8; ++rank) {
    EXPECT_LT(used[rank] / seconds, 0.1) << "peer " << rank << " over " << GetParam().label;
    most = std::max(most, used[rank] / seconds);
  }
  RecordProperty("share_of_a_core_at_most", std::to_string(most));
  std::cout << "a waiting peer used at most " << 100 * most << " % of a core\n";
  run.send(SIGINT);
  EXPECT_EQ(run.wait().code, 130);
}

INSTANTIATE_TEST_SUITE_P(, Waiting,
                         testing::Values(Wire{"shared_memory", {}}, Wire{"tcp", {"transport.tls=tcp,self"}},
                                         Wire{"spinning_first", {"transport.spin=50 us"}}, Wire{"delayed", {"overlap=delayed"}},
                                         Wire{"stale", {"synchrony={mode: stale, stale: 2}"}}),
                         [](const auto& info) { return info.param.label; });

// The straggler is as slow as asked for, and its neighbours' waiting shows in the summary.
TEST(Straggler, IsSlowByTheFactorAndTheOthersWait) {
  const Scratch scratch;
  const Ended run = gossamer(digits("d-psgd", scratch / "out",
                                    {"trainer.pace=10 ms", "trainer.slow={peer: 3, factor: 10}", "trainer.steps=20",
                                     "transport={kind: loopback}"}),
                             scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const Json all = summary(scratch / "out");
  for (std::size_t peer = 0; peer < 8; ++peer) {
    const Json& one = all["peers"][peer];
    if (peer == 3) {
      EXPECT_GE(one["compute_s"].get<double>(), 2.0);
    } else {
      EXPECT_GE(one["compute_s"].get<double>(), 0.2);
      EXPECT_LT(one["compute_s"].get<double>(), 1.5);
    }
    if (peer == 2 || peer == 4) {
      EXPECT_GE(one["wait_s"].get<double>(), 1.0);
    }
  }
}

}  // namespace
}  // namespace gossamer::e2e
