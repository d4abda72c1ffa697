// What top-k is compared with: sorting.
#pragma once

#include <cstddef>

namespace gossamer {

// The seconds that CUB takes to sort so many floats by magnitude, descending (the median of 5); negative when it failed.
double cub_sort_seconds(std::size_t elements);

}  // namespace gossamer
