// Codecs that send every element as a number: as it is, as bfloat16, and as half precision.
//
// The conversions are defined here in integer and float32 arithmetic and need no conversion instructions.
#include <algorithm>
#include <cmath>

#include "kernels/block_codec.h"
#include "kernels/codecs.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

// count floats.
class IdentityCodec final : public BlockCodec {
 public:
  IdentityCodec() : BlockCodec(Scope::model) {}
  std::string_view name() const override { return "none"; }
  CodecId codec() const override { return CodecId::none; }
  CodecTraits traits() const override { return {.seeded = false, .unbiased = true, .linear = true}; }

 protected:
  std::size_t block_size(std::size_t count) const override { return 4 * count; }
  double block_contraction(std::size_t) const override { return 1; }

  bool encode_block(std::span<const float> x, Draw, std::byte* to) const override {
    std::memcpy(to, x.data(), x.size_bytes());
    return true;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    return all_finite_at(from, count) ? nullptr : "a value is NaN or infinite";
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    float* __restrict const out = target.data();
    const std::size_t count = target.size();
    for (std::size_t i = 0; i < count; ++i) out[i] += scale * load<float>(from + 4 * i);
  }
};

// The upper half of a float32, rounded to nearest even.  x is finite; the result may be infinite.
std::uint16_t to_bf16(float x) {
  const std::uint32_t bits = float_bits(x);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float from_bf16(std::uint16_t b) {
  return std::bit_cast<float>(std::uint32_t{b} << 16);
}

// count bfloat16, padded to 4 bytes.  Values that would round to infinity (beyond 3.39e38) are refused as
// diverged: a model that has them is lost already.
class Bf16Codec final : public BlockCodec {
 public:
  Bf16Codec() : BlockCodec(Scope::model) {}
  std::string_view name() const override { return "bf16"; }
  CodecId codec() const override { return CodecId::bf16; }
  CodecTraits traits() const override { return {}; }

 protected:
  std::size_t block_size(std::size_t count) const override { return padded(2 * count); }
  // 8 significant bits: each element is wrong by at most 2^-8 of itself.
  double block_contraction(std::size_t) const override { return 1 - 0x1p-16; }

  bool encode_block(std::span<const float> x, Draw, std::byte* to) const override {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::uint16_t b = to_bf16(x[i]);
      largest = std::max(largest, b & 0x7fffu);
      store(b, to + 2 * i);
    }
    if (x.size() % 2 != 0) store(std::uint16_t{0}, to + 2 * x.size());
    return largest < 0x7f80u;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i)
      largest = std::max(largest, load<std::uint16_t>(from + 2 * i) & 0x7fffu);
    if (largest >= 0x7f80u) return "a value is NaN or infinite";
    if (count % 2 != 0 && load<std::uint16_t>(from + 2 * count) != 0) return "the padding is not zero";
    return nullptr;
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    float* __restrict const out = target.data();
    const std::size_t count = target.size();
    for (std::size_t i = 0; i < count; ++i) out[i] += scale * from_bf16(load<std::uint16_t>(from + 2 * i));
  }
};

// Half precision, rounded to nearest even, of a float32 with |x| <= 2^15.
std::uint16_t to_half(float x) {
  const std::uint32_t sign = (float_bits(x) >> 16) & 0x8000u;
  const std::uint32_t magnitude = magnitude_bits(x);
  // Below 2^-14 halves are multiples of 2^-24, and so are the floats from 0.5 to 1: the addition rounds.
  const std::uint32_t small = float_bits(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  return static_cast<std::uint16_t>(sign | (magnitude < 0x38800000u ? small : normal));
}

float from_half(std::uint16_t h) {
  const std::uint32_t magnitude = (h & 0x7fffu) << 13;
  const float small = std::bit_cast<float>(magnitude + (113u << 23)) - 0x1p-14f;
  const float normal = std::bit_cast<float>(magnitude + (112u << 23));
  const float value = magnitude < (1u << 23) ? small : normal;
  return std::bit_cast<float>(float_bits(value) | (std::uint32_t{h} & 0x8000u) << 16);
}

// int32 e | count halves h, padded to 4 bytes; an element is h * 2^e.
//
// A plain cast would not do: gossip differences shrink towards zero, and below 3e-8 half precision sees
// nothing of them; above 65504 it overflows.  So a block is scaled by the power of two that brings its
// largest magnitude into [2^14, 2^15), which is exact and makes the codec a contraction at every
// magnitude.  A value that would round past the largest float32 is refused as diverged.
class Fp16Codec final : public BlockCodec {
 public:
  explicit Fp16Codec(Scope scope) : BlockCodec(scope) {}
  std::string_view name() const override { return "fp16"; }
  CodecId codec() const override { return CodecId::fp16; }
  CodecTraits traits() const override { return {}; }

 protected:
  std::size_t block_size(std::size_t count) const override { return 4 + padded(2 * count); }

  // 11 significant bits: half an ulp is 2^-11 of a normal half.  The others are wrong by at most 2^-25, where
  // the largest is at least 2^14.
  double block_contraction(std::size_t count) const override {
    return 1 - 0x1p-22 - static_cast<double>(count) * 0x1p-78;
  }

  bool encode_block(std::span<const float> x, Draw, std::byte* to) const override {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) largest = std::max(largest, magnitude_bits(x[i]));
    if (std::bit_cast<float>(largest) < kTiniestScale) {
      std::memset(to, 0, block_size(x.size()));
      return true;
    }
    const int e = static_cast<int>(largest >> 23) - 127 - 14;
    const float shift = power_of_two(-e);
    if (e == kExponentMax && to_half(std::bit_cast<float>(largest) * shift) > kHalfMax - 1) return false;
    store(static_cast<std::int32_t>(e), to);
    for (std::size_t i = 0; i < x.size(); ++i) store(to_half(x[i] * shift), to + 4 + 2 * i);
    if (x.size() % 2 != 0) store(std::uint16_t{0}, to + 4 + 2 * x.size());
    return true;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    const auto e = load<std::int32_t>(from);
    if (e < kExponentMin || e > kExponentMax) return "the exponent is out of range";
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i)
      largest = std::max(largest, load<std::uint16_t>(from + 4 + 2 * i) & 0x7fffu);
    if (largest > kHalfMax || (e == kExponentMax && largest == kHalfMax)) return "a value is out of range";
    if (count % 2 != 0 && load<std::uint16_t>(from + 4 + 2 * count) != 0) return "the padding is not zero";
    return nullptr;
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    const float unit = power_of_two(std::clamp(load<std::int32_t>(from), kExponentMin, kExponentMax));
    float* __restrict const out = target.data();
    const std::size_t count = target.size();
    for (std::size_t i = 0; i < count; ++i)
      out[i] += scale * (from_half(load<std::uint16_t>(from + 4 + 2 * i)) * unit);
  }

 private:
  static constexpr std::int32_t kExponentMin = -80 - 14;  // of a block whose largest is kTiniestScale
  static constexpr std::int32_t kExponentMax = 127 - 14;
  static constexpr std::uint32_t kHalfMax = 0x7800;  // 2^15

  static float power_of_two(int e) { return std::bit_cast<float>(static_cast<std::uint32_t>(e + 127) << 23); }
};

}  // namespace

std::unique_ptr<Compressor> make_identity_codec() {
  return std::make_unique<IdentityCodec>();
}
std::unique_ptr<Compressor> make_bf16_codec() {
  return std::make_unique<Bf16Codec>();
}
std::unique_ptr<Compressor> make_fp16_codec(Scope scope) {
  return std::make_unique<Fp16Codec>(scope);
}

}  // namespace gossamer
