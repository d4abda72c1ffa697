// The elements of largest magnitude, or those above a threshold.
//
// Exact and deterministic: of equal magnitudes the lowest index comes first, and neither threads nor the sample that makes it
// fast change the result.
#pragma once

#include <cstdint>
#include <vector>

#include "base/memory.h"
#include "kernels/implementations.h"

namespace gossamer {

// Elements of a vector, by ascending index.
struct Selection {
  std::vector<std::uint64_t> indices;
  std::vector<float> values;
};

// The k elements of x - y (y may be null) that are largest in magnitude; all there are when k is at least `count`.
// False when an element is NaN or infinite.
[[nodiscard]] bool select_largest(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count,
                                  std::size_t k, Selection* selection);

// The elements of magnitude `least` (as bits) or more.  False when an element is NaN or infinite.
[[nodiscard]] bool select_at_least(Stream& stream, const Kernels& kernels, const float* x, const float* y, std::size_t count,
                                   std::uint32_t least, Selection* selection);

}  // namespace gossamer
