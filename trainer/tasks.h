// The tasks that come with Gossamer, built from plain options.
//
// docs/tasks-and-data.md describes every option and which data each task wants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "trainer/data.h"
#include "trainer/task.h"

namespace gossamer {

struct TaskOptions {
  // quadratic  f_i(x) = 1/2 (x - c_i)^T A (x - c_i): synthetic, with a known optimum
  // linear     least squares on a regression set
  // logistic   logistic regression: one row of weights for two classes, one per class for more
  // mlp        dense layers with ReLU, softmax cross-entropy
  std::string kind = "mlp";

  double l2 = 0;  // linear, logistic, mlp: adds l2/2 * |weights|^2 to the training loss; biases are free

  std::vector<std::size_t> hidden = {128, 64};  // mlp: widths of the hidden layers

  std::size_t dimension = 100;  // quadratic: length of x
  std::size_t tensors = 1;      // quadratic: into how many tensors x is cut, all of about one size
  double condition = 10;        // quadratic: A's eigenvalues run from 1/condition to 1, evenly in log scale
  double heterogeneity = 1;     // quadratic: standard deviation of c_i between peers; 0: all want the same
  double noise = 0;             // quadratic: standard deviation of one sample's gradient, per coordinate
  std::uint64_t steps_per_epoch = 100;  // quadratic: what it calls an epoch
};

// The range of the options; needs no data.
Result<> validate(const TaskOptions& options);

// Whether this kind of task reads a data set.
bool needs_data(const TaskOptions& options);

// One peer's task.
//
// `shard` holds the indices of this peer's samples in *data.train (trainer/partition.h), without repeats;
// both are ignored where needs_data() is false.  A shard smaller than batch_size makes the batch the whole
// shard.  `seed` is that of the run; peer and seed decide the order of the batches.
Result<std::unique_ptr<Task>> make_task(const TaskOptions& options, const Split& data,
                                        std::vector<std::uint32_t> shard, std::size_t batch_size, PeerId peer,
                                        std::size_t peers, std::uint64_t seed);

// The quadratic with what only a synthetic task knows: where the minimum of the average of all peers'
// functions lies.  For make_task's `kind: quadratic`, and for tests that need the optimum.
//
// evaluate() gives the excess of the global objective over its minimum, so 0 is perfect.
class QuadraticTask : public Task {
 public:
  // argmin of the average of all peers' functions.
  virtual std::span<const float> optimum() const = 0;
  // argmin of this peer's own function, c_i.
  virtual std::span<const float> own_optimum() const = 0;
};

Result<std::unique_ptr<QuadraticTask>> make_quadratic(const TaskOptions& options, std::size_t batch_size,
                                                      PeerId peer, std::size_t peers, std::uint64_t seed);

}  // namespace gossamer
