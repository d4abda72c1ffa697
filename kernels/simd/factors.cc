// Products of low-rank factors by SIMD.  As many of a factor's columns at a time as leave their sums in registers; for the others
// the matrix is in the first-level cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/factors.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/implementations.h"
#include "kernels/reduce.h"
#include "kernels/simd/simd.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer::simd {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if GOSSAMER_SIMD_TARGET

using F = HWY_FULL(float);
using VF = hn::Vec<F>;

constexpr std::size_t kLanes = HWY_LANES(float), kParts = kSumLanes / kLanes;

HWY_INLINE VF load(const float* from) { return hn::LoadU(F(), from); }
HWY_INLINE void store(VF v, float* to) { hn::StoreU(v, F(), to); }

template <EncodeOf kSource>
HWY_INLINE VF elements(const float* x, const float* y, std::size_t at) {
  if constexpr (kSource == EncodeOf::plain) return load(x + at);
  if constexpr (kSource == EncodeOf::difference) return hn::Sub(load(x + at), load(y + at));
  return hn::Add(load(x + at), load(y + at));
}
template <EncodeOf kSource>
HWY_INLINE float element(const float* x, const float* y, std::size_t at) {
  if constexpr (kSource == EncodeOf::plain) return x[at];
  if constexpr (kSource == EncodeOf::difference) return x[at] - y[at];
  return x[at] + y[at];
}

// Lane l takes lane l + half of them, and so on.
template <class Lanes>
HWY_INLINE float folded(Lanes lanes, hn::Vec<Lanes> v) {
  if constexpr (hn::MaxLanes(Lanes()) == 1) {
    return hn::GetLane(v);
  } else {
    const hn::Half<Lanes> half;
    return folded(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
HWY_INLINE float folded(VF (&parts)[kParts]) {
  for (std::size_t width = kParts / 2; width > 0; width /= 2)
    for (std::size_t p = 0; p < width; ++p) parts[p] = hn::Add(parts[p], parts[p + width]);
  return folded(F(), parts[0]);
}

// The products of kRows rows with kColumns columns of `right`, from row and column `first` on.
template <EncodeOf kSource, std::size_t kRows, std::size_t kColumns>
HWY_INLINE void times_rows(const MatrixRows& m, std::size_t row, FactorView right, std::size_t first, FactorOut left) {
  const float* x[kRows];
  const float* y[kRows];
  const float* b[kColumns];
  float total[kRows][kColumns] = {};
  for (std::size_t r = 0; r < kRows; ++r) {
    x[r] = m.x + (row + r) * m.stride;
    y[r] = kSource == EncodeOf::plain ? nullptr : m.y + (row + r) * m.stride;
  }
  for (std::size_t k = 0; k < kColumns; ++k) b[k] = right.data + (first + k) * right.stride;
  for (std::size_t begin = 0; begin < m.columns; begin += kSumChunk) {
    const std::size_t end = std::min(begin + kSumChunk, m.columns);
    VF sums[kRows][kColumns][kParts];
    for (auto& of_row : sums)
      for (auto& of_column : of_row)
        for (VF& sum : of_column) sum = hn::Zero(F());
    std::size_t i = begin;
    for (; i + kSumLanes <= end; i += kSumLanes)
      for (std::size_t p = 0; p < kParts; ++p) {
        VF v[kRows];
        for (std::size_t r = 0; r < kRows; ++r) v[r] = elements<kSource>(x[r], y[r], i + p * kLanes);
        for (std::size_t k = 0; k < kColumns; ++k) {
          const VF of_right = load(b[k] + i + p * kLanes);
          for (std::size_t r = 0; r < kRows; ++r) sums[r][k][p] = hn::Add(sums[r][k][p], hn::Mul(v[r], of_right));
        }
      }
    if (i < end) {  // a lane begins at +0, so that adding zeros to it changes no bit
      alignas(64) float tails[kRows][kSumLanes] = {};
      for (std::size_t r = 0; r < kRows; ++r)
        for (std::size_t l = 0; i + l < end; ++l) tails[r][l] = element<kSource>(x[r], y[r], i + l);
      for (std::size_t k = 0; k < kColumns; ++k) {
        alignas(64) float of_right[kSumLanes] = {};
        for (std::size_t l = 0; i + l < end; ++l) of_right[l] = b[k][i + l];
        for (std::size_t r = 0; r < kRows; ++r)
          for (std::size_t p = 0; p < kParts; ++p)
            sums[r][k][p] = hn::Add(sums[r][k][p], hn::Mul(load(tails[r] + p * kLanes), load(of_right + p * kLanes)));
      }
    }
    for (std::size_t r = 0; r < kRows; ++r)
      for (std::size_t k = 0; k < kColumns; ++k) total[r][k] += folded(sums[r][k]);
  }
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t k = 0; k < kColumns; ++k) left.data[(first + k) * left.stride + row + r] = total[r][k];
}

template <EncodeOf kSource, std::size_t kRows>
HWY_INLINE void times_all(const MatrixRows& m, std::size_t row, FactorView right, std::size_t rank, FactorOut left) {
  std::size_t k = 0;
  if constexpr (kLanes >= 16)
    for (; k + 4 <= rank; k += 4) times_rows<kSource, kRows, 4>(m, row, right, k, left);
  for (; k + 2 <= rank; k += 2) times_rows<kSource, kRows, 2>(m, row, right, k, left);
  if (k < rank) times_rows<kSource, kRows, 1>(m, row, right, k, left);
}

// Two rows at a time where there are registers for the sums of both.
template <EncodeOf kSource>
void times_of(const MatrixRows& m, FactorView right, std::size_t rank, FactorOut left) {
  std::size_t row = 0;
  if constexpr (kLanes >= 16)
    for (; row + 2 <= m.rows; row += 2) times_all<kSource, 2>(m, row, right, rank, left);
  for (; row < m.rows; ++row) times_all<kSource, 1>(m, row, right, rank, left);
}

void times(const MatrixRows& m, FactorView right, std::size_t rank, FactorOut left) {
  switch (m.source) {
    case EncodeOf::plain:
      return times_of<EncodeOf::plain>(m, right, rank, left);
    case EncodeOf::difference:
      return times_of<EncodeOf::difference>(m, right, rank, left);
    case EncodeOf::feedback:
      return times_of<EncodeOf::feedback>(m, right, rank, left);
  }
}

// Adds kRows rows' products with kColumns columns of `left` to those of `right`.
template <EncodeOf kSource, std::size_t kRows, std::size_t kColumns>
HWY_INLINE void add_rows(const MatrixRows& m, std::size_t row, FactorView left, std::size_t first, FactorOut right) {
  const float* x[kRows];
  const float* y[kRows];
  float weights[kRows][kColumns];
  float* to[kColumns];
  for (std::size_t r = 0; r < kRows; ++r) {
    x[r] = m.x + (row + r) * m.stride;
    y[r] = kSource == EncodeOf::plain ? nullptr : m.y + (row + r) * m.stride;
    for (std::size_t k = 0; k < kColumns; ++k) weights[r][k] = left.data[(first + k) * left.stride + row + r];
  }
  for (std::size_t k = 0; k < kColumns; ++k) to[k] = right.data + (first + k) * right.stride;
  std::size_t j = 0;
  for (; j + kLanes <= m.columns; j += kLanes) {
    VF sums[kColumns];
    for (std::size_t k = 0; k < kColumns; ++k) sums[k] = load(to[k] + j);
    for (std::size_t r = 0; r < kRows; ++r) {
      const VF v = elements<kSource>(x[r], y[r], j);
      for (std::size_t k = 0; k < kColumns; ++k) sums[k] = hn::Add(sums[k], hn::Mul(v, hn::Set(F(), weights[r][k])));
    }
    for (std::size_t k = 0; k < kColumns; ++k) store(sums[k], to[k] + j);
  }
  for (; j < m.columns; ++j)
    for (std::size_t k = 0; k < kColumns; ++k) {
      float sum = to[k][j];
      for (std::size_t r = 0; r < kRows; ++r) sum += element<kSource>(x[r], y[r], j) * weights[r][k];
      to[k][j] = sum;
    }
}

template <EncodeOf kSource, std::size_t kRows>
HWY_INLINE void add_all(const MatrixRows& m, std::size_t row, FactorView left, std::size_t rank, FactorOut right) {
  std::size_t k = 0;
  if constexpr (kLanes >= 16)
    for (; k + 4 <= rank; k += 4) add_rows<kSource, kRows, 4>(m, row, left, k, right);
  for (; k + 2 <= rank; k += 2) add_rows<kSource, kRows, 2>(m, row, left, k, right);
  if (k < rank) add_rows<kSource, kRows, 1>(m, row, left, k, right);
}

template <EncodeOf kSource>
void transposed_of(const MatrixRows& m, FactorView left, std::size_t rank, FactorOut right) {
  for (std::size_t k = 0; k < rank; ++k) std::fill_n(right.data + k * right.stride, m.columns, 0.0f);
  std::size_t row = 0;
  for (; row + 4 <= m.rows; row += 4) add_all<kSource, 4>(m, row, left, rank, right);
  for (; row < m.rows; ++row) add_all<kSource, 1>(m, row, left, rank, right);
}

void transposed_times(const MatrixRows& m, FactorView left, std::size_t rank, FactorOut right) {
  switch (m.source) {
    case EncodeOf::plain:
      return transposed_of<EncodeOf::plain>(m, left, rank, right);
    case EncodeOf::difference:
      return transposed_of<EncodeOf::difference>(m, left, rank, right);
    case EncodeOf::feedback:
      return transposed_of<EncodeOf::feedback>(m, left, rank, right);
  }
}

// Columns `first` .. of the row; what columns before them gave is in `out`.
template <std::size_t kColumns>
HWY_INLINE void add_outer(FactorView left, FactorView right, std::size_t first, float* out, std::size_t count) {
  float a[kColumns];
  const float* b[kColumns];
  for (std::size_t k = 0; k < kColumns; ++k) {
    a[k] = left.data[(first + k) * left.stride];
    b[k] = right.data + (first + k) * right.stride;
  }
  std::size_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    VF value = hn::Mul(hn::Set(F(), a[0]), load(b[0] + j));
    if (first > 0) value = hn::Add(load(out + j), value);
    for (std::size_t k = 1; k < kColumns; ++k) value = hn::Add(value, hn::Mul(hn::Set(F(), a[k]), load(b[k] + j)));
    store(value, out + j);
  }
  for (; j < count; ++j) {
    float value = a[0] * b[0][j];
    if (first > 0) value = out[j] + value;
    for (std::size_t k = 1; k < kColumns; ++k) value += a[k] * b[k][j];
    out[j] = value;
  }
}

void outer(FactorView left, FactorView right, std::size_t rank, float* out, std::size_t count) {
  std::size_t k = 0;
  for (; k + 4 <= rank; k += 4) add_outer<4>(left, right, k, out, count);
  switch (rank - k) {
    case 3:
      return add_outer<3>(left, right, k, out, count);
    case 2:
      return add_outer<2>(left, right, k, out, count);
    case 1:
      return add_outer<1>(left, right, k, out, count);
    default:
      return;
  }
}

const char* add_factors(Kernels* to) {
  to->times = times;
  to->transposed_times = transposed_times;
  to->outer = outer;
  return hwy::TargetName(HWY_TARGET);
}

#else

const char* add_factors(Kernels*) { return nullptr; }

#endif

}  // namespace HWY_NAMESPACE
}  // namespace gossamer::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer::simd {

HWY_EXPORT(add_factors);

const char* add_best_factors(Kernels* to) { return HWY_DYNAMIC_DISPATCH(add_factors)(to); }

}  // namespace gossamer::simd
#endif
