// Gradient tracking, D2 and quasi-global momentum against their recursions, in double.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

constexpr double kRate = 0.2;
constexpr std::size_t kDimension = 4;

std::vector<float> vector_of(const Mixer& mixer, std::size_t d, int which) {
  Writer writer;
  mixer.save(writer);
  Reader reader(writer.view());
  std::vector<float> values(d);
  for (int i = 0; i <= which; ++i) reader.array(std::span(values));
  EXPECT_TRUE(reader.ok());
  return values;
}

// x' = W (x - eta y),  y' = W y + g(x') - g(x)
TEST(GradientTracking, IsItsRecursion) {
  const auto ring = graph("ring", 5);
  Network network(*ring, {.algorithm = "gradient-tracking", .dimension = kDimension});
  network.randomise(1);
  Matrix x = models(network), old = slopes(x), y = old;
  for (int t = 0; t < 30; ++t) {
    if (t > 0) {
      const Matrix g = slopes(x);
      y = plus(plus(mix(*ring, t, y), 1, g), -1, old);
      old = g;
    }
    x = mix(*ring, t, plus(x, -kRate, y));
    train(network, 1, kRate);
    ASSERT_LT(largest_difference(models(network), x), 2e-5) << t;
  }
}

// E21: the trackers' sum is the gradients' sum, in every step.
TEST(GradientTracking, TheSumOfTheTrackersIsTheSumOfTheGradients) {
  const auto schedule = graph("one-peer-exponential", 6);
  Network network(*schedule, {.algorithm = "gradient-tracking", .dimension = kDimension});
  network.randomise(2);
  for (int t = 0; t < 100; ++t) {
    train(network, 1, 0.05);
    for (std::size_t i = 0; i < kDimension; ++i) {
      double trackers = 0, gradients = 0;
      for (PeerId p = 0; p < 6; ++p) {
        trackers += vector_of(network.mixer(p), kDimension, 0)[i];
        gradients += vector_of(network.mixer(p), kDimension, 1)[i];
      }
      ASSERT_NEAR(trackers, gradients, 1e-4) << t;
    }
  }
}

// What tracking and D2 are for: peers that pull apart end at the true optimum with a constant rate; D-PSGD does not.
TEST(Heterogeneity, IsCancelledByTrackingAndD2AndNotByPlainGossip) {
  const auto ring = graph("ring", 7, WeightRule::lazy);
  const auto error = [&](const char* algorithm) {
    Network network(*ring, {.algorithm = algorithm, .dimension = kDimension});
    train(network, 1500, 0.05);
    return largest_error(network);
  };
  EXPECT_LT(error("gradient-tracking"), 1e-4);
  EXPECT_LT(error("d2"), 1e-4);
  EXPECT_GT(error("d-psgd"), 1e-2);
}

// x_{t+1} = W (2 x_t - x_{t-1} - eta_t g_t + eta_{t-1} g_{t-1}), also while the rate changes.
TEST(D2, IsItsRecursionUnderAnyRate) {
  const auto ring = graph("ring", 8, WeightRule::lazy);
  Network network(*ring, {.algorithm = "d2", .dimension = kDimension});
  network.randomise(3);
  Matrix x = models(network), before, step_before;
  for (int t = 0; t < 40; ++t) {
    const double rate = t < 20 ? kRate : 0.25 * kRate;
    Matrix step = slopes(x);
    for (auto& row : step)
      for (double& value : row) value *= rate;
    Matrix z = plus(x, -1, step);
    if (t > 0) z = plus(plus(plus(z, 1, x), -1, before), 1, step_before);
    before = x;
    step_before = step;
    x = mix(*ring, t, z);
    train(network, 1, rate);
    ASSERT_LT(largest_difference(models(network), x), 5e-5) << t;
  }
}

// E20
TEST(D2, TheFirstStepIsThatOfDpsgd) {
  const auto ring = graph("ring", 5);
  Network d2(*ring, {.algorithm = "d2", .dimension = kDimension}), plain(*ring, {.algorithm = "d-psgd", .dimension = kDimension});
  for (auto* network : {&d2, &plain}) {
    network->randomise(4);
    train(*network, 1, kRate);
  }
  for (PeerId p = 0; p < 5; ++p) EXPECT_EQ(d2.model(p), plain.model(p));
  train(d2, 1, kRate);
  train(plain, 1, kRate);
  EXPECT_NE(d2.model(0), plain.model(0));
}

TEST(D2, MinusAThirdIsRefusedWithTheRemedyAndDivergesWithoutTheRefusal) {
  EXPECT_EQ(refusal("d2", *graph("ring", 5)), "");
  EXPECT_EQ(refusal("d2", *graph("ring", 6, WeightRule::lazy)), "");
  const std::string even = refusal("d2", *graph("ring", 6));
  EXPECT_NE(even.find("-1/3"), std::string::npos) << even;
  EXPECT_NE(even.find("lazy"), std::string::npos) << even;
  EXPECT_NE(refusal("d2", *graph("torus", 16)), "") << "a 4 x 4 torus has the eigenvalue -3/5";
  EXPECT_NE(refusal("d2", *graph("one-peer-hypercube", 8)).find("never changes"), std::string::npos);
}

// d = beta m + g;  x' = W (x - eta d);  m' = beta m + (1 - beta) (x - x') / eta
TEST(QuasiGlobal, IsItsRecursion) {
  const auto schedule = graph("one-peer-hypercube", 8);
  const double beta = 0.8;
  Network network(*schedule, {.algorithm = "qg-dsgdm", .dimension = kDimension, .adjust = [&](MixerSetup& setup) { setup.momentum = beta; }});
  network.randomise(5);
  Matrix x = models(network), m(8, std::vector<double>(kDimension));
  for (int t = 0; t < 40; ++t) {
    const double rate = t < 20 ? 0.1 : 0.03;
    const Matrix d = plus(slopes(x), beta, m), next = mix(*schedule, t, plus(x, -rate, d));
    for (std::size_t p = 0; p < 8; ++p)
      for (std::size_t i = 0; i < kDimension; ++i) m[p][i] = beta * m[p][i] + (1 - beta) * (x[p][i] - next[p][i]) / rate;
    x = next;
    train(network, 1, rate);
    ASSERT_LT(largest_difference(models(network), x), 5e-5) << t;
  }
}

// E21
TEST(QuasiGlobal, WithoutMomentumItIsDpsgd) {
  const auto ring = graph("ring", 6);
  Network quasi(*ring, {.algorithm = "qg-dsgdm", .dimension = kDimension, .adjust = [](MixerSetup& setup) { setup.momentum = 0; }});
  Network plain(*ring, {.algorithm = "d-psgd", .dimension = kDimension});
  for (auto* network : {&quasi, &plain}) {
    network->randomise(6);
    train(*network, 25, kRate);
  }
  for (PeerId p = 0; p < 6; ++p) EXPECT_EQ(quasi.model(p), plain.model(p));
}

TEST(QuasiGlobal, AWindowOfLocalStepsCountsAsOneDisplacement) {
  // One peer mixes with nobody: over a window of two steps the displacement per rate is the mean of the two directions.
  const auto alone = graph("complete", 1);
  Network network(*alone, {.algorithm = "qg-dsgdm", .dimension = 1, .adjust = [](MixerSetup& setup) { setup.momentum = 0.5; }});
  double x = 0, m = 0;
  for (int window = 0; window < 10; ++window) {
    double moved = 0;
    for (const double rate : {0.1, 0.3}) {
      const double d = 0.5 * m + slope(0, 0, x);
      x -= rate * d;
      moved += rate * d;
      local_step(network, rate);
    }
    m = 0.5 * m + 0.5 * moved / 0.4;
    ASSERT_TRUE(network.round());
    ASSERT_NEAR(network.model(0)[0], x, 1e-5);
  }
}

TEST(QuasiGlobal, ARateOfZeroLeavesTheMomentum) {
  const auto ring = graph("ring", 4);
  Network network(*ring, {.algorithm = "qg-dsgdm", .dimension = kDimension});
  network.randomise(7);
  train(network, 3, 0.1);
  const auto before = vector_of(network.mixer(0), kDimension, 0);
  train(network, 1, 0);
  EXPECT_EQ(vector_of(network.mixer(0), kDimension, 0), before);
  for (const double momentum : {-0.1, 1., std::nan("")})
    EXPECT_NE(refusal("qg-dsgdm", *ring, {}, [&](MixerSetup& setup) { setup.momentum = momentum; }), "");
}

class Resumed : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Stateful, Resumed, testing::Values("gradient-tracking", "d2", "qg-dsgdm", "relay-sgd", "deep-squeeze", "power-gossip"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(Resumed, ContinuesFromACheckpointToTheBit) {
  const auto topology = graph(std::string(GetParam()) == "relay-sgd" ? "binary-tree" : "ring", 5);
  const NetworkOptions options{.algorithm = GetParam(), .dimension = 12, .shape = {3, 4}};
  Network straight(*topology, options), resumed(*topology, options), cut_off(*topology, options);
  straight.randomise(8);
  train(straight, 7, 0.05);
  // The rounds of a resumed run go on counting; an engine of this test starts at 0, which static graphs do not notice.
  for (PeerId p = 0; p < 5; ++p) {
    Writer writer;
    straight.mixer(p).save(writer);
    Reader reader(writer.view());
    ASSERT_TRUE(resumed.mixer(p).load(reader));
    EXPECT_EQ(reader.left(), 0u);
    Reader cut(writer.view().first(writer.view().size() - 1));
    EXPECT_FALSE(cut_off.mixer(p).load(cut));
    resumed.model(p) = straight.model(p);
  }
  train(straight, 7, 0.05);
  train(resumed, 7, 0.05);
  for (PeerId p = 0; p < 5; ++p) EXPECT_EQ(straight.model(p), resumed.model(p));
}

}  // namespace
}  // namespace gossamer
