#include "trainer/multiply.h"

#include <algorithm>

// The tile below is an array of vectors, which sets of instructions without a fixed vector length cannot
// hold; machines that have those have NEON as well.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

// Highway compiles the rest of this file once for every instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "trainer/multiply.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A tile of c, `Rows` high and `Vectors` vectors wide, stays in registers while k runs.
template <std::size_t Rows, std::size_t Vectors, class D>
HWY_INLINE void tile(D d, std::size_t depth, StridedMatrix a, const float* b, std::size_t b_row, float* c,
                     std::size_t c_row) {
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<D> sum[Rows][Vectors];
  for (std::size_t i = 0; i < Rows; ++i)
    for (std::size_t j = 0; j < Vectors; ++j) sum[i][j] = hn::LoadU(d, c + i * c_row + j * lanes);
  for (std::size_t k = 0; k < depth; ++k) {
    hn::Vec<D> right[Vectors];
    for (std::size_t j = 0; j < Vectors; ++j) right[j] = hn::LoadU(d, b + k * b_row + j * lanes);
    for (std::size_t i = 0; i < Rows; ++i) {
      const auto left = hn::Set(d, a.data[i * a.row + k * a.column]);
      // Mul and Add, not MulAdd: one rounding each on every machine (multiply.h).
      for (std::size_t j = 0; j < Vectors; ++j) sum[i][j] = hn::Add(sum[i][j], hn::Mul(left, right[j]));
    }
  }
  for (std::size_t i = 0; i < Rows; ++i)
    for (std::size_t j = 0; j < Vectors; ++j) hn::StoreU(sum[i][j], d, c + i * c_row + j * lanes);
}

struct Product {
  std::size_t rows, columns, depth;
  StridedMatrix a;
  const float* b;
  std::size_t b_row;
  float* c;
  std::size_t c_row;
};

// Computes strips of `Vectors` vectors from column j on, as many as fit, and returns the first column left.
// Columns are the outer loop: the strip of b stays in the first-level cache for all rows.
template <std::size_t Vectors, class D>
HWY_INLINE std::size_t strips(D d, const Product& p, std::size_t j) {
  const std::size_t width = Vectors * hn::Lanes(d);
  const auto left = [&](std::size_t i) { return StridedMatrix{p.a.data + i * p.a.row, p.a.row, p.a.column}; };
  for (; j + width <= p.columns; j += width) {
    std::size_t i = 0;
    for (; i + 4 <= p.rows; i += 4)
      tile<4, Vectors>(d, p.depth, left(i), p.b + j, p.b_row, p.c + i * p.c_row + j, p.c_row);
    for (; i < p.rows; ++i)
      tile<1, Vectors>(d, p.depth, left(i), p.b + j, p.b_row, p.c + i * p.c_row + j, p.c_row);
  }
  return j;
}

void multiply_add_target(std::size_t rows, std::size_t columns, std::size_t depth, StridedMatrix a,
                         const float* b, std::size_t b_row, float* c, std::size_t c_row) {
  const Product p{rows, columns, depth, a, b, b_row, c, c_row};
  const hn::ScalableTag<float> d;
  std::size_t j = strips<2>(d, p, 0);
  j = strips<1>(d, p, j);
  j = strips<1>(hn::CappedTag<float, 8>(), p, j);
  j = strips<1>(hn::CappedTag<float, 4>(), p, j);
  strips<1>(hn::CappedTag<float, 1>(), p, j);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(multiply_add_target);

void multiply_add(std::size_t rows, std::size_t columns, std::size_t depth, StridedMatrix a, const float* b,
                  std::size_t b_row, float* c, std::size_t c_row) {
  HWY_DYNAMIC_DISPATCH(multiply_add_target)(rows, columns, depth, a, b, b_row, c, c_row);
}

void transpose(std::size_t rows, std::size_t columns, const float* from, float* to) {
  constexpr std::size_t kBlock = 16;  // 16 x 16 floats of both sides fit the first-level cache
  for (std::size_t i0 = 0; i0 < rows; i0 += kBlock)
    for (std::size_t j0 = 0; j0 < columns; j0 += kBlock)
      for (std::size_t i = i0; i < std::min(i0 + kBlock, rows); ++i)
        for (std::size_t j = j0; j < std::min(j0 + kBlock, columns); ++j)
          to[j * rows + i] = from[i * columns + j];
}

}  // namespace gossamer
#endif  // HWY_ONCE
