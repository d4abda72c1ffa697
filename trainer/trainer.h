// Local training: one flat model vector, moved step by step.
//
// A Trainer knows that somebody may want to see a gradient before the optimizer does, and that its
// model may be changed between steps; it knows nothing of peers.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/memory.h"
#include "trainer/optimizer.h"
#include "trainer/task.h"

namespace gossamer {

class Trainer {
 public:
  // All references outlive the Trainer.  `model` is the caller's memory, task.layout().size() floats.
  // `epochs` is the length of the run, for the learning-rate schedule.  Where several trainers share a run, each is
  // given the run's `steps_per_epoch`, so that all have the same learning rate at the same step; 0 takes
  // the task's own, which depends on its shard.
  Trainer(Task& task, Optimizer& optimizer, OptimizerOptions options, ScheduleOptions schedule, double epochs,
          Stream& stream, std::span<float> model, double steps_per_epoch = 0);

  // The first half of a step: the loss at the present model, and the gradient, which stays in gradient().
  double compute_gradient(GradientSink* sink = nullptr);
  // In between, the gradient may be replaced (averaged with others, tracked, corrected).
  std::span<float> gradient() { return gradient_.span(); }
  // The second half: the optimizer moves the model.  Follows a compute_gradient().
  void apply_gradient();
  // Or it moves ranges of the model one by one, each as soon as its gradient is final (GradientSink), and finish_step()
  // ends the step when all have been moved.
  void apply_gradient(std::size_t offset, std::size_t count);
  void finish_step();

  std::span<float> model() { return model_; }
  // Between two steps: the model lies elsewhere now.
  void go_on_with(std::span<float> model) { model_ = model; }
  std::uint64_t steps() const { return step_; }  // finished
  double learning_rate() const;                  // of the step under way, or the next one

  // Counts as if so many steps were finished: a peer that comes late begins where the others are.
  void go_to(std::uint64_t step) { step_ = step; }

  // Between two steps: the step count and the optimizer's state.  The model is the caller's to keep.
  void save(Writer& writer) const;
  Result<> load(Reader& reader);

 private:
  Task& task_;
  Optimizer& optimizer_;
  OptimizerOptions options_;
  ScheduleOptions schedule_;
  double epochs_;
  double steps_per_epoch_;
  Stream& stream_;
  std::span<float> model_;
  AlignedBuffer<float> gradient_;
  std::uint64_t step_ = 0;
  bool pending_ = false;     // a gradient waits to be applied
  std::size_t applied_ = 0;  // elements of it that have been
};

}  // namespace gossamer
