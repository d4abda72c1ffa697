// Sign and norm: one bit per element and the mean magnitude of the block.
//
// Block: float |x|_1 / n | bit words; bit i % 32 of word i / 32 is 1 where x_i < 0, and an element is
// minus or plus the mean.  Zero counts as positive.
#include <algorithm>

#include "kernels/block_codec.h"
#include "kernels/codecs.h"
#include "kernels/reduce.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

class SignCodec final : public BlockCodec {
 public:
  explicit SignCodec(Scope scope) : BlockCodec(scope) {}
  std::string_view name() const override { return "sign"; }
  CodecId codec() const override { return CodecId::sign; }
  CodecTraits traits() const override { return {}; }

 protected:
  std::size_t block_size(std::size_t count) const override { return 4 + 4 * bit_words(count); }

  // It is |x|_1^2 / (n |x|_2^2): near 2/pi for normally distributed elements, and 1/n when one is all.
  double block_contraction(std::size_t count) const override { return 1 / static_cast<double>(count); }

  bool encode_block(std::span<const float> x, Draw, std::byte* to) const override {
    const double sum = fixed_order_sum(x.size(), [in = x.data()](std::size_t i) {
      return static_cast<double>(std::bit_cast<float>(magnitude_bits(in[i])));
    });
    const auto mean = static_cast<float>(sum / static_cast<double>(x.size()));
    store(mean < kTiniestScale ? 0.0f : mean, to);
    for (std::size_t begin = 0; begin < x.size(); begin += 32) {
      const std::size_t count = std::min<std::size_t>(32, x.size() - begin);
      std::uint32_t word = 0;
      for (std::size_t i = 0; i < count; ++i) word |= is_negative(x[begin + i]) << i;
      store(word, to + 4 + begin / 8);
    }
    return true;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    if (!valid_scale(load<float>(from))) return "the scale is negative, NaN or infinite";
    if ((load<std::uint32_t>(from + 4 * bit_words(count)) & ~tail_mask(count)) != 0)
      return "the padding is not zero";
    return nullptr;
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    const std::uint32_t magnitude = float_bits(scale * load<float>(from));
    for (std::size_t begin = 0; begin < target.size(); begin += 32) {
      const std::size_t count = std::min<std::size_t>(32, target.size() - begin);
      const auto word = load<std::uint32_t>(from + 4 + begin / 8);
      float* const out = target.data() + begin;
      for (std::size_t i = 0; i < count; ++i) out[i] += std::bit_cast<float>(magnitude ^ (word >> i) << 31);
    }
  }
};

}  // namespace

std::unique_ptr<Compressor> make_sign_codec(Scope scope) {
  return std::make_unique<SignCodec>(scope);
}

}  // namespace gossamer
