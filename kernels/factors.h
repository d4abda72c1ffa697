// Low-rank factors: what a matrix times a few columns is, to the bit.
//
// M is a matrix in row-major order; the columns of a factor lie one behind the other.  Products are float32, one rounding per
// operation, none fused, and are added in an order that SIMD lanes and a warp can follow:
//
//   M b     per row: kSumChunk elements at a time, lane l (of 32) adding elements l, l+32, ... to 0, lanes folded as a tree
//           (kernels/reduce.h); the sums of these are added to 0 in ascending order
//   M^T a   per column: kFactorRows rows at a time, added to 0 in ascending order; the sums of these likewise
//   a b^T   ((a_0 b_0) + a_1 b_1) + ...
//
// Factors are made orthonormal by their Gram matrix, in double and in the order of kernels/reduce.h (CholeskyQR), twice: the
// first time leaves what the Gram matrix of badly conditioned columns cannot see, the second one takes it away.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/draws.h"
#include "kernels/host_device.h"
#include "kernels/tiles.h"

namespace gossamer {

inline constexpr std::size_t kFactorRows = 64;

// Some rows of a matrix that is x, or made of x and y.
struct MatrixRows {
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;  // not for plain
  std::size_t stride = 0;    // from row to row
  std::size_t rows = 0, columns = 0;
};

// `rank` columns, `stride` elements from one to the next.
struct FactorView {
  const float* data = nullptr;
  std::size_t stride = 0;
};
struct FactorOut {
  float* data = nullptr;
  std::size_t stride = 0;
};

// A column shorter than this, squared, is none: nothing is left of its numbers but the rounding of denormals.
inline constexpr double kShortestColumn = 0x1p-200;
// A column of which so little (squared) is left beside those before it is one of them but for the rounding of float32.
inline constexpr double kDependentColumn = 0x1p-42;

// From the Gram matrix (its upper triangle, row-major, which is written over) the upper triangular matrix that makes the columns
// orthonormal; a column that is none, or depends on those before it, becomes zeros.  False when a column is not finite.
GOSSAMER_HD inline bool whiten(double* gram, std::size_t rank, double* inverse) {
  for (std::size_t i = 0; i < rank * rank; ++i) inverse[i] = 0;
  for (std::size_t k = 0; k < rank; ++k) {
    const double length = gram[k * rank + k];
    if (!(length <= 1e300)) return false;
    double left = length;
    for (std::size_t a = 0; a < k; ++a) {
      double along = 0;
      if (gram[a * rank + a] > 0) {
        along = gram[a * rank + k];
        for (std::size_t c = 0; c < a; ++c) along -= gram[c * rank + a] * gram[c * rank + k];
        along /= gram[a * rank + a];
      }
      gram[a * rank + k] = along;
      left -= along * along;
    }
    const bool kept = length >= kShortestColumn && left > kDependentColumn * length;
    const double root = kept ? sqrt(left) : 0.0;
    gram[k * rank + k] = root;
    if (!kept) continue;
    inverse[k * rank + k] = 1 / root;
    for (std::size_t a = 0; a < k; ++a) {
      double sum = 0;
      for (std::size_t c = a; c < k; ++c) sum += inverse[a * rank + c] * gram[c * rank + k];
      inverse[a * rank + k] = -sum / root;
    }
  }
  return true;
}

// Row i of the columns times that matrix; columns are done from the last to the first, in place.
GOSSAMER_HD inline void rotate_row(float* columns, std::size_t stride, std::size_t rank, const double* inverse) {
  for (std::size_t k = rank; k-- > 0;) {
    double sum = 0;
    for (std::size_t a = 0; a <= k; ++a) sum += static_cast<double>(columns[a * stride]) * inverse[a * rank + k];
    columns[k * stride] = static_cast<float>(sum);
  }
}

// Element `e` of the columns that a power iteration begins with, which are counted one behind the other: an odd multiple of 2^-16 in
// (-1, 1), made of 16 bits: the low half of word e mod 4 of index e/8 (kernels/draws.h), or for e mod 8 >= 4 the high one.
GOSSAMER_HD inline Philox4 first_guess_words(const CodecDraws& draws, std::uint32_t chunk, std::uint64_t e) {
  return draws.words(DrawUse::low_rank, chunk, e / 8);
}
GOSSAMER_HD inline float first_guess(const Philox4& words, std::uint64_t e) {
  const std::uint32_t bits = words[e % 4] >> (e % 8 < 4 ? 0 : 16) & 0xffffu;
  return (static_cast<float>(bits) * 2 + 1 - 65536.0f) * 0x1p-16f;
}

}  // namespace gossamer
