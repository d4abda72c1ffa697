// The random numbers of the kernels: where each one sits in Philox4x32-7's counter space.
//
//   key      the 64 bits of mix_seed(seed, Purpose::codec)
//   counter  {low 32 bits of index, high 32 bits of index, block, use}
//
// `block` is the position of the tensor in the layout (0 for a whole model) and `use` tells the consumers
// apart.  `index` is a pure function of the element's position in its block; with 16 bits per element one
// call serves 8 elements:
//
//   tiles of 256 elements; call t (0..31) of tile T has index 32 T + t; the low halves of its four words
//   belong to elements 4t .. 4t+3 of the tile, the high halves to elements 128+4t .. 128+4t+3.
//
// That assignment gives each lane of a warp two aligned groups of four floats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/random.h"
#include "kernels/host_device.h"

namespace gossamer {

// Part of the wire format, as a receiver of random-k draws the sender's numbers; never reuse a value.
enum class DrawUse : std::uint32_t { rounding = 1, rotation = 2, strata = 3, sketch = 4, low_rank = 5 };

inline constexpr std::size_t kDrawTile = 256;

// The key of one encoding.
inline std::uint64_t draw_key(std::uint64_t seed) {
  return mix_seed(seed, static_cast<std::uint64_t>(Purpose::codec));
}

class CodecDraws {
 public:
  explicit CodecDraws(std::uint64_t seed) : CodecDraws(Key{draw_key(seed)}) {}

  struct Key {
    std::uint64_t value;
  };
  GOSSAMER_HD explicit CodecDraws(Key key) : key_{static_cast<std::uint32_t>(key.value), static_cast<std::uint32_t>(key.value >> 32)} {}

  GOSSAMER_HD Philox4 words(DrawUse use, std::size_t block, std::uint64_t index) const {
    return philox4x32<7>({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                          static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(use)},
                         key_);
  }

  // 16 bits for each of the first `count` elements of a tile; what lies behind them is unspecified.
  void tile(DrawUse use, std::size_t block, std::uint64_t tile, std::size_t count,
            std::uint16_t (&bits)[kDrawTile]) const {
    constexpr std::size_t kHalf = kDrawTile / 2;
    const std::size_t calls = count >= kHalf ? kHalf / 4 : (count + 3) / 4;
    for (std::size_t t = 0; t < calls; ++t) {
      const Philox4 r = words(use, block, tile * (kHalf / 4) + t);
      for (std::size_t w = 0; w < 4; ++w) {
        bits[4 * t + w] = static_cast<std::uint16_t>(r[w]);
        bits[kHalf + 4 * t + w] = static_cast<std::uint16_t>(r[w] >> 16);
      }
    }
  }

 private:
  std::array<std::uint32_t, 2> key_;
};

}  // namespace gossamer
