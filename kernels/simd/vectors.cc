// Vectors by SIMD.  Results that will not be read soon are streamed past the caches: a plain store first reads the line
// that it is about to overwrite.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd/vectors.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/codes.h"
#include "kernels/implementations.h"
#include "kernels/reduce.h"
#include "kernels/simd/simd.h"
#include "kernels/wire.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer::simd {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if GOSSAMER_SIMD_TARGET

using F = HWY_FULL(float);
using U = HWY_FULL(uint32_t);
using I = HWY_FULL(int32_t);
using D = HWY_FULL(double);
using VF = hn::Vec<F>;
using VI = hn::Vec<I>;

constexpr std::size_t kLanes = HWY_LANES(float);
constexpr std::size_t kLine = 64 / sizeof(float);  // floats of a cache line

HWY_INLINE VF load(const float* from) { return hn::LoadU(F(), from); }
HWY_INLINE void store(VF v, float* to) { hn::StoreU(v, F(), to); }
HWY_INLINE void put(VF v, float* to, bool lines) {
  if (lines)
    hn::Stream(v, F(), to);
  else
    store(v, to);
}
HWY_INLINE VI magnitudes(VF v) { return hn::BitCast(I(), hn::And(hn::BitCast(U(), v), hn::Set(U(), 0x7fffffffu))); }

// Elements before `to` reaches a cache line.
HWY_INLINE std::size_t before_line(const float* to, std::size_t count) {
  const std::size_t past = reinterpret_cast<std::uintptr_t>(to) / sizeof(float) % kLine;
  return std::min(count, past == 0 ? 0 : kLine - past);
}

// Calls lanes(i) for whole vectors and one(i) for the elements left, of which those at the start bring `to` to a cache
// line if `streaming`.
template <class Lanes, class One>
HWY_INLINE void over(std::size_t begin, std::size_t count, const Lanes& lanes, const One& one) {
  std::size_t i = begin;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    for (std::size_t j = 0; j < 4; ++j) lanes(i + j * kLanes);
  for (; i + kLanes <= count; i += kLanes) lanes(i);
  for (; i < count; ++i) one(i);
}

void copy(const float* from, float* to, std::size_t count, bool streaming) {
  if (!streaming || reinterpret_cast<std::uintptr_t>(to) % sizeof(float) != 0) {
    if (count > 0) std::memmove(to, from, count * sizeof(float));  // nothing may have no address
    return;
  }
  const std::size_t head = before_line(to, count), half = (count - head) / (2 * kLine) * kLine;
  for (std::size_t i = 0; i < head; ++i) to[i] = from[i];
  // In two places at once: a page that ends in one of them does not hold up the other.
  const auto line = [=](std::size_t i) HWY_ATTR {
    for (std::size_t j = 0; j < kLine; j += kLanes) hn::Stream(load(from + i + j), F(), to + i + j);
  };
  for (std::size_t i = head; i < head + half; i += kLine) {
    line(i);
    line(half + i);
  }
  for (std::size_t i = head + 2 * half; i < count; ++i) to[i] = from[i];
  hwy::FlushStream();
}

void scale(float a, float* y, std::size_t count) {
  const VF by = hn::Set(F(), a);
  over(0, count, [=](std::size_t i) HWY_ATTR { store(hn::Mul(load(y + i), by), y + i); }, [=](std::size_t i) { y[i] *= a; });
}

void axpy(float a, const float* x, float* y, std::size_t count) {
  const VF by = hn::Set(F(), a);
  over(0, count, [=](std::size_t i) HWY_ATTR { store(hn::Add(load(y + i), hn::Mul(by, load(x + i))), y + i); },
       [=](std::size_t i) { y[i] += a * x[i]; });
}

// The sum of all terms for four vectors at i, in the order of the terms; kTerms of them, or as many as there are if 0.
template <std::size_t kTerms>
HWY_INLINE void sum_terms(std::span<const WeightedVector> terms, const VF* weights, const float* const* x, std::size_t i, VF (&sum)[4]) {
  const std::size_t count = kTerms == 0 ? terms.size() : kTerms;
  for (std::size_t t = 0; t < count; ++t) {
    const VF weight = kTerms == 0 ? hn::Set(F(), terms[t].weight) : weights[t];
    const float* const from = (kTerms == 0 ? terms[t].x.data() : x[t]) + i;
    fetch_behind<4 * kLanes>(from);
    for (std::size_t j = 0; j < 4; ++j) {
      const VF term = hn::Mul(weight, load(from + j * kLanes));
      sum[j] = t == 0 ? term : hn::Add(sum[j], term);
    }
  }
  if (count == 0)
    for (VF& s : sum) s = hn::Zero(F());
}

template <std::size_t kTerms>
void sum_of_terms(std::span<const WeightedVector> terms, std::size_t first, float* out, std::size_t count, bool streaming) {
  const auto one = [=](std::size_t i) {
    float total = 0;
    for (std::size_t t = 0; t < terms.size(); ++t) {
      const float term = terms[t].weight * terms[t].x[first + i];
      total = t == 0 ? term : total + term;
    }
    out[i] = total;
  };
  VF weights[kTerms + 1];
  const float* x[kTerms + 1] = {};
  for (std::size_t t = 0; t < kTerms; ++t) {
    weights[t] = hn::Set(F(), terms[t].weight);
    x[t] = terms[t].x.data() + first;
  }
  std::size_t i = 0;
  const bool lines = streaming && reinterpret_cast<std::uintptr_t>(out) % sizeof(float) == 0;
  if (lines)
    for (const std::size_t head = before_line(out, count); i < head; ++i) one(i);
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    VF sum[4];
    sum_terms<kTerms>(terms, weights, x, kTerms == 0 ? first + i : i, sum);
    for (std::size_t j = 0; j < 4; ++j) put(sum[j], out + i + j * kLanes, lines);
  }
  for (; i < count; ++i) one(i);
  if (lines) hwy::FlushStream();
}

void weighted_sum(std::span<const WeightedVector> terms, std::size_t first, float* out, std::size_t count, bool streaming) {
  switch (terms.size()) {
    case 1:
      return sum_of_terms<1>(terms, first, out, count, streaming);
    case 2:
      return sum_of_terms<2>(terms, first, out, count, streaming);
    case 3:
      return sum_of_terms<3>(terms, first, out, count, streaming);
    case 4:
      return sum_of_terms<4>(terms, first, out, count, streaming);
    default:
      return sum_of_terms<0>(terms, first, out, count, streaming);
  }
}

// One kSumChunk, or less, of a pass that sums squares on its way, in the lanes of kernels/reduce.h: lanes(i, v) does the kSummed elements
// from i on and leaves in v what is squared, one(i) does an element and returns that.  Twice the lanes where registers allow, as memory likes
// to be asked for 256 bytes of a stream before those of the next one.
constexpr std::size_t kSummedVectors = 4, kSummed = kSummedVectors * kLanes, kLaneVectors = kSumLanes / kLanes;
static_assert(kSummed % kSumLanes == 0);

template <class Lanes, class One>
HWY_INLINE double squares_of(std::size_t count, const Lanes& lanes, const One& one) {
  const D d;
  const hn::Half<F> half;
  hn::Vec<D> sum[2 * kLaneVectors];
  for (auto& s : sum) s = hn::Zero(d);
  std::size_t i = 0;
  for (; i + kSummed <= count; i += kSummed) {
    VF v[kSummedVectors];
    lanes(i, v);
    for (std::size_t k = 0; k < kSummedVectors; ++k) {
      const auto lower = hn::PromoteTo(d, hn::LowerHalf(half, v[k])), upper = hn::PromoteTo(d, hn::UpperHalf(half, v[k]));
      auto &low = sum[k % kLaneVectors * 2], &high = sum[k % kLaneVectors * 2 + 1];
      low = hn::Add(low, hn::Mul(lower, lower));
      high = hn::Add(high, hn::Mul(upper, upper));
    }
  }
  alignas(64) double all[kSumLanes];
  for (std::size_t k = 0; k < 2 * kLaneVectors; ++k) hn::Store(sum[k], d, all + k * kLanes / 2);
  for (std::size_t l = 0; i + l < count; ++l) {
    const double v = one(i + l);
    all[l % kSumLanes] += v * v;
  }
  return fold_lanes(all);
}

// Calls chunk(at, count) for each kSumChunk.
template <class OfChunk>
HWY_INLINE void sums_of_chunks(std::size_t count, double* sums, const OfChunk& chunk) {
  for (std::size_t at = 0; at < count; at += kSumChunk) *sums++ = chunk(at, std::min(kSumChunk, count - at));
}

template <std::size_t kOthers>
void mix_of(std::span<const WeightedVector> others, std::size_t first, const float* x, float* out, std::size_t count, bool lines, double* sums) {
  const std::size_t n = kOthers == 0 ? others.size() : kOthers;
  VF weights[kOthers + 1];
  const float* from[kOthers + 1] = {};
  for (std::size_t t = 0; t < kOthers; ++t) {
    weights[t] = hn::Set(F(), others[t].weight);
    from[t] = others[t].x.data() + first;
  }
  const auto lanes = [=](std::size_t i, VF(&move)[kSummedVectors]) HWY_ATTR {
    fetch_behind<kSummed>(x + i);
    VF own[kSummedVectors];
    for (std::size_t v = 0; v < kSummedVectors; ++v) {
      own[v] = load(x + i + v * kLanes);
      move[v] = hn::Zero(F());
    }
    for (std::size_t t = 0; t < n; ++t) {
      const VF weight = kOthers == 0 ? hn::Set(F(), others[t].weight) : weights[t];
      const float* const other = (kOthers == 0 ? others[t].x.data() + first : from[t]) + i;
      fetch_behind<kSummed>(other);
      for (std::size_t v = 0; v < kSummedVectors; ++v) move[v] = hn::Add(move[v], hn::Mul(weight, hn::Sub(load(other + v * kLanes), own[v])));
    }
    for (std::size_t v = 0; v < kSummedVectors; ++v) put(hn::Add(own[v], move[v]), out + i + v * kLanes, lines);
  };
  const auto one = [=](std::size_t i) {
    const float own = x[i];
    float move = 0;
    for (const WeightedVector& other : others) move += other.weight * (other.x[first + i] - own);
    out[i] = own + move;
    return move;
  };
  sums_of_chunks(count, sums, [&](std::size_t at, std::size_t size) HWY_ATTR {
    return squares_of(size, [=](std::size_t i, VF(&move)[kSummedVectors]) HWY_ATTR { lanes(at + i, move); }, [=](std::size_t i) { return one(at + i); });
  });
  if (lines) hwy::FlushStream();
}

void mix(std::span<const WeightedVector> others, std::size_t first, const float* x, float* out, std::size_t count, bool streaming, double* sums) {
  const bool lines = whole_lines(streaming, out);
  switch (others.size()) {
    case 1:
      return mix_of<1>(others, first, x, out, count, lines, sums);
    case 2:
      return mix_of<2>(others, first, x, out, count, lines, sums);
    case 3:
      return mix_of<3>(others, first, x, out, count, lines, sums);
    default:
      return mix_of<0>(others, first, x, out, count, lines, sums);
  }
}

void copy_and_norm(const float* from, float* to, std::size_t count, bool streaming, double* sums) {
  const bool lines = whole_lines(streaming, to);
  sums_of_chunks(count, sums, [=](std::size_t at, std::size_t size) HWY_ATTR {
    return squares_of(
        size,
        [=](std::size_t i, VF(&v)[kSummedVectors]) HWY_ATTR {
          for (std::size_t k = 0; k < kSummedVectors; ++k) {
            v[k] = load(from + at + i + k * kLanes);
            put(v[k], to + at + i + k * kLanes, lines);
          }
        },
        [=](std::size_t i) { return to[at + i] = from[at + i]; });
  });
  if (lines) hwy::FlushStream();
}

void narrow(double a, const double* x, float* to, std::size_t count, bool streaming, double* sums) {
  const bool lines = whole_lines(streaming, to);
  const D d;
  const hn::Half<F> half;
  const auto by = hn::Set(d, a);
  sums_of_chunks(count, sums, [=](std::size_t at, std::size_t size) HWY_ATTR {
    return squares_of(
        size,
        [=](std::size_t i, VF(&v)[kSummedVectors]) HWY_ATTR {
          fetch_behind<2 * kSummed>(reinterpret_cast<const float*>(x + at + i));
          for (std::size_t k = 0; k < kSummedVectors; ++k) {
            const double* const from = x + at + i + k * kLanes;
            const auto lower = hn::DemoteTo(half, hn::Mul(by, hn::LoadU(d, from)));
            const auto upper = hn::DemoteTo(half, hn::Mul(by, hn::LoadU(d, from + kLanes / 2)));
            v[k] = hn::Combine(F(), upper, lower);
            put(v[k], to + at + i + k * kLanes, lines);
          }
        },
        [=](std::size_t i) { return to[at + i] = static_cast<float>(a * x[at + i]); });
  });
  if (lines) hwy::FlushStream();
}

std::uint32_t largest(const float* x, const float* y, std::size_t count) {
  VI most[4] = {hn::Zero(I()), hn::Zero(I()), hn::Zero(I()), hn::Zero(I())};
  std::size_t i = 0;
  const auto at = [=](std::size_t k) HWY_ATTR { return y == nullptr ? load(x + k) : hn::Sub(load(x + k), load(y + k)); };
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    fetch_behind<4 * kLanes>(x + i);
    if (y != nullptr) fetch_behind<4 * kLanes>(y + i);
    for (std::size_t j = 0; j < 4; ++j) most[j] = hn::Max(most[j], magnitudes(at(i + j * kLanes)));
  }
  const VI all = hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]));
  auto found = static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(I(), all)));
  for (; i < count; ++i) found = std::max(found, magnitude_bits(y == nullptr ? x[i] : x[i] - y[i]));
  return found;
}

std::uint32_t largest_bf16(const std::byte* codes, std::size_t count) {
  const hn::Repartition<std::uint16_t, F> d16;
  constexpr std::size_t kHalves = 2 * kLanes;
  const auto magnitude = hn::Set(d16, std::uint16_t{0x7fff});
  auto most = hn::Zero(d16), more = hn::Zero(d16);
  const auto at = [&](std::size_t i) HWY_ATTR { return hn::And(hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(codes + 2 * i)), magnitude); };
  std::size_t i = 0;
  for (; i + 2 * kHalves <= count; i += 2 * kHalves) {
    most = hn::Max(most, at(i));
    more = hn::Max(more, at(i + kHalves));
  }
  most = hn::Max(most, more);
  alignas(64) std::uint16_t lanes[kHalves];
  hn::Store(most, d16, lanes);
  std::uint32_t found = *std::max_element(lanes, lanes + kHalves);
  for (; i < count; ++i) found = std::max(found, gossamer::load<std::uint16_t>(codes + 2 * i) & 0x7fffu);
  return found << 16;
}

std::uint32_t largest_coded(Code code, const std::byte* codes, std::size_t count) {
  if (code == Code::bf16) return largest_bf16(codes, count);
  VI most = hn::Zero(I()), more = hn::Zero(I());
  const auto at = [&](std::size_t i) HWY_ATTR { return magnitudes(load(reinterpret_cast<const float*>(codes + 4 * i))); };
  std::size_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    most = hn::Max(most, at(i));
    more = hn::Max(more, at(i + kLanes));
  }
  auto found = static_cast<std::uint32_t>(hn::GetLane(hn::MaxOfLanes(I(), hn::Max(most, more))));
  for (; i < count; ++i) found = std::max(found, gossamer::load<std::uint32_t>(codes + 4 * i) & 0x7fffffffu);
  return found;
}

// 32 lanes of doubles, of which lane l takes the elements l, l + 32, ...
template <SumOf kTerms>
HWY_INLINE double sum_of(const float* x, const float* y, std::size_t count) {
  constexpr std::size_t kDoubles = kLanes / 2, kParts = kSumLanes / kDoubles;
  const D d;
  const hn::Half<F> half;
  hn::Vec<D> sum[kParts];
  for (std::size_t p = 0; p < kParts; ++p) sum[p] = hn::Zero(d);
  std::size_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes) {
    for (std::size_t p = 0; p < kParts; ++p) {
      const auto a = hn::LoadU(half, x + i + p * kDoubles);
      if constexpr (kTerms == SumOf::magnitudes) {
        const auto v = y == nullptr ? a : hn::Sub(a, hn::LoadU(half, y + i + p * kDoubles));
        sum[p] = hn::Add(sum[p], hn::PromoteTo(d, hn::Abs(v)));
      } else {
        const auto u = hn::PromoteTo(d, a), v = hn::PromoteTo(d, hn::LoadU(half, y + i + p * kDoubles));
        if constexpr (kTerms == SumOf::products) {
          sum[p] = hn::Add(sum[p], hn::Mul(u, v));
        } else {
          const auto w = hn::Sub(u, v);
          sum[p] = hn::Add(sum[p], hn::Mul(w, w));
        }
      }
    }
  }
  alignas(64) double lanes[kSumLanes];
  for (std::size_t p = 0; p < kParts; ++p) hn::Store(sum[p], d, lanes + p * kDoubles);
  for (std::size_t l = 0; i + l < count; ++l) {
    const double u = x[i + l];
    if constexpr (kTerms == SumOf::magnitudes)
      lanes[l] += static_cast<double>(std::abs(y == nullptr ? x[i + l] : x[i + l] - y[i + l]));
    else if constexpr (kTerms == SumOf::products)
      lanes[l] += u * static_cast<double>(y[i + l]);
    else
      lanes[l] += (u - static_cast<double>(y[i + l])) * (u - static_cast<double>(y[i + l]));
  }
  return fold_lanes(lanes);
}

double sum(SumOf terms, const float* x, const float* y, std::size_t count) {
  switch (terms) {
    case SumOf::products:
      return sum_of<SumOf::products>(x, y, count);
    case SumOf::squared_differences:
      return sum_of<SumOf::squared_differences>(x, y, count);
    case SumOf::magnitudes:
      return sum_of<SumOf::magnitudes>(x, y, count);
  }
  return 0;
}

// One for each lane, from the lowest on.
HWY_INLINE std::uint64_t bits_of(hn::Mask<I> mask) {
#if HWY_TARGET == HWY_AVX2
  return hn::detail::BitsFromMask(mask);
#else
  return mask.raw;
#endif
}

// Writes without asking, as most 64 elements hold one or none: whether they do is a coin toss, which a processor cannot predict.
template <bool kDifference>
HWY_INLINE std::size_t find_in(const float* x, const float* y, std::size_t count, std::uint32_t least, std::uint32_t* indices, float* values) {
  const VI under = hn::Set(I(), static_cast<std::int32_t>(least - 1));
  const auto element = [=](std::size_t i) { return kDifference ? x[i] - y[i] : x[i]; };
  std::size_t found = 0, i = 0;
  const auto take = [&](std::uint64_t mask, std::size_t to) {
    // Of no bit at all the place is that of element i.
    const auto at = static_cast<std::uint32_t>(i + (static_cast<std::size_t>(std::countr_zero(mask)) & 63));
    indices[to] = at;
    values[to] = element(at);
  };
  for (; i + 64 <= count; i += 64) {
    std::uint64_t mask = 0;
    for (std::size_t j = 0; j < 64; j += kLanes) {
      VF v = load(x + i + j);
      if constexpr (kDifference) v = hn::Sub(v, load(y + i + j));
      mask |= bits_of(hn::Gt(magnitudes(v), under)) << j;
    }
    const auto hits = static_cast<std::size_t>(std::popcount(mask));
    take(mask, found);
    mask &= mask - 1;
    take(mask, found + 1);
    if (hits > 2) [[unlikely]] {
      std::size_t to = found + 2;
      for (mask &= mask - 1; mask != 0; mask &= mask - 1) take(mask, to++);
    }
    found += hits;
  }
  for (; i < count; ++i) {
    const float v = element(i);
    if (magnitude_bits(v) < least) continue;
    indices[found] = static_cast<std::uint32_t>(i);
    values[found++] = v;
  }
  return found;
}

std::size_t find(const float* x, const float* y, std::size_t count, std::uint32_t least, std::uint32_t* indices, float* values) {
  return y == nullptr ? find_in<false>(x, y, count, least, indices, values) : find_in<true>(x, y, count, least, indices, values);
}

const char* add_vectors(Kernels* to) {
  to->largest = largest;
  to->largest_coded = largest_coded;
  to->sum = sum;
  to->copy = copy;
  to->scale = scale;
  to->axpy = axpy;
  to->weighted_sum = weighted_sum;
  to->mix = mix;
  to->copy_and_norm = copy_and_norm;
  to->narrow = narrow;
  to->find = find;
  return hwy::TargetName(HWY_TARGET);
}

#else

const char* add_vectors(Kernels*) { return nullptr; }

#endif

}  // namespace HWY_NAMESPACE
}  // namespace gossamer::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer::simd {

HWY_EXPORT(add_vectors);

const char* add_best_vectors(Kernels* to) { return HWY_DYNAMIC_DISPATCH(add_vectors)(to); }

}  // namespace gossamer::simd
#endif
