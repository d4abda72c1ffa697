// Mixing, sums and measures of flat vectors on a device.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/device/tile_kernels.h"
#include "kernels/reduce.h"

namespace gossamer::device {

inline constexpr unsigned kTermsMax = 128;

// out = ((w0 x0) + w1 x1) + ...; `out` may be one of them.
struct WeightedSum {
  float* out = nullptr;
  std::uint64_t count = 0;
  unsigned terms = 0;
  const float* x[kTermsMax] = {};
  float weights[kTermsMax] = {};

  static constexpr std::uint64_t kOfWarp = kTilesOfWarp * kTile;

  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint64_t begin = index * kOfWarp;
    warp.each([&](unsigned lane) {
      std::uint64_t first = begin;
      for (; first < begin + kOfWarp && first + kTile <= count; first += kTile) {
        Eight total{};
        for (unsigned t = 0; t < terms; ++t) {
          const Eight one = load_eight(x[t] + first, lane);
          GOSSAMER_UNROLL
          for (int i = 0; i < 8; ++i) {
            const float term = weights[t] * one.v[i];
            total.v[i] = t == 0 ? term : total.v[i] + term;
          }
        }
        store_eight(total, out + first, lane);
      }
      for (std::uint64_t i = first + lane; i < begin + kOfWarp && i < count; i += kLanes) {
        float total = 0;
        for (unsigned t = 0; t < terms; ++t) {
          const float term = weights[t] * x[t][i];
          total = t == 0 ? term : total + term;
        }
        out[i] = total;
      }
    });
  }
};

// For part `index` of kSumChunk elements of a pass over `count`, the sum of the squares that come out of it, in the order of
// kernels/reduce.h: load(i) is what it takes of element i, done(i, that) does the element and returns what is squared.  Some elements
// are loaded before the first is done, as a lane would wait for each.
template <class Warp, class Load, class Done>
GOSSAMER_HD void squares_of_part(Warp& warp, std::uint64_t index, std::uint64_t count, double* parts, const Load& load, const Done& done) {
  constexpr int kAhead = 4;
  const std::uint64_t begin = index * kSumChunk, end = begin + kSumChunk < count ? begin + kSumChunk : count;
  const double sum = warp.sum([&](unsigned lane) {
    double total = 0;
    std::uint64_t i = begin + lane;
    for (; i + (kAhead - 1) * kLanes < end; i += kAhead * kLanes) {
      decltype(load(i)) loaded[kAhead];
      GOSSAMER_UNROLL
      for (int a = 0; a < kAhead; ++a) loaded[a] = load(i + static_cast<unsigned>(a) * kLanes);
      GOSSAMER_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        const double v = done(i + static_cast<unsigned>(a) * kLanes, loaded[a]);
        total += v * v;
      }
    }
    for (; i < end; i += kLanes) {
      const double v = done(i, load(i));
      total += v * v;
    }
    return total;
  });
  warp.once([&] { parts[index] = sum; });
}

// out = x + d with d = ((w0 (x0 - x)) + w1 (x1 - x)) + ..., and the squares of d; `out` may be x.
struct Mix {
  const float* x = nullptr;
  float* out = nullptr;
  std::uint64_t count = 0;
  double* parts = nullptr;
  unsigned others = 0;
  const float* from[kTermsMax] = {};
  float weights[kTermsMax] = {};

  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kSumChunk); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    struct Moved {
      float own, by;
    };
    squares_of_part(
        warp, index, count, parts,
        [&](std::uint64_t i) {
          const float own = x[i];
          float by = 0;
          for (unsigned t = 0; t < others; ++t) by += weights[t] * (from[t][i] - own);
          return Moved{own, by};
        },
        [&](std::uint64_t i, const Moved& moved) {
          out[i] = moved.own + moved.by;
          return moved.by;
        });
  }
};

// to = from, or of doubles a from, multiplied in double and rounded once; and the squares of `to`.
template <class From>
struct CopyAndSquare {
  double a = 1;  // floats are copied bit by bit
  const From* from = nullptr;
  float* to = nullptr;
  std::uint64_t count = 0;
  double* parts = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kSumChunk); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    squares_of_part(
        warp, index, count, parts,
        [&](std::uint64_t i) {
          if constexpr (std::is_same_v<From, double>)
            return a * from[i];
          else
            return from[i];
        },
        [&](std::uint64_t i, From v) { return to[i] = static_cast<float>(v); });
  }
};

// What Sum adds up; v is what `source` makes of x and y.
enum class Terms : std::uint8_t { none, products, squared_differences, magnitudes, squares };

// For each part of kSumChunk elements of each chunk the sum of its terms, in the order of kernels/reduce.h, and for each chunk
// the largest magnitude of v.
struct Sum {
  Terms terms = Terms::products;
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;  // may be null where neither terms nor source need it
  Chunks chunks;
  double* parts = nullptr;
  std::uint32_t* most = nullptr;  // of each chunk, 0 before; null: not asked for

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint32_t c = chunk_at(chunks, index, [](const DeviceChunk& chunk) { return chunk.first_part; });
    const DeviceChunk& chunk = chunks.table[c];
    const std::uint64_t at = (index - chunk.first_part) * kSumChunk, first = chunk.first + at;
    const std::uint64_t count = chunk.count - at < kSumChunk ? chunk.count - at : kSumChunk;
    typename Warp::template PerLane<std::uint32_t> largest;
    const double sum = warp.sum([&](unsigned lane) {
      double total = 0;
      std::uint32_t most_of_lane = 0;
      GOSSAMER_UNROLL_BY(8)
      for (std::uint64_t i = lane; i < count; i += kLanes) {
        const float a = x[first + i], b = y == nullptr ? 0.0f : y[first + i];
        const float v = source_of(source, a, b);
        const std::uint32_t m = magnitude_bits(v);
        most_of_lane = m > most_of_lane ? m : most_of_lane;
        total += term(a, b, v);
      }
      largest[lane] = most_of_lane;
      return total;
    });
    const std::uint32_t most_of_part = warp.max([&](unsigned lane) { return largest[lane]; });
    warp.once([&] {
      parts[index] = sum;
      if (most != nullptr) Warp::raise(most + c, most_of_part);
    });
  }

 private:
  GOSSAMER_HD double term(float a, float b, float v) const {
    switch (terms) {
      case Terms::products:
        return static_cast<double>(a) * static_cast<double>(b);
      case Terms::squared_differences: {
        const double d = static_cast<double>(a) - static_cast<double>(b);
        return d * d;
      }
      case Terms::magnitudes:
        return static_cast<double>(float_of(magnitude_bits(v)));
      case Terms::squares:
        return static_cast<double>(v) * static_cast<double>(v);
      case Terms::none:
        break;
    }
    return 0;
  }
};

// Sums of chunks from those of their parts.
struct Fold {
  Chunks chunks;
  const double* parts = nullptr;
  double* sums = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceChunk& chunk = chunks.table[index];
    const std::uint64_t count = shares(chunk.count, kSumChunk);
    const double sum = warp.sum([&](unsigned lane) {
      double total = 0;
      GOSSAMER_UNROLL_BY(8)
      for (std::uint64_t p = lane; p < count; p += kLanes) total += parts[chunk.first_part + p];
      return total;
    });
    warp.once([&] { sums[index] = sum; });
  }
};

// The one scale of each chunk, and the measure that its tiles are encoded by.
struct Measure {
  Quantizer how;
  Chunks chunks;
  const double* sums = nullptr;
  const std::uint32_t* most = nullptr;
  float* measures = nullptr;
  std::byte* payload = nullptr;
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceChunk& chunk = chunks.table[index];
    warp.once([&] {
      float measure = float_of(most[index]);
      if (most[index] < kTooLargeBits) {
        if (how.code == Code::sign)
          measure = static_cast<float>(sums[index] / static_cast<double>(chunk.count));
        else if (how.norm == Norm::two)
          measure = static_cast<float>(sqrt(sums[index]));
      }
      Quantizer of_chunk = how;
      of_chunk.divisor = chunk.divisor;
      const Scaling by = scaling_of(of_chunk, measure);
      measures[index] = measure;
      if (!(most[index] < kTooLargeBits) || !valid_scale(how.code, by.scale))
        status->refused = 1;
      else
        store_any(by.scale, payload + chunk.scales);
    });
  }
};

}  // namespace gossamer::device
