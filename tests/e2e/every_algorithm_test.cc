// Every algorithm of the one list as processes.  A bulk run is a function of its run file, so it must end with the bits that the
// simulator ends with, whose checkers watch every exchange; an asynchronous one must keep what its algorithm keeps.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

constexpr std::size_t kPeers = 4;  // of every preset

// Peers want different things, so that a wrong exchange shows.
constexpr const char* kSmall =
    "trainer: {task: quadratic, dimension: 24, condition: 4, heterogeneity: 0.3, noise: 0.05, batch_size: 1, steps: 60,\n"
    "          optimizer: {learning_rate: 0.1}}\n"
    "report: {interval_steps: 5}\n";

// Optima so far away, and steps so small, that no gradient depends on where the model is: whatever is averaged with whom and when,
// the mean of the models moves by the same steps, about one per coordinate and step.
constexpr const char* kFlat =
    "trainer: {task: quadratic, dimension: 24, condition: 4, heterogeneity: 1000000, batch_size: 1, steps: 40,\n"
    "          optimizer: {learning_rate: 0.000001}}\n"
    "report: {interval_steps: 5}\n";

std::vector<float> model(const std::string& path) {
  const std::string bytes = contents(path);
  std::uint64_t header = 0;
  if (bytes.size() < sizeof header) return {};
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::size_t begin = sizeof header + header;
  if (begin > bytes.size()) return {};
  std::vector<float> values((bytes.size() - begin) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
  return values;
}

// As `gossamer simulate --json` says it.
std::string hash_of_models(const std::string& out) {
  std::uint64_t hash = 0;
  for (std::size_t peer = 0; peer < kPeers; ++peer) {
    const std::vector<float> values = model(out + "/model-" + std::to_string(peer) + ".safetensors");
    EXPECT_EQ(values.size(), 24u);
    hash = mix_seed(hash, XXH3_64bits(values.data(), values.size() * sizeof(float)));
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

struct Method {
  std::string label;
  Words sets;
};
void PrintTo(const Method& method, std::ostream* out) { *out << method.label; }

std::string as_label(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

std::vector<Method> presets(bool asynchronous) {
  std::vector<Method> all;
  for (const Algorithm& algorithm : algorithms())
    if (algorithm.asynchronous == asynchronous) all.push_back({as_label(algorithm.name), {"algorithm=" + std::string(algorithm.name)}});
  return all;
}

std::vector<Method> bulk() {
  std::vector<Method> all = presets(false);
  const std::vector<Method> more = {
      {"choco_per_edge_on_a_schedule", {"algorithm=choco-sgd", "topology.family=one-peer-hypercube", "compression={codec: top-k, ratio: 0.25}",
                                        "mixing.step_size=0.2", "mixing.verify_replicas=true"}},
      {"choco_by_factors", {"algorithm=choco-sgd", "topology.family=one-peer-hypercube", "compression={codec: low-rank, rank: 1}", "mixing.step_size=0.3",
                            "mixing.replicas=per-edge", "mixing.verify_replicas=true"}},
      {"relay_on_a_chain", {"algorithm=relay-sgd", "topology.family=path"}},
      {"push_sum_on_an_uneven_digraph", {"algorithm=sgp", "topology={edges: [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], directed: true, peers: 4}"}},
  };
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

class Algorithms : public testing::TestWithParam<Method> {
 protected:
  std::string out(const std::string& name = "out") const { return scratch_ / name; }
  // Leaves its results in out(name).
  Ended run(const char* task, const Words& sets, const std::string& name = "out") {
    const Ended end = gossamer(run_of(scratch_.file(name + ".yaml", task), out(name), sets), scratch_);
    EXPECT_EQ(end.code, 0) << end.err;
    return end;
  }
  Json simulate(const char* task, const Words& sets) {
    Words words = {"simulate", scratch_.file("simulated.yaml", task), "--json"};
    for (const std::string& set : sets) {
      words.push_back("--set");
      words.push_back(set);
    }
    const Ended end = gossamer(words, scratch_);
    EXPECT_EQ(end.code, 0) << end.out << end.err;
    return Json::parse(end.out, nullptr, false);
  }
  void expect_trained(const std::string& name = "out") {
    const Json all = summary(out(name));
    EXPECT_EQ(all["peers"].size(), kPeers);
    EXPECT_LT(all["mean_model"]["loss"].get<double>(), 0.3 * rows(out(name), 0).front()["loss"].get<double>());
    EXPECT_LT(all["consensus_distance"].get<double>(), 0.5);
  }

  Scratch scratch_;
};

class BulkAlgorithms : public Algorithms {};
INSTANTIATE_TEST_SUITE_P(, BulkAlgorithms, testing::ValuesIn(bulk()), [](const auto& info) { return info.param.label; });

TEST_P(BulkAlgorithms, EndAsProcessesWithTheBitsOfTheSimulator) {
  const Json simulated = simulate(kSmall, GetParam().sets);
  ASSERT_TRUE(simulated["good"]);
  run(kSmall, GetParam().sets);
  EXPECT_EQ(hash_of_models(out()), simulated["models"].get<std::string>());
  expect_trained();
}

// Two of a kind must not be equal by chance, or because nothing was compared.
TEST_F(Algorithms, OfAnotherSeedEndWithOtherBits) {
  const Words sets = {"algorithm=d-psgd"};
  EXPECT_NE(simulate(kSmall, sets)["models"], simulate(kSmall, {"algorithm=d-psgd", "seed=2"})["models"]);
  run(kSmall, {"algorithm=d-psgd", "seed=2", "transport={kind: loopback}"});
  EXPECT_NE(hash_of_models(out()), simulate(kSmall, sets)["models"].get<std::string>());
}

// Nobody is in step with anybody: steps are paced, and one peer is slow.
const Words kUneven = {"trainer.pace=2 ms", "trainer.slow={peer: 2, factor: 5}"};

std::vector<Method> free_running() {
  std::vector<Method> all = presets(true);
  all.push_back({"d_psgd_stale", {"algorithm=d-psgd", "synchrony={mode: stale, stale: 3}"}});
  all.push_back({"sgp_stale", {"algorithm=sgp", "synchrony={mode: stale, stale: 3}"}});
  for (Method& method : all) method.sets.insert(method.sets.end(), kUneven.begin(), kUneven.end());
  return all;
}

class FreeRunningAlgorithms : public Algorithms {};
INSTANTIATE_TEST_SUITE_P(, FreeRunningAlgorithms, testing::ValuesIn(free_running()), [](const auto& info) { return info.param.label; });

TEST_P(FreeRunningAlgorithms, Train) {
  run(kSmall, GetParam().sets);
  expect_trained();
}

TEST_P(FreeRunningAlgorithms, MoveTheMeanByTheirStepsAlone) {
  if (GetParam().label == "sgp_stale") GTEST_SKIP() << "its models are ratios; what it keeps are the sums, which the simulator checks";
  static std::vector<float> exact;  // by exact averages: nothing is lost there
  if (exact.empty()) {
    run(kFlat, {"algorithm=all-reduce", "transport={kind: loopback}"}, "exact");
    exact = model(out("exact") + "/model.safetensors");
  }
  run(kFlat, GetParam().sets);
  const std::vector<float> mean = model(out() + "/model.safetensors");  // a server's model stands for it
  EXPECT_EQ(summary(out())["mean_model"].contains("hub"), GetParam().label == "parameter_server_async");
  ASSERT_EQ(exact.size(), 24u);
  ASSERT_EQ(mean.size(), 24u);
  double moved = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    moved = std::max(moved, std::abs(static_cast<double>(exact[i])));
    EXPECT_NEAR(mean[i], exact[i], 0.01) << "coordinate " << i;
  }
  EXPECT_GT(moved, 10) << "or nothing is shown";
}

}  // namespace
}  // namespace gossamer::e2e
