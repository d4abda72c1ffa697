// Turns gradients into steps of the model, and says how long the steps are.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/result.h"
#include "base/serial.h"

namespace gossamer {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // The next step has this learning rate.
  virtual void begin(double learning_rate) = 0;
  // model -= learning_rate * direction(gradient, model), for a range of the parameters that begins at `offset`; every
  // parameter once in each step, in any order.
  virtual void apply(Stream& stream, std::size_t offset, std::span<const float> gradient, std::span<float> model) = 0;

  // The state that a restart needs (momentum buffers, step count).
  virtual void save(Writer& writer) const = 0;
  virtual Result<> load(Reader& reader) = 0;
};

struct OptimizerOptions {
  std::string name = "sgd";    // sgd | adamw
  double learning_rate = 0.1;  // the peak of the schedule
  double momentum = 0;         // sgd: heavy ball; 0 is plain SGD
  bool nesterov = false;
  double weight_decay = 0;     // sgd: added to the gradient (L2); adamw: decoupled (Loshchilov and Hutter 2019)
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adamw
};

Result<std::unique_ptr<Optimizer>> make_optimizer(const OptimizerOptions& options, std::size_t parameter_count);

// Learning rate as a function of the step: linear warm-up, then constant, step decay or cosine.
struct ScheduleOptions {
  std::string kind = "constant";       // constant | step | cosine
  double warmup_epochs = 0;            // linear from warmup_start * peak to the peak
  double warmup_start = 0.1;
  std::vector<double> milestones;      // step: epochs at which the rate is multiplied by `factor`
  double factor = 0.1;
  double final_fraction = 0;           // cosine: where it ends, as a fraction of the peak
};

// The range of the options.  make_optimizer calls the first; the second names what is wrong before a run starts.
Result<> validate(const OptimizerOptions& options);
Result<> validate(const ScheduleOptions& schedule);

// `epoch` is fractional: step / steps_per_epoch.  `epochs` is the length of the run.
double learning_rate_at(const ScheduleOptions& schedule, double peak, double epoch, double epochs);

}  // namespace gossamer
