#include "runtime/worker.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/check.h"
#include "kernels/vector.h"

namespace gossamer {

namespace {

// Hears of tensors and tells of parts.
class PartsReady final : public GradientSink {
 public:
  PartsReady(std::span<const EnginePart> parts, const Worker::PartReady& tell) : parts_(parts), tell_(tell) {
    for (const EnginePart& part : parts) missing_.push_back(part.count);
  }

  void ready(std::size_t offset, std::size_t count) override {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::size_t begin = std::max(offset, parts_[i].offset);
      const std::size_t end = std::min(offset + count, parts_[i].offset + parts_[i].count);
      if (begin >= end) continue;
      missing_[i] -= end - begin;
      if (missing_[i] == 0 && told_) told_ = tell_(i);
    }
  }

  // What telling led to.
  Result<> told() const { return told_; }

 private:
  std::span<const EnginePart> parts_;
  const Worker::PartReady& tell_;
  std::vector<std::size_t> missing_;
  Result<> told_;
};

}  // namespace

Worker::Worker(WorkerSetup setup, Trainer& trainer, Engine& engine) : setup_(setup), trainer_(trainer), engine_(engine) {
  if (exchanges_gradient() && setup_.delayed) own_gradient_ = AlignedBuffer<float>(trainer.model().size());
}

Result<> Worker::compute(const PartReady& ready) {
  GOSSAMER_CHECK(ready || !in_parts(), "parts that are ready are to be published");
  PartsReady parts(engine_.parts(), ready);
  last_loss_ = trainer_.compute_gradient(in_parts() ? &parts : nullptr);
  if (!std::isfinite(last_loss_))
    return fail(Errc::diverged, fmt::format("the loss of step {} is {}; use a smaller trainer.optimizer.learning_rate or a smaller "
                                            "mixing.step_size",
                                            trainer_.steps(), last_loss_));
  GOSSAMER_TRY(parts.told());
  if (in_parts()) {
    at_ = At::parts_exchange;
    return {};
  }
  if (setup_.gradient_scale != 1) scale(static_cast<float>(setup_.gradient_scale), trainer_.gradient());
  at_ = At::gradient_ready;
  return {};
}

void Worker::publish(std::size_t part) {
  const auto [offset, count, mixer] = engine_.parts()[part];
  const std::span<float> gradient = trainer_.gradient().subspan(offset, count);
  const double rate = trainer_.learning_rate();
  if (setup_.gradient_scale != 1) scale(static_cast<float>(setup_.gradient_scale), gradient);
  engine_.gradient(part, gradient, rate);
  if (exchanges_gradient()) return engine_.publish(part, gradient, rate);
  trainer_.apply_gradient(offset, count);
  engine_.publish(part, trainer_.model().subspan(offset, count), rate);
}

Wants Worker::advance() {
  for (;;) switch (at_) {
      case At::step:
        if (trainer_.steps() >= setup_.steps) {
          at_ = At::last_exchange;
          break;
        }
        // Nothing waits for leave to publish once the gradient is under way.
        if (!may_compute()) return Wants::exchange;
        return Wants::compute;

      case At::parts_exchange:
        if (engine_.open_rounds() > 0) return Wants::exchange;
        if (exchanges_gradient()) {
          engine_.apply(trainer_.gradient());
          at_ = At::update;
          break;
        }
        trainer_.go_on_with(engine_.apply(trainer_.model()));
        trainer_.finish_step();
        at_ = At::step;
        break;

      case At::gradient_ready:
        published_rate_ = trainer_.learning_rate();
        engine_.gradient(trainer_.gradient(), published_rate_);
        at_ = At::update;
        if (!exchanges_gradient()) break;
        at_ = At::gradient_exchange;
        if (!setup_.delayed) engine_.publish(trainer_.gradient(), published_rate_);
        break;

      case At::gradient_exchange:
        if (engine_.open_rounds() > 0) return Wants::exchange;
        at_ = At::update;
        if (!setup_.delayed) {
          engine_.apply(trainer_.gradient());
          break;
        }
        std::copy(trainer_.gradient().begin(), trainer_.gradient().end(), own_gradient_.data());
        if (outstanding_) {
          engine_.apply(trainer_.gradient());
        } else {
          std::fill(trainer_.gradient().begin(), trainer_.gradient().end(), 0.f);
        }
        engine_.publish(own_gradient_.span(), published_rate_);
        outstanding_ = true;
        break;

      case At::update:
        trainer_.apply_gradient();
        at_ = !exchanges_gradient() && trainer_.steps() % setup_.local_steps == 0 ? At::window_end : At::step;
        break;

      case At::window_end:
        if (!setup_.free_running && outstanding_ && engine_.open_rounds() > 0) return Wants::exchange;
        if (!engine_.can_publish()) return Wants::exchange;
        trainer_.go_on_with(engine_.apply(trainer_.model()));
        engine_.publish(trainer_.model(), published_rate_);
        outstanding_ = true;
        at_ = setup_.delayed || setup_.free_running ? At::step : At::model_exchange;
        break;

      case At::model_exchange:
        if (engine_.open_rounds() > 0) return Wants::exchange;
        if (!pipelined()) {
          trainer_.go_on_with(engine_.apply(trainer_.model()));
          outstanding_ = false;
        }
        at_ = At::step;
        break;

      case At::last_exchange:
        // It came when little was left to train.
        if (!outstanding_ && engine_.owes_publication()) {
          engine_.publish(trainer_.model(), trainer_.learning_rate());
          outstanding_ = true;
        }
        if (outstanding_) {
          if (engine_.open_rounds() > 0) return Wants::exchange;
          // A gradient that comes after the last step has no step to take.
          if (!exchanges_gradient()) trainer_.go_on_with(engine_.apply(trainer_.model()));
          if (engine_.owes_exchange()) {
            if (!engine_.can_publish()) return Wants::exchange;
            engine_.publish(trainer_.model(), trainer_.learning_rate());
            break;
          }
          outstanding_ = false;
        }
        at_ = At::done;
        break;

      case At::done: return Wants::done;
    }
}

}  // namespace gossamer
