#include "runtime/worker.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "kernels/vector.h"

namespace gossamer {

Worker::Worker(WorkerSetup setup, Trainer& trainer, Engine& engine, Mixer& mixer, Stream& stream)
    : setup_(setup), trainer_(trainer), engine_(engine), mixer_(mixer), stream_(stream) {
  if (exchanges_gradient() && setup_.delayed) own_gradient_ = AlignedBuffer<float>(trainer.model().size());
}

Result<> Worker::compute() {
  last_loss_ = trainer_.compute_gradient();
  if (!std::isfinite(last_loss_))
    return fail(Errc::diverged, fmt::format("the loss of step {} is {}; use a smaller trainer.optimizer.learning_rate or a smaller "
                                            "mixing.step_size",
                                            trainer_.steps(), last_loss_));
  if (setup_.gradient_scale != 1) scale(static_cast<float>(setup_.gradient_scale), trainer_.gradient());
  at_ = At::gradient_ready;
  return {};
}

Wants Worker::advance() {
  for (;;) switch (at_) {
      case At::step:
        if (trainer_.steps() < setup_.steps) return Wants::compute;
        at_ = At::last_exchange;
        break;

      case At::gradient_ready:
        published_rate_ = trainer_.learning_rate();
        mixer_.gradient(stream_, {.round = engine_.next_round(), .learning_rate = published_rate_}, trainer_.gradient());
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
        engine_.apply(trainer_.model());
        engine_.publish(trainer_.model(), published_rate_);
        outstanding_ = true;
        at_ = setup_.delayed || setup_.free_running ? At::step : At::model_exchange;
        break;

      case At::model_exchange:
        if (engine_.open_rounds() > 0) return Wants::exchange;
        if (!pipelined()) {
          engine_.apply(trainer_.model());
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
          if (!exchanges_gradient()) engine_.apply(trainer_.model());
          outstanding_ = false;
        }
        at_ = At::done;
        break;

      case At::done: return Wants::done;
    }
}

}  // namespace gossamer
