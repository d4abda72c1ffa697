// The inner loops, and who has them: a scalar reference, and SIMD for the processor this runs on.
//
// All implementations compute the same bits from the same arguments; which one runs changes nothing but time.  Each
// function is single-threaded and works on the range it is given; kernels/parallel.h cuts a vector into such ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/factors.h"
#include "kernels/tiles.h"

namespace gossamer {

struct WeightedVector {
  float weight = 0;
  std::span<const float> x;
};

// One chunk's terms of a sum in fixed order (kernels/reduce.h).
enum class SumOf : std::uint8_t { products, squared_differences, magnitudes };

struct Kernels {
  const char* name = "";

  // False when an element cannot be encoded (kernels/codes.h); what was written is then of no use, but the memory holds
  // no NaN or infinity that it did not hold before.
  bool (*encode)(const EncodeTiles&) = nullptr;
  // For assign and difference the largest magnitude of `out`, as bits (NaN is above infinity); else 0.
  std::uint32_t (*decode)(const DecodeTiles&) = nullptr;

  // The largest magnitude of x - y, as bits (NaN is above infinity); y may be null.
  std::uint32_t (*largest)(const float* x, const float* y, std::size_t count) = nullptr;
  // The largest magnitude among codes that are floats (f32, bf16), as bits of a float32, wherever they lie.
  std::uint32_t (*largest_coded)(Code code, const std::byte* codes, std::size_t count) = nullptr;
  // The sum of at most kSumChunk terms, in the order of kernels/reduce.h.  magnitudes: |x - y|, y may be null.
  double (*sum)(SumOf terms, const float* x, const float* y, std::size_t count) = nullptr;

  void (*copy)(const float* from, float* to, std::size_t count, bool streaming) = nullptr;
  void (*scale)(float a, float* y, std::size_t count) = nullptr;
  void (*axpy)(float a, const float* x, float* y, std::size_t count) = nullptr;
  // out = ((w0 x0) + w1 x1) + ..., elements first .. first+count of all vectors.
  void (*weighted_sum)(std::span<const WeightedVector> terms, std::size_t first, float* out, std::size_t count,
                       bool streaming) = nullptr;

  // Passes that sum squares on their way (kernels/vector.h).  sums[c] becomes that of the c-th kSumChunk elements, in the order of
  // kernels/reduce.h: no number exactly where an element is none.  Of mix() elements first .. first+count, `x` and `out` being there.
  void (*mix)(std::span<const WeightedVector> others, std::size_t first, const float* x, float* out, std::size_t count, bool streaming,
              double* sums) = nullptr;
  void (*copy_and_norm)(const float* from, float* to, std::size_t count, bool streaming, double* sums) = nullptr;
  void (*narrow)(double a, const double* x, float* to, std::size_t count, bool streaming, double* sums) = nullptr;

  // Where the elements are whose magnitude (that of x - y; y may be null) is at least `least`, as bits, and what they are: ascending.
  // Returns how many.  REQUIRES: count < 2^32, `least` <= 2^31, room for count + 2 of each.
  std::size_t (*find)(const float* x, const float* y, std::size_t count, std::uint32_t least, std::uint32_t* indices,
                      float* values) = nullptr;

  // Products of low-rank factors, in the order of kernels/factors.h.  left = M right, for all rows of M.
  void (*times)(const MatrixRows& m, FactorView right, std::size_t rank, FactorOut left) = nullptr;
  // right = M^T left, for at most kFactorRows rows.
  void (*transposed_times)(const MatrixRows& m, FactorView left, std::size_t rank, FactorOut right) = nullptr;
  // out = elements 0 .. count-1 of a row of left right^T; left.data is that row's element of the first column.
  void (*outer)(FactorView left, FactorView right, std::size_t rank, float* out, std::size_t count) = nullptr;
};

// The definition.
const Kernels& scalar_kernels();

// What this processor runs fastest; the scalar ones where SIMD has nothing for it (it starts at AVX2).
const Kernels& best_kernels();

// All that this processor can run, the scalar ones first: for tests and benchmarks.
std::span<const Kernels* const> all_kernels();

}  // namespace gossamer
