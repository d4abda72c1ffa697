// What the environments of launchers mean.  The variables are those seen under torchrun, srun and mpirun.
#include "runtime/control/environment.h"

#include <gtest/gtest.h>

#include <map>

namespace gossamer {
namespace {

using Variables = std::map<std::string, std::string, std::less<>>;

Result<LaunchEnvironment> discover(const Variables& variables) {
  return discover_launch([&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

Variables operator+(Variables a, const Variables& b) {
  for (const auto& [name, value] : b) a[name] = value;
  return a;
}

const Variables kTorchrun = {{"RANK", "5"},         {"WORLD_SIZE", "8"},     {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "node1"},
                             {"MASTER_PORT", "29500"}, {"TORCHELASTIC_RUN_ID", "none"}};
const Variables kSlurm = {{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "4"}, {"SLURM_LOCALID", "1"}, {"SLURM_JOB_ID", "42"},
                          {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NODELIST", "gpu[007-009,12],login"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}, {"PMIX_RANK", "2"}, {"PMIX_NAMESPACE", "prterun-7"}};

TEST(LaunchEnvironment, NothingSetIsNothingFound) {
  const auto found = discover({{"PATH", "/bin"}, {"RANK", ""}});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->rank);
  EXPECT_FALSE(found->peers);
  EXPECT_TRUE(found->rendezvous.empty());
  EXPECT_TRUE(found->source.empty());
}

TEST(LaunchEnvironment, OwnVariables) {
  const auto found = discover({{"GOSSAMER_RANK", "3"}, {"GOSSAMER_PEERS", "4"}, {"GOSSAMER_RENDEZVOUS", "a:5000"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rank, 3u);
  EXPECT_EQ(found->peers, 4u);
  EXPECT_EQ(found->rendezvous, "a:5000");
}

TEST(LaunchEnvironment, Torchrun) {
  const auto found = discover(kTorchrun);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rank, 5u);
  EXPECT_EQ(found->peers, 8u);
  EXPECT_EQ(found->local_rank, 1);
  EXPECT_EQ(found->rendezvous, "node1:29500");
  EXPECT_EQ(found->source, "torchrun (RANK=5, WORLD_SIZE=8)");
}

TEST(LaunchEnvironment, TheStoreOfTorchrunsAgentKeepsItsPort) {
  const auto found = discover(kTorchrun + Variables{{"TORCHELASTIC_USE_AGENT_STORE", "True"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rendezvous, "node1:29501");
}

TEST(LaunchEnvironment, SlurmMeetsAtTheFirstHostOfTheStep) {
  const auto found = discover(kSlurm);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->rank, 3u);
  EXPECT_EQ(found->peers, 4u);
  EXPECT_EQ(found->local_rank, 1);
  EXPECT_EQ(found->rendezvous.substr(0, 7), "gpu007:");
  const int port = std::stoi(found->rendezvous.substr(7));
  EXPECT_GE(port, 20000);
  EXPECT_LT(port, 32768);
  // Every process of the step finds the same one, those of another step another.
  EXPECT_EQ(discover(kSlurm + Variables{{"SLURM_PROCID", "0"}})->rendezvous, found->rendezvous);
  EXPECT_NE(discover(kSlurm + Variables{{"SLURM_STEP_ID", "1"}})->rendezvous, found->rendezvous);
}

TEST(LaunchEnvironment, ABatchScriptIsNoPeer) {
  const auto found = discover({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "42"}});
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->rank);
}

TEST(LaunchEnvironment, OpenMpiOnOneHostMeetsOnLoopback) {
  const auto found = discover(kOpenMpi);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->rank, 2u);
  EXPECT_EQ(found->peers, 4u);
  EXPECT_EQ(found->local_rank, 2);
  EXPECT_EQ(found->rendezvous.substr(0, 10), "127.0.0.1:");
  const auto many = discover(kOpenMpi + Variables{{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  ASSERT_TRUE(many);
  EXPECT_TRUE(many->rendezvous.empty());
}

TEST(LaunchEnvironment, SrunWithPmixIsSlurm) {
  const auto found = discover(kSlurm + Variables{{"PMIX_RANK", "3"}});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->peers, 4u);
}

TEST(LaunchEnvironment, ALauncherInsideAStepWins) {
  for (const Variables& inner : {kTorchrun, kOpenMpi}) {
    const auto found = discover(kSlurm + inner);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->rank, discover(inner)->rank);
    EXPECT_EQ(found->peers, discover(inner)->peers);
  }
}

TEST(LaunchEnvironment, WhoSetsTheRankIsNotAskedForTheRest) {
  // As where a peer is started by hand or by `gossamer run` within a step.
  const auto found = discover(kSlurm + Variables{{"GOSSAMER_RANK", "1"}, {"GOSSAMER_PEERS", "16"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rank, 1u);
  EXPECT_EQ(found->peers, 16u);
  EXPECT_TRUE(found->rendezvous.empty());
}

TEST(LaunchEnvironment, TheRendezvousMayBeSetBesideALauncher) {
  const auto found = discover(kOpenMpi + Variables{{"GOSSAMER_RENDEZVOUS", "head:7000"}});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rank, 2u);
  EXPECT_EQ(found->rendezvous, "head:7000");
}

struct Conflict {
  Variables variables;
  const char* one;
  const char* other;
};

TEST(LaunchEnvironment, SourcesThatDisagreeAreBothNamed) {
  const std::vector<Conflict> conflicts = {
      {kOpenMpi + Variables{{"RANK", "0"}, {"WORLD_SIZE", "1"}}, "RANK=0", "OMPI_COMM_WORLD_RANK=2"},
      {kSlurm + Variables{{"RANK", "0"}, {"WORLD_SIZE", "4"}}, "RANK=0", "SLURM_PROCID=3"},
      {kOpenMpi + Variables{{"PMIX_RANK", "1"}}, "OMPI_COMM_WORLD_RANK=2", "PMIX_RANK=1"},
      {kSlurm + Variables{{"PMIX_RANK", "1"}}, "PMIX_RANK=1", "SLURM_PROCID=3"},
      {kTorchrun + Variables{{"GOSSAMER_PEERS", "4"}}, "GOSSAMER_PEERS=4", "WORLD_SIZE=8"},
  };
  for (const Conflict& conflict : conflicts) {
    const auto found = discover(conflict.variables);
    ASSERT_FALSE(found) << conflict.one;
    EXPECT_EQ(found.error().code, Errc::invalid_argument);
    EXPECT_NE(found.error().message.find(conflict.one), std::string::npos) << found.error().message;
    EXPECT_NE(found.error().message.find(conflict.other), std::string::npos) << found.error().message;
  }
}

TEST(LaunchEnvironment, ValuesThatAreNoRanksAreNamed) {
  for (const Variables& wrong : {Variables{{"GOSSAMER_RANK", "two"}}, Variables{{"GOSSAMER_RANK", "-1"}},
                                 Variables{{"GOSSAMER_PEERS", "0"}}, Variables{{"RANK", "1x"}, {"WORLD_SIZE", "2"}}}) {
    const auto found = discover(wrong);
    ASSERT_FALSE(found);
    EXPECT_NE(found.error().message.find(wrong.begin()->first), std::string::npos) << found.error().message;
  }
  EXPECT_FALSE(discover({{"GOSSAMER_RANK", "4"}, {"GOSSAMER_PEERS", "4"}}));
}

TEST(Hostlist, ExpandsAsScontrolDoes) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"login", {"login"}},
      {"a,b-1,c", {"a", "b-1", "c"}},
      {"n[1-3]", {"n1", "n2", "n3"}},
      {"n[08-11,3]", {"n08", "n09", "n10", "n11", "n3"}},
      {"n[1-2]-ib,x", {"n1-ib", "n2-ib", "x"}},
      {"r[1-2]n[1-2]", {"r1n1", "r1n2", "r2n1", "r2n2"}},
  };
  for (const auto& [list, hosts] : cases) {
    const auto expanded = expand_hostlist(list);
    ASSERT_TRUE(expanded) << list;
    EXPECT_EQ(*expanded, hosts) << list;
  }
  EXPECT_EQ(expand_hostlist("n[1-1000000000]", 2)->size(), 2u);
}

TEST(Hostlist, RefusesWhatIsNone) {
  for (const char* wrong : {"", ",", "a,", "n[1-3", "n1-3]", "n[3-1]", "n[a]", "n[]", "n[[1]]", "n[1,]"})
    EXPECT_FALSE(expand_hostlist(wrong)) << wrong;
}

}  // namespace
}  // namespace gossamer
