// `gossamer topology make|check|draw`, through the same parser as the command.
#include "runtime/topology_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "topologies/topology_file.h"

namespace gossamer {
namespace {

class TopologyCommand : public ::testing::Test {
 protected:
  TopologyCommand()
      : folder_(std::filesystem::temp_directory_path() /
                ("gossamer-topology-command-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~TopologyCommand() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }

  // Returns the exit code; what was printed is in out_ and err_.
  int run(std::vector<std::string> words) {
    CLI::App app;
    int code = -1;
    add_topology_command(app, &code);
    words.insert(words.begin(), "topology");
    std::reverse(words.begin(), words.end());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    try {
      app.parse(words);
    } catch (const CLI::ParseError& error) {
      code = error.get_exit_code();
      err_ = error.what();
    }
    std::fflush(stdout);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ += ::testing::internal::GetCapturedStderr();
    return code;
  }

  std::filesystem::path folder_;
  std::string out_, err_;
};

TEST_F(TopologyCommand, MakesAFileThatCheckReads) {
  ASSERT_EQ(
      run({"make", "torus", "--peers", "32", "--shape", "4x8", "--weights", "lazy", "-o", path("t.yaml")}), 0)
      << err_;
  const auto spec = load_topology(path("t.yaml"));
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->schedule[0].options.at("shape"), (std::vector<double>{4, 8}));
  EXPECT_EQ(spec->weights, WeightRule::lazy);
  ASSERT_EQ(run({"check", path("t.yaml"), "--json", "--parameters", "10"}), 0) << err_;
  const auto json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["peers"], 32);
  EXPECT_EQ(json["bytes_per_peer_per_round"], 160);
  EXPECT_TRUE(json["algorithms"]["d2"]["fits"]);
  EXPECT_NEAR(json["spectral_gap"].get<double>(), .1172 / 2, 5e-5);
  ASSERT_EQ(run({"check", path("t.yaml"), "--compute"}), 0) << err_;
  EXPECT_NE(out_.find("dense"), std::string::npos) << out_;
}

TEST_F(TopologyCommand, MakesEveryKindOfOptionAndWritesToStandardOutput) {
  ASSERT_EQ(run({"make", "static-exponential", "--peers", "8", "--symmetric"}), 0) << err_;
  EXPECT_EQ(out_, "peers: 8\ngraph: {family: static-exponential, symmetric: true}\nseed: 1\n");
  ASSERT_EQ(run({"make", "circulant", "--peers", "9", "--hops", "1,3", "--seed", "5"}), 0) << err_;
  EXPECT_EQ(out_, "peers: 9\ngraph: {family: circulant, hops: [1, 3]}\nseed: 5\n");
  ASSERT_EQ(run({"make", "erdos-renyi", "--peers", "20", "--probability", "0.5"}), 0) << err_;
  EXPECT_NE(out_.find("probability: 0.5"), std::string::npos);
}

TEST_F(TopologyCommand, DrawsAndLeavesNoHalfFile) {
  ASSERT_EQ(run({"make", "ring", "--peers", "5", "-o", path("r.yaml")}), 0);
  ASSERT_EQ(run({"draw", path("r.yaml"), "-o", path("r.svg"), "--title", "five"}), 0) << err_;
  EXPECT_TRUE(read("r.svg").starts_with("<svg"));
  EXPECT_NE(read("r.svg").find("<title>five</title>"), std::string::npos);
  EXPECT_NE(run({"draw", path("r.yaml"), "-o", path("absent/r.svg")}), 0);
  EXPECT_FALSE(err_.empty());
  ASSERT_EQ(run({"make", "ring", "--peers", "100000", "-o", path("big.yaml")}), 0);
  EXPECT_EQ(run({"draw", path("big.yaml"), "-o", path("big.svg")}), 2);
  EXPECT_FALSE(std::filesystem::exists(path("big.svg")));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 3u) << "a temporary file was left behind";
}

TEST_F(TopologyCommand, RefusesWithTheDocumentedExitCodeAndARemedy) {
  EXPECT_EQ(run({"make", "hypercube", "--peers", "6", "-o", path("x.yaml")}), 2);
  EXPECT_NE(err_.find("4 or 8"), std::string::npos) << err_;
  EXPECT_FALSE(std::filesystem::exists(path("x.yaml")));
  EXPECT_EQ(run({"make", "rign", "--peers", "6"}), 2);
  EXPECT_NE(err_.find("ring"), std::string::npos) << err_;
  EXPECT_EQ(run({"make", "torus", "--peers", "6", "--shape", "axb"}), 2);
  EXPECT_NE(err_.find("not a number"), std::string::npos) << err_;
  EXPECT_EQ(run({"make", "ring", "--peers", "6", "--weights", "lzy"}), 2);
  EXPECT_NE(err_.find("lazy"), std::string::npos) << err_;
  EXPECT_EQ(run({"make", "ring", "--peers", "6", "--degree", "3"}), 2);
  EXPECT_NE(err_.find("ring has no option degree"), std::string::npos) << err_;
  EXPECT_EQ(run({"check", path("absent.yaml")}), 3);
  std::ofstream(path("bad.edges")) << "3\n0 5\n";
  EXPECT_EQ(run({"check", path("bad.edges")}), 2);
  EXPECT_NE(err_.find("bad.edges:2:1:"), std::string::npos) << err_;
  EXPECT_NE(run({"make", "ring"}), 0);  // --peers is required
  EXPECT_NE(run({}), 0);
}

}  // namespace
}  // namespace gossamer
