// Random-k: k coordinates drawn from the seed; only their values and the seed travel.
//
// Prelude: u64 seed.  Block: k floats, in the order of the strata.
//
// The n elements are cut into k strata, the first n % k of them one longer than n / k, and one element is
// drawn in each; then all are rotated by one offset drawn from 0 .. n-1, modulo n.  The strata make the
// coordinates distinct at O(1) each; the rotation gives every element the same chance of exactly k/n
// whatever the strata do, so the error is that of k draws without replacement:
//   E |x - Q(x)|^2 = (1 - k/n) |x|^2, or (n/k - 1) |x|^2 when values are scaled by n/k to make E Q(x) = x.
// (The offset is 64 random bits reduced to n by a multiplication: exact to n / 2^64.)
#include <algorithm>
#include <cmath>

#include "kernels/block_codec.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
  const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const std::uint64_t low = a0 * b1 + (middle & 0xffffffffu);
  return a1 * b1 + (middle >> 32) + (low >> 32);
}

// Calls visit(j, index) for the k coordinates among `count`, j ascending.
template <class Visit>
void for_each_coordinate(std::uint64_t seed, std::size_t block, std::size_t count, std::size_t k,
                         Visit visit) {
  const CodecDraws draws(seed);
  const Philox4 r = draws.words(DrawUse::rotation, block, 0);
  const std::size_t offset = multiply_high(std::uint64_t{r[1]} << 32 | r[0], count);
  const std::size_t length = count / k, longer = count % k;
  Philox4 words{};
  std::size_t begin = offset;  // of the stratum, rotated
  for (std::size_t j = 0; j < k; ++j) {
    if (j % 4 == 0) words = draws.words(DrawUse::strata, block, j / 4);
    const std::size_t size = length + (j < longer ? 1 : 0);
    // 32 random bits are enough for strata up to 2^32; of longer ones only some elements can be drawn,
    // which the rotation makes good.
    const std::size_t index = begin + multiply_high(std::uint64_t{words[j % 4]} << 32, size);
    visit(j, index < count ? index : index - count);
    begin += size;
    if (begin >= count) begin -= count;
  }
}

class RandomKCodec final : public BlockCodec {
 public:
  RandomKCodec(Scope scope, double ratio, bool unbiased)
      : BlockCodec(scope), ratio_(ratio), unbiased_(unbiased) {}
  std::string_view name() const override { return "random-k"; }
  CodecId codec() const override { return CodecId::random_k; }
  // Linear: with one seed two payloads hold the same coordinates, and their values may be added.
  CodecTraits traits() const override { return {.seeded = true, .unbiased = unbiased_, .linear = true}; }

 protected:
  std::size_t prelude_size() const override { return 8; }
  void write_prelude(std::uint64_t seed, std::byte* to) const override { store(seed, to); }
  Result<std::uint64_t> read_prelude(const std::byte* from) const override {
    return load<std::uint64_t>(from);
  }

  std::size_t block_size(std::size_t count) const override { return 4 * kept(ratio_, count); }

  double block_contraction(std::size_t count) const override {
    const auto n = static_cast<double>(count), k = static_cast<double>(kept(ratio_, count));
    return unbiased_ ? 2 - n / k : k / n;
  }

  bool encode_block(std::span<const float> x, Draw draw, std::byte* to) const override {
    const std::size_t k = kept(ratio_, x.size());
    const float factor =
        unbiased_ ? static_cast<float>(static_cast<double>(x.size()) / static_cast<double>(k)) : 1.0f;
    for_each_coordinate(draw.seed, draw.block, x.size(), k,
                        [&](std::size_t j, std::size_t index) { store(x[index] * factor, to + 4 * j); });
    return all_finite_at(to, k);
  }

  const char* refuse_block(const std::byte* from, std::size_t count) const override {
    return all_finite_at(from, kept(ratio_, count)) ? nullptr : "a value is NaN or infinite";
  }

  void add_block(const std::byte* from, Draw draw, float scale, std::span<float> target) const override {
    for_each_coordinate(
        draw.seed, draw.block, target.size(), kept(ratio_, target.size()),
        [&](std::size_t j, std::size_t index) { target[index] += scale * load<float>(from + 4 * j); });
  }

 private:
  double ratio_;
  bool unbiased_;
};

}  // namespace

std::unique_ptr<Compressor> make_random_k_codec(Scope scope, double ratio, bool unbiased, const Kernels&) {
  return std::make_unique<RandomKCodec>(scope, ratio, unbiased);
}

}  // namespace gossamer
