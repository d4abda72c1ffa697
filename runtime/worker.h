// The loop of one peer, as a state machine: local steps and exchanges in the order the run file asks for.
//
// A Worker neither waits nor computes a gradient by itself: advance() does what can be done at once and
// says what it wants next, and its caller gives it that.  So a peer's threads drive it in production and
// the simulator's event queue in tests, with the same code between.
//
// Orders, for a model that is exchanged every H steps (x the model, g the gradient, c(x) the correction
// that gossip computes from everybody's published x):
//
//     adapt-then-combine    y = x - eta g(x);          x <- y + c(y)
//     combine-then-adapt    publish x;  step;          x <- x - eta g(x) + c(x)
//     overlap: delayed      the exchange of a window runs while the next window computes, which is the
//                           combine-then-adapt recursion without waiting
//     overlap: layerwise    adapt-then-combine part by part: as soon as the gradient of a part of the vector is final, and
//                           while those of other parts are still computed, the part is moved by the optimizer and published
//                           (a gradient that is exchanged is published at once); the step ends when all parts are back
//     synchrony: stale s    a window's correction comes when its round closes; at most s rounds are still open
//                           when the next model is published
//     synchrony: async      the model is published and nothing is waited for; corrections come when they come
//
// An algorithm that exchanges gradients does so between gradient and optimizer; with `delayed` the
// optimizer gets the average of the step before (Pipe-SGD, Li et al. 2018), and the first step moves nothing.
//
// Belongs to one thread at a time, like the engine it holds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "gossip/engine.h"
#include "trainer/trainer.h"

namespace gossamer {

struct WorkerSetup {
  std::uint64_t steps = 0;        // local steps in all
  std::uint32_t local_steps = 1;  // H, between exchanges of models
  bool combine_then_adapt = false;
  bool delayed = false;
  bool layerwise = false;
  bool free_running = false;      // stale and async: wait only for the engine's leave to publish
  double gradient_scale = 1;      // weighs this peer by its share of the data: peers * samples / all samples
};

enum class Wants : std::uint8_t {
  compute,   // call compute(), and publish() for each part that it says is ready
  exchange,  // drive the engine, then advance() again
  done,
};

class Worker {
 public:
  // All references outlive the Worker.
  Worker(WorkerSetup setup, Trainer& trainer, Engine& engine);

  // REQUIRES: compute() was called if advance() last wanted it, and publish() for every part that was ready.
  Wants advance();

  // The step under way, or the next one, is exchanged part by part.
  bool in_parts() const { return setup_.layerwise && (exchanges_gradient() || (trainer_.steps() + 1) % setup_.local_steps == 0); }
  // Layerwise a computation publishes, which a view that is being agreed on forbids (Engine::hold).
  bool may_compute() const { return !in_parts() || engine_.can_publish(); }

  // The gradient of the next step.  May run while another thread drives the engine, if the run overlaps.
  // In parts `ready` is called from within, once for each part of the vector as its gradient becomes final.
  // Errors: diverged, when the loss is no longer a number; what `ready` says.
  using PartReady = std::function<Result<>(std::size_t part)>;
  Result<> compute(const PartReady& ready = {});

  // Moves a part that is ready and opens its round.
  void publish(std::size_t part);

  std::uint64_t steps() const { return trainer_.steps(); }
  double last_loss() const { return last_loss_; }

  // For a peer that goes on answering after its last step: takes what others' exchanges still bring.
  void settle() { trainer_.go_on_with(engine_.apply(trainer_.model())); }

 private:
  enum class At : std::uint8_t { step, gradient_ready, gradient_exchange, update, window_end, model_exchange, last_exchange, parts_exchange, done };

  bool exchanges_gradient() const { return engine_.traits().exchanges == Exchanges::gradient; }
  bool pipelined() const { return setup_.delayed || setup_.combine_then_adapt; }

  WorkerSetup setup_;
  Trainer& trainer_;
  Engine& engine_;
  At at_ = At::step;
  bool outstanding_ = false;  // an exchange was published and its correction not yet applied
  double last_loss_ = 0;
  double published_rate_ = 0;
  AlignedBuffer<float> own_gradient_;  // only where gradients are exchanged late
};

}  // namespace gossamer
