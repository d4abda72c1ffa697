// Models whose scores are linear in the features: least squares and logistic regression, dense or sparse.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "trainer/batches.h"
#include "trainer/losses.h"
#include "trainer/multiply.h"

namespace gossamer {
namespace {

class LinearModel final : public Task {
 public:
  explicit LinearModel(TaskParts parts)
      : name_(parts.options.kind),
        l2_(parts.options.l2),
        data_(std::move(parts.data)),
        batches_(std::move(parts.shard), parts.batch_size, parts.peer, parts.seed),
        features_(data_.train->features),
        outputs_(data_.train->classes > 2 ? data_.train->classes : 1) {
    layout_.add("weight", {outputs_, features_});
    layout_.add("bias", {outputs_});
    const std::size_t rows = std::max(batches_.batch_size(), kEvaluationRows);
    scores_ = AlignedBuffer<float>(rows * outputs_);
    transposed_ = AlignedBuffer<float>(features_ * outputs_);
    if (!data_.train->sparse() || !data_.test->sparse()) input_ = AlignedBuffer<float>(rows * features_);
    rows_.resize(rows);
    labels_.resize(rows);
    targets_.resize(rows);
  }

  std::string_view name() const override { return name_; }
  const Layout& layout() const override { return layout_; }
  std::size_t batch_size() const override { return batches_.batch_size(); }
  std::uint64_t steps_per_epoch() const override { return batches_.steps_per_epoch(); }
  std::uint64_t samples() const override { return batches_.samples(); }

  // The problem is convex: zeros are as good a start as any, and the usual one.
  void initialise(std::uint64_t, std::span<float> model) const override {
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
    std::fill(model.begin(), model.end(), 0.0f);
  }

  double loss_and_gradient(Stream& stream, std::span<const float> model, std::uint64_t step,
                           std::span<float> gradient, GradientSink* sink) override {
    check_call(stream, model);
    GOSSAMER_CHECK(gradient.size() == layout_.size(), "the gradient has the size of the layout");
    const Dataset& train = *data_.train;
    const auto batch = batches_.at(step);
    const std::size_t rows = batch.size();
    std::copy(batch.begin(), batch.end(), rows_.begin());
    prepare(model);
    score(train, model, rows);
    const auto weights = model.first(outputs_ * features_);
    // The slopes replace the scores.
    const BatchLoss sum = lose(train, rows, 1.0f / static_cast<float>(rows), scores_.data());
    const double loss = sum.loss / static_cast<double>(rows) + penalty(l2_, weights);

    const float decay = static_cast<float>(l2_);
    for (std::size_t i = 0; i < weights.size(); ++i) gradient[i] = l2_ == 0 ? 0 : decay * weights[i];
    float* bias = gradient.data() + weights.size();
    std::fill_n(bias, outputs_, 0.0f);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t o = 0; o < outputs_; ++o) bias[o] += scores_[r * outputs_ + o];
    if (train.sparse()) {
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t o = 0; o < outputs_; ++o) {
          const float slope = scores_[r * outputs_ + o];
          float* to = gradient.data() + o * features_;
          for (std::uint64_t e = train.row_begin[rows_[r]]; e < train.row_begin[rows_[r] + 1]; ++e)
            to[train.column[e]] += slope * train.value[e];
        }
    } else {
      multiply_add(outputs_, features_, rows, {scores_.data(), 1, outputs_}, input_.data(), features_,
                   gradient.data(), features_);
    }
    if (sink != nullptr) {
      sink->ready(weights.size(), outputs_);
      sink->ready(0, weights.size());
    }
    return loss;
  }

  Evaluation evaluate(Stream& stream, std::span<const float> model, std::uint64_t samples_max) override {
    check_call(stream, model);
    const Dataset& test = *data_.test;
    const std::size_t count =
        samples_max == 0 ? test.samples
                         : static_cast<std::size_t>(std::min<std::uint64_t>(samples_max, test.samples));
    prepare(model);
    BatchLoss total;
    for (std::size_t begin = 0; begin < count; begin += kEvaluationRows) {
      const std::size_t rows = std::min(kEvaluationRows, count - begin);
      for (std::size_t r = 0; r < rows; ++r)
        rows_[r] = static_cast<std::uint32_t>(test_row(begin + r, count, test.samples));
      score(test, model, rows);
      const BatchLoss part = lose(test, rows, 1, nullptr);
      total.loss += part.loss;
      total.right += part.right;
    }
    const double n = static_cast<double>(count);
    return {
        total.loss / n,
        test.classes == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(total.right) / n,
        count};
  }

 private:
  void check_call(const Stream& stream, std::span<const float> model) const {
    GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "this task works on host memory");
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
  }

  void prepare(std::span<const float> model) {
    transpose(outputs_, features_, model.data(), transposed_.data());
  }

  // The scores of the samples in rows_; in the dense case input_ holds their features afterwards.  Dense and
  // sparse add up in the same order, so that they give the same bits.
  void score(const Dataset& from, std::span<const float> model, std::size_t rows) {
    const float* bias = model.data() + outputs_ * features_;
    for (std::size_t r = 0; r < rows; ++r) std::copy_n(bias, outputs_, scores_.data() + r * outputs_);
    if (from.sparse()) {
      for (std::size_t r = 0; r < rows; ++r) {
        float* to = scores_.data() + r * outputs_;
        for (std::uint64_t e = from.row_begin[rows_[r]]; e < from.row_begin[rows_[r] + 1]; ++e) {
          const float* weight = transposed_.data() + from.column[e] * outputs_;
          for (std::size_t o = 0; o < outputs_; ++o) to[o] += from.value[e] * weight[o];
        }
      }
    } else {
      for (std::size_t r = 0; r < rows; ++r) from.gather(rows_[r], input_.data() + r * features_);
      multiply_add(rows, outputs_, features_, {input_.data(), features_, 1}, transposed_.data(), outputs_,
                   scores_.data(), outputs_);
    }
  }

  BatchLoss lose(const Dataset& from, std::size_t rows, float scale, float* slope) {
    if (from.classes == 0) {
      for (std::size_t r = 0; r < rows; ++r) targets_[r] = from.targets[rows_[r]];
      return squared_loss(rows, scores_.data(), targets_.data(), scale, slope);
    }
    for (std::size_t r = 0; r < rows; ++r) labels_[r] = from.labels[rows_[r]];
    return from.classes == 2 ? logistic_loss(rows, scores_.data(), labels_.data(), scale, slope)
                             : softmax_loss(rows, outputs_, scores_.data(), labels_.data(), scale, slope);
  }

  std::string name_;
  double l2_;
  Split data_;
  Batches batches_;
  std::size_t features_, outputs_;
  Layout layout_;
  AlignedBuffer<float> transposed_;  // the weight as [features, outputs]
  AlignedBuffer<float> input_;       // rows x features
  AlignedBuffer<float> scores_;      // rows x outputs
  std::vector<std::uint32_t> rows_;  // which samples
  std::vector<std::int32_t> labels_;
  std::vector<float> targets_;
};

}  // namespace

std::unique_ptr<Task> make_linear_model(TaskParts parts) {
  return std::make_unique<LinearModel>(std::move(parts));
}

}  // namespace gossamer
