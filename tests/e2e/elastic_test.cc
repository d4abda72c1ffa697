// Runs whose members die and return: real processes are killed and stopped while the others go on.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <regex>

#include "tests/e2e/command.h"
#include "tests/e2e/synthetic.h"

namespace gossamer::e2e {
namespace {

constexpr std::size_t kPeers = 8;
constexpr int kSteps = 120;

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t times = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++times;
  return times;
}

class Elastic : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new Scratch;
    write_two_classes(*shared_, 4000, 20000);
  }
  static void TearDownTestSuite() { delete shared_; }

  std::string out() const { return scratch_ / "out"; }

  static Words with(Words words, const Words& sets) {
    for (const std::string& set : sets) {
      words.push_back("--set");
      words.push_back(set);
    }
    return words;
  }

  static std::string file() {
    return shared_->file("run.yaml", "topology: {family: ring, peers: 8}\n"
                                     "trainer:\n"
                                     "  task: logistic\n"
                                     "  data: {format: idx, images: train.images, labels: train.labels, "
                                     "test_images: test.images, test_labels: test.labels}\n"
                                     "  optimizer: {learning_rate: 0.5}\n"
                                     "  schedule: {kind: cosine}\n"
                                     "  steps: " + std::to_string(kSteps) + "\n"
                                     "report: {interval_steps: 5, evaluate_every_epochs: 0}\n"
                                     "deadlines: {heartbeat: 300 ms, silence: 3 s, round: 20 s, join: 30 s}\n");
  }

  // Starts a run of the command, and waits until it has trained for a while.
  void start(Words sets = {}) {
    sets.insert(sets.begin(), {"membership={mode: elastic, restarts: 3, restart_after: 50 ms}", "trainer.pace=20 ms"});
    run_ = std::make_unique<Process>(with({"run", file(), "--out", out()}, sets), scratch_);
  }
  bool at_step(int step) const {
    return eventually(kPatience, [&] {
      std::error_code error;
      if (std::filesystem::file_size(out() + "/peer-0.jsonl", error) == 0 || error) return false;
      const std::string text = contents(out() + "/peer-0.jsonl");
      const std::size_t end = text.rfind('\n'), begin = end == std::string::npos ? end : text.rfind('\n', end - 1);
      if (end == std::string::npos) return false;
      const std::size_t line = begin == std::string::npos ? 0 : begin + 1;
      const Json row = Json::parse(text.substr(line, end - line), nullptr, false);
      return !row.is_discarded() && row["step"].get<int>() >= step;
    });
  }
  pid_t signal(std::size_t rank, int number = SIGKILL) const {
    const pid_t pid = peer_process(out(), rank);
    EXPECT_GT(pid, 0) << "peer " << rank << " does not run:\n" << run_->err();
    if (pid > 0) {
      EXPECT_EQ(::kill(pid, number), 0);
    }
    return pid;
  }
  bool member_again(std::size_t rank, std::size_t lives = 1) const {
    const std::regex line("\\[peer " + std::to_string(rank) + "\\] info +member of view");
    return eventually(kPatience, [&] {
      const std::string text = run_->err();
      return std::distance(std::sregex_iterator(text.begin(), text.end(), line), {}) >= static_cast<std::ptrdiff_t>(lives);
    });
  }

  // The loss of the mean model when nobody dies; threads, whose bits are those of processes where rounds are in step.
  double loss_undisturbed(Words sets) const {
    static std::map<Words, double> known;
    if (const auto found = known.find(sets); found != known.end()) return found->second;
    double& loss = known[sets];
    const std::string calm = scratch_ / "calm";
    sets.push_back("transport={kind: loopback}");
    const Ended end = gossamer(with({"run", file(), "--quiet", "--out", calm}, sets), scratch_);
    EXPECT_EQ(end.code, 0) << end.err;
    return loss = summary(calm)["mean_model"]["loss"];
  }

  // The run ends well, with so many peers, as good a model as without disturbance, and everything that a run leaves.
  Ended expect_well(std::size_t peers, const Words& sets = {}) {
    const Ended end = run_->wait();
    EXPECT_EQ(end.code, 0) << end.err;
    if (end.code != 0) return end;
    const Json all = summary(out());
    EXPECT_EQ(all["peers"].size(), peers) << end.err;
    for (const Json& one : all["peers"]) EXPECT_EQ(one["steps"], kSteps) << one["peer"];
    const double loss = loss_undisturbed(sets);
    EXPECT_NEAR(all["mean_model"]["loss"].get<double>(), loss, 0.01 * loss) << end.err;
    EXPECT_NE(contents(out() + "/report.html").find("</html>"), std::string::npos);
    EXPECT_TRUE(nobody_left(out()));
    return end;
  }

  static Scratch* shared_;
  Scratch scratch_;
  std::unique_ptr<Process> run_;
};

Scratch* Elastic::shared_ = nullptr;

struct Kind {
  const char* label;
  Words sets;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.label; }

class ElasticKinds : public Elastic, public testing::WithParamInterface<Kind> {};

TEST_P(ElasticKinds, AKilledPeerIsStartedAgainAndTheRunEndsAsWell) {
  start(GetParam().sets);
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(3);
  ASSERT_TRUE(member_again(3)) << run_->err();
  Words sets = GetParam().sets;
  std::erase_if(sets, [](const std::string& set) { return set.starts_with("transport"); });
  const Ended end = expect_well(kPeers, sets);
  EXPECT_EQ(count(end.err, "peer 3 was killed by signal 9 (Killed); it is started again in 0.05 s (1 of 3 times)"), 1u) << end.err;
  EXPECT_EQ(count(end.err, "is gone"), 1u) << "one line, not one of each peer:\n" << end.err;
  EXPECT_EQ(end.err.find("parted"), std::string::npos) << end.err;
  // Time goes on over both lives of the peer, and so do its counters.
  const auto all = rows(out(), 3);
  for (std::size_t i = 1; i < all.size(); ++i) {
    for (const char* key : {"step", "seconds"})
      EXPECT_GT(all[i][key].get<double>(), all[i - 1][key].get<double>()) << key << " in row " << i;
    // Where communication overlaps computation nothing need have left between two rows.
    for (const char* key : {"bytes_sent", "bytes_received"})
      EXPECT_GE(all[i][key].get<double>(), all[i - 1][key].get<double>()) << key << " in row " << i;
  }
  EXPECT_GT(summary(out())["peers"][3]["bytes_sent"].get<double>(), all.front()["bytes_sent"].get<double>());
}

INSTANTIATE_TEST_SUITE_P(
    , ElasticKinds,
    testing::Values(Kind{"d_psgd", {}}, Kind{"tcp", {"transport.tls=tcp,self"}}, Kind{"delayed", {"overlap=delayed"}},
                    Kind{"layerwise", {"overlap=layerwise", "bucket_mib=0.0001"}},
                    Kind{"choco_sgd", {"algorithm=choco-sgd", "compression={codec: qsgd, bits: 4}", "mixing.verify_replicas=true"}},
                    Kind{"ad_psgd", {"algorithm=ad-psgd"}}),
    [](const auto& info) { return info.param.label; });

// Payloads of 800 kB, which neighbours read where they lie: in memory of the dead, and the dead in theirs.
TEST_F(Elastic, WhatAKilledPeerLentAndBorrowedHarmsNobody) {
  start({"trainer={task: quadratic, dimension: 200000, condition: 2, batch_size: 1, steps: " + std::to_string(kSteps) +
         ", pace: 20 ms, optimizer: {learning_rate: 0.2}}"});
  ASSERT_TRUE(at_step(15)) << run_->err();
  for (const std::size_t rank : {3, 6}) signal(rank);
  for (const std::size_t rank : {3, 6}) ASSERT_TRUE(member_again(rank)) << run_->err();
  const Ended end = run_->wait();
  ASSERT_EQ(end.code, 0) << end.err;
  const Json all = summary(out());
  EXPECT_EQ(all["peers"].size(), kPeers) << end.err;
  for (const Json& one : all["peers"]) EXPECT_EQ(one["steps"], kSteps) << one["peer"];
  // How far the mean model is above the best one; 8 at the start.
  EXPECT_LT(all["mean_model"]["loss"].get<double>(), 1e-3) << end.err;
}

TEST_F(Elastic, WithoutRestartsTheRestFinishAndAreCounted) {
  start({"membership.restarts=0"});
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(3);
  const Ended end = expect_well(kPeers - 1);
  EXPECT_EQ(count(end.err, "peer 3 was killed by signal 9 (Killed); it stays away"), 1u) << end.err;
  const Json all = summary(out());
  for (const Json& one : all["peers"]) EXPECT_NE(one["peer"], 3);
  EXPECT_FALSE(std::filesystem::exists(out() + "/model-3.safetensors"));
  EXPECT_GE(rows(out(), 3).size(), 3u) << "what it reported while it lived stays";
}

TEST_F(Elastic, APausedPeerIsExpelledAndWhenItWakesEndsAndIsStartedAgain) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  const pid_t paused = signal(3, SIGSTOP);
  ASSERT_TRUE(run_->says("is gone: silence")) << run_->err();
  EXPECT_EQ(::kill(paused, SIGCONT), 0);
  ASSERT_TRUE(member_again(3)) << run_->err();
  EXPECT_NE(peer_process(out(), 3), paused);
  expect_well(kPeers);
}

TEST_F(Elastic, TwoNeighboursKilledAtOnceReturn) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  for (const std::size_t rank : {3, 4}) signal(rank);
  for (const std::size_t rank : {3, 4}) ASSERT_TRUE(member_again(rank)) << run_->err();
  expect_well(kPeers);
}

TEST_F(Elastic, ANewcomerWhoseNeighbourIsKilledWhileItLoadsAsksAnother) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(3);
  ASSERT_TRUE(eventually(kPatience, [&] { return run_->err().find("[peer 3] info    the run is under way") != std::string::npos; })) << run_->err();
  signal(2);  // whom it asked
  for (const std::size_t rank : {3, 2}) ASSERT_TRUE(member_again(rank)) << run_->err();
  expect_well(kPeers);
}

// One gives up by itself, with a farewell, while the others agree on a view without the one that was killed.
TEST_F(Elastic, APeerThatGivesUpWhileAnotherDiesIsNamedAndBothReturn) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(4);
  signal(6, SIGTERM);
  for (const std::size_t rank : {4, 6}) ASSERT_TRUE(member_again(rank)) << run_->err();
  const Ended end = expect_well(kPeers);
  EXPECT_EQ(count(end.err, "peer 6 gives up: asked to stop"), 1u) << end.err;
  EXPECT_EQ(count(end.err, "peer 6 has left; the others go on"), 1u) << end.err;
  EXPECT_EQ(count(end.err, "peer 6 ended with exit code 130: stopped by a signal; it is started again"), 1u) << end.err;
}

TEST_F(Elastic, APeerKilledTwiceReturnsTwice) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(7);
  ASSERT_TRUE(member_again(7)) << run_->err();
  signal(7);
  ASSERT_TRUE(member_again(7, 2)) << run_->err();
  const Ended end = expect_well(kPeers);
  EXPECT_EQ(count(end.err, "(2 of 3 times)"), 1u) << end.err;
}

// Before, while, or just after the peers agree on where to start.
TEST_F(Elastic, APeerKilledWhileTheRunStartsReturns) {
  start();
  ASSERT_TRUE(eventually(kPatience, [&] { return peer_process(out(), 5) > 0; }));
  ::usleep(100'000);
  signal(5);
  expect_well(kPeers);
}

// Its next life finds the others at the end, or gone.
TEST_F(Elastic, APeerKilledInTheLastStepsCannotKeepTheRunFromEnding) {
  for (const char* algorithm : {"d-psgd", "ad-psgd"}) {
    start({"algorithm=" + std::string(algorithm)});
    ASSERT_TRUE(at_step(kSteps - 10)) << run_->err();
    signal(6);
    const Ended end = run_->wait();
    EXPECT_EQ(end.code, 0) << end.err;
    EXPECT_LT(end.seconds, 15) << end.err;
    EXPECT_GE(summary(out())["peers"].size(), kPeers - 1);
    EXPECT_TRUE(nobody_left(out()));
    std::filesystem::remove_all(out());
  }
}

class Gathering : public Elastic {};

// Rank 0 gathers the results.  Whoever follows it goes on where its files end.
TEST_F(Gathering, WithoutRank0AnotherGathersTheResults) {
  for (const char* algorithm : {"d-psgd", "ad-psgd"}) {
    const Words sets = {"algorithm=" + std::string(algorithm), "membership.restarts=0"};
    start(sets);
    ASSERT_TRUE(at_step(30)) << run_->err();
    signal(0);
    const Ended end = expect_well(kPeers - 1, {sets[0]});
    EXPECT_EQ(count(end.err, "peer 1 gathers the results from here on"), 1u) << end.err;
    EXPECT_GE(rows(out(), 0).size(), 5u) << "what it had written stays";
    for (const std::size_t peer : {1, 5}) {
      const auto all = rows(out(), peer);
      EXPECT_EQ(all.back()["step"], kSteps);
      EXPECT_GE(all.size(), static_cast<std::size_t>(kSteps) / 5 - 3);
      for (std::size_t i = 1; i < all.size(); ++i)
        for (const char* key : {"step", "seconds", "bytes_sent"}) EXPECT_GT(all[i][key].get<double>(), all[i - 1][key].get<double>()) << key << " in row " << i;
    }
    EXPECT_FALSE(std::filesystem::exists(out() + "/model-0.safetensors"));
    EXPECT_TRUE(std::filesystem::exists(out() + "/model.safetensors"));
    for (const char* folder : {"out", "calm"}) std::filesystem::remove_all(scratch_ / folder);
  }
}

TEST_F(Gathering, Rank0ReturnsLikeAnyOther) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(0);
  ASSERT_TRUE(member_again(0)) << run_->err();
  const Ended end = expect_well(kPeers);
  EXPECT_EQ(count(end.err, "gathers the results from here on"), 1u) << end.err;
  const auto all = rows(out(), 0);
  EXPECT_EQ(all.back()["step"], kSteps);
  for (std::size_t i = 1; i < all.size(); ++i)
    for (const char* key : {"step", "seconds"}) EXPECT_GT(all[i][key].get<double>(), all[i - 1][key].get<double>()) << key << " in row " << i;
}

TEST_F(Gathering, OneAfterTheOtherGathersTheResults) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(0);
  ASSERT_TRUE(run_->says("peer 1 gathers the results from here on")) << run_->err();
  ASSERT_TRUE(member_again(0)) << run_->err();
  signal(1);
  ASSERT_TRUE(run_->says("peer 0 gathers the results from here on")) << run_->err();
  ASSERT_TRUE(member_again(1)) << run_->err();
  expect_well(kPeers);
}

// While the others hand in their results, or have done so.
TEST_F(Gathering, WhoeverGathersMayDieAtTheEnd) {
  for (const char* algorithm : {"d-psgd", "ad-psgd"})
    for (const int before : {5, 0}) {
      start({"algorithm=" + std::string(algorithm), "membership.restarts=0"});
      ASSERT_TRUE(at_step(kSteps - before)) << run_->err();
      if (const pid_t gatherer = peer_process(out(), 0); gatherer > 0) ::kill(gatherer, SIGKILL);
      const Ended end = run_->wait();
      EXPECT_EQ(end.code, 0) << end.err;
      EXPECT_LT(end.seconds, 15) << end.err;
      EXPECT_GE(summary(out())["peers"].size(), kPeers - 1);
      EXPECT_TRUE(nobody_left(out()));
      std::filesystem::remove_all(out());
    }
}

TEST_F(Gathering, WithoutItsHubAServersRunEndsWith5AtOnce) {
  start({"algorithm=parameter-server-async", "topology.family=star", "deadlines.round=60 s"});
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(0);
  const Ended end = run_->wait();
  EXPECT_EQ(end.code, 5) << end.err;
  EXPECT_LT(end.seconds, 15) << end.err;
  EXPECT_NE(end.err.find("peer 0 is gone, the hub, without which its leaves cannot go on"), std::string::npos) << end.err;
  EXPECT_TRUE(nobody_left(out()));
}

TEST_F(Elastic, LessThanHalfOfTheMembersDoNotGoOn) {
  start();
  ASSERT_TRUE(at_step(15)) << run_->err();
  for (std::size_t rank = 1; rank <= 5; ++rank) signal(rank, SIGSTOP);  // so that nobody sees one die alone
  for (std::size_t rank = 1; rank <= 5; ++rank) signal(rank);
  const Ended end = run_->wait();
  EXPECT_EQ(end.code, 5) << end.err;
  EXPECT_NE(end.err.find("3 of 8 members are left (peers 1, 2, 3, 4, 5 are gone)"), std::string::npos) << end.err;
  EXPECT_TRUE(nobody_left(out()));
}

TEST_F(Elastic, CtrlCEndsAllWith130WhileAPeerIsAway) {
  start({"membership.restart_after=10 s"});
  ASSERT_TRUE(at_step(15)) << run_->err();
  signal(3);
  ASSERT_TRUE(run_->says("is gone")) << run_->err();
  run_->send(SIGINT);
  const Ended end = run_->wait();
  EXPECT_EQ(end.code, 130) << end.err;
  EXPECT_LT(end.seconds, 10);
  EXPECT_TRUE(nobody_left(out()));
}

TEST_F(Elastic, APeerStartedByHandAgainReturnsToItsRun) {
  const Port port;
  const auto peer = [&](std::size_t rank) {
    return std::make_unique<Process>(with({"peer", file(), "--rank", std::to_string(rank), "--peers", "8", "--rendezvous", port.address(), "--out", out()},
                                          {"membership={mode: elastic}", "trainer.pace=20 ms"}),
                                     scratch_);
  };
  std::vector<std::unique_ptr<Process>> peers;
  for (std::size_t rank = 0; rank < kPeers; ++rank) peers.push_back(peer(rank));
  ASSERT_TRUE(at_step(15)) << peers[0]->err();
  peers[3]->send(SIGKILL);
  EXPECT_EQ(peers[3]->wait().signal, SIGKILL);
  peers[3] = peer(3);
  for (auto& process : peers) {
    const Ended end = process->wait();
    EXPECT_EQ(end.code, 0) << end.err;
  }
  EXPECT_EQ(summary(out())["peers"].size(), kPeers);
  EXPECT_EQ(summary(out())["peers"][3]["steps"], kSteps);
}

}  // namespace
}  // namespace gossamer::e2e
