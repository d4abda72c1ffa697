#include "kernels/vector.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "kernels/draws.h"
#include "kernels/reduce.h"

namespace gossamer {

void copy(std::span<const float> from, std::span<float> to) {
  GOSSAMER_CHECK(from.size() == to.size(), "vectors of one length");
  if (!from.empty()) std::memmove(to.data(), from.data(), from.size_bytes());
}

void scale(float a, std::span<float> y) {
  float* const out = y.data();
  const std::size_t count = y.size();
  for (std::size_t i = 0; i < count; ++i) out[i] *= a;
}

void axpy(float a, std::span<const float> x, std::span<float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  const float* __restrict in = x.data();
  float* __restrict out = y.data();
  const std::size_t count = x.size();
  for (std::size_t i = 0; i < count; ++i) out[i] += a * in[i];
}

void weighted_sum(std::span<const WeightedVector> terms, std::span<float> out) {
  for (const WeightedVector& term : terms)
    GOSSAMER_CHECK(term.x.size() == out.size(), "vectors of one length");
  // A block is summed aside and stored when all its inputs were read: `out` may be one of them, and each
  // input crosses memory once.
  constexpr std::size_t kBlock = 1024;
  alignas(64) float sum[kBlock];
  for (std::size_t begin = 0; begin < out.size(); begin += kBlock) {
    const std::size_t count = std::min(kBlock, out.size() - begin);
    if (terms.empty()) std::fill_n(sum, count, 0.0f);
    for (std::size_t t = 0; t < terms.size(); ++t) {
      const float weight = terms[t].weight;
      const float* const in = terms[t].x.data() + begin;
      if (t == 0)
        for (std::size_t i = 0; i < count; ++i) sum[i] = weight * in[i];
      else
        for (std::size_t i = 0; i < count; ++i) sum[i] += weight * in[i];
    }
    std::memcpy(out.data() + begin, sum, count * sizeof(float));
  }
}

double dot(std::span<const float> x, std::span<const float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  return fixed_order_sum(x.size(), [a = x.data(), b = y.data()](std::size_t i) {
    return static_cast<double>(a[i]) * static_cast<double>(b[i]);
  });
}

double squared_norm(std::span<const float> x) {
  return dot(x, x);
}

double squared_distance(std::span<const float> x, std::span<const float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  return fixed_order_sum(x.size(), [a = x.data(), b = y.data()](std::size_t i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return d * d;
  });
}

bool all_finite(std::span<const float> x) {
  // NaN and infinity are the magnitudes from 0x7f800000 on; adding 2^23 carries exactly those into bit 31.
  std::uint32_t carried = 0;
  const float* const in = x.data();
  const std::size_t count = x.size();
  for (std::size_t i = 0; i < count; ++i)
    carried |= (std::bit_cast<std::uint32_t>(in[i]) & 0x7fffffffu) + 0x00800000u;
  return (carried >> 31) == 0;
}

void sketch(std::span<const float> x, std::uint64_t seed, std::span<double> out) {
  GOSSAMER_CHECK(!out.empty() && out.size() <= kSketchBucketsMax, "1 .. 32768 buckets");
  std::fill(out.begin(), out.end(), 0.0);
  const CodecDraws draws(seed);
  const auto buckets = static_cast<std::uint32_t>(out.size());
  std::uint16_t r[kDrawTile];
  for (std::size_t begin = 0; begin < x.size(); begin += kDrawTile) {
    const std::size_t count = std::min(kDrawTile, x.size() - begin);
    draws.tile(DrawUse::sketch, 0, begin / kDrawTile, count, r);
    for (std::size_t i = 0; i < count; ++i) {
      const double value = x[begin + i];
      const std::uint32_t bucket = ((r[i] & 0x7fffu) * buckets) >> 15;
      out[bucket] += (r[i] & 0x8000u) != 0 ? -value : value;
    }
  }
}

}  // namespace gossamer
