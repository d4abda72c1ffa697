// `gossamer bench` measures what it says.  Two wires only: what spins on a machine that has other things to do takes long.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

const Words kQuick = {"bench", "transport", "--repeat", "1", "--round-trips", "20", "--latency-sizes", "8", "--links", "2",
                      "--wakes", "5", "--idle-seconds", "0.2"};

TEST(BenchTransport, MeasuresAWireAndComparesIt) {
  Scratch scratch;
  Words words = kQuick;
  words.insert(words.end(), {"--sizes", "1048576", "--json", "--wires", "loopback,libfabric-shm"});
  const Ended run = gossamer(words, scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto report = nlohmann::json::parse(run.out);
  std::set<std::string> wires;
  std::set<std::pair<std::string, int>> idle;
  for (const auto& row : report["rows"]) {
    wires.insert(row["wire"]);
    EXPECT_GT(row["median"].get<double>(), 0) << row.dump();
    EXPECT_EQ(row["runs"].size(), 1u);
    // Whoever measured something reached something.
    const nlohmann::json others = row.contains("others") ? row["others"] : nlohmann::json::object();
    for (const auto& [name, other] : others.items()) EXPECT_GT(other["median"].get<double>(), 0) << name;
    if (row["what"] == "bandwidth" && row["links"] == 1) {
      EXPECT_TRUE(row["others"].contains("memcpy"));
    }
    if (row["what"] == "wake") {
      EXPECT_GE(row["p99"]["median"].get<double>(), row["median"].get<double>());
    }
    if (row["what"] == "idle") {
      idle.insert({row["wire"].get<std::string>(), row["links"].get<int>()});
      EXPECT_LT(row["median"].get<double>(), 0.5) << "whoever waits, spins: " << row.dump();
    }
    if (row["wire"] == "libfabric-shm" && row["what"] == "latency") {
      EXPECT_GT(row["ratio"].get<double>(), 0);
    }
  }
  EXPECT_TRUE(wires.contains("loopback"));
  EXPECT_EQ(idle.size(), 2 * wires.size());
  EXPECT_GE(wires.size() + report["not_measured"].size(), 2u) << run.out;
}

// Small: whoever is faster here is not the question.  That every model is what it should be, the bench itself checks.
TEST(BenchExchange, MeasuresOursBesideWhatThisBuildCanCompareItWith) {
  Scratch scratch;
  const Ended run = gossamer({"bench", "exchange", "--parameters", "50k", "--rounds", "3", "--turns", "1", "--json"}, scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto report = nlohmann::json::parse(run.out);
  EXPECT_EQ(report["parameters"], 50'000);
  EXPECT_GT(report["gossamer"]["seconds"].get<double>(), 0);
  EXPECT_GT(report["floor"]["seconds"].get<double>(), 0);
  EXPECT_EQ(report["floor"]["bytes"].get<double>(), 4 * 4 * 4 * 50'000.0);
  for (const auto& [name, other] : report["others"].items()) EXPECT_GT(other["of_gossamer"].get<double>(), 0) << name;
  EXPECT_EQ(report["others"].empty(), report["not_measured"].size() == 2) << run.out;
}

TEST(BenchExchange, RefusesANumberThatIsNone) {
  Scratch scratch;
  const Ended run = gossamer({"bench", "exchange", "--parameters", "many"}, scratch);
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("--parameters many"), std::string::npos) << run.err;
}

// Stands in for a Python with torch: sorts, and is `off` by so much.
std::string python_that_is(const Scratch& scratch, const std::string& off) {
  const std::string path = scratch.file("python", "#!/usr/bin/env python3\nimport array, sys\n"
                                                  "x = array.array('f', open(sys.argv[3], 'rb').read())\n"
                                                  "assert len(x) == int(sys.argv[4])\n"
                                                  "least = sorted(map(abs, x), reverse=True)[int(sys.argv[5]) - 1] + " + off + "\n"
                                                  "print('version', 'none', sep='\\t')\n"
                                                  "print('least', least.hex(), sep='\\t')\n"
                                                  "print('time', 'encode top-k 1 %', 'a sort', 0.25, sep='\\t')\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

Words kernels_beside(const std::string& python) {
  return {"bench", "kernels", "--millions", "0.01", "--threads", "1", "--repetitions", "1", "--only", "top-k", "--implementation", "scalar", "--json", "--torch", python};
}

TEST(BenchKernels, StandsBesideTorchAndFindsTheSame) {
  Scratch scratch;
  const Ended run = gossamer(kernels_beside(python_that_is(scratch, "0.0")), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const auto report = nlohmann::json::parse(run.out);
  EXPECT_EQ(report["torch"], "none");
  bool beside = false;
  for (const auto& row : report["rows"])
    if (row["name"] == "encode top-k 1 %" && row["peer"] == "a sort") {
      beside = true;
      EXPECT_EQ(row["peer_seconds"], 0.25);
      EXPECT_NEAR(row["gain"].get<double>(), 0.25 / row["seconds"].get<double>(), 1e-6);
    }
  EXPECT_TRUE(beside) << run.out;
}

TEST(BenchKernels, FailWhereTorchFindsSomethingElse) {
  Scratch scratch;
  const Ended run = gossamer(kernels_beside(python_that_is(scratch, "0.001")), scratch);
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("torch.topk says"), std::string::npos) << run.err;
}

TEST(BenchKernels, SayWhyTorchIsNotBesideThem) {
  Scratch scratch;
  const Ended run = gossamer(kernels_beside("/nowhere/python"), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_NE(nlohmann::json::parse(run.out)["torch_skipped"].get<std::string>().find("/nowhere/python"), std::string::npos);
}

// Where there is a GPU it is hidden.
TEST(BenchTransport, SaysWhatItWouldTakeToMeasureMemoryOfAGpu) {
  Scratch scratch;
  Words words = kQuick;
  words.insert(words.end(), {"--wires", "loopback", "--memory", "cuda"});
  const Ended run = gossamer(words, scratch, {{"CUDA_VISIBLE_DEVICES", "-1"}});
  EXPECT_EQ(run.code, 7) << run.out;
  EXPECT_NE(run.err.find("--memory cuda: "), std::string::npos) << run.err;
  EXPECT_TRUE(run.err.find("install the NVIDIA driver") != std::string::npos || run.err.find("nvidia-smi, CUDA_VISIBLE_DEVICES") != std::string::npos) << run.err;
  words = kQuick;
  words.emplace_back("--staged");
  const Ended without = gossamer(words, scratch);
  EXPECT_EQ(without.code, 2);
  EXPECT_NE(without.err.find("--memory cuda"), std::string::npos) << without.err;
}

// By a driver without a GPU, whose memory kills whoever touches it: what is measured has gone from device to device.
TEST(BenchTransport, MeasuresMemoryOfADevice) {
  Scratch scratch;
  std::filesystem::create_symlink(FAKE_CUDA_DRIVER, scratch / "libcuda.so.1");
  const char* const path = std::getenv("LD_LIBRARY_PATH");
  Words words = kQuick;
  words.insert(words.end(), {"--sizes", "1048576", "--json", "--wires", "loopback,libfabric-shm", "--memory", "cuda", "--staged"});
  const Ended run = gossamer(words, scratch, {{"LD_LIBRARY_PATH", scratch.folder() + (path ? std::string(":") + path : "")}});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto report = nlohmann::json::parse(run.out);
  EXPECT_EQ(report["memory"], "cuda");
  EXPECT_EQ(report["device"], "no GPU at all (device 0)");
  EXPECT_EQ(report["path"], "staged");
  std::map<std::string, int> rows;
  for (const auto& row : report["rows"]) {
    ++rows[row["wire"]];
    EXPECT_GT(row["median"].get<double>(), 0) << row.dump();
    if (row["what"] == "bandwidth" && row["links"] == 1) {
      EXPECT_GT(row["others"]["device copy"]["median"].get<double>(), 0) << row.dump();
    }
  }
  EXPECT_EQ(rows["loopback"], 3) << run.out;
  EXPECT_GE(rows.size() + report["not_measured"].size(), 2u) << run.out;
}

TEST(BenchTransport, RefusesAWireThatDoesNotExist) {
  Scratch scratch;
  Words words = kQuick;
  words.insert(words.end(), {"--wires", "pigeon"});
  const Ended run = gossamer(words, scratch);
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("there are loopback, ucx-shm, ucx-tcp"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace gossamer::e2e
