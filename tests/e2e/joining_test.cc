// Peers that are started one by one, as srun does: who may join, and what is said to and of those who may not.
#include <gtest/gtest.h>

#include <memory>
#include <regex>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

class Joining : public testing::Test {
 protected:
  Words peer(int rank, const std::string& rendezvous, const Words& sets = {}) const {
    Words words = {"peer", file_, "--rank", std::to_string(rank), "--peers", "4", "--rendezvous", rendezvous, "--out", scratch_ / "out", "--verbose"};
    for (const std::string& set : sets) {
      words.push_back("--set");
      words.push_back(set);
    }
    return words;
  }
  std::unique_ptr<Process> start(const Words& words) const { return std::make_unique<Process>(words, scratch_); }

  Scratch scratch_;
  std::string file_ = scratch_.file("run.yaml",
                                    "topology: {family: ring, peers: 4}\n"
                                    "trainer: {task: quadratic, steps: 20}\n"
                                    "deadlines: {join: 3 s}\n");
};

TEST_F(Joining, FourPeersStartedByHandMakeOneRun) {
  const Port port(false);
  std::vector<std::unique_ptr<Process>> peers;
  for (int rank = 3; rank >= 0; --rank) peers.push_back(start(peer(rank, port.address(), {"deadlines.join=30 s"})));
  for (auto& process : peers) {
    const Ended end = process->wait();
    EXPECT_EQ(end.code, 0) << end.err;
  }
  EXPECT_EQ(summary(scratch_ / "out")["peers"].size(), 4u);
}

TEST_F(Joining, AMissingRankIsNamedWhenTheDeadlinePasses) {
  const Port port(false);
  std::vector<std::unique_ptr<Process>> peers;
  for (const int rank : {0, 1, 3}) peers.push_back(start(peer(rank, port.address())));
  for (auto& process : peers) {
    const Ended end = process->wait();
    EXPECT_EQ(end.code, 6) << end.err;
    // Peers that give up at the same deadline may be missing in each other's lists, too.
    EXPECT_TRUE(std::regex_search(end.err, std::regex("gossamer: not all peers came within .*missing: ranks? ([^;]*2|1-3)"))) << end.err;
    EXPECT_LT(end.seconds, 20);
  }
  EXPECT_EQ(names_in(scratch_ / "out"), std::vector<std::string>{}) << "no run, no files";
}

TEST_F(Joining, ATakenRankIsRefused) {
  const Port port(false);
  const auto collector = start(peer(0, port.address()));
  const auto first = start(peer(1, port.address()));
  ASSERT_TRUE(collector->says("rank 1 (host ")) << collector->err();
  const Ended second = start(peer(1, port.address()))->wait();
  EXPECT_EQ(second.code, 2) << second.err;
  EXPECT_NE(second.err.find("rank 1"), std::string::npos) << second.err;
  EXPECT_NE(second.err.find("taken"), std::string::npos) << second.err;
}

TEST_F(Joining, AnotherRunFileIsRefused) {
  const Port port(false);
  const auto collector = start(peer(0, port.address()));
  ASSERT_TRUE(collector->says("collecting")) << collector->err();
  const Ended other = start(peer(1, port.address(), {"trainer.steps=21"}))->wait();
  EXPECT_EQ(other.code, 9) << other.err;
  EXPECT_NE(other.err.find("run file"), std::string::npos) << other.err;
}

TEST_F(Joining, APortInUseIsSaidSo) {
  const Port port(true);
  const Ended end = start(peer(0, port.address()))->wait();
  EXPECT_EQ(end.code, 8) << end.err;
  EXPECT_NE(end.err.find(std::to_string(port.number())), std::string::npos) << end.err;
}

TEST_F(Joining, AsManyPeersAsTheTopologyHasOrNone) {
  const Ended end = gossamer({"peer", file_, "--rank", "0", "--rendezvous", "127.0.0.1:1"}, scratch_, {{"GOSSAMER_PEERS", "3"}});
  EXPECT_EQ(end.code, 2) << end.err;
  EXPECT_NE(end.err.find("the topology has 4 peers, but this process is one of 3"), std::string::npos) << end.err;
}

}  // namespace
}  // namespace gossamer::e2e
