// Tiles: how a vector becomes codes, 256 elements at a time.
//
// A chunk (a tensor, or the whole model) is cut into tiles of 256 elements; its last one may be shorter.  Each tile
// becomes a scale (one float32) and 256 codes of equal width.  Nothing of a tile depends on another one, so tiles may
// be done in any order and by anybody: a loop, SIMD lanes, a warp per tile.  What the bytes are is defined by
// kernels/codes.h, by the scalar loops over it (kernels/scalar/), and by nothing else: every other implementation
// gives the same ones.
//
// Where the code of element i of a tile of `count` elements lies:
//
//   8, 16, 32 bits   in order
//   4 bits           nibble i / S of byte i mod S, the low one first
//   2 bits           pair i / S of byte i mod S, from the low end
//   1 bit            bit i mod 8 of byte i / 8
//
// with S = tile_stride(), the bytes that the tile occupies: 128 and 64 of a full tile.  So a thread that owns elements
// 4t .. 4t+3 and 128+4t .. 128+4t+3 (kernels/draws.h) writes whole words, and SIMD lanes need no shuffle.  Tiles lie one
// behind the other; the codes of a chunk end at a multiple of 8 bytes, padded with zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gossamer {

inline constexpr std::size_t kTile = 256;

// Values are part of the wire format; never reuse one.
enum class Code : std::uint8_t {
  f32 = 0,          // as it is
  f16 = 1,          // half precision of x / 2^e, the largest magnitude in [2^14, 2^15); the scale is 2^e
  bf16 = 2,         // upper half of a float32, rounded to nearest even; no scale
  e4m3 = 3,         // 8-bit float of x * 448 / max
  nearest8 = 4,     // integers -127 .. 127, rounded to nearest even
  nearest4 = 5,     // integers -7 .. 7, likewise
  stochastic8 = 6,  // integers of up to 8 bits, rounded at random without bias
  stochastic4 = 7,
  stochastic2 = 8,
  sign = 9,         // 1 for x < 0; the scale is the mean magnitude
  natural = 10,     // sign and exponent, rounded at random to a power of two
};
inline constexpr std::size_t kCodes = 11;

constexpr std::size_t code_bits(Code code) {
  constexpr std::uint8_t kBits[kCodes] = {32, 16, 16, 8, 8, 4, 8, 4, 2, 1, 8};
  return kBits[static_cast<std::size_t>(code)];
}
constexpr bool has_scale(Code code) { return code != Code::f32 && code != Code::bf16; }
constexpr bool is_stochastic(Code code) { return code >= Code::stochastic8 && code <= Code::stochastic2; }
constexpr bool draws_numbers(Code code) { return is_stochastic(code) || code == Code::natural; }

constexpr std::size_t tile_count(std::size_t elements) { return elements / kTile + (elements % kTile != 0 ? 1 : 0); }

// Bytes of the codes of a tile of 1 .. 256 elements.
constexpr std::size_t tile_stride(Code code, std::size_t count) {
  const std::size_t bits = code_bits(code);
  if (count == kTile || bits >= 8) return count * bits / 8;
  return (count * bits + 31) / 32 * 4;
}

// Bytes of the codes of a chunk.
constexpr std::size_t chunk_code_bytes(Code code, std::size_t elements) {
  const std::size_t tail = elements % kTile;
  return (elements / kTile * tile_stride(code, kTile) + (tail != 0 ? tile_stride(code, tail) : 0) + 7) / 8 * 8;
}

enum class Norm : std::uint8_t { max = 0, two = 1 };

// What there is to choose about a code.
struct Quantizer {
  Code code = Code::f32;
  Norm norm = Norm::max;     // stochastic: what the levels divide
  std::uint32_t levels = 1;  // stochastic: s, the highest; 1 .. 127, 7, 1 by width
  float divisor = 1;         // stochastic: the scale is norm / divisor, s for E Q(x) = x
};

// What is encoded.
enum class EncodeOf : std::uint8_t {
  plain,       // x
  difference,  // d = x - memory; then memory += decoded(d)
  feedback,    // v = x + memory; then memory = v - decoded(v), and seen = decoded(v) where asked for
};

// Some tiles of one chunk.
struct EncodeTiles {
  Quantizer how;
  EncodeOf source = EncodeOf::plain;
  const float* x = nullptr;  // the first element of the first tile
  float* memory = nullptr;   // same place, of the replica or the error
  float* seen = nullptr;
  std::size_t count = 0;          // elements; a multiple of 256 unless the chunk's last tile is among them
  std::uint64_t first_tile = 0;   // its number in the chunk
  std::uint64_t key = 0;          // of the random numbers (kernels/draws.h)
  std::uint32_t chunk = 0;        // number of the chunk, for the random numbers
  std::byte* codes = nullptr;     // where the first tile's go
  std::byte* scales = nullptr;    // one float32 per tile; null: `measure` is that of the whole chunk
  float measure = 0;              // norm, maximum or mean, when there is one scale for the chunk
  bool streaming = false;         // codes go past the caches: they will not be read soon
};

// One payload's part in a sum.
struct CodedTiles {
  const std::byte* codes = nullptr;
  const std::byte* scales = nullptr;  // one float32 per tile; `one_scale`: the same one for all
  bool one_scale = false;
  float weight = 1;
};

enum class DecodeTo : std::uint8_t {
  add,         // out += sum_j w_j q_j
  assign,      // out = sum_j w_j q_j
  difference,  // out = sum_j w_j (q_j - own)
  follow,      // out += q;  sum += w (out - own)        one payload
  wide,        // wide += w q, in double                 one payload
};

struct DecodeTiles {
  Quantizer how;
  DecodeTo target = DecodeTo::add;
  std::span<const CodedTiles> from;  // added in this order
  std::size_t count = 0;             // as in EncodeTiles
  const float* own = nullptr;
  float* out = nullptr;
  float* sum = nullptr;
  double* wide = nullptr;
  double wide_weight = 1;
  bool streaming = false;  // `out` goes past the caches (assign, difference)
};

}  // namespace gossamer
