// Losses at the end of a model, and what the trained tasks share.  Internal to trainer/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "trainer/data.h"
#include "trainer/tasks.h"

namespace gossamer {

// What a loss says of a batch: sums over its rows, in the order of the rows.
struct BatchLoss {
  double loss = 0;
  std::uint64_t right = 0;  // rows whose largest score is the label's
};

// Scores are rows x outputs, row-major.  Where `slope` is not null it receives scale * d loss / d score; it
// may be the scores' own memory.

// Softmax cross-entropy.
BatchLoss softmax_loss(std::size_t rows, std::size_t classes, const float* scores, const std::int32_t* labels,
                       float scale, float* slope);
// Logistic loss of one score per row; label 1 wants it positive, label 0 negative.
BatchLoss logistic_loss(std::size_t rows, const float* scores, const std::int32_t* labels, float scale,
                        float* slope);
// Half the squared error of one score per row; `right` stays 0.
BatchLoss squared_loss(std::size_t rows, const float* scores, const float* targets, float scale,
                       float* slope);

// l2/2 * |weights|^2.
double penalty(double l2, std::span<const float> weights);

// Evenly spaced test samples: the j-th of `count` out of `samples`.  A test file sorted by class stays fair.
inline std::size_t test_row(std::size_t j, std::size_t count, std::size_t samples) {
  return j * samples / count;
}

// The rows in which the test set is evaluated.
inline constexpr std::size_t kEvaluationRows = 256;

// What make_task() hands on, already checked.
struct TaskParts {
  TaskOptions options;
  Split data;
  std::vector<std::uint32_t> shard;
  std::size_t batch_size;
  PeerId peer;
  std::uint64_t seed;
};

std::unique_ptr<Task> make_linear_model(TaskParts parts);  // linear, logistic
std::unique_ptr<Task> make_mlp(TaskParts parts);

}  // namespace gossamer
