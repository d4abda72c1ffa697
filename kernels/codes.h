// What each code is, element by element: the definition that all implementations follow to the bit.
//
// Everything is float32 and integer arithmetic, one rounding per operation, none of it fused: compile with
// -ffp-contract=off (nvcc: -fmad=false).  Decoders accept every bit pattern: none of them decodes to NaN or infinity
// while the scale is a valid one, so that a hostile payload needs no look at its codes before they are used.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/tiles.h"


namespace gossamer {

GOSSAMER_HD inline std::uint32_t float_bits(float x) { return std::bit_cast<std::uint32_t>(x); }
GOSSAMER_HD inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
GOSSAMER_HD inline std::uint32_t magnitude_bits(float x) { return float_bits(x) & 0x7fffffffu; }

// Tiles whose measure (norm, mean or maximum) is below 2^-80 = 8.3e-25 are sent as zeros.  It keeps every reciprocal
// inside float32 and every decoded value out of the denormal range, where processors differ in what they were told to do.
inline constexpr float kTiniestScale = 0x1p-80f;
// From here on a code with a scale refuses an element: what is decoded stays finite whatever the code says.
inline constexpr float kTooLarge = 0x1p120f;
inline constexpr std::uint32_t kTooLargeBits = 0x7b800000u;
inline constexpr std::uint32_t kInfinityBits = 0x7f800000u;
// Magnitudes from here on round to an infinite bfloat16.
inline constexpr std::uint32_t kTooLargeBf16Bits = 0x7f7f8000u;

// The first magnitude, as bits, that a code cannot encode.
GOSSAMER_HD inline std::uint32_t refused_bits(Code code) {
  return code == Code::f32 ? kInfinityBits : code == Code::bf16 ? kTooLargeBf16Bits : kTooLargeBits;
}

// No encoder writes a larger scale, and no code times this one is infinite: the largest half here is 2^17, the largest
// e4m3 480, the largest integer 128.
GOSSAMER_HD inline float largest_scale(Code code) { return code == Code::f16 ? 0x1p110f : code == Code::e4m3 ? 0x1p112f : kTooLarge; }

// Not negative, not NaN, not too large.
GOSSAMER_HD inline bool valid_scale(Code code, float scale) { return scale >= 0 && scale <= largest_scale(code); }

// 1 for x < 0 and 0 otherwise, -0 included; by the bits, so that a processor set to treat denormals as zero finds the
// same.
GOSSAMER_HD inline std::uint32_t is_negative(float x) { return float_bits(x) > 0x80000000u ? 1 : 0; }

// ---- What a tile's measure makes of its scale, and of the factor that elements are multiplied with.

struct Scaling {
  float scale = 0;   // sent
  float factor = 0;  // x * factor is rounded to a code
};

// A measure below kTiniestScale gives zeros for both.  2^-22 less than s 2^16 keeps the largest element from being
// rounded past level s.
GOSSAMER_HD inline Scaling scaling_of(const Quantizer& how, float measure) {
  if (measure < kTiniestScale) return {0.0f, 0.0f};
  switch (how.code) {
    case Code::f32:
    case Code::bf16:
      return {1.0f, 1.0f};
    case Code::f16: {  // 2^e and 2^-e, e = exponent - 14
      const std::uint32_t exponent = float_bits(measure) >> 23;
      return {float_of((exponent - 14u) << 23), float_of((254u + 14u - exponent) << 23)};
    }
    case Code::e4m3:
      return {measure / 448.0f, 448.0f / measure};
    case Code::nearest8:
      return {measure / 127.0f, 127.0f / measure};
    case Code::nearest4:
      return {measure / 7.0f, 7.0f / measure};
    case Code::stochastic8:
    case Code::stochastic4:
    case Code::stochastic2: {
      const float top = static_cast<float>(how.levels) * (65536.0f * (1.0f - 0x1p-22f));
      return {measure / how.divisor, top / measure};
    }
    case Code::sign:
      return {measure, 1.0f};
    case Code::natural:  // the power of two above the measure
      return {float_of((((float_bits(measure) >> 23) + 1u) << 23)), 1.0f};
  }
  return {};
}

// ---- Floats to codes and back.  `x` is finite and below refused_bits().

GOSSAMER_HD inline std::uint32_t to_bf16(float x) {
  const std::uint32_t bits = float_bits(x);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// |v| < 2^15, to nearest even.
GOSSAMER_HD inline std::uint32_t to_half(float v) {
  const std::uint32_t magnitude = magnitude_bits(v);
  // Below 2^-14 halves are multiples of 2^-24, and so are the floats from 0.5 to 1: the addition rounds.
  const std::uint32_t small = float_bits(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  return ((float_bits(v) >> 16) & 0x8000u) | (magnitude < 0x38800000u ? small : normal);
}

// The exponent 31 is one more binade, up to 2^17.
GOSSAMER_HD inline float from_half(std::uint32_t h) {
  const std::uint32_t magnitude = (h & 0x7fffu) << 13;
  const float small = float_of(magnitude + (113u << 23)) - 0x1p-14f;
  const float normal = float_of(magnitude + (112u << 23));
  return float_of(float_bits(magnitude < (1u << 23) ? small : normal) | (h & 0x8000u) << 16);
}

// Larger magnitudes than 448 become 448.
GOSSAMER_HD inline std::uint32_t to_e4m3(float v) {
  const std::uint32_t bits = magnitude_bits(v);
  const std::uint32_t magnitude = bits < 0x43e00000u ? bits : 0x43e00000u;
  // Below 2^-6 the codes are multiples of 2^-9, the distance of floats from 2^14 to 2^15.
  const std::uint32_t small = float_bits(float_of(magnitude) + 16384.0f) - 0x46800000u;
  const std::uint32_t normal = (magnitude - (120u << 23) + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  return ((float_bits(v) >> 24) & 0x80u) | (magnitude < 0x3c800000u ? small : normal);
}

// 0x7f, a NaN elsewhere, is 480.
GOSSAMER_HD inline float from_e4m3(std::uint32_t code) {
  const std::uint32_t magnitude = (code & 0x7fu) << 20;
  const float small = float_of(magnitude + (121u << 23)) - 0x1p-6f;
  const float normal = float_of(magnitude + (120u << 23));
  return float_of(float_bits(magnitude < (1u << 23) ? small : normal) | (code & 0x80u) << 24);
}

// To nearest even, |v| < 2^22.
GOSSAMER_HD inline std::int32_t to_nearest(float v) {
  // In [2^23, 2^24) floats are the integers.
  return static_cast<std::int32_t>(float_bits(v + 0x1.8p23f)) - 0x4b400000;
}

// T = v to the nearest integer, in 2^-16 of a level; adding 16 random bits below the point and cutting there rounds to
// level T / 2^16 on average.  |v| <= 127 * 2^16 < 2^23.
GOSSAMER_HD inline std::int32_t to_fixed(float v) {
  // Two steps, as 2^23 is not far enough for the trick above: to_nearest() of the magnitude.
  const std::uint32_t magnitude = float_bits(float_of(magnitude_bits(v)) + 0x1p23f) - 0x4b000000u;
  const auto fixed = static_cast<std::int32_t>(magnitude);
  return float_bits(v) >> 31 != 0 ? -fixed : fixed;
}
GOSSAMER_HD inline std::int32_t to_stochastic(float v, std::uint32_t r16) {
  return (to_fixed(v) + static_cast<std::int32_t>(r16)) >> 16;
}

// The mantissa, plus as many random bits, carries into the exponent with the right probability.  Code 0 is zero; 1 + d is
// scale * 2^-d; bit 7 is the sign.  What is more than 126 powers below the scale is zero.
GOSSAMER_HD inline std::uint32_t to_natural(float x, float scale, std::uint32_t r16) {
  const std::uint32_t exponent = (magnitude_bits(x) + (r16 << 7)) >> 23;
  const std::uint32_t below = (float_bits(scale) >> 23) - exponent;
  const bool zero = exponent == 0 || below > 126u;
  return zero ? 0 : ((float_bits(x) >> 24) & 0x80u) | (below + 1u);
}
GOSSAMER_HD inline float from_natural(std::uint32_t code, float scale) {
  const std::uint32_t below = ((code & 0x7fu) - 1u) << 23;
  const std::uint32_t bits = float_bits(scale);
  const bool zero = (code & 0x7fu) == 0 || bits < below + (1u << 23);
  return float_of((zero ? 0u : bits - below) | (code & 0x80u) << 24);
}

// The code of x, in the low code_bits() bits.  `r16`: 16 random bits, for codes that draw.
GOSSAMER_HD inline std::uint32_t encode_element(Code code, float x, const Scaling& by, std::uint32_t r16) {
  switch (code) {
    case Code::f32:
      return float_bits(x);
    case Code::f16:
      return to_half(x * by.factor);
    case Code::bf16:
      return to_bf16(x);
    case Code::e4m3:
      return to_e4m3(x * by.factor);
    case Code::nearest8:
      return static_cast<std::uint32_t>(to_nearest(x * by.factor)) & 0xffu;
    case Code::nearest4:
      return static_cast<std::uint32_t>(to_nearest(x * by.factor)) & 0xfu;
    case Code::stochastic8:
      return static_cast<std::uint32_t>(to_stochastic(x * by.factor, r16)) & 0xffu;
    case Code::stochastic4:
      return static_cast<std::uint32_t>(to_stochastic(x * by.factor, r16)) & 0xfu;
    case Code::stochastic2:
      return static_cast<std::uint32_t>(to_stochastic(x * by.factor, r16)) & 0x3u;
    case Code::sign:
      return by.scale == 0 ? 0u : is_negative(x);
    case Code::natural:
      return to_natural(x, by.scale, r16);
  }
  return 0;
}

// `code` is zero-extended.
GOSSAMER_HD inline float decode_element(Code how, std::uint32_t code, float scale) {
  switch (how) {
    case Code::f32:
      return float_of(code);
    case Code::f16:
      return from_half(code) * scale;
    case Code::bf16:
      return float_of(code << 16);
    case Code::e4m3:
      return from_e4m3(code) * scale;
    case Code::nearest8:
    case Code::stochastic8:
      return static_cast<float>(static_cast<std::int32_t>(code << 24) >> 24) * scale;
    case Code::nearest4:
    case Code::stochastic4:
      return static_cast<float>(static_cast<std::int32_t>(code << 28) >> 28) * scale;
    case Code::stochastic2:
      return static_cast<float>(static_cast<std::int32_t>(code << 30) >> 30) * scale;
    case Code::sign:
      return float_of(float_bits(scale) ^ (code << 31));
    case Code::natural:
      return from_natural(code, scale);
  }
  return 0;
}

}  // namespace gossamer
