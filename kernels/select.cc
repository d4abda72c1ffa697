// One pass over the vector finds everything above a threshold that a sample has shown to be a little too low; the k largest
// are chosen among those few.  Where the sample misled (too few or far too many found), three counting passes find the k-th
// magnitude itself.
#include "kernels/select.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <optional>

#include "base/random.h"
#include "kernels/codes.h"
#include "kernels/parallel.h"

namespace gossamer {
namespace {

constexpr std::size_t kBlock = 4096;               // elements whose mask stays in the first-level cache
constexpr std::uint64_t kElementsOfPart = 1 << 16;
constexpr std::size_t kRun = 8;                    // neighbours sampled together, as they share a cache line

struct Vector {
  const float* x;
  const float* y;
  std::size_t count;
  float operator[](std::size_t i) const { return y == nullptr ? x[i] : x[i] - y[i]; }
};

// The found elements of one part of the vector.
struct Found {
  std::uint64_t begin = 0;
  std::vector<std::uint64_t> indices;
  std::vector<float> values;
  std::size_t count = 0;

  void reserve(std::size_t more) {
    if (count + more <= indices.size()) return;
    const std::size_t size = std::max(2 * indices.size(), count + more);
    indices.resize(size);
    values.resize(size);
  }
};

// Elements `first` .. `first` + `count` of magnitude `least` or more.  Writes without asking where most words of the mask
// hold no element or one: whether they do is a coin toss, which a processor cannot predict.
void find(const Kernels& kernels, const Vector& v, std::size_t first, std::size_t count, std::uint32_t least, Found* found) {
  std::uint64_t words[kBlock / 64];
  kernels.at_least(v.x + first, v.y == nullptr ? nullptr : v.y + first, count, least, words);
  found->reserve(count + 2);
  std::uint64_t* const indices = found->indices.data();
  float* const values = found->values.data();
  std::size_t at = found->count;
  for (std::size_t w = 0; w < (count + 63) / 64; ++w) {
    std::uint64_t mask = words[w];
    const std::size_t base = first + 64 * w, hits = static_cast<std::size_t>(std::popcount(mask));
    const std::size_t last = first + count - 1;
    const std::size_t one = std::min(base + static_cast<std::size_t>(std::countr_zero(mask)), last);
    mask &= mask - 1;
    const std::size_t two = std::min(base + static_cast<std::size_t>(std::countr_zero(mask)), last);
    indices[at] = one;
    values[at] = v[one];
    indices[at + 1] = two;
    values[at + 1] = v[two];
    if (hits > 2) [[unlikely]] {
      mask &= mask - 1;
      for (std::size_t more = at + 2; mask != 0; mask &= mask - 1, ++more) {
        indices[more] = base + static_cast<std::size_t>(std::countr_zero(mask));
        values[more] = v[indices[more]];
      }
    }
    at += hits;
  }
  found->count = at;
}

// All parts, in order; nothing when there are more than `most` elements.
std::optional<std::vector<Found>> find_all(Stream& stream, const Kernels& kernels, const Vector& v, std::uint32_t least, std::size_t most) {
  // Also without threads: what a part finds stays small, and never moves to a page that the system has yet to clear.
  const std::uint64_t parts = std::min<std::uint64_t>(std::max<std::uint64_t>(8 * stream.width(), v.count >> 20), (v.count + kElementsOfPart - 1) / kElementsOfPart);
  std::vector<Found> found(parts);
  std::atomic<std::size_t> total = 0;
  parallel_for(stream, parts, 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t p = begin; p < end; ++p) {
      const std::size_t from = v.count / parts * p + std::min(p, v.count % parts), to = v.count / parts * (p + 1) + std::min(p + 1, v.count % parts);
      for (std::size_t i = from; i < to && total.load(std::memory_order_relaxed) <= most; i += kBlock) {
        const std::size_t before = found[p].count;
        find(kernels, v, i, std::min(kBlock, to - i), least, &found[p]);
        total.fetch_add(found[p].count - before, std::memory_order_relaxed);
      }
    }
  });
  if (total > most) return std::nullopt;
  return found;
}

std::size_t count_of(const std::vector<Found>& found) {
  std::size_t count = 0;
  for (const Found& part : found) count += part.count;
  return count;
}

// A magnitude that probably a few more than k elements reach, from runs of neighbours spread over the vector.
std::uint32_t sampled_threshold(const Vector& v, std::size_t k) {
  // At least 64 of the sample are among the k.
  const std::size_t wanted = std::max<std::size_t>(std::min<std::size_t>(65536, v.count / 16), static_cast<std::size_t>(64.0 * static_cast<double>(v.count) / static_cast<double>(k)));
  const std::size_t runs = wanted / kRun, stride = v.count / runs;
  std::vector<std::uint32_t> sample(runs * kRun);
  for (std::size_t r = 0; r < runs; ++r) {
    // Anywhere in the stride, so that no pattern of the vector is met again and again.
    const std::size_t at = r * stride + static_cast<std::size_t>((r * 0x9E3779B97F4A7C15u >> 32) * (stride - kRun + 1) >> 32);
    for (std::size_t i = 0; i < kRun; ++i) sample[r * kRun + i] = magnitude_bits(v[at + i]);
  }
  const double share = static_cast<double>(k) / static_cast<double>(v.count) * static_cast<double>(sample.size());
  const auto rank = std::min(sample.size() - 1, static_cast<std::size_t>(share + 4 * std::sqrt(share)));
  std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(rank), sample.end(), std::greater<>());
  return sample[rank];
}

struct Cut {
  std::uint32_t magnitude = 0;  // the k-th largest, as bits
  std::size_t equal = 0;        // how many elements of just this magnitude are among the k
};

// The k-th largest of `found`, which has at least k elements, none below `least`.
Cut cut_among(const std::vector<Found>& found, std::size_t k, std::uint32_t least) {
  constexpr std::size_t kBins = 2048;
  std::uint32_t most = least;
  for (const Found& part : found)
    for (std::size_t i = 0; i < part.count; ++i) most = std::max(most, magnitude_bits(part.values[i]));
  const int shift = std::max(0, static_cast<int>(std::bit_width(most - least)) - 11);
  std::array<std::size_t, kBins> histogram = {};
  for (const Found& part : found)
    for (std::size_t i = 0; i < part.count; ++i) ++histogram[(magnitude_bits(part.values[i]) - least) >> shift];
  std::size_t bin = kBins - 1, rank = k;
  while (histogram[bin] < rank) rank -= histogram[bin--];
  std::vector<std::uint32_t> members;
  members.reserve(histogram[bin]);
  for (const Found& part : found)
    for (std::size_t i = 0; i < part.count; ++i)
      if (const std::uint32_t m = magnitude_bits(part.values[i]); (m - least) >> shift == bin) members.push_back(m);
  std::nth_element(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(rank - 1), members.end(), std::greater<>());
  const std::uint32_t cut = members[rank - 1];
  const auto above = static_cast<std::size_t>(std::count_if(members.begin(), members.end(), [cut](std::uint32_t m) { return m > cut; }));
  return {cut, rank - above};
}

// The k-th largest of all, by counting: 11, 10 and 10 bits of the magnitude.
Cut cut_by_counting(Stream& stream, const Vector& v, std::size_t k) {
  struct Digit {
    int shift;
    std::uint32_t bins;
  };
  constexpr std::array<Digit, 3> kDigits = {{{20, 2048}, {10, 1024}, {0, 1024}}};
  std::uint32_t prefix = 0, known = 0;  // of the k-th largest, as far as it is known
  std::size_t rank = k;
  for (const Digit& digit : kDigits) {
    std::vector<std::atomic<std::size_t>> histogram(digit.bins);
    parallel_for(stream, v.count, kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
      std::array<std::size_t, 2048> own = {};
      for (std::uint64_t i = begin; i < end; ++i)
        if (const std::uint32_t m = magnitude_bits(v[i]); (m & known) == prefix) ++own[(m >> digit.shift) & (digit.bins - 1)];
      for (std::uint32_t b = 0; b < digit.bins; ++b) histogram[b] += own[b];
    });
    std::uint32_t bin = digit.bins - 1;
    while (histogram[bin] < rank) rank -= histogram[bin--];
    prefix |= bin << digit.shift;
    known |= (digit.bins - 1) << digit.shift;
  }
  return {prefix, rank};
}

// Appends those of `found` that are above the cut, and the first of those on it.
void keep(const Found& found, Cut* cut, std::size_t* at, Selection* selection) {
  std::uint64_t* const indices = selection->indices.data();
  float* const values = selection->values.data();
  for (std::size_t i = 0; i < found.count; ++i) {
    const std::uint32_t m = magnitude_bits(found.values[i]);
    const bool tie = m == cut->magnitude && cut->equal > 0;
    indices[*at] = found.indices[i];
    values[*at] = found.values[i];
    *at += m > cut->magnitude || tie ? 1 : 0;
    cut->equal -= tie ? 1 : 0;
  }
}

bool all_numbers(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return magnitude_bits(value) < kInfinityBits; });
}

}  // namespace

bool select_at_least(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count, std::uint32_t least,
                     Selection* selection) {
  *selection = {};
  const auto found = find_all(stream, kernels, {x, y, count}, least, count);
  for (const Found& part : *found) {
    selection->indices.insert(selection->indices.end(), part.indices.begin(), part.indices.begin() + static_cast<std::ptrdiff_t>(part.count));
    selection->values.insert(selection->values.end(), part.values.begin(), part.values.begin() + static_cast<std::ptrdiff_t>(part.count));
  }
  return all_numbers(selection->values);
}

bool select_largest(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count, std::size_t k,
                    Selection* selection) {
  if (k >= count) return select_at_least(stream, kernels, x, y, count, 0, selection);
  const Vector v{x, y, count};
  selection->indices.resize(k + 1);  // one more is written to before it is known not to stay
  selection->values.resize(k + 1);
  std::size_t at = 0;

  // A sample pays where it is small beside the vector, and what it finds beside the sample.
  const double share = static_cast<double>(k) / static_cast<double>(count);
  if (count >= (1 << 18) && share <= 0.125 && 64 / share <= static_cast<double>(count) / 16) {
    const std::uint32_t least = sampled_threshold(v, k);
    if (least >= kInfinityBits) return false;
    if (const auto found = find_all(stream, kernels, v, least, 2 * k + kBlock); found && count_of(*found) >= k) {
      Cut cut = cut_among(*found, k, least);
      for (const Found& part : *found) keep(part, &cut, &at, selection);
      selection->indices.resize(k);
      selection->values.resize(k);
      return all_numbers(selection->values);
    }
  }
  Cut cut = cut_by_counting(stream, v, k);
  for (std::size_t i = 0; i < count; i += kBlock) {
    Found part;
    find(kernels, v, i, std::min(kBlock, count - i), cut.magnitude, &part);
    keep(part, &cut, &at, selection);
  }
  selection->indices.resize(k);
  selection->values.resize(k);
  return all_numbers(selection->values);
}

}  // namespace gossamer
