#include "trainer/trainer.h"

#include <fmt/core.h>

#include "base/check.h"

namespace gossamer {

Trainer::Trainer(Task& task, Optimizer& optimizer, OptimizerOptions options, ScheduleOptions schedule,
                 double epochs, Stream& stream, std::span<float> model, double steps_per_epoch)
    : task_(task),
      optimizer_(optimizer),
      options_(std::move(options)),
      schedule_(std::move(schedule)),
      epochs_(epochs),
      steps_per_epoch_(steps_per_epoch > 0 ? steps_per_epoch : static_cast<double>(task.steps_per_epoch())),
      stream_(stream),
      model_(model),
      gradient_(task.layout().size()) {
  GOSSAMER_CHECK(model.size() == task.layout().size(), "the model has the size of the task's layout");
}

double Trainer::compute_gradient(GradientSink* sink) {
  pending_ = true;
  return task_.loss_and_gradient(stream_, model_, step_, gradient_.span(), sink);
}

void Trainer::apply_gradient() {
  apply_gradient(0, model_.size());
  finish_step();
}

void Trainer::apply_gradient(std::size_t offset, std::size_t count) {
  GOSSAMER_CHECK(pending_, "a gradient is computed before it is applied");
  if (applied_ == 0) optimizer_.begin(learning_rate());
  optimizer_.apply(stream_, offset, gradient_.span().subspan(offset, count), model_.subspan(offset, count));
  applied_ += count;
}

void Trainer::finish_step() {
  GOSSAMER_CHECK(pending_ && applied_ == model_.size(), "every element of a gradient is applied once");
  ++step_;
  pending_ = false;
  applied_ = 0;
}

double Trainer::learning_rate() const {
  const double epoch = static_cast<double>(step_) / steps_per_epoch_;
  return learning_rate_at(schedule_, options_.learning_rate, epoch, epochs_);
}

void Trainer::save(Writer& writer) const {
  GOSSAMER_CHECK(!pending_, "a trainer is saved between two steps");
  writer.put(step_);
  optimizer_.save(writer);
}

Result<> Trainer::load(Reader& reader) {
  const auto step = reader.get<std::uint64_t>();
  if (!reader.ok()) return fail(Errc::corrupt, "trainer state ends early; the checkpoint is incomplete");
  GOSSAMER_TRY(optimizer_.load(reader));
  step_ = step;
  pending_ = false;
  return {};
}

}  // namespace gossamer
