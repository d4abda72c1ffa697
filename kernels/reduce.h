// Sums in one fixed order.
//
// A sum of floats depends on the order of the additions.  Every sum of the kernels is taken in this one,
// which any number of SIMD lanes, and a warp, can follow without changing a bit:
//
//   - in fp64, each term computed from fp32 inputs converted first;
//   - the vector is cut into chunks of 4096 elements; inside a chunk, lane l (of 32) adds elements l, l+32,
//     l+64, ... in ascending order;
//   - the 32 lanes are folded as a tree: l += l+16 for l < 16, then 8, 4, 2, 1;
//   - the chunk sums are added the same way: chunk c goes to lane c % 32 in ascending order, then the tree.
#pragma once

#include <algorithm>
#include <cstddef>

namespace gossamer {

inline constexpr std::size_t kSumLanes = 32;
inline constexpr std::size_t kSumChunk = 4096;

template <class T>
T fold_lanes(T (&lanes)[kSumLanes]) {
  for (std::size_t width = kSumLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

// The sum of term(0) .. term(count-1) within one chunk: count <= kSumChunk.
template <class Term>
double chunk_sum(std::size_t count, Term term) {
  double lanes[kSumLanes] = {};
  std::size_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes)
    for (std::size_t l = 0; l < kSumLanes; ++l) lanes[l] += term(i + l);
  for (std::size_t l = 0; i + l < count; ++l) lanes[l] += term(i + l);
  return fold_lanes(lanes);
}

// Sum of the sums of chunks 0 .. chunks-1, sum_of(chunk) being called in ascending order.
template <class SumOfChunk>
double sum_of_chunks(std::size_t chunks, SumOfChunk sum_of) {
  double total[kSumLanes] = {};
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) total[chunk % kSumLanes] += sum_of(chunk);
  return fold_lanes(total);
}

// The sum of term(0) .. term(count-1), in the order above.
template <class Term>
double fixed_order_sum(std::size_t count, Term term) {
  return sum_of_chunks((count + kSumChunk - 1) / kSumChunk, [&](std::size_t chunk) {
    const std::size_t begin = chunk * kSumChunk;
    return chunk_sum(std::min(kSumChunk, count - begin), [&](std::size_t i) { return term(begin + i); });
  });
}

}  // namespace gossamer
