// What the payloads of all codecs have in common: little-endian words without alignment, and the 64 bytes that begin
// every payload but those of codec none.
//
//     payload  = header sections
//     sections = [scales, padded to 64 bytes] codes of chunk 0, of chunk 1, ...     tiled codecs (kernels/tile_payload.h)
//              | one block per chunk                                                sparse codecs (kernels/sparse_payload.h)
//
// The chunk table (how many elements, tiles and bytes each tensor has, or the whole model) is a function of the layout,
// which both ends have, so it does not travel: the header carries its hash.  A decoder compares the whole header with the
// one it would have written itself, and never finds a boundary by what a sender wrote.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace gossamer {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian and is copied as it is");

template <class T>
requires std::is_arithmetic_v<T> T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
requires std::is_arithmetic_v<T>
void store(T value, std::byte* to) {
  std::memcpy(to, &value, sizeof value);
}

constexpr std::size_t padded(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

inline constexpr std::uint32_t kCodecMagic = 0x50434753;  // "GSCP"
inline constexpr std::uint16_t kCodecVersion = 1;         // a decoder refuses every other one

struct CodecHeader {
  std::uint32_t magic = kCodecMagic;
  std::uint16_t version = kCodecVersion;
  std::uint16_t codec = 0;    // CodecId
  std::uint8_t code = 0;      // Code of the values
  std::uint8_t norm = 0;      // Norm of the code
  std::uint8_t scope = 0;     // Scope
  std::uint8_t flags = 0;     // kOneScale, kUnbiased
  std::uint32_t levels = 0;   // stochastic codes: s; low rank: the rank
  std::uint64_t count = 0;    // elements
  std::uint64_t used = 0;     // bytes of the payload, these 64 included
  std::uint64_t seed = 0;     // of the random numbers, for codecs whose decoder draws them again; else 0
  double parameter = 0;       // ratio of the sparsifiers, or threshold
  std::uint64_t layout = 0;   // hash of the chunk table
  std::uint32_t chunks = 0;
  std::uint32_t reserved = 0;  // 0
};
static_assert(sizeof(CodecHeader) == 64 && std::is_trivially_copyable_v<CodecHeader>);

inline constexpr std::uint8_t kOneScale = 1;  // one scale for a chunk, not one for a tile
inline constexpr std::uint8_t kUnbiased = 2;
inline constexpr std::size_t kCodecHeaderSize = sizeof(CodecHeader);

}  // namespace gossamer
