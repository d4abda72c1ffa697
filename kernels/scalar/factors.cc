#include "kernels/scalar/factors.h"

#include <algorithm>

#include "kernels/reduce.h"

namespace gossamer::scalar {
namespace {

float element(const MatrixRows& m, std::size_t row, std::size_t column) {
  const std::size_t at = row * m.stride + column;
  return m.source == EncodeOf::plain ? m.x[at] : m.source == EncodeOf::difference ? m.x[at] - m.y[at] : m.x[at] + m.y[at];
}

}  // namespace

void times(const MatrixRows& m, FactorView right, std::size_t rank, FactorOut left) {
  for (std::size_t row = 0; row < m.rows; ++row)
    for (std::size_t k = 0; k < rank; ++k) {
      float total = 0;
      for (std::size_t first = 0; first < m.columns; first += kSumChunk) {
        float lanes[kSumLanes] = {};
        for (std::size_t j = first; j < std::min(first + kSumChunk, m.columns); ++j)
          lanes[(j - first) % kSumLanes] += element(m, row, j) * right.data[k * right.stride + j];
        total += fold_lanes(lanes);
      }
      left.data[k * left.stride + row] = total;
    }
}

void transposed_times(const MatrixRows& m, FactorView left, std::size_t rank, FactorOut right) {
  for (std::size_t k = 0; k < rank; ++k) {
    float* const to = right.data + k * right.stride;
    std::fill_n(to, m.columns, 0.0f);
    for (std::size_t row = 0; row < m.rows; ++row)
      for (std::size_t j = 0; j < m.columns; ++j) to[j] += element(m, row, j) * left.data[k * left.stride + row];
  }
}

void outer(FactorView left, FactorView right, std::size_t rank, float* out, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) {
    float value = left.data[0] * right.data[j];
    for (std::size_t k = 1; k < rank; ++k) value += left.data[k * left.stride] * right.data[k * right.stride + j];
    out[j] = value;
  }
}

}  // namespace gossamer::scalar
