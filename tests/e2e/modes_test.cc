// What a run file can ask for beyond the examples, with real processes: it trains, and a bulk run gives
// the same bits whenever and wherever it runs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

struct Mode {
  const char* label;
  const char* example;
  Words sets;
  double accuracy;  // of the mean model after 10 epochs, at least; chance is 0.1
};

void PrintTo(const Mode& mode, std::ostream* out) { *out << mode.label; }

class Modes : public testing::TestWithParam<Mode> {};

TEST_P(Modes, TrainAsProcessesAndGiveTheSameBitsAsThreads) {
  const Scratch scratch;
  std::string models[2];
  for (const char* kind : {"ucx", "loopback"}) {
    const std::string out = scratch / kind;
    Words sets = GetParam().sets;
    sets.push_back("transport.kind=" + std::string(kind));
    const Ended run = gossamer(digits(GetParam().example, out, sets), scratch);
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_GE(summary(out)["mean_model"]["accuracy"].get<double>(), GetParam().accuracy);
    (models[0].empty() ? models[0] : models[1]) = contents(out + "/model.safetensors");
  }
  EXPECT_TRUE(models[0] == models[1]);
}

INSTANTIATE_TEST_SUITE_P(
    , Modes,
    testing::Values(
        Mode{"delayed", "d-psgd", {"overlap=delayed", "trainer.optimizer.learning_rate=0.05"}, 0.9},
        Mode{"delayed_choco", "choco-sgd", {"overlap=delayed", "trainer.optimizer.learning_rate=0.05"}, 0.85},
        Mode{"delayed_all_reduce", "all-reduce", {"overlap=delayed", "trainer.optimizer.learning_rate=0.02"}, 0.85},
        Mode{"layerwise", "d-psgd", {"overlap=layerwise", "bucket_mib=0.001"}, 0.9},
        Mode{"layerwise_choco", "choco-sgd", {"overlap=layerwise", "bucket_mib=0.001"}, 0.85},
        Mode{"layerwise_all_reduce", "all-reduce", {"overlap=layerwise", "bucket_mib=0.001"}, 0.9},
        Mode{"combine_then_adapt", "d-psgd", {"mixing.order=combine-then-adapt"}, 0.9},
        Mode{"local_steps", "d-psgd", {"synchrony.local_steps=4"}, 0.9},
        Mode{"skewed_and_weighed", "d-psgd",
             {"mixing.weigh_by_samples=true", "trainer.partition={scheme: dirichlet, alpha: 0.5}",
              "trainer.optimizer.learning_rate=0.05", "trainer.epochs=20"}, 0.8},
        Mode{"adamw", "d-psgd", {"trainer.optimizer={name: adamw, learning_rate: 0.003}"}, 0.9},
        Mode{"nesterov", "d-psgd", {"trainer.optimizer.nesterov=true"}, 0.9},
        Mode{"checksums", "d-psgd", {"transport.checksum=true"}, 0.9}),
    [](const auto& info) { return info.param.label; });

// Gossip may not lose the mean: on quadratics whose optima differ, the mean model goes to the mean's optimum.
TEST(Tasks, PeersWithDifferentQuadraticsAgreeOnTheCommonOptimum) {
  const Scratch scratch;
  const std::string file = scratch.file("quadratic.yaml",
                                        "algorithm: d-psgd\n"
                                        "topology: {family: ring, peers: 4}\n"
                                        "trainer: {task: quadratic, dimension: 50, condition: 4, steps: 300,\n"
                                        "          optimizer: {learning_rate: 0.1},\n"
                                        "          schedule: {kind: cosine}}\n");
  const std::string early = scratch / "early", late = scratch / "late";
  ASSERT_EQ(gossamer(run_of(file, early, {"trainer.steps=1"}), scratch).code, 0);
  const Ended run = gossamer(run_of(file, late), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const Json before = summary(early), after = summary(late);
  EXPECT_LT(after["mean_model"]["loss"].get<double>(), before["mean_model"]["loss"].get<double>());
  EXPECT_LT(after["consensus_distance"].get<double>(), 0.05);
  // No peer's own model is better for all than the one they agreed on.
  for (const Json& peer : after["peers"])
    EXPECT_NEAR(peer["loss"].get<double>(), after["mean_model"]["loss"].get<double>(), 1e-2);
}

TEST(Tasks, LogisticRegressionOnHeartDisease) {
  const char* data = std::getenv("GOSSAMER_DATA");
  if (data == nullptr || !std::filesystem::exists(std::string(data) + "/heart_scale"))
    GTEST_SKIP() << "needs the data set heart_scale in $GOSSAMER_DATA";
  const Scratch scratch;
  const std::string file = scratch.file("heart.yaml",
                                        "algorithm: choco-sgd\n"
                                        "topology: {family: ring, peers: 8}\n"
                                        "trainer: {task: logistic, data: {format: libsvm, file: heart_scale},\n"
                                        "          batch_size: 8, epochs: 30, optimizer: {learning_rate: 0.1}}\n");
  const Ended run = gossamer(run_of(file, scratch / "out"), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_GE(summary(scratch / "out")["mean_model"]["accuracy"].get<double>(), 0.7);
}

}  // namespace
}  // namespace gossamer::e2e
