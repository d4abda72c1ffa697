// Vectors with something awkward in each kind, for comparing implementations of the kernels.  Knows no test framework.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/random.h"

namespace gossamer {

inline constexpr std::size_t kAwkwardKinds = 9;

inline std::vector<float> awkward_vector(std::size_t count, std::size_t kind, std::uint64_t seed,
                                         float bound = 0x1p120f) {
  Random random(seed, Purpose::test, count, kind);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto normal = static_cast<float>(random.normal());
    switch (kind) {
      case 0:
        x[i] = normal;
        break;
      case 1:  // ties for every code: multiples of half a level
        x[i] = (static_cast<float>(random.below(509)) - 254) / 2;
        break;
      case 2:  // zero blocks, and zeros of both signs
        x[i] = i / 300 % 2 == 0 ? (random.below(2) == 0 ? 0.0f : -0.0f) : normal;
        break;
      case 3:  // denormals beside ordinary elements
        x[i] = random.below(3) == 0 ? normal : std::bit_cast<float>(random() & 0x807fffffu);
        break;
      case 4:  // only denormals
        x[i] = std::bit_cast<float>(random() & 0x807fffffu);
        break;
      case 5:  // any float below the bound
        do x[i] = std::bit_cast<float>(random());
        while (!(std::abs(x[i]) < bound));
        break;
      case 6:  // round about the smallest scale
        x[i] = normal * 0x1p-81f;
        break;
      case 7:  // large
        x[i] = normal * 0x1p115f;
        break;
      case 8:  // all equal
        x[i] = -0.375f;
        break;
    }
  }
  return x;
}

}  // namespace gossamer
