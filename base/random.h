// Counter-based random numbers: a pure function of (key, counter), the same on every machine and device.
//
// Philox4x32-R of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC'11).
// 10 rounds is the authors' default; 7 rounds is the fewest that pass BigCrush and what codecs use,
// where the generator competes with memory for time.
//
// Every consumer draws from its own Purpose, so that two uses never share a counter.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace gossamer {

using Philox4 = std::array<std::uint32_t, 4>;

template <int Rounds>
constexpr Philox4 philox4x32(Philox4 counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < Rounds; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// Who draws.  Values are part of what makes a run reproducible; never reuse one.
enum class Purpose : std::uint32_t {
  test = 1,
  topology = 2,
  partition = 3,
  initial_model = 4,
  batch_order = 5,
  codec = 6,
  split = 7,
  synthetic_data = 8,
  partner = 9,
  faults = 10,
  link = 11,
  augmentation = 12,
  swarm = 13,
  low_rank = 14,
};

// Mixes words into a 64-bit seed; a pure function, used to derive one stream's key from several numbers.
constexpr std::uint64_t mix_seed(std::uint64_t a, std::uint64_t b) {
  const Philox4 r = philox4x32<10>({static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), 0x6d697865u, 0},
                                   {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32)});
  return (std::uint64_t{r[1]} << 32) | r[0];
}

// A stream of numbers: the standard library's UniformRandomBitGenerator, plus the draws that must be
// identical everywhere (the distributions of <random> differ between standard libraries).
//
// A Random is a value; copying it forks the stream at the same place.
class Random {
 public:
  using result_type = std::uint32_t;

  Random(std::uint64_t seed, Purpose purpose, std::uint64_t a = 0, std::uint64_t b = 0)
      : key_{static_cast<std::uint32_t>(mix_seed(mix_seed(seed, static_cast<std::uint64_t>(purpose)), mix_seed(a, b))),
             static_cast<std::uint32_t>(mix_seed(mix_seed(seed, static_cast<std::uint64_t>(purpose)), mix_seed(a, b)) >> 32)} {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<std::uint32_t>::max(); }

  result_type operator()() {
    if (used_ == 4) {
      block_ = philox4x32<10>({static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32), 0, 0}, key_);
      ++counter_;
      used_ = 0;
    }
    return block_[used_++];
  }

  std::uint64_t bits64() {
    const std::uint64_t low = (*this)();
    return (std::uint64_t{(*this)()} << 32) | low;
  }

  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(bits64() >> 11) * 0x1.0p-53; }

  // Uniform in 0 .. bound-1 without bias; bound > 0.
  std::uint64_t below(std::uint64_t bound) {
    const std::uint64_t limit = std::numeric_limits<std::uint64_t>::max() - std::numeric_limits<std::uint64_t>::max() % bound;
    std::uint64_t draw = bits64();
    while (draw >= limit) draw = bits64();
    return draw % bound;
  }

  // Standard normal (Box-Muller; one of the pair is dropped, so that the stream has no hidden state).
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * uniform());
  }

  // Exponential with mean 1.
  double exponential() { return -std::log(1.0 - uniform()); }

  // Gamma(shape, 1), shape > 0 (Marsaglia and Tsang 2000).
  double gamma(double shape) {
    if (shape < 1) return gamma(shape + 1) * std::pow(1.0 - uniform(), 1.0 / shape);
    const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1.0 + c * x, 3);
      if (v <= 0) continue;
      if (std::log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
    }
  }

  // Fisher-Yates.
  template <class Range>
  void shuffle(Range& range) {
    for (std::uint64_t i = range.size(); i > 1; --i) std::swap(range[i - 1], range[below(i)]);
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t counter_ = 0;
  Philox4 block_{};
  unsigned used_ = 4;
};

}  // namespace gossamer
