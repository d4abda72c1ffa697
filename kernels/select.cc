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
#include <span>

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

// The found elements of one part of the vector: where, from its first on, and what.
struct Found {
  std::uint64_t begin = 0;
  std::vector<std::uint32_t> indices;
  std::vector<float> values;
  std::size_t count = 0;

  std::span<const float> all() const { return std::span(values).first(count); }

  void reserve(std::size_t more) {
    if (count + more <= indices.size()) return;
    const std::size_t size = std::max(2 * indices.size(), count + more);
    indices.resize(size);
    values.resize(size);
  }
};

// What a selection leaves to the next one on its stream.
struct Scratch {
  std::vector<float> sample;
  std::vector<Found> found;
  std::vector<std::uint32_t> members;
};

// Elements `first` .. `first` + `count` of magnitude `least` or more.
void find(const Kernels& kernels, const Vector& v, std::size_t first, std::size_t count, std::uint32_t least, Found* found) {
  found->reserve(count + 2);
  std::uint32_t* const indices = found->indices.data() + found->count;
  const std::size_t more = kernels.find(v.x + first, v.y == nullptr ? nullptr : v.y + first, count, least, indices, found->values.data() + found->count);
  for (std::size_t i = 0; i < more; ++i) indices[i] += static_cast<std::uint32_t>(first - found->begin);
  found->count += more;
}

// All parts, in order; nothing when there are more than `most` elements.
std::optional<std::span<const Found>> find_all(Stream& stream, const Kernels& kernels, const Vector& v, std::uint32_t least, std::size_t most,
                                               Scratch* scratch) {
  // Also without threads: what a part finds stays small, and never moves to a page that the system has yet to clear.
  const std::uint64_t parts = std::min<std::uint64_t>(std::max<std::uint64_t>(8 * stream.width(), v.count >> 20), (v.count + kElementsOfPart - 1) / kElementsOfPart);
  if (scratch->found.size() < parts) scratch->found.resize(parts);
  const std::span<Found> found = std::span(scratch->found).first(parts);
  std::atomic<std::size_t> total = 0;
  parallel_for(stream, parts, 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t p = begin; p < end; ++p) {
      const std::size_t from = v.count / parts * p + std::min(p, v.count % parts), to = v.count / parts * (p + 1) + std::min(p + 1, v.count % parts);
      found[p].begin = from;
      found[p].count = 0;
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

std::size_t count_of(std::span<const Found> found) {
  std::size_t count = 0;
  for (const Found& part : found) count += part.count;
  return count;
}

struct Cut {
  std::uint32_t magnitude = 0;  // the k-th largest, as bits
  std::size_t equal = 0;        // how many elements of just this magnitude are among the k
};

// The k-th largest magnitude of some lists of values, which have at least k, none below `least`: by counting the leading bits of
// how far they are above it, then among those that share them.
Cut cut_among(std::span<const std::span<const float>> lists, std::size_t k, std::uint32_t least, std::vector<std::uint32_t>* scratch) {
  constexpr std::size_t kBins = 2048;
  std::uint32_t most = least;
  for (const auto list : lists)
    for (const float value : list) most = std::max(most, magnitude_bits(value));
  const int shift = std::max(0, static_cast<int>(std::bit_width(most - least)) - 11);
  std::array<std::uint32_t, kBins> histogram = {};
  for (const auto list : lists)
    for (const float value : list) ++histogram[(magnitude_bits(value) - least) >> shift];
  std::size_t bin = kBins - 1, rank = k;
  while (histogram[bin] < rank) rank -= histogram[bin--];
  std::vector<std::uint32_t>& members = *scratch;
  members.resize(histogram[bin] + 1);  // one more is written to before it is known not to stay
  std::size_t count = 0;
  for (const auto list : lists)
    for (const float value : list) {
      members[count] = magnitude_bits(value);
      count += (members[count] - least) >> shift == bin ? 1 : 0;
    }
  members.resize(count);
  std::nth_element(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(rank - 1), members.end(), std::greater<>());
  const std::uint32_t cut = members[rank - 1];
  const auto above = static_cast<std::size_t>(std::count_if(members.begin(), members.end(), [cut](std::uint32_t m) { return m > cut; }));
  return {cut, rank - above};
}

// A magnitude that probably a few more than k elements reach, from runs of neighbours spread over the vector.
std::uint32_t sampled_threshold(const Vector& v, std::size_t k, Scratch* scratch) {
  // At least 64 of the sample are among the k.
  const std::size_t wanted = std::max<std::size_t>(std::min<std::size_t>(65536, v.count / 16), static_cast<std::size_t>(64.0 * static_cast<double>(v.count) / static_cast<double>(k)));
  const std::size_t runs = wanted / kRun, stride = v.count / runs;
  std::vector<float>& sample = scratch->sample;
  sample.resize(runs * kRun);
  for (std::size_t r = 0; r < runs; ++r) {
    // Anywhere in the stride, so that no pattern of the vector is met again and again.
    const std::size_t at = r * stride + static_cast<std::size_t>((r * 0x9E3779B97F4A7C15u >> 32) * (stride - kRun + 1) >> 32);
    for (std::size_t i = 0; i < kRun; ++i) sample[r * kRun + i] = v[at + i];
  }
  const double share = static_cast<double>(k) / static_cast<double>(v.count) * static_cast<double>(sample.size());
  const std::span<const float> all = sample;
  return cut_among({&all, 1}, std::min(sample.size(), static_cast<std::size_t>(share + 4 * std::sqrt(share)) + 1), 0, &scratch->members).magnitude;
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

// The first `most` of those of `found` that are above the cut or, as long as there are `equal` left, on it.  Returns how many.
std::size_t keep(const Found& found, std::uint32_t cut, std::size_t* equal, std::size_t most, std::uint64_t* indices, float* values) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < found.count && at < most; ++i) {
    const std::uint32_t m = magnitude_bits(found.values[i]);
    const bool tie = m == cut && *equal > 0;
    indices[at] = found.begin + found.indices[i];
    values[at] = found.values[i];
    at += m > cut || tie ? 1 : 0;
    *equal -= tie ? 1 : 0;
  }
  return at;
}

// The k elements, of parts that hold them all.
void keep_all(Stream& stream, std::span<const Found> found, const Cut& cut, Selection* selection) {
  struct Share {
    std::size_t above = 0, equal = 0, count = 0, at = 0;
  };
  std::vector<Share> shares(found.size());
  parallel_for(stream, found.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t p = begin; p < end; ++p)
      for (const float value : found[p].all()) {
        const std::uint32_t m = magnitude_bits(value);
        shares[p].above += m > cut.magnitude ? 1 : 0;
        shares[p].equal += m == cut.magnitude ? 1 : 0;
      }
  });
  std::size_t at = 0, equal = cut.equal;
  for (Share& share : shares) {
    share.at = at;
    share.equal = std::min(share.equal, equal);
    equal -= share.equal;
    share.count = share.above + share.equal;
    at += share.count;
  }
  parallel_for(stream, found.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t p = begin; p < end; ++p)
      keep(found[p], cut.magnitude, &shares[p].equal, shares[p].count, selection->indices.data() + shares[p].at,
           selection->values.data() + shares[p].at);
  });
}

bool all_numbers(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return magnitude_bits(value) < kInfinityBits; });
}

}  // namespace

bool select_at_least(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count, std::uint32_t least,
                     Selection* selection) {
  const std::span<const Found> found = *find_all(stream, kernels, {x, y, count}, least, count, &stream.keep<Scratch>());
  selection->indices.clear();
  selection->values.clear();
  selection->indices.reserve(count_of(found));
  selection->values.reserve(count_of(found));
  for (const Found& part : found) {
    for (std::size_t i = 0; i < part.count; ++i) selection->indices.push_back(part.begin + part.indices[i]);
    selection->values.insert(selection->values.end(), part.all().begin(), part.all().end());
  }
  return all_numbers(selection->values);
}

bool select_largest(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count, std::size_t k,
                    Selection* selection) {
  if (k >= count) return select_at_least(stream, kernels, x, y, count, 0, selection);
  const Vector v{x, y, count};
  selection->indices.resize(k);
  selection->values.resize(k);

  // A sample pays where it is small beside the vector, and what it finds beside the sample.
  const double share = static_cast<double>(k) / static_cast<double>(count);
  if (count >= (1 << 18) && share <= 0.125 && 64 / share <= static_cast<double>(count) / 16) {
    Scratch& scratch = stream.keep<Scratch>();
    const std::uint32_t least = sampled_threshold(v, k, &scratch);
    if (least >= kInfinityBits) return false;
    if (const auto found = find_all(stream, kernels, v, least, 2 * k + kBlock, &scratch); found && count_of(*found) >= k) {
      std::vector<std::span<const float>> values;
      for (const Found& part : *found) values.push_back(part.all());
      keep_all(stream, *found, cut_among(values, k, least, &scratch.members), selection);
      return all_numbers(selection->values);
    }
  }
  Cut cut = cut_by_counting(stream, v, k);
  Found part;
  for (std::size_t i = 0, at = 0; at < k; i += kBlock) {
    part.begin = i;
    part.count = 0;
    find(kernels, v, i, std::min(kBlock, count - i), cut.magnitude, &part);
    at += keep(part, cut.magnitude, &cut.equal, k - at, selection->indices.data() + at, selection->values.data() + at);
  }
  return all_numbers(selection->values);
}

}  // namespace gossamer
