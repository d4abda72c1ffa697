// QSGD: each element rounded at random to one of the s levels between 0 and the block's norm.
// Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding" (NIPS'17).
//
// Prelude: u32 s.  Block: float unit | for each 32 elements, b words, b = bits of s + 1.  Bit i of word p
// (p < b-1) is bit p of the level of element i; bit i of word b-1 is 1 where the element is negative.  An
// element is +-level * unit, with unit = |x|_2 / s, or |x|_2 / (s tau) in the form for contraction, where
// tau = 1 + min(n/s^2, sqrt(n)/s).
//
// Rounding: T = trunc(|x| * (s 2^15 / |x|_2) + 1/2), at most s 2^15; level = (T + r) >> 15 with 15 random
// bits r.  So E level is T / 2^15 exactly, and E Q(x) = x to 2^-16 of a level.
#include <algorithm>
#include <cmath>

#include <fmt/core.h>

#include "kernels/block_codec.h"
#include "kernels/codecs.h"
#include "kernels/draws.h"
#include "kernels/vector.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

class QsgdCodec final : public BlockCodec {
 public:
  QsgdCodec(Scope scope, std::uint32_t levels, bool unbiased)
      : BlockCodec(scope),
        levels_(levels),
        level_bits_(static_cast<std::size_t>(std::bit_width(levels))),
        unbiased_(unbiased) {}
  std::string_view name() const override { return "qsgd"; }
  CodecId codec() const override { return CodecId::qsgd; }
  CodecTraits traits() const override { return {.seeded = true, .unbiased = unbiased_, .linear = false}; }

 protected:
  std::size_t prelude_size() const override { return 4; }
  void write_prelude(std::uint64_t, std::byte* to) const override { store(levels_, to); }
  Result<std::uint64_t> read_prelude(const std::byte* from) const override {
    if (const auto levels = load<std::uint32_t>(from); levels != levels_)
      return fail(Errc::corrupt,
                  fmt::format("qsgd payload with {} levels where this peer uses {}: does the sender "
                              "run another run file?",
                              levels, levels_));
    return 0;
  }

  std::size_t block_size(std::size_t count) const override {
    return 4 + 4 * (level_bits_ + 1) * bit_words(count);
  }

  double block_contraction(std::size_t count) const override {
    return unbiased_ ? 1 - variance(count) : 1 / (1 + variance(count));
  }

  bool encode_block(std::span<const float> x, Draw draw, std::byte* to) const override {
    const double norm = std::sqrt(squared_norm(x));
    if (norm < kTiniestScale) {
      std::memset(to, 0, block_size(x.size()));
      return true;
    }
    if (norm > std::numeric_limits<float>::max()) return false;
    const auto s = static_cast<double>(levels_);
    const double tau = unbiased_ ? 1 : 1 + variance(x.size());
    store(static_cast<float>(norm / (s * tau)), to);
    if (!valid_unit(load<float>(to))) return false;

    const auto inverse = static_cast<float>(s * 0x1p15 / norm);
    const auto most = static_cast<float>(s * 0x1p15);
    const CodecDraws draws(draw.seed);
    const std::size_t planes = level_bits_ + 1;
    std::uint16_t random[kDrawTile];
    std::byte* out = to + 4;
    for (std::size_t tile = 0; tile < x.size(); tile += kDrawTile) {
      const std::size_t tile_end = std::min(tile + kDrawTile, x.size());
      draws.tile(DrawUse::rounding, draw.block, tile / kDrawTile, tile_end - tile, random);
      for (std::size_t begin = tile; begin < tile_end; begin += 32) {
        const std::size_t count = std::min<std::size_t>(32, tile_end - begin);
        std::uint32_t code[32] = {};
        for (std::size_t i = 0; i < count; ++i) {
          const float value = x[begin + i];
          const float steps = std::min(std::bit_cast<float>(magnitude_bits(value)) * inverse, most);
          const auto fixed = static_cast<std::int32_t>(steps + 0.5f);
          const std::uint32_t r = random[begin - tile + i] >> 1;
          code[i] = (static_cast<std::uint32_t>(fixed) + r) >> 15 | is_negative(value) << level_bits_;
        }
        for (std::size_t p = 0; p < planes; ++p, out += 4) {
          std::uint32_t word = 0;
          for (std::size_t i = 0; i < 32; ++i) word |= ((code[i] >> p) & 1u) << i;
          store(word, out);
        }
      }
    }
    return true;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    if (!valid_unit(load<float>(from))) return "the unit is negative, NaN or too large";
    const std::size_t planes = level_bits_ + 1, groups = bit_words(count);
    const std::byte* words = from + 4;
    for (std::size_t g = 0; g < groups; ++g, words += 4 * planes) {
      // Levels above s, found by comparing all 32 with it at once from the highest bit down.
      std::uint32_t above = 0, equal = ~std::uint32_t{0};
      for (std::size_t p = level_bits_; p-- > 0;) {
        const auto word = load<std::uint32_t>(words + 4 * p);
        if ((levels_ >> p & 1u) != 0) {
          equal &= word;
        } else {
          above |= equal & word;
          equal &= ~word;
        }
      }
      if (above != 0) return "a level is above the highest";
    }
    std::uint32_t tail = 0;
    words -= 4 * planes;
    for (std::size_t p = 0; p < planes; ++p) tail |= load<std::uint32_t>(words + 4 * p) & ~tail_mask(count);
    return tail == 0 ? nullptr : "the padding is not zero";
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    const auto unit = load<float>(from);
    const std::size_t planes = level_bits_ + 1;
    const std::byte* words = from + 4;
    for (std::size_t begin = 0; begin < target.size(); begin += 32, words += 4 * planes) {
      std::uint32_t level[32] = {};
      for (std::size_t p = 0; p < level_bits_; ++p) {
        const auto word = load<std::uint32_t>(words + 4 * p);
        for (std::size_t i = 0; i < 32; ++i) level[i] |= (word >> i & 1u) << p;
      }
      const auto negative = load<std::uint32_t>(words + 4 * level_bits_);
      const std::size_t count = std::min<std::size_t>(32, target.size() - begin);
      float* const out = target.data() + begin;
      for (std::size_t i = 0; i < count; ++i) {
        const float value = static_cast<float>(static_cast<std::int32_t>(level[i])) * unit;
        out[i] += scale * std::bit_cast<float>(float_bits(value) ^ (negative >> i) << 31);
      }
    }
  }

 private:
  // The omega in E |x - Q(x)|^2 <= omega |x|^2 of the unbiased form.
  double variance(std::size_t count) const {
    const auto n = static_cast<double>(count), s = static_cast<double>(levels_);
    return std::min(n / (s * s), std::sqrt(n) / s);
  }

  // Finite, also at the highest level.
  bool valid_unit(float unit) const {
    return valid_scale(unit) && valid_scale(unit * static_cast<float>(levels_));
  }

  std::uint32_t levels_;
  std::size_t level_bits_;
  bool unbiased_;
};

}  // namespace

std::unique_ptr<Compressor> make_qsgd_codec(Scope scope, std::uint32_t levels, bool unbiased) {
  return std::make_unique<QsgdCodec>(scope, levels, unbiased);
}

}  // namespace gossamer
