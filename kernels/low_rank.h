// The linear algebra of low-rank approximation, on matrices that lie in flat vectors: a power iteration, step by step.
//
//     multiply             left  = M right
//     orthonormalise       left  = an orthonormal basis of what its columns span
//     multiply_transposed  right = M^T left             M ~ left right^T
//
// Reproducible to the bit, whatever the processor and the number of threads (kernels/factors.h).  The columns of a factor lie
// one behind the other: left has rank times rows() elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/memory.h"
#include "kernels/implementations.h"

namespace gossamer {

// A row-major matrix without gaps: x, x - y or x + y, as `source` says of y as memory.
struct MatrixOf {
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;
  std::size_t rows = 0, columns = 0;
};

void multiply(Stream& stream, const Kernels& kernels, const MatrixOf& m, std::span<const float> right, std::size_t rank, std::span<float> left);
void multiply_transposed(Stream& stream, const Kernels& kernels, const MatrixOf& m, std::span<const float> left, std::size_t rank,
                         std::span<float> right);

// Makes the columns orthonormal.  Those that are shorter than 2^-100, or depend on columns before them but for the rounding of
// float32, become zeros: they are the bits of the answer.  Nothing when a column is not finite.
// REQUIRES: rank <= 64.
std::optional<std::uint64_t> orthonormalise(Stream& stream, const Kernels& kernels, std::span<float> columns, std::size_t rank);

// sum += weight * left right^T
void add_product(Stream& stream, const Kernels& kernels, float weight, std::span<const float> left, std::span<const float> right, std::size_t rank,
                 std::span<float> sum);

// Elements begin .. begin+out.size()-1 of the flat matrix left right^T, where `left` and `right` have `rows` and `columns`
// elements to a column.
void expand(const Kernels& kernels, const float* left, const float* right, std::size_t rows, std::size_t columns, std::size_t rank,
            std::size_t begin, std::span<float> out);

}  // namespace gossamer
