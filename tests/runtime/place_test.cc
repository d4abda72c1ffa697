#include "runtime/place.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace gossamer {
namespace {

std::string refusal(const PlaceFlags& flags, const Environment& environment) {
  const auto place = find_place(flags, environment);
  return place ? "no error" : place.error().message;
}

TEST(Place, FlagsWinOverTheEnvironmentAndThatOverTheLauncher) {
  const Environment slurm = {{"SLURM_PROCID", "3"},
                             {"SLURM_NTASKS", "8"},
                             {"SLURM_JOB_ID", "123456"},
                             {"SLURM_JOB_NODELIST", "node[07-09],other"}};
  auto place = find_place({}, slurm);
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->rank, 3u);
  EXPECT_EQ(place->peers, 8u);
  EXPECT_EQ(place->rendezvous, "node07:23456");
  EXPECT_EQ(place->source, "Slurm");

  Environment own = slurm;
  own["GOSSAMER_RANK"] = "1";
  own["GOSSAMER_RENDEZVOUS"] = "[::1]:5000";
  place = find_place({}, own);
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->rank, 1u);
  EXPECT_EQ(place->peers, 8u);
  EXPECT_EQ(place->rendezvous, "[::1]:5000");

  place = find_place({.rank = 2, .peers = 4, .rendezvous = "a:1"}, own);
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->rank, 2u);
  EXPECT_EQ(place->peers, 4u);
  EXPECT_EQ(place->rendezvous, "a:1");
  EXPECT_EQ(place->source, "flags");
}

TEST(Place, AnMpirunInsideASlurmJobIsTheNearerLauncher) {
  const auto place = find_place({}, {{"SLURM_PROCID", "0"},
                                     {"SLURM_NTASKS", "1"},
                                     {"OMPI_COMM_WORLD_RANK", "2"},
                                     {"OMPI_COMM_WORLD_SIZE", "4"},
                                     {"MASTER_ADDR", "head"},
                                     {"MASTER_PORT", "29500"}});
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->rank, 2u);
  EXPECT_EQ(place->peers, 4u);
  EXPECT_EQ(place->rendezvous, "head:29500");
  EXPECT_EQ(place->source, "Open MPI");
}

TEST(Place, WhatIsMissingOrContradictoryIsNamedWithTheRemedy) {
  EXPECT_NE(refusal({}, {}).find("use --rank, set GOSSAMER_RANK"), std::string::npos);
  EXPECT_NE(refusal({.rank = 0}, {}).find("use --peers or set GOSSAMER_PEERS"), std::string::npos);
  EXPECT_NE(refusal({.rank = 0, .peers = 2}, {}).find("use --rendezvous host:port"), std::string::npos);
  EXPECT_EQ(refusal({.rank = 0, .peers = 1}, {}), "no error") << "one peer meets nobody";
  EXPECT_EQ(refusal({.rank = 4, .peers = 4, .rendezvous = "a:1"}, {}),
            "rank 4 does not exist among 4 peers; ranks run from 0 to 3");
  EXPECT_EQ(refusal({}, {{"GOSSAMER_RANK", "x"}}),
            "environment variable GOSSAMER_RANK: `x` is not a whole number");
  for (const char* bad : {"host", "host:", ":5", "host:0", "host:65536", "host:5x", "::1:5000"})
    EXPECT_NE(refusal({.rank = 0, .peers = 2, .rendezvous = bad}, {}).find("is not a place to meet"),
              std::string::npos)
        << bad;
  for (const char* good : {"host:1", "10.0.0.1:65535", "[fe80::1]:5"})
    EXPECT_EQ(refusal({.rank = 0, .peers = 2, .rendezvous = good}, {}), "no error") << good;
}

TEST(Place, FirstHostOfASlurmList) {
  EXPECT_EQ(first_slurm_host("node1"), "node1");
  EXPECT_EQ(first_slurm_host("node1,node2"), "node1");
  EXPECT_EQ(first_slurm_host("node[07-09,12],login1"), "node07");
  EXPECT_EQ(first_slurm_host("rack[2,4]-ib"), "rack2-ib");
  EXPECT_EQ(first_slurm_host("node[1"), "");
  EXPECT_EQ(first_slurm_host(""), "");
}

TEST(Environment, ChildrenDoNotSeeTheKeysThatTheLauncherHasResolved) {
  const auto child = child_environment(
      {{"GOSSAMER_TRAINER_EPOCHS", "3"}, {"GOSSAMER_RANK", "1"}, {"GOSSAMER_LOG", "debug"}, {"PATH", "/bin"}},
      8, 4);
  const auto has = [&](const char* text) {
    return std::find(child.begin(), child.end(), text) != child.end();
  };
  EXPECT_TRUE(has("PATH=/bin"));
  EXPECT_TRUE(has("GOSSAMER_LOG=debug"));
  EXPECT_TRUE(has("OPENBLAS_NUM_THREADS=2"));
  EXPECT_EQ(child.size(), 4u);
  const auto told = child_environment({{"OPENBLAS_NUM_THREADS", "7"}}, 8, 100);
  EXPECT_NE(std::find(told.begin(), told.end(), "OPENBLAS_NUM_THREADS=7"), told.end());
  EXPECT_NE(std::find(told.begin(), told.end(), "OMP_NUM_THREADS=1"), told.end());
}

}  // namespace
}  // namespace gossamer
