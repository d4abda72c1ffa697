#include "kernels/vector.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/parallel.h"
#include "kernels/reduce.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kElementsOfPart = 16384;  // that are worth a thread's while

bool overlap(std::span<const float> a, std::span<const float> b) {
  return !a.empty() && !b.empty() && a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

// The sum over a vector of pass(at, count, sums), which gives those of the kSumChunk elements each from `at` on, in the order of
// kernels/reduce.h.
template <class Pass>
double sum_of_pass(Stream& stream, std::size_t size, const Pass& pass) {
  std::vector<double> sums((size + kSumChunk - 1) / kSumChunk);
  parallel_for(stream, sums.size(), kElementsOfPart / kSumChunk, [&](std::uint64_t begin, std::uint64_t end) {
    const std::size_t at = begin * kSumChunk;
    pass(at, std::min<std::size_t>(end * kSumChunk, size) - at, sums.data() + begin);
  });
  return sum_of_chunks(sums.size(), [&](std::size_t chunk) { return sums[chunk]; });
}

double sum(Stream& stream, SumOf terms, std::span<const float> x, std::span<const float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  const Kernels& kernels = best_kernels();
  return sum_of_pass(stream, x.size(), [&](std::size_t at, std::size_t count, double* sums) {
    for (std::size_t i = 0; i < count; i += kSumChunk) *sums++ = kernels.sum(terms, x.data() + at + i, y.data() + at + i, std::min(kSumChunk, count - i));
  });
}

}  // namespace

void copy(Stream& stream, std::span<const float> from, std::span<float> to) {
  GOSSAMER_CHECK(from.size() == to.size(), "vectors of one length");
  const bool streaming = 2 * from.size_bytes() >= kStreamingBytes && !overlap(from, to);
  if (overlap(from, to)) return best_kernels().copy(from.data(), to.data(), from.size(), false);
  parallel_for(stream, from.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    best_kernels().copy(from.data() + begin, to.data() + begin, end - begin, streaming);
  });
}

void copy(std::span<const float> from, std::span<float> to) {
  Stream stream;
  copy(stream, from, to);
}

double copy_and_norm(Stream& stream, std::span<const float> from, std::span<float> to) {
  GOSSAMER_CHECK(from.size() == to.size() && !overlap(from, to), "vectors of one length, apart from each other");
  const bool streaming = 2 * from.size_bytes() >= kStreamingBytes;
  return sum_of_pass(stream, from.size(), [&](std::size_t at, std::size_t count, double* sums) {
    best_kernels().copy_and_norm(from.data() + at, to.data() + at, count, streaming, sums);
  });
}

double narrow(Stream& stream, double a, std::span<const double> x, std::span<float> to) {
  GOSSAMER_CHECK(x.size() == to.size(), "vectors of one length");
  const bool streaming = 3 * to.size_bytes() >= kStreamingBytes;
  return sum_of_pass(stream, to.size(), [&](std::size_t at, std::size_t count, double* sums) {
    best_kernels().narrow(a, x.data() + at, to.data() + at, count, streaming, sums);
  });
}

void scale(float a, std::span<float> y) { best_kernels().scale(a, y.data(), y.size()); }

void axpy(float a, std::span<const float> x, std::span<float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  best_kernels().axpy(a, x.data(), y.data(), y.size());
}

void weighted_sum(Stream& stream, std::span<const WeightedVector> terms, std::span<float> out) {
  bool in_place = false;
  for (const WeightedVector& term : terms) {
    GOSSAMER_CHECK(term.x.size() == out.size(), "vectors of one length");
    in_place = in_place || overlap(term.x, out);
  }
  const bool streaming = !in_place && (terms.size() + 1) * out.size_bytes() >= kStreamingBytes;
  parallel_for(stream, out.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    best_kernels().weighted_sum(terms, begin, out.data() + begin, end - begin, streaming);
  });
}

void weighted_sum(std::span<const WeightedVector> terms, std::span<float> out) {
  Stream stream;
  weighted_sum(stream, terms, out);
}

std::optional<double> mix(Stream& stream, std::span<const WeightedVector> others, std::span<const float> x, std::span<float> out) {
  const bool in_place = x.data() == out.data();
  GOSSAMER_CHECK(x.size() == out.size() && (in_place || !overlap(x, out)), "a vector is mixed in place or into another one");
  for (const WeightedVector& other : others) {
    GOSSAMER_CHECK(other.x.size() == x.size(), "vectors of one length");
    GOSSAMER_CHECK(!overlap(other.x, out), "a vector is not mixed with itself");
  }
  const bool streaming = !in_place && (others.size() + 2) * out.size_bytes() >= kStreamingBytes;
  const double moved = sum_of_pass(stream, x.size(), [&](std::size_t at, std::size_t count, double* sums) {
    best_kernels().mix(others, at, x.data() + at, out.data() + at, count, streaming, sums);
  });
  // The squares of floats never sum up to more than a double holds.
  if (!std::isfinite(moved)) return std::nullopt;
  return moved;
}

double dot(std::span<const float> x, std::span<const float> y) {
  Stream stream;
  return sum(stream, SumOf::products, x, y);
}

double squared_norm(std::span<const float> x) { return dot(x, x); }

double squared_distance(Stream& stream, std::span<const float> x, std::span<const float> y) {
  return sum(stream, SumOf::squared_differences, x, y);
}

double squared_distance(std::span<const float> x, std::span<const float> y) {
  Stream stream;
  return squared_distance(stream, x, y);
}

bool all_finite(std::span<const float> x) {
  return best_kernels().largest(x.data(), nullptr, x.size()) < kInfinityBits;
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
