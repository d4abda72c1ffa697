// The loop of a peer against what the algorithms' equations say, over the real engine in one process.
#include "runtime/worker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/vector.h"
#include "tests/gossip/network.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing_support::Network;
using testing_support::NetworkOptions;

// f(x) = 1/2 |x - centre(step)|^2, whose gradient everybody can write down.
class Pull final : public Task {
 public:
  Pull(std::size_t dimension, PeerId peer) : layout_(Layout::flat(dimension)), peer_(peer) {}
  std::string_view name() const override { return "pull"; }
  const Layout& layout() const override { return layout_; }
  void initialise(std::uint64_t, std::span<float> model) const override { std::fill(model.begin(), model.end(), 0.f); }
  std::size_t batch_size() const override { return 1; }
  std::uint64_t steps_per_epoch() const override { return 10; }
  std::uint64_t samples() const override { return 10; }
  static float centre(PeerId peer, std::uint64_t step, std::size_t i) {
    return std::sin(static_cast<float>(7 * peer + 3 * step + i));
  }
  double loss_and_gradient(Stream&, std::span<const float> model, std::uint64_t step, std::span<float> gradient, GradientSink*) override {
    double loss = 0;
    for (std::size_t i = 0; i < model.size(); ++i) {
      gradient[i] = model[i] - centre(peer_, step, i);
      loss += 0.5 * gradient[i] * gradient[i];
    }
    return loss;
  }
  Evaluation evaluate(Stream&, std::span<const float>, std::uint64_t) override { return {}; }

 private:
  Layout layout_;
  PeerId peer_;
};

constexpr double kRate = 0.1;

struct Loop {
  std::unique_ptr<Pull> task;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<Worker> worker;
};

// Runs everybody's loop to its end on one thread.
std::vector<std::vector<float>> train(const std::string& family, std::size_t peers, NetworkOptions options, WorkerSetup setup,
                                      OptimizerOptions optimizer = {.learning_rate = kRate}) {
  const auto topology = make_topology(family_spec(family, peers)).value();
  Network network(*topology, options);
  Stream stream;
  std::vector<Loop> loops;
  for (PeerId id = 0; id < peers; ++id) {
    Loop loop;
    loop.task = std::make_unique<Pull>(options.dimension, id);
    loop.optimizer = make_optimizer(optimizer, options.dimension).value();
    loop.trainer = std::make_unique<Trainer>(*loop.task, *loop.optimizer, optimizer, ScheduleOptions{}, 1, stream, network.model(id));
    loop.worker = std::make_unique<Worker>(setup, *loop.trainer, network.engine(id));
    loops.push_back(std::move(loop));
  }
  for (int turns = 0; turns < 100000; ++turns) {
    bool all_done = true;
    for (PeerId id = 0; id < peers; ++id) {
      const Wants wants = loops[id].worker->advance();
      all_done &= wants == Wants::done;
      if (wants == Wants::compute) {
        EXPECT_TRUE(loops[id].worker->compute());
      }
      const auto stepped = network.engine(id).step();
      EXPECT_TRUE(stepped) << stepped.error().message;
      if (!stepped) return {};
    }
    if (all_done) {
      std::vector<std::vector<float>> models;
      for (PeerId id = 0; id < peers; ++id) models.push_back(network.model(id));
      return models;
    }
  }
  ADD_FAILURE() << "the peers do not come to an end";
  return {};
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  return std::sqrt(squared_distance(a, b));
}

using Matrix = std::vector<std::vector<double>>;

Matrix starts(std::size_t peers, std::size_t d) { return Matrix(peers, std::vector<double>(d)); }

void expect_near(const std::vector<std::vector<float>>& got, const Matrix& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t p = 0; p < got.size(); ++p)
    for (std::size_t i = 0; i < got[p].size(); ++i) ASSERT_NEAR(got[p][i], wanted[p][i], tolerance) << "peer " << p << " element " << i;
}

Matrix mix_ring(const Matrix& x) {
  Matrix y = x;
  const std::size_t n = x.size();
  for (std::size_t p = 0; p < n; ++p)
    for (std::size_t i = 0; i < x[p].size(); ++i) y[p][i] = (x[(p + n - 1) % n][i] + x[p][i] + x[(p + 1) % n][i]) / 3;
  return y;
}

Matrix step(const Matrix& at, const Matrix& x, std::uint64_t t) {
  Matrix y = x;
  for (std::size_t p = 0; p < x.size(); ++p)
    for (std::size_t i = 0; i < x[p].size(); ++i) y[p][i] -= kRate * (at[p][i] - Pull::centre(static_cast<PeerId>(p), t, i));
  return y;
}

TEST(Worker, AdaptThenCombineIsStepThenMix) {
  Matrix x = starts(5, 4);
  for (std::uint64_t t = 0; t < 20; ++t) x = mix_ring(step(x, x, t));
  expect_near(train("ring", 5, {.algorithm = "d-psgd", .dimension = 4}, {.steps = 20}), x, 1e-5);
}

// x_{t+1} = W x_t - eta g(x_t), the gradient at the old x; the exchange of the last step's model is applied at the end.
TEST(Worker, CombineThenAdaptMixesTheOldModel) {
  Matrix x = starts(5, 4);
  x = step(x, x, 0);
  for (std::uint64_t t = 1; t < 20; ++t) x = step(x, mix_ring(x), t);
  x = mix_ring(x);
  const auto got = train("ring", 5, {.algorithm = "d-psgd", .dimension = 4}, {.steps = 20, .combine_then_adapt = true});
  expect_near(got, x, 1e-5);
}

TEST(Worker, DelayedIsTheSameRecursionWithoutWaiting) {
  const NetworkOptions options{.algorithm = "d-psgd", .dimension = 4};
  EXPECT_EQ(train("ring", 5, options, {.steps = 20, .delayed = true}), train("ring", 5, options, {.steps = 20, .combine_then_adapt = true}));
}

TEST(Worker, LocalStepsExchangeEveryHSteps) {
  Matrix x = starts(5, 4);
  for (std::uint64_t t = 0; t < 20; ++t) {
    x = step(x, x, t);
    if (t % 4 == 3) x = mix_ring(x);
  }
  expect_near(train("ring", 5, {.algorithm = "d-psgd", .dimension = 4}, {.steps = 20, .local_steps = 4}), x, 1e-5);
}

// E8: on a complete graph D-PSGD is SGD on the average gradient, peer by peer.
TEST(Worker, DpsgdOnACompleteGraphIsAveragedSgd) {
  const std::size_t n = 4, d = 6;
  std::vector<double> x(d);
  for (std::uint64_t t = 0; t < 30; ++t)
    for (std::size_t i = 0; i < d; ++i) {
      double gradient = 0;
      for (PeerId p = 0; p < n; ++p) gradient += (x[i] - Pull::centre(p, t, i)) / n;
      x[i] -= kRate * gradient;
    }
  expect_near(train("complete", n, {.algorithm = "d-psgd", .dimension = d}, {.steps = 30}), Matrix(n, x), 1e-5);
}

// All-reduce is one big batch under any optimizer: the same as a single peer that sees the average of all gradients.
class AllReduceOptimizers : public testing::TestWithParam<OptimizerOptions> {};
INSTANTIATE_TEST_SUITE_P(Optimizers, AllReduceOptimizers,
                         testing::Values(OptimizerOptions{.learning_rate = kRate},
                                         OptimizerOptions{.learning_rate = kRate, .momentum = 0.9, .nesterov = true},
                                         OptimizerOptions{.name = "adamw", .learning_rate = 0.01, .weight_decay = 0.1}));

TEST_P(AllReduceOptimizers, EqualsOneBigBatch) {
  const std::size_t n = 4, d = 6;
  const auto optimizer = make_optimizer(GetParam(), d).value();
  Stream stream;
  std::vector<float> x(d), gradient(d);
  for (std::uint64_t t = 0; t < 30; ++t) {
    for (std::size_t i = 0; i < d; ++i) {
      double sum = 0;
      for (PeerId p = 0; p < n; ++p) sum += x[i] - Pull::centre(p, t, i);
      gradient[i] = static_cast<float>(sum / n);
    }
    optimizer->begin(GetParam().learning_rate);
    optimizer->apply(stream, 0, gradient, x);
  }
  const auto models = train("complete", n, {.algorithm = "all-reduce", .dimension = d}, {.steps = 30}, GetParam());
  for (const auto& model : models) {
    EXPECT_LT(difference(model, x), 2e-5);
    EXPECT_EQ(model, models[0]) << "all peers hold the same bits";
  }
}

TEST(Worker, DelayedGradientsArriveOneStepLate) {
  const std::size_t n = 3, d = 4;
  std::vector<double> x(d), late(d);
  for (std::uint64_t t = 0; t < 12; ++t) {
    std::vector<double> average(d);
    for (std::size_t i = 0; i < d; ++i)
      for (PeerId p = 0; p < n; ++p) average[i] += (x[i] - Pull::centre(p, t, i)) / n;
    for (std::size_t i = 0; i < d; ++i) x[i] -= kRate * late[i];
    late = average;
  }
  expect_near(train("complete", n, {.algorithm = "all-reduce", .dimension = d}, {.steps = 12, .delayed = true}), Matrix(n, x), 1e-5);
}

TEST(Worker, OnePeerIsSgd) {
  std::vector<double> x(4);
  for (std::uint64_t t = 0; t < 25; ++t)
    for (std::size_t i = 0; i < 4; ++i) x[i] -= kRate * (x[i] - Pull::centre(0, t, i));
  for (const char* algorithm : {"d-psgd", "all-reduce", "choco-sgd"})
    expect_near(train("complete", 1, {.algorithm = algorithm, .dimension = 4}, {.steps = 25}), {x}, 1e-5);
}

// E9's other half: a vanishing gamma is local SGD.
TEST(Worker, ChocoWithAVanishingGammaIsLocalSgd) {
  Matrix x = starts(4, 4);
  for (std::uint64_t t = 0; t < 20; ++t) x = step(x, x, t);
  expect_near(train("ring", 4, {.algorithm = "choco-sgd", .step_size = 1e-9, .dimension = 4}, {.steps = 20}), x, 1e-5);
}

TEST(Worker, GradientScaleWeighsAPeer) {
  std::vector<double> x(4);
  for (std::uint64_t t = 0; t < 10; ++t)
    for (std::size_t i = 0; i < 4; ++i) x[i] -= 0.5 * kRate * (x[i] - Pull::centre(0, t, i));
  expect_near(train("complete", 1, {.algorithm = "d-psgd", .dimension = 4}, {.steps = 10, .gradient_scale = 0.5}), {x}, 1e-5);
}

TEST(Worker, ALossThatIsNoNumberEndsTheRun) {
  const auto topology = make_topology(family_spec("complete", 1)).value();
  Network network(*topology, {.algorithm = "d-psgd", .dimension = 4});
  network.model(0)[2] = std::nanf("");
  Stream stream;
  Pull task(4, 0);
  const auto optimizer = make_optimizer({}, 4).value();
  Trainer trainer(task, *optimizer, {}, {}, 1, stream, network.model(0));
  Worker worker({.steps = 3}, trainer, network.engine(0));
  ASSERT_EQ(worker.advance(), Wants::compute);
  const auto result = worker.compute();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::diverged);
}

}  // namespace
}  // namespace gossamer
