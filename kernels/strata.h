// Which elements random-k draws: a pure function of (seed, chunk), each of them by itself.
//
// The chunk is cut into aligned groups, of one element or, where at least 512 are kept, of 8, which are a sector of memory.  The
// groups are cut into as many strata as are to be drawn, the first ones one longer; one group is drawn in each, and then all are
// rotated by one offset, modulo their number.  Strata make the groups distinct at O(1) each; the rotation gives each the same
// chance whatever the strata do, so the error is that of draws without replacement: E |x - Q(x)|^2 = (1 - p) |x|^2 with p the
// share of groups drawn, or (1/p - 1) |x|^2 when values are divided by p to make E Q(x) = x.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/draws.h"
#include "kernels/host_device.h"

namespace gossamer {

GOSSAMER_HD inline std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
  const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const std::uint64_t low = a0 * b1 + (middle & 0xffffffffu);
  return a1 * b1 + (middle >> 32) + (low >> 32);
}

// `drawn` distinct indices among `count`, for ascending j but for the rotation.
class Strata {
 public:
  Strata(std::uint64_t key, std::uint32_t chunk, std::uint64_t count, std::uint64_t drawn)
      : key_(key), chunk_(chunk), count_(count), length_(count / drawn), longer_(count % drawn) {
    const Philox4 r = CodecDraws(CodecDraws::Key{key}).words(DrawUse::rotation, chunk, 0);
    offset_ = multiply_high(std::uint64_t{r[1]} << 32 | r[0], count);
  }

  // The random words of strata 4 i .. 4 i + 3.
  GOSSAMER_HD Philox4 words(std::uint64_t i) const { return CodecDraws(CodecDraws::Key{key_}).words(DrawUse::strata, chunk_, i); }

  // The index drawn in stratum j by its word, words(j / 4)[j % 4].
  GOSSAMER_HD std::uint64_t index(std::uint64_t j, std::uint32_t word) const {
    const std::uint64_t size = length_ + (j < longer_ ? 1 : 0);
    // 32 random bits are enough for strata up to 2^32; of longer ones only some can be drawn, which the rotation makes good.
    const std::uint64_t at = offset_ + j * length_ + (j < longer_ ? j : longer_) + multiply_high(std::uint64_t{word} << 32, size);
    return at < count_ ? at : at - count_;
  }

 private:
  std::uint64_t key_;
  std::uint32_t chunk_;
  std::uint64_t count_, length_, longer_, offset_ = 0;
};

}  // namespace gossamer
