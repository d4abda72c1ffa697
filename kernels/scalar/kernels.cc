// The scalar reference: every loop written as its definition reads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/implementations.h"
#include "kernels/reduce.h"
#include "kernels/scalar/factors.h"
#include "kernels/scalar/tile.h"
#include "kernels/wire.h"

namespace gossamer {
namespace scalar {

void put_code(Code code, std::byte* tile, std::size_t stride, std::size_t i, std::uint32_t value) {
  switch (code_bits(code)) {
    case 32:
      store(value, tile + 4 * i);
      return;
    case 16:
      store(static_cast<std::uint16_t>(value), tile + 2 * i);
      return;
    case 8:
      tile[i] = static_cast<std::byte>(value);
      return;
    case 1:
      tile[i / 8] |= static_cast<std::byte>(value << (i % 8));
      return;
    default:
      tile[i % stride] |= static_cast<std::byte>(value << (code_bits(code) * (i / stride)));
  }
}

std::uint32_t get_code(Code code, const std::byte* tile, std::size_t stride, std::size_t i) {
  const std::size_t bits = code_bits(code);
  switch (bits) {
    case 32:
      return load<std::uint32_t>(tile + 4 * i);
    case 16:
      return load<std::uint16_t>(tile + 2 * i);
    case 8:
      return std::to_integer<std::uint32_t>(tile[i]);
    case 1:
      return std::to_integer<std::uint32_t>(tile[i / 8]) >> (i % 8) & 1u;
    default:
      return std::to_integer<std::uint32_t>(tile[i % stride]) >> (bits * (i / stride)) & ((1u << bits) - 1);
  }
}

std::uint32_t largest(const float* x, const float* y, std::size_t count) {
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < count; ++i) most = std::max(most, magnitude_bits(y == nullptr ? x[i] : x[i] - y[i]));
  return most;
}

// Thirty-two lanes in float32, each of |v| / 256 so that no sum is infinite, folded as a tree.
float mean_magnitude(const float* v, std::size_t count) {
  float lanes[kSumLanes] = {};
  for (std::size_t i = 0; i < count; ++i) lanes[i % kSumLanes] += std::abs(v[i]) * 0x1p-8f;
  for (std::size_t width = kSumLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return count == kTile ? lanes[0] : lanes[0] * (256.0f / static_cast<float>(count));
}

float measure_of(const Quantizer& how, const float* v, std::size_t count) {
  if (how.code == Code::sign) return mean_magnitude(v, count);
  if (is_stochastic(how.code) && how.norm == Norm::two)
    return static_cast<float>(std::sqrt(fixed_order_sum(count, [v](std::size_t i) { return static_cast<double>(v[i]) * v[i]; })));
  return float_of(largest(v, nullptr, count));
}

bool encode_tile(const EncodeTiles& job, std::size_t first, std::size_t count, std::byte* codes) {
  const Quantizer& how = job.how;
  const float* const x = job.x + first;
  float* const memory = job.memory == nullptr ? nullptr : job.memory + first;
  float v[kTile];
  for (std::size_t i = 0; i < count; ++i)
    v[i] = job.source == EncodeOf::plain ? x[i] : job.source == EncodeOf::difference ? x[i] - memory[i] : x[i] + memory[i];
  if (largest(v, nullptr, count) >= refused_bits(how.code)) return false;

  const std::uint64_t tile = first / kTile;
  const Scaling by = scaling_of(how, job.scales != nullptr && has_scale(how.code) ? measure_of(how, v, count) : job.measure);
  if (!valid_scale(how.code, by.scale)) return false;  // a norm may be too large though no element is
  if (job.scales != nullptr && has_scale(how.code)) store(by.scale, job.scales + 4 * tile);

  const std::size_t stride = tile_stride(how.code, count);
  std::memset(codes, 0, stride);
  std::uint16_t random[kDrawTile] = {};
  if (draws_numbers(how.code))
    CodecDraws(CodecDraws::Key{job.key}).tile(DrawUse::rounding, job.chunk, job.first_tile + tile, count, random);
  if (by.scale != 0 || !has_scale(how.code))
    for (std::size_t i = 0; i < count; ++i)
      put_code(how.code, codes, stride, i, encode_element(how.code, v[i], by, random[i]));
  if (job.source == EncodeOf::plain) return true;
  for (std::size_t i = 0; i < count; ++i) {
    const float q = decode_element(how.code, get_code(how.code, codes, stride, i), by.scale);
    if (job.source == EncodeOf::difference) {
      memory[i] += q;
    } else {
      memory[i] = v[i] - q;
      if (job.seen != nullptr) job.seen[first + i] = q;
    }
  }
  return true;
}

std::uint32_t decode_tile(const DecodeTiles& job, std::size_t first, std::size_t count) {
  std::uint32_t most = 0;
  const Code code = job.how.code;
  const std::size_t stride = tile_stride(code, count), at = first / kTile * tile_stride(code, kTile);
  const auto decoded = [&](const CodedTiles& from, std::size_t i) {
    const float scale = has_scale(code) ? load<float>(from.scales + (from.one_scale ? 0 : 4 * (first / kTile))) : 1.0f;
    return decode_element(code, get_code(code, from.codes + at, stride, i), scale);
  };
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t e = first + i;
    if (job.target == DecodeTo::follow) {
      job.out[e] += decoded(job.from[0], i);
      job.sum[e] += job.from[0].weight * (job.out[e] - job.own[e]);
    } else if (job.target == DecodeTo::wide) {
      job.wide[e] += job.wide_weight * static_cast<double>(decoded(job.from[0], i));
    } else {
      float sum = job.target == DecodeTo::add ? job.out[e] : 0.0f;
      for (const CodedTiles& from : job.from)
        sum += from.weight * (job.target == DecodeTo::difference ? decoded(from, i) - job.own[e] : decoded(from, i));
      job.out[e] = sum;
      if (job.target != DecodeTo::add) most = std::max(most, magnitude_bits(sum));
    }
  }
  return most;
}

}  // namespace scalar

namespace {

bool encode(const EncodeTiles& job) {
  for (std::size_t first = 0; first < job.count; first += kTile)
    if (!scalar::encode_tile(job, first, std::min(kTile, job.count - first), job.codes + first / kTile * tile_stride(job.how.code, kTile)))
      return false;
  return true;
}

std::uint32_t decode(const DecodeTiles& job) {
  std::uint32_t most = 0;
  for (std::size_t first = 0; first < job.count; first += kTile)
    most = std::max(most, scalar::decode_tile(job, first, std::min(kTile, job.count - first)));
  return most;
}

std::uint32_t largest_coded(Code code, const std::byte* codes, std::size_t count) {
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < count; ++i)
    most = std::max(most, magnitude_bits(decode_element(code, scalar::get_code(code, codes, 0, i), 1.0f)));
  return most;
}

double sum(SumOf terms, const float* x, const float* y, std::size_t count) {
  switch (terms) {
    case SumOf::products:
      return chunk_sum(count, [=](std::size_t i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); });
    case SumOf::squared_differences:
      return chunk_sum(count, [=](std::size_t i) {
        const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
        return d * d;
      });
    case SumOf::magnitudes:
      return chunk_sum(count, [=](std::size_t i) { return static_cast<double>(std::abs(y == nullptr ? x[i] : x[i] - y[i])); });
  }
  return 0;
}

void copy(const float* from, float* to, std::size_t count, bool) {
  if (count > 0) std::memmove(to, from, count * sizeof(float));  // nothing may have no address
}

void scale(float a, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] *= a;
}

void axpy(float a, const float* x, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] += a * x[i];
}

void weighted_sum(std::span<const WeightedVector> terms, std::size_t first, float* out, std::size_t count, bool) {
  for (std::size_t i = 0; i < count; ++i) {
    float total = 0;
    for (std::size_t t = 0; t < terms.size(); ++t) {
      const float term = terms[t].weight * terms[t].x[first + i];
      total = t == 0 ? term : total + term;
    }
    out[i] = total;
  }
}

// move(i) does element i and returns what is squared.
template <class Move>
void squares_of(std::size_t count, double* sums, Move move) {
  for (std::size_t at = 0; at < count; at += kSumChunk)
    *sums++ = chunk_sum(std::min(kSumChunk, count - at), [&](std::size_t i) {
      const double v = move(at + i);
      return v * v;
    });
}

void mix(std::span<const WeightedVector> others, std::size_t first, const float* x, float* out, std::size_t count, bool, double* sums) {
  squares_of(count, sums, [=](std::size_t i) {
    const float own = x[i];
    float d = 0;
    for (const WeightedVector& other : others) d += other.weight * (other.x[first + i] - own);
    out[i] = own + d;
    return d;
  });
}

void copy_and_norm(const float* from, float* to, std::size_t count, bool, double* sums) {
  squares_of(count, sums, [=](std::size_t i) { return to[i] = from[i]; });
}

void narrow(double a, const double* x, float* to, std::size_t count, bool, double* sums) {
  squares_of(count, sums, [=](std::size_t i) { return to[i] = static_cast<float>(a * x[i]); });
}

std::size_t find(const float* x, const float* y, std::size_t count, std::uint32_t least, std::uint32_t* indices, float* values) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float v = y == nullptr ? x[i] : x[i] - y[i];
    if (magnitude_bits(v) < least) continue;
    indices[found] = static_cast<std::uint32_t>(i);
    values[found++] = v;
  }
  return found;
}

}  // namespace

const Kernels& scalar_kernels() {
  static constexpr Kernels kScalar = {.name = "scalar",
                                      .encode = encode,
                                      .decode = decode,
                                      .largest = scalar::largest,
                                      .largest_coded = largest_coded,
                                      .sum = sum,
                                      .copy = copy,
                                      .scale = scale,
                                      .axpy = axpy,
                                      .weighted_sum = weighted_sum,
                                      .mix = mix,
                                      .copy_and_norm = copy_and_norm,
                                      .narrow = narrow,
                                      .find = find,
                                      .times = scalar::times,
                                      .transposed_times = scalar::transposed_times,
                                      .outer = scalar::outer};
  return kScalar;
}

}  // namespace gossamer
