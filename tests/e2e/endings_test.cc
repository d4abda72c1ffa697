// How a run ends before its time: a peer is killed or falls silent, somebody presses Ctrl-C, the launcher dies.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <regex>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

// A run that lasts until somebody ends it.
class Endings : public testing::TestWithParam<const char*> {
 protected:
  Words sets() const {
    Words sets = {"trainer.steps=10000000", "report.interval_steps=1", "report.evaluate_every_epochs=0",
                  "deadlines={heartbeat: 300 ms, silence: 3 s, round: 20 s, join: 30 s}"};
    if (*GetParam() != '\0') sets.push_back("transport.tls=" + std::string(GetParam()));
    return sets;
  }
  std::string out() const { return scratch_ / "out"; }
  Words launcher() const { return digits("choco-sgd", out(), sets()); }

  // Peers have trained: rows have been written.
  bool under_way() const {
    return eventually(kPatience, [&] {
      std::error_code error;
      return std::filesystem::file_size(out() + "/peer-7.jsonl", error) > 0 && !error;
    });
  }

  // Under its final name a file is whole or not there.
  void expect_nothing_unfinished() const {
    for (const std::string& name : names_in(out()))
      EXPECT_TRUE(name == "run.yaml" || name == "topology.svg" || std::regex_match(name, std::regex("peer-\\d+\\.jsonl"))) << name;
  }

  Scratch scratch_;
};

TEST_P(Endings, CtrlCEndsAllWith130) {
  Process run(launcher(), scratch_);
  ASSERT_TRUE(under_way()) << run.err() << whereabouts(out());
  run.send(SIGINT);
  const Ended end = run.wait();
  EXPECT_EQ(end.code, 130) << end.err;
  EXPECT_NE(end.err.find("stopped by a signal"), std::string::npos) << end.err;
  EXPECT_EQ(end.err.find("were killed"), std::string::npos) << end.err;
  EXPECT_TRUE(nobody_left(out()));
  expect_nothing_unfinished();
}

TEST_P(Endings, KilledLauncherTakesItsPeersAlong) {
  Process run(launcher(), scratch_);
  ASSERT_TRUE(under_way()) << run.err() << whereabouts(out());
  EXPECT_EQ(processes_with(out()).size(), 9u);
  run.send(SIGKILL);
  EXPECT_EQ(run.wait().signal, SIGKILL);
  EXPECT_TRUE(nobody_left(out(), std::chrono::seconds(5)));
  expect_nothing_unfinished();
}

TEST_P(Endings, AKilledPeerIsNamedAndEndsTheRunWith5) {
  Process run(launcher(), scratch_);
  ASSERT_TRUE(under_way()) << run.err() << whereabouts(out());
  const pid_t victim = peer_process(out(), 3);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  const Ended end = run.wait(kPatience / 2);
  EXPECT_EQ(end.code, 5) << end.err;
  EXPECT_NE(end.err.find("peer 3 was killed by signal 9"), std::string::npos) << end.err;
  EXPECT_TRUE(nobody_left(out()));
  expect_nothing_unfinished();
}

TEST_P(Endings, APausedPeerIsNamedByAllAndEndsTheRunWith5) {
  Process run(launcher(), scratch_);
  ASSERT_TRUE(under_way()) << run.err() << whereabouts(out());
  const pid_t victim = peer_process(out(), 3);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(::kill(victim, SIGSTOP), 0);
  const auto paused = std::chrono::steady_clock::now();
  const Ended end = run.wait();
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - paused).count();
  EXPECT_EQ(end.code, 5) << end.err;
  EXPECT_NE(end.err.find("peer 3 was paused, so it could not stop and was killed"), std::string::npos) << end.err;
  EXPECT_GE(took, 2.5);
  EXPECT_LT(took, 30) << "3 s of silence, then everybody leaves; on a busy machine later";
  for (int peer = 0; peer < 8; ++peer) {
    if (peer == 3) continue;
    // Rank, host, process and how long it was silent, in each survivor's log.
    const std::regex line("\\[peer " + std::to_string(peer) + "\\] warning control: rank 3 \\(host \\S+, pid " +
                          std::to_string(victim) + "\\) is dead: it fell silent; silent for [3-9]\\.");
    EXPECT_TRUE(std::regex_search(end.err, line)) << "peer " << peer << " does not say so:\n" << end.err;
  }
  EXPECT_TRUE(nobody_left(out()));
  expect_nothing_unfinished();
}

// Without a launcher that would say it: every survivor's own last words.
TEST_P(Endings, SurvivorsStartedByHandNameTheKilledPeerAndEndWith5) {
  const std::string file = source_root() + "/examples/digits/choco-sgd.yaml";
  const Port port;
  std::vector<std::unique_ptr<Process>> peers;
  for (int rank = 0; rank < 8; ++rank) {
    Words words = {"peer", file, "--quiet", "--rank", std::to_string(rank), "--peers", "8", "--rendezvous",
                   port.address(), "--out", out()};
    for (const std::string& set : sets()) {
      words.push_back("--set");
      words.push_back(set);
    }
    peers.push_back(std::make_unique<Process>(words, scratch_));
  }
  const auto all_said = [&] {
    std::string text;
    for (const auto& peer : peers) text += "process " + std::to_string(peer->pid()) + " said: " + peer->err() + "\n";
    return text;
  };
  ASSERT_TRUE(under_way()) << all_said() << whereabouts(out());
  peers[3]->send(SIGKILL);
  for (int rank = 0; rank < 8; ++rank) {
    const Ended end = peers[static_cast<std::size_t>(rank)]->wait(kPatience / 3);
    if (rank == 3) continue;
    EXPECT_EQ(end.code, 5) << end.err;
    const std::regex words("gossamer: peer 3 on \\S+ \\(pid \\d+\\) is gone: .*, silent for \\d");
    EXPECT_TRUE(std::regex_search(end.err, words)) << "peer " << rank << ":\n" << end.err;
  }
  expect_nothing_unfinished();
}

INSTANTIATE_TEST_SUITE_P(, Endings, testing::Values("", "tcp,self"),
                         [](const auto& info) { return *info.param ? "over_tcp" : "over_shared_memory"; });

}  // namespace
}  // namespace gossamer::e2e
