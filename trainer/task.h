// Something to minimise: a model shape, this peer's share of the data, and a loss.
//
// A Task knows nothing of peers.  The data it was built with is the share of one peer, plus a test set
// that every peer has.  All of it is a pure function of construction and arguments: the batch of step t
// is the same whenever it is asked for.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/layout.h"
#include "base/memory.h"

namespace gossamer {

struct Evaluation {
  double loss = 0;      // mean over the test set, without regularisation
  double accuracy = 0;  // fraction right; NaN where the task has no classes
  std::uint64_t samples = 0;
};

// Told of gradients while the backward pass is still under way.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  // gradient[offset, offset+count) is final, and neither it nor the model there is read any more in this step: both
  // may be changed at once.  Called once for every tensor of the layout, last layer first where the task works that way.  The memory stays
  // valid until the step ends.
  virtual void ready(std::size_t offset, std::size_t count) = 0;
};

class Task {
 public:
  virtual ~Task() = default;

  virtual std::string_view name() const = 0;
  virtual const Layout& layout() const = 0;

  // Writes the starting model; a pure function of the seed.
  virtual void initialise(std::uint64_t seed, std::span<float> model) const = 0;

  // Samples in one batch, and steps in one epoch of this peer's share.
  virtual std::size_t batch_size() const = 0;
  virtual std::uint64_t steps_per_epoch() const = 0;
  // Training samples in this peer's share.
  virtual std::uint64_t samples() const = 0;

  // The mean loss over the batch of this step at `model`, regularisation included, and its gradient (overwritten).
  // `sink` may be null.
  virtual double loss_and_gradient(Stream& stream, std::span<const float> model, std::uint64_t step,
                                   std::span<float> gradient, GradientSink* sink) = 0;

  // On the test set; `samples_max` 0 means all of it.
  virtual Evaluation evaluate(Stream& stream, std::span<const float> model, std::uint64_t samples_max = 0) = 0;
};

}  // namespace gossamer
