// Top-k: the k elements of largest magnitude, exactly; among equals the lowest index first.
//
// Block: u64 (k in the low 56 bits, form in the top 8) | where | k floats in ascending order of index.
// `where` is k ascending u32 indices (form 0) or one bit per element in words of 32 (form 1): whichever is
// smaller, the indices when both are equal, and always the bits above 2^32 elements.
#include <algorithm>
#include <array>

#include "kernels/block_codec.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kIndices = 0;
constexpr std::uint64_t kBitmap = 1;

struct Threshold {
  std::uint32_t magnitude = 0;  // the k-th largest, as bits
  std::size_t equal = 0;        // how many elements of just this magnitude are among the k
};

// Radix selection on the 31 bits of the magnitude: a histogram of the top 11 bits says which bin holds the
// k-th largest, the next histogram looks only there.  Three sweeps, no copy of the vector.
Threshold select_threshold(std::span<const float> x, std::size_t k) {
  struct Digit {
    int shift;
    std::uint32_t bins;
  };
  constexpr std::array<Digit, 3> kDigits = {{{20, 2048}, {10, 1024}, {0, 1024}}};
  std::uint32_t prefix = 0;       // of the k-th largest, as far as it is known
  std::uint32_t prefix_mask = 0;  // the bits that are known
  std::size_t rank = k;           // of the k-th largest among those with this prefix
  for (const Digit& digit : kDigits) {
    std::array<std::size_t, 2048> histogram = {};
    for (const float value : x) {
      const std::uint32_t m = magnitude_bits(value);
      if ((m & prefix_mask) == prefix) ++histogram[(m >> digit.shift) & (digit.bins - 1)];
    }
    std::uint32_t bin = digit.bins - 1;
    while (histogram[bin] < rank) rank -= histogram[bin--];
    prefix |= bin << digit.shift;
    prefix_mask |= (digit.bins - 1) << digit.shift;
  }
  return {prefix, rank};
}

class TopKCodec final : public BlockCodec {
 public:
  TopKCodec(Scope scope, double ratio) : BlockCodec(scope), ratio_(ratio) {}
  std::string_view name() const override { return "top-k"; }
  CodecId codec() const override { return CodecId::top_k; }
  CodecTraits traits() const override { return {}; }

 protected:
  std::size_t block_size(std::size_t count) const override {
    const std::size_t k = kept(ratio_, count);
    return 8 + where_size(k, count) + 4 * k;
  }

  double block_contraction(std::size_t count) const override {
    return static_cast<double>(kept(ratio_, count)) / static_cast<double>(count);
  }

  bool encode_block(std::span<const float> x, Draw, std::byte* to) const override {
    const std::size_t k = kept(ratio_, x.size());
    const std::uint64_t form = form_of(k, x.size());
    std::byte* const where = to + 8;
    std::byte* const values = where + where_size(k, x.size());
    store(std::uint64_t{k} | form << 56, to);

    Threshold threshold = select_threshold(x, k);
    std::size_t taken = 0;
    for (std::size_t begin = 0; begin < x.size(); begin += 32) {
      const std::size_t count = std::min<std::size_t>(32, x.size() - begin);
      std::uint32_t mask = 0;
      for (std::size_t i = 0; i < count; ++i)
        mask |= std::uint32_t{magnitude_bits(x[begin + i]) >= threshold.magnitude} << i;
      std::uint32_t chosen = 0;
      for (; mask != 0; mask &= mask - 1) {
        const auto bit = static_cast<std::size_t>(std::countr_zero(mask));
        const float value = x[begin + bit];
        if (magnitude_bits(value) == threshold.magnitude) {
          if (threshold.equal == 0) continue;
          --threshold.equal;
        }
        chosen |= std::uint32_t{1} << bit;
        if (form == kIndices) store(static_cast<std::uint32_t>(begin + bit), where + 4 * taken);
        store(value, values + 4 * taken++);
      }
      if (form == kBitmap) store(chosen, where + begin / 8);
    }
    return true;
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    const std::size_t k = kept(ratio_, count);
    const auto head = load<std::uint64_t>(from);
    if (head >> 56 != form_of(k, count)) return "the indices have another form than their number asks for";
    if ((head & ((std::uint64_t{1} << 56) - 1)) != k) return "the sender kept another number of elements";
    const std::byte* const where = from + 8;
    if (head >> 56 == kIndices) {
      std::uint64_t least = 0;  // that the next index may be
      for (std::size_t j = 0; j < k; ++j) {
        const std::uint64_t index = load<std::uint32_t>(where + 4 * j);
        if (index < least) return "the indices do not ascend";
        if (index >= count) return "an index is past the end";
        least = index + 1;
      }
    } else {
      std::size_t set = 0;
      const std::size_t words = bit_words(count);
      for (std::size_t w = 0; w < words; ++w)
        set += static_cast<std::size_t>(std::popcount(load<std::uint32_t>(where + 4 * w)));
      if (set != k) return "the bitmap holds another number of elements";
      if ((load<std::uint32_t>(where + 4 * (words - 1)) & ~tail_mask(count)) != 0)
        return "an index is past the end";
    }
    if (!all_finite_at(where + where_size(k, count), k)) return "a value is NaN or infinite";
    return nullptr;
  }

  void add_block(const std::byte* from, Draw, float scale, std::span<float> target) const override {
    const std::size_t count = target.size(), k = kept(ratio_, count);
    const std::byte* const where = from + 8;
    const std::byte* const values = where + where_size(k, count);
    if (form_of(k, count) == kIndices) {
      for (std::size_t j = 0; j < k; ++j) {
        const std::uint32_t index = load<std::uint32_t>(where + 4 * j);
        if (index < count) target[index] += scale * load<float>(values + 4 * j);
      }
      return;
    }
    std::size_t taken = 0;
    for (std::size_t begin = 0; begin < count; begin += 32) {
      std::uint32_t mask = load<std::uint32_t>(where + begin / 8);
      if (count - begin < 32) mask &= tail_mask(count);
      for (; mask != 0 && taken < k; mask &= mask - 1)
        target[begin + static_cast<std::size_t>(std::countr_zero(mask))] +=
            scale * load<float>(values + 4 * taken++);
    }
  }

 private:
  static std::uint64_t form_of(std::size_t k, std::size_t count) {
    return k <= bit_words(count) && (count - 1) >> 32 == 0 ? kIndices : kBitmap;
  }
  static std::size_t where_size(std::size_t k, std::size_t count) {
    return 4 * (form_of(k, count) == kIndices ? k : bit_words(count));
  }

  double ratio_;
};

}  // namespace

std::unique_ptr<Compressor> make_top_k_codec(Scope scope, double ratio, const Kernels&) {
  return std::make_unique<TopKCodec>(scope, ratio);
}

}  // namespace gossamer
