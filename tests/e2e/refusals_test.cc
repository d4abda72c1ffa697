// Bad input: one clear sentence with the place, the documented exit code, nobody left running, no file half written.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>


#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

struct Bad {
  const char* label;
  std::string text;  // of run.yaml
  int code;
  std::vector<std::string> says;  // all of these, on one line
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.label; }

class Refused : public testing::TestWithParam<Bad> {};

TEST_P(Refused, BeforeAnythingStarts) {
  const Scratch scratch;
  const std::string file = scratch.file("run.yaml", GetParam().text);
  scratch.file("split.edges", "0 1\n2 3\n");
  scratch.file("triangle.edges", "0 1\n1 2\n2 0\n");
  const Ended run = gossamer(run_of(file, scratch / "out"), scratch);
  EXPECT_EQ(run.code, GetParam().code) << run.err;
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  for (const std::string& part : GetParam().says) EXPECT_NE(run.err.find(part), std::string::npos) << "no `" << part << "` in: " << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(names_in(scratch / "out"), std::vector<std::string>{}) << "nothing was to be written";
  EXPECT_TRUE(processes_with(scratch.folder()).empty());
}

const std::string kQuadratic = "trainer: {task: quadratic, steps: 3}\n";

INSTANTIATE_TEST_SUITE_P(
    , Refused,
    testing::Values(
        Bad{"malformed_yaml", "algorithm: [d-psgd\n", 2, {"run.yaml:2:1: "}},
        Bad{"unknown_key", "algorithm: d-psgd\ntrainer:\n  task: quadratic\n  epocs: 3\n", 2,
            {"run.yaml:4:3: ", "trainer.epocs", "did you mean `epochs`?"}},
        Bad{"unknown_algorithm", "algorithm: chocho-sgd\n" + kQuadratic, 2, {"run.yaml:1:12: ", "choco-sgd"}},
        Bad{"disconnected_graph", "topology: {peers: 4, edges: [[0, 1], [2, 3]]}\n" + kQuadratic, 2,
            {"not connected", "peer 0", "peer 2"}},
        Bad{"disconnected_graph_from_a_file", "topology: {file: split.edges}\n" + kQuadratic, 2, {"not connected"}},
        Bad{"weights_that_move_the_mean",
            "topology: {peers: 3, directed: true, weights: explicit, edges: [[0, 1, 0.5], [1, 2, 0.5], [2, 0, 0.25]]}\n" +
                kQuadratic,
            2, {"d-psgd", "sum to 1", "metropolis"}},
        Bad{"weights_that_are_not_stochastic",
            "topology: {peers: 3, directed: true, weights: explicit,\n"
            "  edges: [[0, 1, 0.5], [1, 2, 0.5], [0, 0, 0.7], [1, 1, 0.7], [2, 2, 0.7]]}\n" +
                kQuadratic,
            2, {"stochastic"}},
        Bad{"lossy_codec_without_memory", "topology: {family: ring, peers: 4}\ncompression: {codec: sign}\n" + kQuadratic, 2,
            {"sign", "choco-sgd"}},
        Bad{"aggregate_on_a_changing_graph",
            "algorithm: choco-sgd\ntopology: {family: one-peer-hypercube, peers: 4}\nmixing: {replicas: aggregate}\n" + kQuadratic,
            2, {"aggregate", "per-edge"}},
        Bad{"slow_peer_that_does_not_exist",
            "topology: {family: ring, peers: 4}\ntrainer: {task: quadratic, slow: {peer: 4, factor: 2}}\n", 2,
            {"run.yaml:2:", "no peer 4"}},
        Bad{"missing_data", "trainer:\n  task: logistic\n  data: {format: libsvm, file: nowhere}\n", 3,
            {"run.yaml:3:", "nowhere"}},
        Bad{"missing_topology_file", "topology: {file: nowhere.edges}\n" + kQuadratic, 3, {"nowhere.edges"}}),
    [](const auto& info) { return info.param.label; });

TEST(Imports, EdgeListIsTheTopologyOfARun) {
  const Scratch scratch;
  scratch.file("triangle.edges", "0 1\n1 2\n2 0\n");
  const std::string file = scratch.file("run.yaml", "topology: {file: triangle.edges}\n" + kQuadratic);
  const Ended run = gossamer(run_of(file, scratch / "out"), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(summary(scratch / "out")["peers"].size(), 3u);
  EXPECT_EQ(summary(scratch / "out")["peers"][2]["rounds"], 3);
}

TEST(DamagedData, IsNamedAndNothingIsTrained) {
  const Scratch scratch;
  const std::string data = source_root() + "/examples/data/";
  const std::string images = contents(data + "digits-images.idx3.gz");
  const std::string cut = scratch.file("cut.gz", images.substr(0, images.size() / 2));
  const Ended run = gossamer(digits("d-psgd", scratch / "out", {"trainer.data.images=" + cut}), scratch);
  EXPECT_EQ(run.code, 3) << run.err;
  EXPECT_NE(run.err.find(cut), std::string::npos) << run.err;
  const auto left = names_in(scratch / "out");
  EXPECT_EQ(std::count(left.begin(), left.end(), "summary.json"), 0);
  EXPECT_TRUE(nobody_left(scratch.folder()));
}

TEST(OutputFolder, BelowAFileCannotBeMade) {
  const Scratch scratch;
  const std::string file = scratch.file("run.yaml", kQuadratic);
  const Ended run = gossamer(run_of(file, file + "/out"), scratch);
  EXPECT_EQ(run.code, 4) << run.err;
  EXPECT_NE(run.err.find(file + "/out"), std::string::npos) << run.err;
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
}

TEST(OutputFolder, WithSomethingInItIsLeftAlone) {
  const Scratch scratch;
  const std::string file = scratch.file("run.yaml", kQuadratic);
  const Ended run = gossamer(run_of(file, scratch.folder()), scratch);
  EXPECT_EQ(run.code, 2) << run.err;
  EXPECT_NE(run.err.find("--force"), std::string::npos) << run.err;
  EXPECT_EQ(contents(file), kQuadratic);
}

TEST(FullDisk, EndsTheRunWithoutHalfAFile) {
  const Scratch scratch;
  const std::string disk = scratch / "disk";
  ASSERT_EQ(::mkdir(disk.c_str(), 0700), 0);
  // In a mount namespace of this process, so that nothing stays mounted whatever happens.
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=192k") != 0)
    GTEST_SKIP() << "needs the right to mount a small disk (root)";
  const Ended run = gossamer(digits("d-psgd", disk + "/out", {"trainer.epochs=2"}), scratch);
  EXPECT_EQ(run.code, 4) << run.err;
  EXPECT_NE(run.err.find("the disk is full"), std::string::npos) << run.err;
  for (const std::string& name : names_in(disk + "/out")) {
    EXPECT_FALSE(name.ends_with(".tmp")) << name;
    if (name.ends_with(".safetensors")) {
      EXPECT_GT(contents(disk + "/out/" + name).size(), 17226u * 4) << name;
    }
    if (name == "summary.json") {
      EXPECT_TRUE(summary(disk + "/out").contains("peers"));
    }
    if (name == "report.html") {
      EXPECT_NE(contents(disk + "/out/report.html").find("</html>"), std::string::npos);
    }
  }
  EXPECT_EQ(::umount(disk.c_str()), 0);
  EXPECT_TRUE(nobody_left(scratch.folder()));
}

}  // namespace
}  // namespace gossamer::e2e
