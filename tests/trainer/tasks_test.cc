// What every task promises, and what each of them is.
#include "trainer/tasks.h"

#include <cmath>
#include <limits>

#include "tests/trainer/testing.h"
#include "trainer/trainer.h"

namespace gossamer {
namespace {

struct Case {
  std::string name;
  TaskOptions options;
  std::uint32_t classes;
};

void PrintTo(const Case& which, std::ostream* out) {
  *out << which.name;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](std::string name, std::string kind, std::uint32_t classes, double l2) -> TaskOptions& {
    all.push_back({std::move(name), {}, classes});
    all.back().options.kind = std::move(kind);
    all.back().options.l2 = l2;
    return all.back().options;
  };
  add("quadratic", "quadratic", 0, 0).dimension = 20;
  TaskOptions& noisy = add("noisy_quadratic", "quadratic", 0, 0);
  noisy.dimension = 20;
  noisy.noise = 0.5;
  add("linear", "linear", 0, 0.1);
  add("logistic_binary", "logistic", 2, 0.1);
  add("logistic_multinomial", "logistic", 4, 0.1);
  add("mlp_one_layer", "mlp", 3, 0).hidden = {};
  add("mlp", "mlp", 3, 0).hidden = {9, 5};
  add("mlp_l2", "mlp", 3, 0.1).hidden = {9, 5};
  return all;
}

constexpr std::size_t kSamples = 50, kFeatures = 7, kBatch = 8;

std::unique_ptr<Task> make(const Case& which, std::uint64_t seed = 1, PeerId peer = 0,
                           std::size_t batch = kBatch) {
  const Split data = made_up_split(kSamples, kFeatures, which.classes);
  auto task = make_task(which.options, data, everything(*data.train), batch, peer, 2, seed);
  if (!task) ADD_FAILURE() << task.error().message;
  return task ? std::move(*task) : nullptr;
}

// A model that is neither zero nor special.
std::vector<float> some_model(const Task& task, std::uint64_t seed = 3) {
  std::vector<float> model(task.layout().size());
  Random random(seed, Purpose::test);
  for (float& w : model) w = static_cast<float>(0.5 * random.normal());
  return model;
}

struct Recorder final : GradientSink {
  void ready(std::size_t offset, std::size_t count) override {
    ranges.emplace_back(offset, count);
    copies.emplace_back(gradient.begin() + static_cast<std::ptrdiff_t>(offset),
                        gradient.begin() + static_cast<std::ptrdiff_t>(offset + count));
  }
  std::span<const float> gradient;
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  std::vector<std::vector<float>> copies;
};

class EveryTask : public testing::TestWithParam<Case> {};

TEST_P(EveryTask, GradientIsThatOfTheLoss) {
  const auto task = make(GetParam());
  Stream stream;
  auto model = some_model(*task);
  std::vector<float> gradient(model.size()), scratch(model.size());
  for (const std::uint64_t step : {0u, 7u}) {
    task->loss_and_gradient(stream, model, step, gradient, nullptr);
    for (std::size_t i = 0; i < model.size(); ++i) {
      constexpr float kReach = 2e-3f;
      const float at = model[i];
      model[i] = at + kReach;
      const double up = task->loss_and_gradient(stream, model, step, scratch, nullptr);
      const double reach = static_cast<double>(model[i]) - static_cast<double>(at);
      model[i] = at - kReach;
      const double down = task->loss_and_gradient(stream, model, step, scratch, nullptr);
      model[i] = at;
      EXPECT_NEAR(gradient[i], (up - down) / (2 * reach), 1e-3 + 1e-3 * std::fabs(gradient[i]))
          << "step " << step << ", element " << i;
    }
  }
}

TEST_P(EveryTask, SinkHearsOfEveryTensorOnceWhenItIsFinalLastLayerFirst) {
  const auto task = make(GetParam());
  Stream stream;
  const auto model = some_model(*task);
  std::vector<float> gradient(model.size(), 99.0f);
  Recorder sink;
  sink.gradient = gradient;
  task->loss_and_gradient(stream, model, 3, gradient, &sink);
  const auto& tensors = task->layout().tensors();
  ASSERT_EQ(sink.ranges.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = tensors[tensors.size() - 1 - i];
    EXPECT_EQ(sink.ranges[i], std::pair(tensor.offset, tensor.count)) << tensor.name;
    EXPECT_TRUE(std::equal(sink.copies[i].begin(), sink.copies[i].end(),
                           gradient.begin() + static_cast<std::ptrdiff_t>(tensor.offset)))
        << tensor.name << " changed after the sink had been told that it is final";
  }
}

TEST_P(EveryTask, IsAPureFunctionOfItsArguments) {
  const auto one = make(GetParam()), two = make(GetParam());
  Stream stream;
  const auto model = some_model(*one);
  std::vector<float> a(model.size()), b(model.size(), 7.0f);
  // The second task is asked in another order, and evaluates in between.
  std::vector<double> losses;
  std::vector<std::vector<float>> gradients;
  for (const std::uint64_t step : {0u, 5u, 20u}) {
    losses.push_back(one->loss_and_gradient(stream, model, step, a, nullptr));
    gradients.push_back(a);
  }
  for (const std::size_t k : {2u, 0u, 1u}) {
    two->evaluate(stream, model);
    const std::uint64_t step = k == 0 ? 0 : k == 1 ? 5 : 20;
    EXPECT_EQ(two->loss_and_gradient(stream, model, step, b, nullptr), losses[k]);
    EXPECT_EQ(b, gradients[k]) << "step " << step;
  }
}

TEST_P(EveryTask, InitialModelIsAFunctionOfTheSeedAlone) {
  const auto one = make(GetParam(), 1, 0), two = make(GetParam(), 2, 1);
  std::vector<float> a(one->layout().size(), 5.0f), b(a.size(), -5.0f);
  one->initialise(11, a);
  two->initialise(11, b);
  EXPECT_EQ(a, b);
}

TEST_P(EveryTask, GradientDescentLowersTheLoss) {
  const auto task = make(GetParam(), 1, 0, kSamples);  // full batches
  Stream stream;
  std::vector<float> model(task->layout().size()), gradient(model.size());
  task->initialise(1, model);
  const double before = task->evaluate(stream, model).loss;
  const double first = task->loss_and_gradient(stream, model, 0, gradient, nullptr);
  double last = first;
  for (std::uint64_t step = 1; step <= 50; ++step) {
    for (std::size_t i = 0; i < model.size(); ++i) model[i] -= 0.1f * gradient[i];
    last = task->loss_and_gradient(stream, model, step, gradient, nullptr);
  }
  EXPECT_LT(last, 0.95 * first);
  // A made-up regression target is noise, so only the other tasks generalise.
  if (GetParam().options.kind != "linear") {
    EXPECT_LT(task->evaluate(stream, model).loss, before);
  }
}

TEST_P(EveryTask, CountsAreConsistent) {
  const auto task = make(GetParam());
  EXPECT_EQ(task->batch_size(), kBatch);
  EXPECT_GE(task->samples(), task->batch_size() * task->steps_per_epoch());
  EXPECT_EQ(task->name(), GetParam().options.kind);
}

INSTANTIATE_TEST_SUITE_P(Task, EveryTask, testing::ValuesIn(cases()),
                         [](const auto& each) { return each.param.name; });

// ---- the quadratic ----

TaskOptions quadratic(double condition = 10, double heterogeneity = 1, double noise = 0) {
  TaskOptions options;
  options.kind = "quadratic";
  options.dimension = 30;
  options.condition = condition;
  options.heterogeneity = heterogeneity;
  options.noise = noise;
  return options;
}

TEST(Quadratic, OptimumIsWhereTheMeanGradientVanishes) {
  constexpr std::size_t kPeers = 5;
  Stream stream;
  std::vector<double> sum(30);
  std::vector<float> gradient(30);
  for (PeerId peer = 0; peer < kPeers; ++peer) {
    const auto task = make_quadratic(quadratic(), 1, peer, kPeers, 4);
    ASSERT_TRUE(task) << task.error().message;
    (*task)->loss_and_gradient(stream, (*task)->optimum(), 0, gradient, nullptr);
    for (std::size_t k = 0; k < 30; ++k) sum[k] += static_cast<double>(gradient[k]);
    EXPECT_NEAR((*task)->evaluate(stream, (*task)->optimum()).loss, 0, 1e-12);
    EXPECT_GT((*task)->evaluate(stream, (*task)->own_optimum()).loss, 0.1) << "peers want different things";
    EXPECT_NEAR((*task)->loss_and_gradient(stream, (*task)->own_optimum(), 0, gradient, nullptr), 0, 1e-12);
  }
  for (const double s : sum) EXPECT_NEAR(s, 0, 1e-5);
}

TEST(Quadratic, WithoutHeterogeneityAllPeersAgree) {
  const auto a = make_quadratic(quadratic(10, 0), 1, 0, 3, 4),
             b = make_quadratic(quadratic(10, 0), 1, 2, 3, 4);
  EXPECT_TRUE(
      std::equal((*a)->own_optimum().begin(), (*a)->own_optimum().end(), (*b)->own_optimum().begin()));
  for (std::size_t k = 0; k < 30; ++k) EXPECT_NEAR((*a)->own_optimum()[k], (*a)->optimum()[k], 1e-6);
}

TEST(Quadratic, CurvatureLiesBetweenTheInverseConditionAndOne) {
  const auto task = make_quadratic(quadratic(100), 1, 0, 1, 4);
  Stream stream;
  Random random(1, Purpose::test);
  double least = 1e9, most = 0;
  const auto rayleigh = [&](const std::vector<double>& direction) {
    std::vector<float> x(30), g(30);
    double square = 0, curve = 0;
    for (std::size_t k = 0; k < 30; ++k) x[k] = (*task)->own_optimum()[k] + static_cast<float>(direction[k]);
    (*task)->loss_and_gradient(stream, x, 0, g, nullptr);
    for (std::size_t k = 0; k < 30; ++k) {
      square += direction[k] * direction[k];
      curve += direction[k] * static_cast<double>(g[k]);
    }
    return curve / square;
  };
  // Power iteration finds the top; (1.01 I - A) the bottom.
  for (const bool bottom : {false, true}) {
    std::vector<double> v(30);
    for (double& x : v) x = random.normal();
    for (int i = 0; i < 3000; ++i) {
      std::vector<float> x(30), g(30);
      double norm = 0;
      for (std::size_t k = 0; k < 30; ++k) x[k] = (*task)->own_optimum()[k] + static_cast<float>(v[k]);
      (*task)->loss_and_gradient(stream, x, 0, g, nullptr);
      for (std::size_t k = 0; k < 30; ++k)
        v[k] = bottom ? 1.01 * v[k] - static_cast<double>(g[k]) : static_cast<double>(g[k]);
      for (const double x2 : v) norm += x2 * x2;
      for (double& x2 : v) x2 *= 10 / std::sqrt(norm);
    }
    (bottom ? least : most) = rayleigh(v);
  }
  EXPECT_NEAR(most, 1, 1e-3);
  EXPECT_NEAR(least, 0.01, 1e-3);
}

TEST(Quadratic, NoiseHasTheAskedDeviationAndNoBias) {
  constexpr std::size_t kBatchSize = 4;
  const auto task = make_quadratic(quadratic(1, 1, 2), kBatchSize, 0, 1, 4);
  Stream stream;
  std::vector<float> gradient(30);
  double sum = 0, square = 0, count = 0;
  for (std::uint64_t step = 0; step < 400; ++step) {
    (*task)->loss_and_gradient(stream, (*task)->own_optimum(), step, gradient, nullptr);
    for (const float g : gradient) {
      sum += static_cast<double>(g);
      square += static_cast<double>(g) * static_cast<double>(g);
      ++count;
    }
  }
  EXPECT_NEAR(sum / count, 0, 0.04);  // 4 standard errors of 1 / sqrt(12000)
  EXPECT_NEAR(std::sqrt(square / count), 1, 0.03) << "2 / sqrt(batch of 4)";
}

// ---- the trained tasks ----

TEST(Linear, FindsTheLeastSquaresSolution) {
  // Targets that are linear in the features have residual 0 at the solution.
  Dataset set = made_up(60, 4, 0);
  for (std::size_t i = 0; i < set.samples; ++i)
    set.targets[i] = 2 * set.x[4 * i] - set.x[4 * i + 1] + 0.5f * set.x[4 * i + 3] + 3;
  const auto shared = std::make_shared<const Dataset>(std::move(set));
  TaskOptions options;
  options.kind = "linear";
  auto task = make_task(options, {shared, shared}, everything(*shared), 60, 0, 1, 1);
  ASSERT_TRUE(task) << task.error().message;
  Stream stream;
  std::vector<float> model(5), gradient(5);
  for (std::uint64_t step = 0; step < 400; ++step) {
    (*task)->loss_and_gradient(stream, model, step, gradient, nullptr);
    for (std::size_t i = 0; i < 5; ++i) model[i] -= 0.3f * gradient[i];
  }
  const float expected[] = {2, -1, 0, 0.5, 3};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(model[i], expected[i], 1e-3);
  const Evaluation result = (*task)->evaluate(stream, model);
  EXPECT_NEAR(result.loss, 0, 1e-6);
  EXPECT_TRUE(std::isnan(result.accuracy));
}

TEST(Logistic, SparseAndDenseDataGiveTheSameBits) {
  for (const std::uint32_t classes : {2u, 3u}) {
    Dataset dense = made_up(40, 6, classes), sparse = dense;
    sparse.x.clear();
    sparse.row_begin.push_back(0);
    for (std::size_t i = 0; i < dense.samples; ++i) {
      for (std::uint32_t f = 0; f < 6; ++f) {
        float& x = dense.x[6 * i + f];
        if ((i + f) % 3 == 0) {
          x = 0;
          continue;
        }
        sparse.column.push_back(f);
        sparse.value.push_back(x);
      }
      sparse.row_begin.push_back(sparse.column.size());
    }
    const auto a = std::make_shared<const Dataset>(dense), b = std::make_shared<const Dataset>(sparse);
    for (const char* kind : {"logistic", "mlp"}) {
      TaskOptions options;
      options.kind = kind;
      options.hidden = {5};
      options.l2 = 0.01;
      auto from_dense = make_task(options, {a, a}, everything(*a), 8, 0, 1, 1);
      auto from_sparse = make_task(options, {b, b}, everything(*b), 8, 0, 1, 1);
      ASSERT_TRUE(from_dense && from_sparse);
      Stream stream;
      const auto model = some_model(**from_dense);
      std::vector<float> g(model.size()), h(model.size());
      EXPECT_EQ((*from_dense)->loss_and_gradient(stream, model, 2, g, nullptr),
                (*from_sparse)->loss_and_gradient(stream, model, 2, h, nullptr));
      EXPECT_EQ(g, h) << kind << ", " << classes << " classes";
      EXPECT_EQ((*from_dense)->evaluate(stream, model).loss, (*from_sparse)->evaluate(stream, model).loss);
    }
  }
}

TEST(Logistic, HugeScoresStayFinite) {
  const Split data = made_up_split(20, 3, 2);
  TaskOptions options;
  options.kind = "logistic";
  auto task = make_task(options, data, everything(*data.train), 20, 0, 1, 1);
  Stream stream;
  std::vector<float> model(4, 1e6f), gradient(4);
  EXPECT_TRUE(std::isfinite((*task)->loss_and_gradient(stream, model, 0, gradient, nullptr)));
  for (const float g : gradient) EXPECT_TRUE(std::isfinite(g));
}

TEST(Mlp, LayoutNamesLayersAndShapes) {
  const auto task = make({"mlp", {}, 3});
  const auto& tensors = task->layout().tensors();
  ASSERT_EQ(tensors.size(), 6u);
  EXPECT_EQ(tensors[0].name, "layers.0.weight");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::size_t>{128, kFeatures}));
  EXPECT_EQ(tensors[1].name, "layers.0.bias");
  EXPECT_EQ(tensors[4].name, "layers.2.weight");
  EXPECT_EQ(tensors[4].shape, (std::vector<std::size_t>{3, 64}));
  EXPECT_EQ(tensors[5].shape, (std::vector<std::size_t>{3}));
}

TEST(Mlp, ANaNInTheModelShowsInTheLoss) {
  const auto task = make({"mlp", {}, 3});
  auto model = some_model(*task);
  model[0] = std::numeric_limits<float>::quiet_NaN();
  Stream stream;
  std::vector<float> gradient(model.size());
  EXPECT_TRUE(std::isnan(task->loss_and_gradient(stream, model, 0, gradient, nullptr)));
  EXPECT_TRUE(std::isnan(task->evaluate(stream, model).loss));
}

TEST(Evaluate, TakesEvenlySpacedSamplesWhenAskedForFewer) {
  // A test set sorted by class; the model says class 1 always.
  Dataset set = made_up(600, 2, 2);
  for (std::size_t i = 0; i < 600; ++i) set.labels[i] = i < 300 ? 0 : 1;
  const auto shared = std::make_shared<const Dataset>(std::move(set));
  TaskOptions options;
  options.kind = "logistic";
  auto task = make_task(options, {shared, shared}, everything(*shared), 8, 0, 1, 1);
  Stream stream;
  const std::vector<float> model = {0, 0, 1};
  const Evaluation all = (*task)->evaluate(stream, model), some = (*task)->evaluate(stream, model, 100);
  EXPECT_EQ(all.samples, 600u);
  EXPECT_EQ(some.samples, 100u);
  EXPECT_EQ(all.accuracy, 0.5);
  EXPECT_EQ(some.accuracy, 0.5);
  EXPECT_EQ((*task)->evaluate(stream, model, 10000).samples, 600u);
}

TEST(MakeTask, RefusesDataThatDoNotFit) {
  const Split classes = made_up_split(20, 3, 2), values = made_up_split(20, 3, 0);
  const auto with = [](const char* kind, const Split& data, std::vector<std::uint32_t> shard = {0, 1},
                       std::size_t batch = 4) {
    TaskOptions options;
    options.kind = kind;
    return make_task(options, data, std::move(shard), batch, 0, 1, 1);
  };
  expect_failure(with("linear", classes), Errc::invalid_argument, {"regression: true"});
  expect_failure(with("mlp", values), Errc::invalid_argument, {"use linear"});
  expect_failure(with("mlp", {}), Errc::invalid_argument, {"data.format"});
  expect_failure(with("mlp", {classes.train, made_up_split(20, 4, 2).test}), Errc::invalid_argument,
                 {"same features"});
  expect_failure(with("mlp", classes, {}), Errc::invalid_argument, {"no samples"});
  expect_failure(with("mlp", classes, {0}, 0), Errc::invalid_argument, {"batch_size is 0"});
  expect_failure(with("cnn", classes), Errc::invalid_argument, {"'cnn'", "quadratic, linear, logistic, mlp"});
  EXPECT_TRUE(with("quadratic", {}));
}

TEST(TaskOptions, BadOnesAreRefused) {
  const auto with = [](auto change) {
    TaskOptions options;
    change(options);
    return validate(options);
  };
  expect_failure(with([](auto& o) { o.hidden = {8, 0}; }), Errc::invalid_argument, {"width 0"});
  expect_failure(with([](auto& o) { o.l2 = -1; }), Errc::invalid_argument, {"l2 is -1"});
  expect_failure(with([](auto& o) { o.condition = 0.5; }), Errc::invalid_argument, {"condition is 0.5"});
  expect_failure(with([](auto& o) { o.noise = NAN; }), Errc::invalid_argument, {"noise is nan"});
  expect_failure(with([](auto& o) { o.dimension = 0; }), Errc::invalid_argument, {"dimension is 0"});
}

}  // namespace
}  // namespace gossamer
