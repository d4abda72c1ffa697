#include "trainer/optimizer.h"

#include <fmt/core.h>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace gossamer {
namespace {

// Names the state in a checkpoint, so that one optimizer does not read another's buffers as its own.
enum class StateKind : std::uint32_t { sgd = 1, adamw = 2 };

// The head of every saved state: kind, parameters, steps done.
void save_head(Writer& writer, StateKind kind, std::size_t parameters, std::uint64_t steps) {
  writer.put(kind);
  writer.put<std::uint64_t>(parameters);
  writer.put(steps);
}

Result<std::uint64_t> load_head(Reader& reader, StateKind kind, std::size_t parameters) {
  const auto found = reader.get<StateKind>();
  const auto count = reader.get<std::uint64_t>();
  const auto steps = reader.get<std::uint64_t>();
  if (!reader.ok()) return fail(Errc::corrupt, "optimizer state ends early; the checkpoint is incomplete");
  if (found != kind)
    return fail(Errc::invalid_argument,
                "the checkpoint was written by another optimizer; set trainer.optimizer to that one, or "
                "start afresh");
  if (count != parameters)
    return fail(Errc::invalid_argument,
                fmt::format("the checkpoint's optimizer has {} parameters and the model {}; "
                            "the run file describes another model",
                            count, parameters));
  return steps;
}

void check_call(const Stream& stream, std::size_t offset, std::span<const float> gradient, std::span<float> model,
                std::size_t count) {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "this optimizer works on host memory");
  GOSSAMER_CHECK(gradient.size() == model.size() && offset <= count && model.size() <= count - offset,
                 "gradient and model are the same range of the optimizer's parameters");
}

// Momentum as in Sutskever et al. 2013 without the learning rate inside the buffer: v = mu v + g; x -= lr v.
class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, std::size_t count)
      : count_(count),
        momentum_(static_cast<float>(options.momentum)),
        weight_decay_(static_cast<float>(options.weight_decay)),
        nesterov_(options.nesterov),
        velocity_(options.momentum > 0 ? count : 0) {}

  void begin(double learning_rate) override {
    rate_ = static_cast<float>(learning_rate);
    ++steps_;
  }

  void apply(Stream& stream, std::size_t offset, std::span<const float> gradient, std::span<float> model) override {
    check_call(stream, offset, gradient, model, count_);
    const std::size_t count = model.size();
    const float rate = rate_, decay = weight_decay_, mu = momentum_;
    const float* g = gradient.data();
    float* x = model.data();
    float* v = momentum_ > 0 ? velocity_.data() + offset : nullptr;
    if (v == nullptr)
      for (std::size_t i = 0; i < count; ++i) x[i] -= rate * (g[i] + decay * x[i]);
    else if (nesterov_)
      for (std::size_t i = 0; i < count; ++i) {
        const float d = g[i] + decay * x[i];
        v[i] = mu * v[i] + d;
        x[i] -= rate * (d + mu * v[i]);
      }
    else
      for (std::size_t i = 0; i < count; ++i) {
        v[i] = mu * v[i] + (g[i] + decay * x[i]);
        x[i] -= rate * v[i];
      }
  }

  void save(Writer& writer) const override {
    save_head(writer, StateKind::sgd, count_, steps_);
    writer.array(velocity_.span());
  }

  Result<> load(Reader& reader) override {
    GOSSAMER_TRY_ASSIGN(const std::uint64_t steps, load_head(reader, StateKind::sgd, count_));
    AlignedBuffer<float> velocity(velocity_.size());
    reader.array(velocity.span());
    if (!reader.ok())
      return fail(Errc::invalid_argument,
                  "the checkpoint's momentum buffer does not fit: momentum was switched on or "
                  "off since it was written, or the file is incomplete");
    velocity_ = std::move(velocity);
    steps_ = steps;
    return {};
  }

 private:
  std::size_t count_;
  float momentum_, weight_decay_;
  bool nesterov_;
  AlignedBuffer<float> velocity_;
  float rate_ = 0;
  std::uint64_t steps_ = 0;
};

// Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).
class AdamW final : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, std::size_t count)
      : options_(options), count_(count), mean_(count), square_(count) {}

  void begin(double learning_rate) override {
    ++steps_;
    const double t = static_cast<double>(steps_);
    keep_ = static_cast<float>(1 - learning_rate * options_.weight_decay);
    rate_ = static_cast<float>(learning_rate / (1 - std::pow(options_.beta1, t)));
    correct_ = static_cast<float>(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
  }

  void apply(Stream& stream, std::size_t offset, std::span<const float> gradient, std::span<float> model) override {
    check_call(stream, offset, gradient, model, count_);
    const float b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2);
    const float epsilon = static_cast<float>(options_.epsilon), keep = keep_, rate = rate_, correct = correct_;
    const float* g = gradient.data();
    float *x = model.data(), *m = mean_.data() + offset, *v = square_.data() + offset;
    for (std::size_t i = 0; i < model.size(); ++i) {
      m[i] = b1 * m[i] + (1 - b1) * g[i];
      v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i];
      x[i] = keep * x[i] - rate * m[i] / (std::sqrt(v[i]) * correct + epsilon);
    }
  }

  void save(Writer& writer) const override {
    save_head(writer, StateKind::adamw, count_, steps_);
    writer.array(mean_.span());
    writer.array(square_.span());
  }

  Result<> load(Reader& reader) override {
    GOSSAMER_TRY_ASSIGN(const std::uint64_t steps, load_head(reader, StateKind::adamw, count_));
    AlignedBuffer<float> mean(count_), square(count_);
    reader.array(mean.span());
    reader.array(square.span());
    if (!reader.ok()) return fail(Errc::corrupt, "optimizer state ends early; the checkpoint is incomplete");
    mean_ = std::move(mean);
    square_ = std::move(square);
    steps_ = steps;
    return {};
  }

 private:
  OptimizerOptions options_;
  std::size_t count_;
  AlignedBuffer<float> mean_, square_;
  float keep_ = 1, rate_ = 0, correct_ = 1;  // of the step under way
  std::uint64_t steps_ = 0;
};

Failure out_of_range(std::string_view option, double value, std::string_view range) {
  return fail(Errc::invalid_argument, fmt::format("{} is {}; it must be {}", option, value, range));
}

}  // namespace

Result<> validate(const OptimizerOptions& o) {
  // Comparisons are written so that NaN fails them.
  if (o.name != "sgd" && o.name != "adamw")
    return fail(Errc::invalid_argument,
                fmt::format("optimizer '{}' is not known; known are sgd, adamw", o.name));
  if (!(o.learning_rate > 0) || std::isinf(o.learning_rate))
    return out_of_range("learning_rate", o.learning_rate, "finite and above 0");
  if (!(o.weight_decay >= 0) || std::isinf(o.weight_decay))
    return out_of_range("weight_decay", o.weight_decay, "finite and at least 0");
  if (!(o.momentum >= 0 && o.momentum < 1)) return out_of_range("momentum", o.momentum, "in [0, 1)");
  if (o.name == "sgd") {
    if (o.nesterov && o.momentum == 0)
      return fail(Errc::invalid_argument,
                  "nesterov needs momentum; set momentum (0.9, say) or leave nesterov off");
    return {};
  }
  if (o.momentum != 0 || o.nesterov)
    return fail(Errc::invalid_argument, "momentum and nesterov belong to sgd; adamw's momentum is beta1");
  if (!(o.beta1 >= 0 && o.beta1 < 1)) return out_of_range("beta1", o.beta1, "in [0, 1)");
  if (!(o.beta2 >= 0 && o.beta2 < 1)) return out_of_range("beta2", o.beta2, "in [0, 1)");
  if (!(o.epsilon > 0)) return out_of_range("epsilon", o.epsilon, "above 0");
  return {};
}

Result<> validate(const ScheduleOptions& s) {
  if (s.kind != "constant" && s.kind != "step" && s.kind != "cosine")
    return fail(Errc::invalid_argument,
                fmt::format("schedule '{}' is not known; known are constant, step, cosine", s.kind));
  if (!(s.warmup_epochs >= 0) || std::isinf(s.warmup_epochs))
    return out_of_range("warmup_epochs", s.warmup_epochs, "finite and at least 0");
  if (!(s.warmup_start >= 0 && s.warmup_start <= 1))
    return out_of_range("warmup_start", s.warmup_start, "in [0, 1]");
  if (!(s.factor > 0 && s.factor <= 1)) return out_of_range("factor", s.factor, "in (0, 1]");
  if (!(s.final_fraction >= 0 && s.final_fraction <= 1))
    return out_of_range("final_fraction", s.final_fraction, "in [0, 1]");
  if (s.kind == "step" && s.milestones.empty())
    return fail(Errc::invalid_argument,
                "schedule 'step' needs milestones: the epochs at which the rate falls");
  for (std::size_t i = 0; i < s.milestones.size(); ++i)
    if (!(s.milestones[i] > (i == 0 ? 0 : s.milestones[i - 1])))
      return fail(
          Errc::invalid_argument,
          fmt::format("milestone {} is {}; milestones must be above 0 and ascend", i + 1, s.milestones[i]));
  return {};
}

Result<std::unique_ptr<Optimizer>> make_optimizer(const OptimizerOptions& options,
                                                  std::size_t parameter_count) {
  GOSSAMER_TRY(validate(options));
  if (options.name == "sgd") return std::make_unique<Sgd>(options, parameter_count);
  return std::make_unique<AdamW>(options, parameter_count);
}

double learning_rate_at(const ScheduleOptions& s, double peak, double epoch, double epochs) {
  double rate = peak;
  if (s.kind == "step") {
    rate *= std::pow(
        s.factor, std::upper_bound(s.milestones.begin(), s.milestones.end(), epoch) - s.milestones.begin());
  } else if (s.kind == "cosine") {
    const double length = epochs - s.warmup_epochs;
    const double done = length > 0 ? std::clamp((epoch - s.warmup_epochs) / length, 0.0, 1.0) : 1.0;
    rate *= s.final_fraction + (1 - s.final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * done));
  }
  if (epoch < s.warmup_epochs) rate *= s.warmup_start + (1 - s.warmup_start) * epoch / s.warmup_epochs;
  return rate;
}

}  // namespace gossamer
