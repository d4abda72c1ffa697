// Which implementation runs.
#include <hwy/highway.h>

#include <vector>

#include "kernels/simd/simd.h"

namespace gossamer {
namespace {

// That of the target Highway has chosen, or the scalar reference.
Kernels chosen() {
  Kernels kernels = scalar_kernels();
  if (const char* const name = simd::add_best_tiles(&kernels); name != nullptr && simd::add_best_vectors(&kernels) != nullptr &&
                                                                   simd::add_best_factors(&kernels) != nullptr)
    kernels.name = name;
  return kernels;
}

}  // namespace

const Kernels& best_kernels() {
  static const Kernels kBest = chosen();
  return kBest;
}

std::span<const Kernels* const> all_kernels() {
  static const std::vector<Kernels> kAll = [] {
    best_kernels();  // while Highway's choice is still its own
    std::vector<Kernels> all;
    for (const auto target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      if (const Kernels one = chosen(); one.name != scalar_kernels().name) all.push_back(one);
    }
    hwy::SetSupportedTargetsForTest(0);
    return all;
  }();
  static const std::vector<const Kernels*> kPointers = [] {
    std::vector<const Kernels*> pointers = {&scalar_kernels()};
    for (const Kernels& kernels : kAll) pointers.push_back(&kernels);
    return pointers;
  }();
  return kPointers;
}

}  // namespace gossamer
