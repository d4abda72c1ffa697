// Rows of a chunk table and prefix sums over them: what lets warps write one behind the other without waiting for each other.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/device/tile_kernels.h"
#include "kernels/reduce.h"

namespace gossamer::device {

GOSSAMER_HD inline unsigned count_bits(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return static_cast<unsigned>(__popc(bits));
#else
  return static_cast<unsigned>(std::popcount(bits));
#endif
}
GOSSAMER_HD inline unsigned lowest_bit(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return static_cast<unsigned>(__ffs(static_cast<int>(bits)) - 1);
#else
  return static_cast<unsigned>(std::countr_zero(bits));
#endif
}

// kSumChunk elements of a chunk, or its last ones.
struct Row {
  std::uint32_t chunk;
  std::uint64_t at;     // its first element in the chunk
  std::uint64_t first;  // and in the vector
  std::uint64_t count;
};

GOSSAMER_HD inline Row row_at(const Chunks& chunks, std::uint64_t index) {
  const std::uint32_t c = chunk_at(chunks, index, [](const DeviceChunk& chunk) { return chunk.first_part; });
  const DeviceChunk& chunk = chunks.table[c];
  const std::uint64_t at = (index - chunk.first_part) * kSumChunk, left = chunk.count - at;
  return {c, at, chunk.first + at, left < kSumChunk ? left : kSumChunk};
}

struct Counts {
  std::uint64_t a = 0, b = 0;
};

// Counts of rows, and of groups of kRowsOfGroup rows (by Group, below): a prefix sum looks at a few hundred of them.
inline constexpr std::uint64_t kRowsOfGroup = 1024;
struct Rows {
  Counts* rows = nullptr;
  Counts* groups = nullptr;
  std::uint64_t count = 0;
};

template <class Warp>
GOSSAMER_HD Counts sum_of(Warp& warp, const Counts* counts, std::uint64_t begin, std::uint64_t end) {
  typename Warp::template PerLane<std::uint64_t> second;
  Counts all;
  all.a = warp.sum([&](unsigned lane) {
    Counts own;
    GOSSAMER_UNROLL_BY(4)
    for (std::uint64_t i = begin + lane; i < end; i += kLanes) {
      own.a += counts[i].a;
      own.b += counts[i].b;
    }
    second[lane] = own.b;
    return own.a;
  });
  all.b = warp.sum([&](unsigned lane) { return second[lane]; });
  return all;
}

// Of rows begin .. end-1.
template <class Warp>
GOSSAMER_HD Counts counts_between(Warp& warp, const Rows& of, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t first_group = shares(begin, kRowsOfGroup), last_group = end / kRowsOfGroup;
  if (first_group >= last_group) return sum_of(warp, of.rows, begin, end);
  const Counts front = sum_of(warp, of.rows, begin, first_group * kRowsOfGroup), middle = sum_of(warp, of.groups, first_group, last_group),
               back = sum_of(warp, of.rows, last_group * kRowsOfGroup, end);
  return {front.a + middle.a + back.a, front.b + middle.b + back.b};
}

struct Group {
  Rows of;

  GOSSAMER_HD std::uint64_t warps() const { return shares(of.count, kRowsOfGroup); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const std::uint64_t begin = index * kRowsOfGroup, end = begin + kRowsOfGroup < of.count ? begin + kRowsOfGroup : of.count;
    const Counts all = sum_of(warp, of.rows, begin, end);
    warp.once([&] { of.groups[index] = all; });
  }
};

}  // namespace gossamer::device
