// The k largest elements of each chunk, or those above a threshold, on a device: kernels/select.h.
//
// A row is kSumChunk elements of a chunk, a warp's work.  One pass over the vector makes a bitmap of the elements that reach a
// threshold, which a sample has shown to be a little too low (Sample, Least, Find); what follows reads the bitmap, and the vector
// only where a bit is set.  Three rounds of counting digits find the k-th magnitude among them (Digits, Pick); rows are counted
// (Count), and each writes what it keeps where the counts of those before say (Keep): ascending, of equal magnitudes the first
// ones, whatever order warps run in.  Where the sample misled, and for chunks too small for one, every bit is set.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/codes.h"
#include "kernels/device/memory_access.h"
#include "kernels/device/rows.h"
#include "kernels/device/tile_kernels.h"

namespace gossamer::device {

inline constexpr unsigned kSampleBins = 4096;  // of the upper 12 bits of a magnitude
inline constexpr unsigned kDigitBins = 2048;
inline constexpr std::uint64_t kRun = 8;       // neighbours sampled together: a sector of memory
inline constexpr unsigned kWordsOfRow = kSumChunk / 32;

// What is known of a chunk's choice.
struct Choice {
  std::uint64_t keep = 0;         // how many elements are wanted
  std::uint64_t sampled = 0;      // runs; none: `least` was given
  std::uint64_t stride = 0;       // from one run to the next
  std::uint64_t sample_rank = 0;  // of the sample's element that becomes the threshold
  std::uint32_t sample = 0;       // which histogram of samples is its own
  std::uint32_t counted = 0;      // the k-th is to be found; else all that reach `least` are kept
  std::uint32_t least = 0;        // elements of this magnitude or more are looked at
  std::uint32_t most = 0;         // the largest magnitude
  std::uint64_t found = 0;        // how many reach `least`
  std::uint64_t rank = 0;         // of the k-th among those whose upper digits are `prefix`
  std::uint32_t prefix = 0;       // of magnitude - least
  std::uint32_t cut = 0;          // what is above is kept
  std::uint64_t equal = 0;        // and so many that are just that
};

// The vector: x, or x - y.
struct Vector {
  const float* x = nullptr;
  const float* y = nullptr;
  GOSSAMER_HD float operator[](std::uint64_t i) const { return y == nullptr ? x[i] : x[i] - y[i]; }
};

// Histograms of samples.  One run of neighbours for every 8 lanes.
struct Sample {
  Vector v;
  Chunks chunks;
  const Choice* choices = nullptr;
  std::uint64_t runs = 0;                      // the most that a chunk has
  std::uint64_t* bins = nullptr;               // kSampleBins for each sampled chunk
  const std::uint32_t* sampled = nullptr;      // which chunks those are
  std::uint32_t sampled_count = 0;

  GOSSAMER_HD std::uint64_t warps_of_chunk() const { return shares(runs, kLanes / kRun); }
  GOSSAMER_HD std::uint64_t warps() const { return sampled_count * warps_of_chunk(); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint32_t c = sampled[index / warps_of_chunk()];
    const Choice& choice = choices[c];
    const std::uint64_t first_run = index % warps_of_chunk() * (kLanes / kRun);
    warp.each([&](unsigned lane) {
      const std::uint64_t run = first_run + lane / kRun;
      if (run >= choice.sampled) return;
      // Anywhere in the stride, so that no pattern of the vector is met again and again.
      const std::uint64_t at = run * choice.stride + ((run * 0x9E3779B97F4A7C15u >> 32) * (choice.stride - kRun + 1) >> 32);
      const std::uint32_t m = magnitude_bits(v[chunks.table[c].first + at + lane % kRun]);
      Warp::add(bins + std::uint64_t{choice.sample} * kSampleBins + (m >> 19), std::uint64_t{1});
    });
  }
};

// The bin, from the top, that holds rank `*rank` (from 1); *rank becomes that within the bin.  `count` bins, a multiple of 32.
template <class Warp>
GOSSAMER_HD std::uint32_t bin_of_rank(Warp& warp, const std::uint64_t* bins, std::uint32_t count, std::uint64_t* rank) {
  typename Warp::template PerLane<std::uint64_t> sums;
  const std::uint32_t each = count / kLanes;
  warp.each([&](unsigned lane) {  // lane 0 has the topmost ones
    std::uint64_t sum = 0;
    GOSSAMER_UNROLL_BY(8)
    for (std::uint32_t b = 0; b < each; ++b) sum += bins[count - 1 - lane * each - b];
    sums[lane] = sum;
  });
  std::uint64_t left = *rank;
  std::uint32_t top = count - 1;
  for (unsigned lane = 0; lane + 1 < kLanes; ++lane) {
    const std::uint64_t sum = warp.pick(sums, lane);
    if (sum >= left) break;
    left -= sum;
    top -= each;
  }
  while (top > 0 && bins[top] < left) left -= bins[top--];
  *rank = left;
  return top;
}

// The threshold that a chunk's sample gives: the lower end of the bin of its rank.
struct Least {
  const std::uint64_t* bins = nullptr;
  const std::uint32_t* sampled = nullptr;
  std::uint32_t sampled_count = 0;
  Choice* choices = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return sampled_count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    Choice& choice = choices[sampled[index]];
    std::uint64_t rank = choice.sample_rank;
    const std::uint32_t bin = bin_of_rank(warp, bins + index * kSampleBins, kSampleBins, &rank);
    warp.once([&] { choice.least = bin << 19; });
  }
};

// The bitmap of what reaches the threshold.  `again`: only for chunks whose sample misled, with all bits set.
struct Find {
  Vector v;
  Chunks chunks;
  bool again = false;
  std::uint32_t* bitmap = nullptr;  // kWordsOfRow for each row
  Choice* choices = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    Choice& choice = choices[row.chunk];
    // What misled can be told while others still find: nobody changes `found` where it did not.
    if (again && !(choice.counted != 0 && choice.least != 0 && choice.found < choice.keep)) return;
    const std::uint32_t least = again ? 0 : choice.least;
    typename Warp::template PerLane<Eight> values;
    typename Warp::template PerLane<std::uint32_t> words, largest;
    warp.each([&](unsigned lane) { largest[lane] = 0; });
    std::uint64_t found = 0;
    for (unsigned first = 0; first < kWordsOfRow; first += 8) {
      warp.each([&](unsigned lane) {
        GOSSAMER_UNROLL
        for (unsigned w = 0; w < 8; ++w) {
          const std::uint64_t i = (first + w) * kLanes + lane;
          values[lane].v[w] = i < row.count ? v[row.first + i] : 0.0f;
        }
      });
      GOSSAMER_UNROLL
      for (unsigned w = 0; w < 8; ++w) {
        const std::uint32_t bits = warp.ballot([&](unsigned lane) {
          const std::uint32_t m = magnitude_bits(values[lane].v[w]);
          largest[lane] = m > largest[lane] ? m : largest[lane];
          return m >= least && (first + w) * kLanes + lane < row.count;
        });
        found += count_bits(bits);
        warp.each([&](unsigned lane) {
          if (lane == (first + w) % kLanes) words[lane] = bits;
        });
      }
      if (first % kLanes == kLanes - 8)
        warp.each([&](unsigned lane) { bitmap[index * kWordsOfRow + first - (kLanes - 8) + lane] = words[lane]; });
    }
    if (again) return;
    const std::uint32_t most = warp.max([&](unsigned lane) { return largest[lane]; });
    warp.once([&] {
      Warp::raise(&choice.most, most);
      Warp::add(&choice.found, found);
    });
  }
};

// Chunks whose sample misled go on with all elements.
struct Settle {
  Choice* choices = nullptr;
  std::uint32_t count = 0;

  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kLanes); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    warp.each([&](unsigned lane) {
      const std::uint64_t c = index * kLanes + lane;
      if (c >= count) return;
      Choice& choice = choices[c];
      if (choice.counted != 0 && choice.found < choice.keep) choice.least = 0;
      choice.rank = choice.keep;
    });
  }
};

// The digits of magnitude - least: 11 bits each, from the highest one that is used.
struct Digit {
  std::uint32_t upper = 0;  // bits above it
  std::uint32_t shift = 0;  // and below
};
GOSSAMER_HD inline Digit digit_of(const Choice& choice, unsigned round) {
  std::uint32_t width = 0;
  for (std::uint32_t range = choice.most - choice.least; range != 0; range >>= 1) ++width;
  Digit digit{32, width};
  for (unsigned r = 0; r <= round; ++r) digit = {digit.shift, digit.shift > 11 ? digit.shift - 11 : 0};
  if (round == 0) digit.upper = 32;
  return digit;
}
GOSSAMER_HD inline std::uint32_t shifted(std::uint32_t value, std::uint32_t by) { return by >= 32 ? 0 : value >> by; }

// Calls visit(i) for each set bit of a row's bitmap, i being the element's place in the row; lanes go through words of their own.
template <class Visit>
GOSSAMER_HD void for_bits(const std::uint32_t* words, unsigned lane, Visit visit) {
  for (unsigned word = lane; word < kWordsOfRow; word += kLanes)
    for (std::uint32_t bits = words[word]; bits != 0; bits &= bits - 1) visit(word * 32 + lowest_bit(bits));
}

struct Digits {
  Vector v;
  Chunks chunks;
  unsigned round = 0;
  const std::uint32_t* bitmap = nullptr;
  const Choice* choices = nullptr;
  std::uint64_t* bins = nullptr;  // kDigitBins for each chunk

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const Choice& choice = choices[row.chunk];
    if (choice.counted == 0) return;
    const Digit digit = digit_of(choice, round);
    std::uint64_t* const own = bins + std::uint64_t{row.chunk} * kDigitBins;
    warp.each([&](unsigned lane) {
      // Runs of one digit are added at once: where all elements are equal, few have to queue.
      std::uint32_t last = 0;
      std::uint64_t run = 0;
      for_bits(bitmap + index * kWordsOfRow, lane, [&](unsigned i) {
        const std::uint32_t d = magnitude_bits(v[row.first + i]) - choice.least;
        if (shifted(d, digit.upper) != choice.prefix) return;
        const std::uint32_t bin = shifted(d, digit.shift) & (kDigitBins - 1);
        if (bin != last && run > 0) {
          Warp::add(own + last, run);
          run = 0;
        }
        last = bin;
        ++run;
      });
      if (run > 0) Warp::add(own + last, run);
    });
  }
};

// The k-th's next digit.
struct Pick {
  unsigned round = 0;
  const std::uint64_t* bins = nullptr;
  Choice* choices = nullptr;
  std::uint32_t count = 0;

  GOSSAMER_HD std::uint64_t warps() const { return count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    Choice& choice = choices[index];
    if (choice.counted == 0) return;
    const Digit digit = digit_of(choice, round);
    std::uint64_t rank = choice.rank;
    const std::uint32_t bin = bin_of_rank(warp, bins + index * kDigitBins, kDigitBins, &rank);
    const std::uint32_t prefix = round == 0 ? bin : choice.prefix << (digit.upper - digit.shift) | bin;
    warp.once([&] {
      choice.prefix = prefix;
      choice.rank = rank;
      if (round == 2) {
        choice.cut = choice.least + prefix;
        choice.equal = rank;
      }
    });
  }
};

// How many elements of each row are above the cut, and on it.
struct Count {
  Vector v;
  Chunks chunks;
  const std::uint32_t* bitmap = nullptr;
  const Choice* choices = nullptr;
  Counts* rows = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const std::uint32_t cut = choices[row.chunk].cut;
    typename Warp::template PerLane<std::uint32_t> equal;
    const std::uint32_t above = warp.sum([&](unsigned lane) {
      std::uint32_t more = 0, same = 0;
      for_bits(bitmap + index * kWordsOfRow, lane, [&](unsigned i) {
        const std::uint32_t m = magnitude_bits(v[row.first + i]);
        more += m > cut ? 1 : 0;
        same += m == cut ? 1 : 0;
      });
      equal[lane] = same;
      return more;
    });
    const std::uint32_t on = warp.sum([&](unsigned lane) { return equal[lane]; });
    warp.once([&] { rows[index] = {above, on}; });
  }
};

// How many elements of each chunk are kept.
struct Kept {
  Chunks chunks;
  Rows rows;
  const Choice* choices = nullptr;
  std::uint64_t* kept = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceChunk& chunk = chunks.table[index];
    const Counts all = counts_between(warp, rows, chunk.first_part, chunk.first_part + shares(chunk.count, kSumChunk));
    const std::uint64_t equal = choices[index].equal;
    warp.once([&] { kept[index] = all.a + (all.b < equal ? all.b : equal); });
  }
};

// Writes what is kept, all chunks one behind the other.
struct Keep {
  Vector v;
  Chunks chunks;
  Rows rows;
  const std::uint32_t* bitmap = nullptr;
  const Choice* choices = nullptr;
  const std::uint64_t* begins = nullptr;  // of each chunk's, in the arrays below
  std::uint64_t* indices = nullptr;       // within the chunk
  float* values = nullptr;
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const Choice& choice = choices[row.chunk];
    const DeviceChunk& chunk = chunks.table[row.chunk];
    const Counts before = counts_between(warp, rows, chunk.first_part, index);
    std::uint64_t ties = before.b < choice.equal ? before.b : choice.equal;  // that were kept
    std::uint64_t at = begins[row.chunk] + before.a + ties;
    for (unsigned first = 0; first < kWordsOfRow; first += kLanes) {
      // Each lane has a word of 32 elements; lanes and bits ascend.
      typename Warp::template PerLane<std::uint32_t> above, equal;
      warp.each([&](unsigned lane) {
        above[lane] = 0;
        equal[lane] = 0;
        for (std::uint32_t bits = bitmap[index * kWordsOfRow + first + lane]; bits != 0; bits &= bits - 1) {
          const unsigned i = lowest_bit(bits);
          const std::uint32_t m = magnitude_bits(v[row.first + (first + lane) * 32 + i]);
          if (m > choice.cut) above[lane] |= 1u << i;
          if (m == choice.cut) equal[lane] |= 1u << i;
        }
      });
      std::uint32_t all_equal = 0, all_kept = 0;
      auto equal_before = warp.before([&](unsigned lane) { return count_bits(equal[lane]); }, &all_equal);
      warp.each([&](unsigned lane) {
        // Of this word's ties the first ones, as far as there are any left.
        const std::uint64_t gone = ties + equal_before[lane];
        const std::uint64_t left = gone < choice.equal ? choice.equal - gone : 0;
        std::uint32_t bits = equal[lane];
        for (std::uint64_t taken = 0; bits != 0; bits &= bits - 1, ++taken)
          if (taken < left) above[lane] |= bits & (~bits + 1);
      });
      auto kept_before = warp.before([&](unsigned lane) { return count_bits(above[lane]); }, &all_kept);
      warp.each([&](unsigned lane) {
        std::uint64_t to = at + kept_before[lane];
        for (std::uint32_t bits = above[lane]; bits != 0; bits &= bits - 1, ++to) {
          const std::uint64_t i = (first + lane) * 32 + lowest_bit(bits);
          const float value = v[row.first + i];
          indices[to] = row.at + i;
          values[to] = value;
          if (magnitude_bits(value) >= kInfinityBits) status->refused = 1;
        }
      });
      at += all_kept;
      ties += all_equal;
    }
  }
};

}  // namespace gossamer::device
