// Low-rank factors on a device: the products of kernels/factors.h, in their order.
//
// One launch serves all matrices of a model.  A *body* is a payload behind its header, aligned: factors are made where they
// will be sent from, and a payload that is decoded is first checked and copied into one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec_header.h"
#include "kernels/device/decode_kernels.h"
#include "kernels/device/tile_kernels.h"
#include "kernels/factors.h"
#include "kernels/reduce.h"

namespace gossamer::device {

inline constexpr unsigned kRankOfDevice = 4;
inline constexpr unsigned kPairs = kRankOfDevice * (kRankOfDevice + 1) / 2;  // of columns, for a Gram matrix
inline constexpr std::uint64_t kFloatsOfWarp = 4 * kTile;

// One matrix, in a list of those that a launch multiplies.
struct DeviceMatrix {
  std::uint64_t first = 0;  // element
  std::uint64_t rows = 0, columns = 0;
  std::uint64_t left = 0, right = 0;  // of its factors, in the body
  std::uint64_t first_row = 0;        // through all matrices of the list
  std::uint64_t first_tile = 0;       // of kFactorRows rows by 32 columns, likewise
  std::uint64_t first_group = 0;      // of 32 columns, likewise
  std::uint64_t sums = 0;             // where those of its blocks of rows lie: block, column of the factor, column
};
struct Matrices {
  const DeviceMatrix* table = nullptr;
  std::uint32_t count = 0;
  std::uint64_t rows = 0, tiles = 0, groups = 0;
};

// One factor.
struct DeviceFactor {
  std::uint64_t at = 0, height = 0;
  std::uint64_t first_part = 0;  // of kSumChunk rows, through all factors of the list
  std::uint32_t number = 0;      // of the tensor
};
struct Factors {
  const DeviceFactor* table = nullptr;
  std::uint32_t count = 0;
  std::uint64_t parts = 0;
};

// A stretch of the body: kernels/low_rank_payload.h.
struct DevicePart {
  std::uint64_t at = 0, count = 0;
  std::uint64_t element = 0;  // of the vector, where it is no factor
  std::uint32_t largest = 0;
  std::uint32_t factor = 0;
};
struct Parts {
  const DevicePart* table = nullptr;
  std::uint32_t count = 0;
  std::uint64_t floats = 0;
};

// A chunk of the vector and its body.
struct DeviceSlice {
  std::uint64_t first = 0, count = 0;
  std::uint64_t rows = 0, columns = 0;  // 0: floats as they are
  std::uint64_t at = 0;
};
struct Slices {
  const DeviceSlice* table = nullptr;
  std::uint32_t count = 0;
  std::uint64_t elements = 0;
};

// The last entry of a table that begins at or before `at`; entries without extent are passed over.
template <class Entry>
GOSSAMER_HD std::uint32_t entry_at(const Entry* table, std::uint32_t count, std::uint64_t at, std::uint64_t Entry::*begin) {
  std::uint32_t low = 0, high = count;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    (table[middle].*begin <= at ? low : high) = middle;
  }
  return low;
}

// The random columns that everything begins with.
struct FirstGuess {
  Factors factors;
  unsigned rank = 0;
  std::uint64_t key = 0;
  float* body = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return factors.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceFactor& factor = factors.table[entry_at(factors.table, factors.count, index, &DeviceFactor::first_part)];
    const std::uint64_t begin = (index - factor.first_part) * kSumChunk, end = begin + kSumChunk < factor.height ? begin + kSumChunk : factor.height;
    const CodecDraws draws(CodecDraws::Key{key});
    warp.each([&](unsigned lane) {
      for (unsigned k = 0; k < rank; ++k)
        for (std::uint64_t e = k * factor.height + begin + lane; e < k * factor.height + end; e += kLanes)
          body[factor.at + e] = first_guess(first_guess_words(draws, factor.number, e), e);
    });
  }
};

// left = M right: a warp is a row.
struct Times {
  Matrices matrices;
  unsigned rank = 0;
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;
  float* body = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return matrices.rows; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceMatrix& m = matrices.table[entry_at(matrices.table, matrices.count, index, &DeviceMatrix::first_row)];
    const std::uint64_t row = index - m.first_row, first = m.first + row * m.columns;
    const float* const right = body + m.right;
    float total[kRankOfDevice] = {};
    for (std::uint64_t begin = 0; begin < m.columns; begin += kSumChunk) {
      const std::uint64_t end = begin + kSumChunk < m.columns ? begin + kSumChunk : m.columns;
      typename Warp::template PerLane<Four> sums;
      warp.each([&](unsigned lane) {
        Four own{};
        GOSSAMER_UNROLL_BY(4)
        for (std::uint64_t j = begin + lane; j < end; j += kLanes) {
          const float v = source_of(source, x[first + j], source == EncodeOf::plain ? 0.0f : y[first + j]);
          GOSSAMER_UNROLL
          for (unsigned k = 0; k < kRankOfDevice; ++k)
            if (k < rank) own.v[k] += v * right[k * m.columns + j];
        }
        sums[lane] = own;
      });
      GOSSAMER_UNROLL
      for (unsigned k = 0; k < kRankOfDevice; ++k)
        if (k < rank) total[k] += warp.sum([&](unsigned lane) { return sums[lane].v[k]; });
    }
    warp.once([&] {
      GOSSAMER_UNROLL
      for (unsigned k = 0; k < kRankOfDevice; ++k)
        if (k < rank) body[m.left + k * m.rows + row] = total[k];
    });
  }
};

// The share of kFactorRows rows in right = M^T left: a warp has 32 columns, a lane one of them.
struct TransposedTimes {
  Matrices matrices;
  unsigned rank = 0;
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;
  const float* body = nullptr;
  float* sums = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return matrices.tiles; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceMatrix& m = matrices.table[entry_at(matrices.table, matrices.count, index, &DeviceMatrix::first_tile)];
    const std::uint64_t groups = shares(m.columns, kLanes), tile = index - m.first_tile;
    const std::uint64_t block = tile / groups, column = tile % groups * kLanes;
    const std::uint64_t begin = block * kFactorRows, end = begin + kFactorRows < m.rows ? begin + kFactorRows : m.rows;
    const float* const left = body + m.left;
    warp.each([&](unsigned lane) {
      const std::uint64_t j = column + lane;
      if (j >= m.columns) return;
      float total[kRankOfDevice] = {};
      GOSSAMER_UNROLL_BY(8)
      for (std::uint64_t row = begin; row < end; ++row) {
        const std::uint64_t at = m.first + row * m.columns + j;
        const float v = source_of(source, x[at], source == EncodeOf::plain ? 0.0f : y[at]);
        GOSSAMER_UNROLL
        for (unsigned k = 0; k < kRankOfDevice; ++k)
          if (k < rank) total[k] += v * left[k * m.rows + row];
      }
      GOSSAMER_UNROLL
      for (unsigned k = 0; k < kRankOfDevice; ++k)
        if (k < rank) sums[m.sums + (block * rank + k) * m.columns + j] = total[k];
    });
  }
};

// Adds them up: a lane has a column.
struct FoldBlocks {
  Matrices matrices;
  unsigned rank = 0;
  const float* sums = nullptr;
  float* body = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return matrices.groups; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceMatrix& m = matrices.table[entry_at(matrices.table, matrices.count, index, &DeviceMatrix::first_group)];
    const std::uint64_t blocks = shares(m.rows, kFactorRows);
    warp.each([&](unsigned lane) {
      const std::uint64_t j = (index - m.first_group) * kLanes + lane;
      if (j >= m.columns) return;
      for (unsigned k = 0; k < rank; ++k) {
        float total = 0;
        GOSSAMER_UNROLL_BY(8)
        for (std::uint64_t block = 0; block < blocks; ++block) total += sums[m.sums + (block * rank + k) * m.columns + j];
        body[m.right + k * m.columns + j] = total;
      }
    });
  }
};

// Sums of products of columns for the Gram matrix, kSumChunk rows at a time.
struct Gram {
  Factors factors;
  unsigned rank = 0;
  const float* body = nullptr;
  double* parts = nullptr;  // kPairs of each

  GOSSAMER_HD std::uint64_t warps() const { return factors.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceFactor& factor = factors.table[entry_at(factors.table, factors.count, index, &DeviceFactor::first_part)];
    const std::uint64_t begin = (index - factor.first_part) * kSumChunk, left = factor.height - begin, count = left < kSumChunk ? left : kSumChunk;
    unsigned pair = 0;
    for (unsigned a = 0; a < rank; ++a)
      for (unsigned b = a; b < rank; ++b, ++pair) {
        const float* const u = body + factor.at + a * factor.height + begin;
        const float* const v = body + factor.at + b * factor.height + begin;
        const double sum = warp.sum([&](unsigned lane) {
          double total = 0;
          GOSSAMER_UNROLL_BY(8)
          for (std::uint64_t i = lane; i < count; i += kLanes) total += static_cast<double>(u[i]) * static_cast<double>(v[i]);
          return total;
        });
        warp.once([&] { parts[index * kPairs + pair] = sum; });
      }
  }
};

// What makes the columns of each factor orthonormal.
struct Whiten {
  Factors factors;
  unsigned rank = 0;
  const double* parts = nullptr;
  double* inverses = nullptr;  // kRankOfDevice squared of each
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return factors.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceFactor& factor = factors.table[index];
    const std::uint64_t count = shares(factor.height, kSumChunk);
    double gram[kRankOfDevice * kRankOfDevice] = {};
    unsigned pair = 0;
    for (unsigned a = 0; a < rank; ++a)
      for (unsigned b = a; b < rank; ++b, ++pair)
        gram[a * rank + b] = warp.sum([&](unsigned lane) {
          double total = 0;
          for (std::uint64_t p = lane; p < count; p += kLanes) total += parts[(factor.first_part + p) * kPairs + pair];
          return total;
        });
    warp.once([&] {
      if (!whiten(gram, rank, inverses + index * kRankOfDevice * kRankOfDevice)) status->refused = 1;
    });
  }
};

struct Rotate {
  Factors factors;
  unsigned rank = 0;
  const double* inverses = nullptr;
  float* body = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return factors.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint32_t f = entry_at(factors.table, factors.count, index, &DeviceFactor::first_part);
    const DeviceFactor& factor = factors.table[f];
    const std::uint64_t begin = (index - factor.first_part) * kSumChunk, end = begin + kSumChunk < factor.height ? begin + kSumChunk : factor.height;
    warp.each([&](unsigned lane) {
      for (std::uint64_t i = begin + lane; i < end; i += kLanes)
        rotate_row(body + factor.at + i, factor.height, rank, inverses + f * kRankOfDevice * kRankOfDevice);
    });
  }
};

// The body becomes a payload, and what is no factor comes into the body; or a payload becomes a body.  Either way each number is
// looked at.
struct MoveBody {
  Parts parts;
  bool writes = false;  // the payload
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;
  const float* y = nullptr;
  float* body = nullptr;
  std::byte* payload = nullptr;  // when read, not written
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return shares(parts.floats, kFloatsOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint64_t begin = index * kFloatsOfWarp, end = begin + kFloatsOfWarp < parts.floats ? begin + kFloatsOfWarp : parts.floats;
    const std::uint32_t first = entry_at(parts.table, parts.count, begin, &DevicePart::at);
    warp.each([&](unsigned lane) {
      std::uint32_t p = first;
      for (std::uint64_t i = begin + lane; i < end; i += kLanes) {
        while (p + 1 < parts.count && parts.table[p + 1].at <= i) ++p;
        const DevicePart& part = parts.table[p];
        std::byte* const there = payload + kCodecHeaderSize + 4 * i;
        float value;
        if (!writes)
          value = load_any<float>(there);
        else if (part.factor != 0)
          value = body[i];
        else
          value = source_of(source, x[part.element + (i - part.at)], source == EncodeOf::plain ? 0.0f : y[part.element + (i - part.at)]);
        if (magnitude_bits(value) > part.largest) status->refused = 1;
        if (writes) store_any(value, there);
        body[i] = value;
      }
    });
  }
};

// Bodies back to floats: what DecodeTo asks for, or what encoding leaves in the memory.  Nothing is written where something was
// refused.
struct Expand {
  Slices slices;
  unsigned rank = 0;
  bool keeps_error = false;  // v = own + out; out = v - decoded; sum = decoded, of one body
  DecodePass into;
  const float* from[kPayloadsOfPass] = {};  // bodies
  const Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return shares(slices.elements, kFloatsOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    if (warp.ballot([&](unsigned) { return status->refused != 0; }) != 0) return;
    const std::uint64_t begin = index * kFloatsOfWarp, end = begin + kFloatsOfWarp < slices.elements ? begin + kFloatsOfWarp : slices.elements;
    const std::uint32_t first = entry_at(slices.table, slices.count, begin, &DeviceSlice::first);
    warp.each([&](unsigned lane) {
      std::uint32_t s = first;
      for (std::uint64_t i = begin + lane; i < end; i += kLanes) {
        while (s + 1 < slices.count && slices.table[s + 1].first <= i) ++s;
        element(slices.table[s], i);
      }
    });
  }

 private:
  // Where an element's factors lie; for floats as they are, where it lies itself.
  struct Place {
    std::uint64_t left, right, rows, columns;
  };
  GOSSAMER_HD static Place place_of(const DeviceSlice& slice, std::uint64_t at, unsigned rank) {
    if (slice.rows == 0) return {slice.at + at, 0, 0, 0};
    // Most matrices have fewer than 2^32 elements, and 64-bit divisions are slow.
    const std::uint64_t row = slice.count <= 0xffffffffu ? static_cast<std::uint32_t>(at) / static_cast<std::uint32_t>(slice.columns) : at / slice.columns;
    return {slice.at + row, slice.at + rank * slice.rows + (at - row * slice.columns), slice.rows, slice.columns};
  }

  GOSSAMER_HD float decoded(const float* body, const Place& at) const {
    if (at.rows == 0) return body[at.left];
    float value = body[at.left] * body[at.right];
    GOSSAMER_UNROLL
    for (unsigned k = 1; k < kRankOfDevice; ++k)
      if (k < rank) value += body[at.left + k * at.rows] * body[at.right + k * at.columns];
    return value;
  }

  GOSSAMER_HD void element(const DeviceSlice& slice, std::uint64_t i) const {
    const Place at = place_of(slice, i - slice.first, rank);
    if (keeps_error) {
      const float q = decoded(from[0], at), v = into.own[i] + into.out[i];
      into.out[i] = v - q;
      into.sum[i] = q;
    } else if (into.target == DecodeTo::follow) {
      into.follow(decoded(from[0], at), into.own[i], into.out + i, into.sum + i);
    } else if (into.target == DecodeTo::wide) {
      into.widen(i, decoded(from[0], at));
    } else {
      float total = into.begins_with_out() ? into.out[i] : 0.0f;
      for (unsigned p = 0; p < into.payloads; ++p) total += into.term(p, decoded(from[p], at), into.uses_own() ? into.own[i] : 0.0f);
      into.out[i] = total;
    }
  }
};

}  // namespace gossamer::device
