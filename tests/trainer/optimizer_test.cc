#include "trainer/optimizer.h"

#include <cmath>

#include "tests/trainer/testing.h"

namespace gossamer {
namespace {

OptimizerOptions sgd(double momentum = 0, bool nesterov = false, double decay = 0) {
  OptimizerOptions options;
  options.momentum = momentum;
  options.nesterov = nesterov;
  options.weight_decay = decay;
  return options;
}

OptimizerOptions adamw(double decay = 0) {
  OptimizerOptions options;
  options.name = "adamw";
  options.weight_decay = decay;
  return options;
}

// The single-parameter model after each of the steps with these gradients.
std::vector<float> sequence(const OptimizerOptions& options, double rate, float start,
                            std::vector<float> gradients) {
  auto optimizer = make_optimizer(options, 1);
  EXPECT_TRUE(optimizer);
  Stream stream;
  std::vector<float> model = {start}, seen;
  for (const float g : gradients) {
    (*optimizer)->begin(rate);
    (*optimizer)->apply(stream, 0, std::vector<float>{g}, model);
    seen.push_back(model[0]);
  }
  return seen;
}

// All numbers below are exact in binary, so that the hand computation and the code agree to the bit.
TEST(Sgd, PlainStepsAreLearningRateTimesGradient) {
  EXPECT_EQ(sequence(sgd(), 0.5, 4, {2, -1, 0}), (std::vector<float>{3, 3.5, 3.5}));
}

TEST(Sgd, MomentumAccumulatesGradients) {
  // v: 2, 1/2*2 - 1 = 0, 1/2*0 + 4 = 4
  EXPECT_EQ(sequence(sgd(0.5), 0.5, 4, {2, -1, 4}), (std::vector<float>{3, 3, 1}));
}

TEST(Sgd, NesterovLooksAhead) {
  // v: 2, 0, 4; direction g + v/2: 3, -1, 6
  EXPECT_EQ(sequence(sgd(0.5, true), 0.5, 4, {2, -1, 4}), (std::vector<float>{2.5, 3, 0}));
}

TEST(Sgd, WeightDecayIsPartOfTheGradient) {
  // g + x/4: 2 + 1 = 3; 2 + 2.5/4 = 2.625
  EXPECT_EQ(sequence(sgd(0, false, 0.25), 0.5, 4, {2, 2}), (std::vector<float>{2.5, 1.1875}));
  // v: 3; 1.5 + 2.625 = 4.125
  EXPECT_EQ(sequence(sgd(0.5, false, 0.25), 0.5, 4, {2, 2}), (std::vector<float>{2.5, 0.4375}));
}

TEST(AdamW, FollowsThePublishedRecurrence) {
  // In double, straight from the paper: m, v, their bias corrections, decoupled decay.
  const auto options = adamw(0.1);
  const std::vector<float> gradients = {0.5f, -2, 0.25f, 1, 1, -3};
  double x = 1.5, m = 0, v = 0;
  std::vector<double> expected;
  for (std::size_t t = 1; t <= gradients.size(); ++t) {
    const double g = gradients[t - 1];
    x -= 0.01 * 0.1 * x;
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    x -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
    expected.push_back(x);
  }
  const auto seen = sequence(options, 0.01, 1.5f, gradients);
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_NEAR(seen[i], expected[i], 1e-6) << i;
}

TEST(AdamW, FirstStepIsTheLearningRateWhateverTheGradient) {
  for (const float g : {1e-4f, 1.0f, 1e4f}) EXPECT_NEAR(sequence(adamw(), 0.125, 1, {g})[0], 0.875, 1e-4);
}

class Checkpoint : public testing::TestWithParam<OptimizerOptions> {};

TEST_P(Checkpoint, RangesInAnyOrderAreTheWholeBitForBit) {
  constexpr std::size_t kCount = 100;
  Stream stream;
  Random random(4, Purpose::test);
  auto whole = make_optimizer(GetParam(), kCount), parts = make_optimizer(GetParam(), kCount);
  ASSERT_TRUE(whole && parts);
  std::vector<float> one(kCount, 1.0f), other = one, gradient(kCount);
  for (int step = 0; step < 5; ++step) {
    for (float& g : gradient) g = static_cast<float>(random.normal());
    (*whole)->begin(0.01);
    (*whole)->apply(stream, 0, gradient, one);
    (*parts)->begin(0.01);
    for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{70, 100}, {0, 33}, {33, 70}})
      (*parts)->apply(stream, begin, std::span(gradient).subspan(begin, end - begin), std::span(other).subspan(begin, end - begin));
  }
  EXPECT_EQ(one, other);
}

TEST_P(Checkpoint, ContinuesBitForBit) {
  constexpr std::size_t kCount = 1000;
  Stream stream;
  Random random(3, Purpose::test);
  const auto step = [&](Optimizer& optimizer, std::vector<float>& model, Random& from) {
    std::vector<float> gradient(kCount);
    for (float& g : gradient) g = static_cast<float>(from.normal());
    optimizer.begin(0.01);
    optimizer.apply(stream, 0, gradient, model);
  };
  auto straight = make_optimizer(GetParam(), kCount), resumed = make_optimizer(GetParam(), kCount);
  ASSERT_TRUE(straight && resumed);
  std::vector<float> model(kCount, 1.0f);
  for (int i = 0; i < 5; ++i) step(**straight, model, random);
  Writer writer;
  (*straight)->save(writer);
  const auto bytes = writer.take();
  Reader reader(bytes);
  ASSERT_TRUE((*resumed)->load(reader));
  EXPECT_EQ(reader.left(), 0u);
  std::vector<float> copy = model;
  Random fork = random;
  for (int i = 0; i < 5; ++i) {
    step(**straight, model, random);
    step(**resumed, copy, fork);
  }
  EXPECT_EQ(model, copy);
}

TEST_P(Checkpoint, TruncatedStateIsRefused) {
  auto optimizer = make_optimizer(GetParam(), 4);
  Writer writer;
  (*optimizer)->save(writer);
  const auto bytes = writer.take();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Reader reader(std::span<const std::byte>(bytes).first(size));
    EXPECT_FALSE((*optimizer)->load(reader)) << size << " of " << bytes.size() << " bytes";
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizer, Checkpoint,
                         testing::Values(sgd(), sgd(0.9), sgd(0.9, true, 1e-4), adamw(), adamw(0.1)));

TEST(Optimizer, StateOfAnotherKindOrModelIsRefused) {
  Writer writer;
  (*make_optimizer(sgd(0.9), 4))->save(writer);
  const auto bytes = writer.take();
  Reader one(bytes), two(bytes), three(bytes);
  expect_failure((*make_optimizer(adamw(), 4))->load(one), Errc::invalid_argument, {"another optimizer"});
  expect_failure((*make_optimizer(sgd(0.9), 5))->load(two), Errc::invalid_argument, {"4 parameters", "5"});
  expect_failure((*make_optimizer(sgd(), 4))->load(three), Errc::invalid_argument, {"momentum"});
}

TEST(Optimizer, BadOptionsAreRefused) {
  const auto with = [](auto change) {
    OptimizerOptions options;
    change(options);
    return make_optimizer(options, 1);
  };
  expect_failure(with([](auto& o) { o.name = "adam"; }), Errc::invalid_argument, {"'adam'", "sgd, adamw"});
  expect_failure(with([](auto& o) { o.learning_rate = 0; }), Errc::invalid_argument, {"learning_rate is 0"});
  expect_failure(with([](auto& o) { o.learning_rate = NAN; }), Errc::invalid_argument,
                 {"learning_rate is nan"});
  expect_failure(with([](auto& o) { o.momentum = 1; }), Errc::invalid_argument, {"momentum is 1", "[0, 1)"});
  expect_failure(with([](auto& o) { o.nesterov = true; }), Errc::invalid_argument, {"needs momentum"});
  expect_failure(with([](auto& o) { o.weight_decay = -1; }), Errc::invalid_argument, {"weight_decay is -1"});
  expect_failure(with([](auto& o) { o.name = "adamw", o.momentum = 0.9; }), Errc::invalid_argument,
                 {"beta1"});
}

TEST(Schedule, ConstantIsThePeak) {
  for (const double epoch : {0.0, 1.5, 10.0}) EXPECT_EQ(learning_rate_at({}, 0.4, epoch, 10), 0.4);
}

TEST(Schedule, WarmUpIsLinear) {
  ScheduleOptions schedule;
  schedule.warmup_epochs = 2;
  schedule.warmup_start = 0.25;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 0, 10), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 1, 10), 0.625);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 2, 10), 1);
}

TEST(Schedule, StepsFallAtTheMilestones) {
  ScheduleOptions schedule;
  schedule.kind = "step";
  schedule.milestones = {3, 6};
  schedule.factor = 0.5;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 2.99, 10), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 3, 10), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 9, 10), 0.25);
}

TEST(Schedule, CosineRunsFromThePeakToTheFinalFraction) {
  ScheduleOptions schedule;
  schedule.kind = "cosine";
  schedule.warmup_epochs = 2;
  schedule.final_fraction = 0.2;
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 2, 10), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 6, 10), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 10, 10), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 11, 10), 0.2) << "past the end it stays";
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 1, 4, 10),
                   0.2 + 0.8 * 0.5 * (1 + std::cos(3.14159265358979 / 4)));
}

TEST(Schedule, BadOptionsAreRefused) {
  const auto with = [](auto change) {
    ScheduleOptions schedule;
    change(schedule);
    return validate(schedule);
  };
  expect_failure(with([](auto& s) { s.kind = "linear"; }), Errc::invalid_argument,
                 {"'linear'", "constant, step, cosine"});
  expect_failure(with([](auto& s) { s.kind = "step"; }), Errc::invalid_argument, {"needs milestones"});
  expect_failure(with([](auto& s) {
                   s.milestones = {3, 3};
                 }),
                 Errc::invalid_argument, {"milestone 2 is 3", "ascend"});
  expect_failure(with([](auto& s) { s.warmup_epochs = -1; }), Errc::invalid_argument,
                 {"warmup_epochs is -1"});
  expect_failure(with([](auto& s) { s.factor = 2; }), Errc::invalid_argument, {"factor is 2"});
}

}  // namespace
}  // namespace gossamer
