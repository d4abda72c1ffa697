#include "trainer/losses.h"

#include <cmath>

namespace gossamer {

BatchLoss softmax_loss(std::size_t rows, std::size_t classes, const float* scores, const std::int32_t* labels,
                       float scale, float* slope) {
  BatchLoss total;
  for (std::size_t r = 0; r < rows; ++r) {
    const float* row = scores + r * classes;
    const auto label = static_cast<std::size_t>(labels[r]);
    std::size_t best = 0;
    for (std::size_t c = 1; c < classes; ++c)
      if (row[c] > row[best]) best = c;
    const float top = row[best], own = row[label];
    double sum = 0;
    if (slope == nullptr) {
      for (std::size_t c = 0; c < classes; ++c) sum += static_cast<double>(std::exp(row[c] - top));
    } else {
      float* to = slope + r * classes;
      for (std::size_t c = 0; c < classes; ++c) {
        to[c] = std::exp(row[c] - top);
        sum += static_cast<double>(to[c]);
      }
      const float factor = static_cast<float>(static_cast<double>(scale) / sum);
      for (std::size_t c = 0; c < classes; ++c) to[c] *= factor;
      to[label] -= scale;
    }
    total.loss += std::log(sum) + static_cast<double>(top) - static_cast<double>(own);
    total.right += best == label;
  }
  return total;
}

BatchLoss logistic_loss(std::size_t rows, const float* scores, const std::int32_t* labels, float scale,
                        float* slope) {
  BatchLoss total;
  for (std::size_t r = 0; r < rows; ++r) {
    const double sign = labels[r] == 1 ? 1 : -1, margin = sign * static_cast<double>(scores[r]);
    const double e = std::exp(-std::fabs(margin));  // never overflows
    total.loss += std::log1p(e) + (margin < 0 ? -margin : 0);
    total.right += margin > 0;
    if (slope) slope[r] = scale * static_cast<float>(-sign * (margin < 0 ? 1 : e) / (1 + e));
  }
  return total;
}

BatchLoss squared_loss(std::size_t rows, const float* scores, const float* targets, float scale,
                       float* slope) {
  BatchLoss total;
  for (std::size_t r = 0; r < rows; ++r) {
    const float off = scores[r] - targets[r];
    total.loss += 0.5 * static_cast<double>(off) * static_cast<double>(off);
    if (slope) slope[r] = scale * off;
  }
  return total;
}

double penalty(double l2, std::span<const float> weights) {
  if (l2 == 0) return 0;
  double sum = 0;
  for (const float w : weights) sum += static_cast<double>(w) * static_cast<double>(w);
  return 0.5 * l2 * sum;
}

}  // namespace gossamer
