// Tiles to codes and back on a device: a warp is a tile.
//
// The arithmetic is that of kernels/codes.h, element by element, so the bytes are those of the scalar reference by
// construction; what is here is who does what.  In a whole tile lane t owns elements 4t .. 4t+3 and 128+4t .. 128+4t+3: one
// Philox call serves them, and their codes leave as whole words.  Measures that are sums are taken over lane l's elements l,
// l+32, ..., which is the order of kernels/reduce.h.  The short tile at the end of a chunk goes byte by byte.
//
// Kernels are written for a Warp (kernels/device/warp.h).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/codes.h"
#include "kernels/device/memory_access.h"
#include "kernels/device/warp.h"
#include "kernels/draws.h"
#include "kernels/tiles.h"

namespace gossamer::device {

// One chunk, for the kernels: kernels/chunks.h, and where its bytes lie in a payload.
struct DeviceChunk {
  std::uint64_t first = 0;       // element
  std::uint64_t count = 0;       // elements, at least one
  std::uint64_t first_tile = 0;  // through all chunks
  std::uint64_t first_part = 0;  // of kSumChunk elements, through all chunks
  std::uint64_t codes = 0;       // offset in the payload, in bytes
  std::uint64_t scales = 0;      // of its first scale
  std::uint32_t number = 0;      // for the random numbers
  float divisor = 1;             // of its quantizer
};

struct Chunks {
  const DeviceChunk* table = nullptr;
  std::uint32_t count = 0;
  std::uint64_t tiles = 0;
  std::uint64_t parts = 0;
};

// What the kernels of one call have to say; cleared before them.
struct Status {
  std::uint32_t refused = 0;       // an element cannot be encoded, or the header is another one
  std::uint32_t not_a_number = 0;  // among what was decoded
  std::uint64_t bad_scale = 0;     // the complement of the lowest index of one that is not valid
};

// The last chunk that begins at or before `at`, as `begin` of chunks says.
template <class Begin>
GOSSAMER_HD std::uint32_t chunk_at(const Chunks& chunks, std::uint64_t at, Begin begin) {
  std::uint32_t low = 0, high = chunks.count;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    (begin(chunks.table[middle]) <= at ? low : high) = middle;
  }
  return low;
}

GOSSAMER_HD inline float source_of(EncodeOf source, float x, float memory) {
  return source == EncodeOf::plain ? x : source == EncodeOf::difference ? x - memory : x + memory;
}

// What encoding leaves in the memory, and what it returns in `seen` for feedback.
GOSSAMER_HD inline float remembered(EncodeOf source, float v, float memory, float q) {
  return source == EncodeOf::difference ? memory + q : v - q;
}

inline constexpr std::uint64_t kTilesOfWarp = 4;  // one behind the other
inline constexpr unsigned kPayloadsOfPass = 16;   // that are added at once

GOSSAMER_HD inline std::uint64_t shares(std::uint64_t all, std::uint64_t each) { return (all + each - 1) / each; }

// Calls visit(number of the chunk, tile within it, its elements left) for each tile of the warp of this index.
template <class Visit>
GOSSAMER_HD void for_tiles_of_warp(const Chunks& chunks, std::uint64_t index, const Visit& visit) {
  const std::uint64_t begin = index * kTilesOfWarp, end = begin + kTilesOfWarp < chunks.tiles ? begin + kTilesOfWarp : chunks.tiles;
  std::uint32_t c = chunk_at(chunks, begin, [](const DeviceChunk& chunk) { return chunk.first_tile; });
  for (std::uint64_t t = begin; t < end; ++t) {
    while (c + 1 < chunks.count && chunks.table[c + 1].first_tile <= t) ++c;
    const std::uint64_t tile = t - chunks.table[c].first_tile;
    visit(c, tile, chunks.table[c].count - tile * kTile);
  }
}

// The largest magnitude, as bits, so that a NaN is above infinity.
GOSSAMER_HD inline std::uint32_t largest_bits(const Eight& values) {
  std::uint32_t largest = 0;
  GOSSAMER_UNROLL
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t m = magnitude_bits(values.v[i]);
    largest = m > largest ? m : largest;
  }
  return largest;
}

struct EncodeWork {
  Quantizer how;
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;  // all vectors from their first element
  float* memory = nullptr;
  float* seen = nullptr;
  std::byte* payload = nullptr;
  Chunks chunks;
  const float* measures = nullptr;  // one for each chunk; null: each tile has its own
  bool padded = true;               // zeros behind the codes of a chunk, up to 8 bytes
  std::uint64_t key = 0;
  Status* status = nullptr;
};

template <Code kCode>
struct Encode {
  EncodeWork work;

  static constexpr std::size_t kBits = code_bits(kCode);

  GOSSAMER_HD std::uint64_t warps() const { return shares(work.chunks.tiles, kTilesOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    // By the measure of a chunk, when nothing has moved yet, or by another tile.
    if (warp.ballot([&](unsigned) { return work.status->refused != 0; }) != 0) return;
    for_tiles_of_warp(work.chunks, index, [&](std::uint32_t c, std::uint64_t tile, std::uint64_t left) {
      const DeviceChunk& chunk = work.chunks.table[c];
      Place at{.first = chunk.first + tile * kTile,
               .count = static_cast<unsigned>(left < kTile ? left : kTile),
               .tile = tile,
               .number = chunk.number,
               .codes = work.payload + chunk.codes + tile * tile_stride(kCode, kTile),
               .scale = work.measures != nullptr || !has_scale(kCode) ? nullptr : work.payload + chunk.scales + 4 * tile,
               .measure = work.measures != nullptr ? work.measures[c] : 0.0f,
               .how = work.how};
      at.how.divisor = chunk.divisor;
      if (at.count < kTile)
        part(warp, at, left);
      else if constexpr (kBits == 1)
        striped(warp, at);
      else
        whole(warp, at);
    });
  }

 private:
  struct Place {
    std::uint64_t first;
    unsigned count;
    std::uint64_t tile;
    std::uint32_t number;
    std::byte* codes;
    std::byte* scale;
    float measure;
    Quantizer how;
  };

  GOSSAMER_HD float value(std::uint64_t i) const {
    return work.source == EncodeOf::plain ? work.x[i] : source_of(work.source, work.x[i], work.memory[i]);
  }

  // Writes the tile's scale.  False when the tile cannot be encoded.  `most` is its largest magnitude.
  template <class Warp>
  GOSSAMER_HD bool scale(Warp& warp, const Place& at, std::uint32_t most, Scaling* by) const {
    bool fits = most < refused_bits(kCode);
    if (fits) {
      float measure = at.measure;
      if (at.scale != nullptr) {
        measure = float_of(most);
        if constexpr (kCode == Code::sign) measure = mean_magnitude(warp, at);
        if constexpr (is_stochastic(kCode))
          if (at.how.norm == Norm::two) measure = two_norm(warp, at);
      }
      *by = scaling_of(at.how, measure);
      fits = valid_scale(kCode, by->scale);
    }
    warp.once([&] {
      if (!fits)
        work.status->refused = 1;
      else if (at.scale != nullptr)
        store_any(by->scale, at.scale);
    });
    return fits;
  }

  template <class Warp>
  GOSSAMER_HD float mean_magnitude(Warp& warp, const Place& at) const {
    const float sum = warp.sum([&](unsigned lane) {
      float total = 0;
      for (unsigned i = lane; i < at.count; i += kLanes) total += float_of(magnitude_bits(value(at.first + i))) * 0x1p-8f;
      return total;
    });
    return at.count == kTile ? sum : sum * (256.0f / static_cast<float>(at.count));
  }

  template <class Warp>
  GOSSAMER_HD float two_norm(Warp& warp, const Place& at) const {
    const double sum = warp.sum([&](unsigned lane) {
      double total = 0;
      for (unsigned i = lane; i < at.count; i += kLanes) {
        const double v = value(at.first + i);
        total += v * v;
      }
      return total;
    });
    return static_cast<float>(sqrt(sum));
  }

  GOSSAMER_HD std::uint32_t code_of(float v, const Scaling& by, std::uint32_t r16) const {
    return by.scale == 0 && has_scale(kCode) ? 0u : encode_element(kCode, v, by, r16);
  }

  GOSSAMER_HD void remember(std::uint64_t i, float v, std::uint32_t code, float scale) const {
    if (work.source == EncodeOf::plain) return;
    const float q = decode_element(kCode, code, scale);
    work.memory[i] = remembered(work.source, v, work.memory[i], q);
    if (work.seen != nullptr) work.seen[i] = q;
  }

  template <class Warp>
  GOSSAMER_HD void whole(Warp& warp, const Place& at) const {
    typename Warp::template PerLane<Eight> values, memories;
    warp.each([&](unsigned lane) {
      values[lane] = load_eight(work.x + at.first, lane);
      if (work.source == EncodeOf::plain) return;
      memories[lane] = load_eight(work.memory + at.first, lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 8; ++i) values[lane].v[i] = source_of(work.source, values[lane].v[i], memories[lane].v[i]);
    });
    const std::uint32_t most = warp.max([&](unsigned lane) { return largest_bits(values[lane]); });
    Scaling by;
    if (!scale(warp, at, most, &by)) return;

    typename Warp::template PerLane<EightCodes> codes;
    warp.each([&](unsigned lane) {
      Philox4 random{};
      if constexpr (draws_numbers(kCode))
        random = CodecDraws(CodecDraws::Key{work.key}).words(DrawUse::rounding, at.number, at.tile * kLanes + lane);
      GOSSAMER_UNROLL
      for (int i = 0; i < 4; ++i) {
        codes[lane].v[i] = code_of(values[lane].v[i], by, random[i] & 0xffffu);
        codes[lane].v[4 + i] = code_of(values[lane].v[4 + i], by, random[i] >> 16);
      }
      if (work.source == EncodeOf::plain) return;
      Eight decoded;
      GOSSAMER_UNROLL
      for (int i = 0; i < 8; ++i) {
        decoded.v[i] = decode_element(kCode, codes[lane].v[i], by.scale);
        memories[lane].v[i] = remembered(work.source, values[lane].v[i], memories[lane].v[i], decoded.v[i]);
      }
      store_eight(memories[lane], work.memory + at.first, lane);
      if (work.seen != nullptr) store_eight(decoded, work.seen + at.first, lane);
    });
    put(warp, codes, at.codes);
  }

  template <class Warp, class Codes>
  GOSSAMER_HD void put(Warp& warp, Codes& codes, std::byte* tile) const {
    if constexpr (kBits == 2) {
      // Byte b holds elements b, 64 + b, 128 + b, 192 + b: those of lanes t and t + 16.
      typename Warp::template PerLane<std::uint32_t> words;
      warp.each([&](unsigned lane) {
        const std::uint32_t* c = codes[lane].v;
        const std::uint32_t pairs = c[0] | c[1] << 8 | c[2] << 16 | c[3] << 24 | c[4] << 4 | c[5] << 12 | c[6] << 20 | c[7] << 28;
        words[lane] = lane < 16 ? pairs : pairs << 2;
      });
      auto others = warp.exchange(words, 16);
      warp.each([&](unsigned lane) {
        if (lane < 16) store_any(words[lane] | others[lane], tile + 4 * lane);
      });
    } else {
      warp.each([&](unsigned lane) {
        const std::uint32_t* c = codes[lane].v;
        if constexpr (kBits == 32) {
          store_any(FourWords{{c[0], c[1], c[2], c[3]}}, tile + 16 * lane);
          store_any(FourWords{{c[4], c[5], c[6], c[7]}}, tile + 512 + 16 * lane);
        } else if constexpr (kBits == 16) {
          store_any(c[0] | c[1] << 16 | std::uint64_t{c[2] | c[3] << 16} << 32, tile + 8 * lane);
          store_any(c[4] | c[5] << 16 | std::uint64_t{c[6] | c[7] << 16} << 32, tile + 256 + 8 * lane);
        } else if constexpr (kBits == 8) {
          store_any(c[0] | c[1] << 8 | c[2] << 16 | c[3] << 24, tile + 4 * lane);
          store_any(c[4] | c[5] << 8 | c[6] << 16 | c[7] << 24, tile + 128 + 4 * lane);
        } else {
          store_any(c[0] | c[1] << 8 | c[2] << 16 | c[3] << 24 | c[4] << 4 | c[5] << 12 | c[6] << 20 | c[7] << 28, tile + 4 * lane);
        }
      });
    }
  }

  // One bit: lane l has elements l, l + 32, ..., so that a ballot is a word of the tile.
  template <class Warp>
  GOSSAMER_HD void striped(Warp& warp, const Place& at) const {
    typename Warp::template PerLane<Eight> values;
    warp.each([&](unsigned lane) {
      GOSSAMER_UNROLL
      for (unsigned r = 0; r < 8; ++r) values[lane].v[r] = value(at.first + kLanes * r + lane);
    });
    const std::uint32_t most = warp.max([&](unsigned lane) { return largest_bits(values[lane]); });
    Scaling by;
    if (!scale(warp, at, most, &by)) return;
    GOSSAMER_UNROLL
    for (unsigned r = 0; r < 8; ++r) {
      const std::uint32_t word = warp.ballot([&](unsigned lane) { return code_of(values[lane].v[r], by, 0) != 0; });
      warp.once([&] { store_any(word, at.codes + 4 * r); });
      warp.each([&](unsigned lane) { remember(at.first + kLanes * r + lane, values[lane].v[r], word >> lane & 1u, by.scale); });
    }
  }

  // The short tile at the end of a chunk.  What lies in one byte is one lane's; `count` elements.
  template <class Warp>
  GOSSAMER_HD void part(Warp& warp, const Place& at, std::uint64_t count) const {
    const std::uint32_t most = warp.max([&](unsigned lane) {
      std::uint32_t largest = 0;
      for (std::uint64_t i = lane; i < count; i += kLanes) {
        const std::uint32_t m = magnitude_bits(value(at.first + i));
        largest = m > largest ? m : largest;
      }
      return largest;
    });
    Scaling by;
    if (!scale(warp, at, most, &by)) return;
    const std::size_t stride = tile_stride(kCode, count);
    warp.each([&](unsigned lane) {
      const auto encode = [&](std::size_t i) {
        std::uint32_t r16 = 0;
        if constexpr (draws_numbers(kCode)) {
          const Philox4 words = CodecDraws(CodecDraws::Key{work.key}).words(DrawUse::rounding, at.number, at.tile * kLanes + i % 128 / 4);
          r16 = i < kTile / 2 ? words[i % 4] & 0xffffu : words[i % 4] >> 16;
        }
        const float v = value(at.first + i);
        const std::uint32_t code = code_of(v, by, r16);
        remember(at.first + i, v, code, by.scale);
        return code;
      };
      if constexpr (kBits >= 8) {
        for (std::size_t i = lane; i < count; i += kLanes) {
          const std::uint32_t code = encode(i);
          for (std::size_t b = 0; b < kBits / 8; ++b) at.codes[i * kBits / 8 + b] = static_cast<std::byte>(code >> (8 * b));
        }
      } else {
        for (std::size_t b = lane; b < stride; b += kLanes) {
          std::uint32_t byte = 0;
          for (std::size_t k = 0; k < 8 / kBits; ++k) {
            const std::size_t i = kBits == 1 ? 8 * b + k : b + stride * k;
            if (i < count) byte |= encode(i) << (kBits * k);
          }
          at.codes[b] = static_cast<std::byte>(byte);
        }
      }
      if (lane == 0 && work.padded) {
        const std::size_t written = at.tile * tile_stride(kCode, kTile) + stride;
        for (std::size_t b = 0; b < (8 - written % 8) % 8; ++b) at.codes[stride + b] = std::byte{0};
      }
    });
  }
};

}  // namespace gossamer::device
