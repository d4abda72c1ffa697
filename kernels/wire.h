// What the payloads of all codecs have in common: little-endian words without alignment, sections padded
// to 4 bytes with zeros, and one bit per element in words of 32.
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

constexpr std::size_t padded(std::size_t bytes) {
  return (bytes + 3) / 4 * 4;
}

// Words of 32 bits that hold one bit for each of `count` elements.
constexpr std::size_t bit_words(std::size_t count) {
  return count / 32 + (count % 32 != 0 ? 1 : 0);
}

// The bits of the last of those words that belong to an element.
constexpr std::uint32_t tail_mask(std::size_t count) {
  return count % 32 == 0 ? ~std::uint32_t{0} : (std::uint32_t{1} << (count % 32)) - 1;
}

// all_finite() for floats that lie in a payload.
inline bool all_finite_at(const std::byte* from, std::size_t count) {
  std::uint32_t carried = 0;
  for (std::size_t i = 0; i < count; ++i)
    carried |= (load<std::uint32_t>(from + 4 * i) & 0x7fffffffu) + 0x00800000u;
  return (carried >> 31) == 0;
}

// A scale is finite and not negative.
inline bool valid_scale(float scale) {
  return scale >= 0 && std::bit_cast<std::uint32_t>(scale) != 0x7f800000u;
}

inline std::uint32_t float_bits(float x) {
  return std::bit_cast<std::uint32_t>(x);
}
inline std::uint32_t magnitude_bits(float x) {
  return float_bits(x) & 0x7fffffffu;
}

// 1 for x < 0 and 0 otherwise, -0 included; by the bits, so that a processor set to treat denormals as
// zero finds the same.
inline std::uint32_t is_negative(float x) {
  return float_bits(x) > 0x80000000u ? 1 : 0;
}

// Blocks whose scale (their norm, mean or maximum) is below 2^-80 = 8.3e-25 are sent as zeros.  It keeps
// every reciprocal inside float32 and every decoded value out of the denormal range, where processors
// differ in what they were told to do.
inline constexpr float kTiniestScale = 0x1p-80f;

}  // namespace gossamer
