// Dense layers with ReLU between them and softmax cross-entropy at the end.
#include <fmt/core.h>
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/random.h"
#include "trainer/batches.h"
#include "trainer/losses.h"
#include "trainer/multiply.h"

namespace gossamer {
namespace {

struct Layer {
  std::size_t in, out;
  std::size_t weight, bias;         // offsets in the model: [out, in] and [out]
  AlignedBuffer<float> transposed;  // the weight as [in, out]
  AlignedBuffer<float> output;      // rows x out, after ReLU
  AlignedBuffer<float> slope;       // batch x out, d loss / d (output before ReLU)
};

class Mlp final : public Task {
 public:
  explicit Mlp(TaskParts parts)
      : l2_(parts.options.l2),
        data_(std::move(parts.data)),
        batches_(std::move(parts.shard), parts.batch_size, parts.peer, parts.seed) {
    const std::size_t rows = std::max(batches_.batch_size(), kEvaluationRows);
    const Dataset& train = *data_.train;
    std::vector<std::size_t> widths = {train.features};
    widths.insert(widths.end(), parts.options.hidden.begin(), parts.options.hidden.end());
    widths.push_back(train.classes);
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
      const std::size_t in = widths[l], out = widths[l + 1];
      const std::size_t weight = layout_.size();
      layout_.add(fmt::format("layers.{}.weight", l), {out, in});
      layout_.add(fmt::format("layers.{}.bias", l), {out});
      layers_.push_back({in, out, weight, weight + out * in, AlignedBuffer<float>(in * out),
                         AlignedBuffer<float>(rows * out),
                         AlignedBuffer<float>(batches_.batch_size() * out)});
    }
    input_ = AlignedBuffer<float>(rows * train.features);
    labels_.resize(rows);
  }

  std::string_view name() const override { return "mlp"; }
  const Layout& layout() const override { return layout_; }
  std::size_t batch_size() const override { return batches_.batch_size(); }
  std::uint64_t steps_per_epoch() const override { return batches_.steps_per_epoch(); }
  std::uint64_t samples() const override { return batches_.samples(); }

  // He et al. 2015: weights normal with variance 2 / inputs, biases 0.
  void initialise(std::uint64_t seed, std::span<float> model) const override {
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
    std::fill(model.begin(), model.end(), 0.0f);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      Random random(seed, Purpose::initial_model, l);
      const double deviation = std::sqrt(2.0 / static_cast<double>(layer.in));
      for (float& w : model.subspan(layer.weight, layer.out * layer.in))
        w = static_cast<float>(deviation * random.normal());
    }
  }

  double loss_and_gradient(Stream& stream, std::span<const float> model, std::uint64_t step,
                           std::span<float> gradient, GradientSink* sink) override {
    check_call(stream, model);
    GOSSAMER_CHECK(gradient.size() == layout_.size(), "the gradient has the size of the layout");
    const auto batch = batches_.at(step);
    const std::size_t rows = batch.size();
    for (std::size_t r = 0; r < rows; ++r) take(*data_.train, batch[r], r);
    prepare(model);
    const float* scores = forward(model, rows);
    Layer& last = layers_.back();
    const float scale = 1.0f / static_cast<float>(rows);
    double loss = softmax_loss(rows, last.out, scores, labels_.data(), scale, last.slope.data()).loss;
    loss /= static_cast<double>(rows);
    for (std::size_t l = layers_.size(); l-- > 0;) {
      loss += penalty(l2_, weight_of(layers_[l], model));
      backward(l, rows, model, gradient);
      if (sink == nullptr) continue;
      sink->ready(layers_[l].bias, layers_[l].out);
      sink->ready(layers_[l].weight, layers_[l].out * layers_[l].in);
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
      for (std::size_t r = 0; r < rows; ++r) take(test, test_row(begin + r, count, test.samples), r);
      const BatchLoss part =
          softmax_loss(rows, layers_.back().out, forward(model, rows), labels_.data(), 1, nullptr);
      total.loss += part.loss;
      total.right += part.right;
    }
    const double n = static_cast<double>(count);
    return {total.loss / n, static_cast<double>(total.right) / n, count};
  }

 private:
  void check_call(const Stream& stream, std::span<const float> model) const {
    GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "this task works on host memory");
    GOSSAMER_CHECK(model.size() == layout_.size(), "the model has the size of the layout");
  }

  static std::span<const float> weight_of(const Layer& layer, std::span<const float> model) {
    return model.subspan(layer.weight, layer.out * layer.in);
  }

  // Row `r` of the input becomes sample i.
  void take(const Dataset& from, std::size_t i, std::size_t r) {
    from.gather(i, input_.data() + r * from.features);
    labels_[r] = from.labels[i];
  }

  void prepare(std::span<const float> model) {
    for (Layer& layer : layers_)
      transpose(layer.out, layer.in, model.data() + layer.weight, layer.transposed.data());
  }

  // After prepare(): the scores of the first `rows` rows of the input.
  const float* forward(std::span<const float> model, std::size_t rows) {
    const float* from = input_.data();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      float* to = layer.output.data();
      const auto bias = model.subspan(layer.bias, layer.out);
      for (std::size_t r = 0; r < rows; ++r) std::copy(bias.begin(), bias.end(), to + r * layer.out);
      multiply_add(rows, layer.out, layer.in, {from, layer.in, 1}, layer.transposed.data(), layer.out, to,
                   layer.out);
      if (l + 1 < layers_.size())
        for (std::size_t i = 0; i < rows * layer.out; ++i)
          to[i] = to[i] < 0 ? 0 : to[i];  // a NaN stays one, to be seen
      from = to;
    }
    return from;
  }

  // From the slope of layer l: its gradient, and the slope of the layer below.
  void backward(std::size_t l, std::size_t rows, std::span<const float> model, std::span<float> gradient) {
    Layer& layer = layers_[l];
    const float* slope = layer.slope.data();
    const float* input = l == 0 ? input_.data() : layers_[l - 1].output.data();
    const auto weight = weight_of(layer, model);

    float* to = gradient.data() + layer.weight;
    const float decay = static_cast<float>(l2_);
    if (l2_ == 0)
      std::fill_n(to, weight.size(), 0.0f);
    else
      for (std::size_t i = 0; i < weight.size(); ++i) to[i] = decay * weight[i];
    multiply_add(layer.out, layer.in, rows, {slope, 1, layer.out}, input, layer.in, to, layer.in);

    float* bias = gradient.data() + layer.bias;
    std::fill_n(bias, layer.out, 0.0f);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t o = 0; o < layer.out; ++o) bias[o] += slope[r * layer.out + o];

    if (l == 0) return;
    Layer& below = layers_[l - 1];
    float* down = below.slope.data();
    std::fill_n(down, rows * below.out, 0.0f);
    multiply_add(rows, layer.in, layer.out, {slope, layer.out, 1}, weight.data(), layer.in, down, layer.in);
    for (std::size_t i = 0; i < rows * below.out; ++i) down[i] = below.output[i] > 0 ? down[i] : 0;
  }

  double l2_;
  Split data_;
  Batches batches_;
  Layout layout_;
  std::vector<Layer> layers_;
  AlignedBuffer<float> input_;
  std::vector<std::int32_t> labels_;  // of the rows in input_
};

}  // namespace

std::unique_ptr<Task> make_mlp(TaskParts parts) {
  return std::make_unique<Mlp>(std::move(parts));
}

}  // namespace gossamer
