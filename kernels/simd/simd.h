// What the SIMD files share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/implementations.h"

// Whether the target that Highway compiles now is worth its code; asked once for each, so it must stay a macro.  Below AVX2
// there are too few lanes: with less than 8 floats a mask of bits is no whole byte.  Such processors get the scalar reference.
#define GOSSAMER_SIMD_TARGET (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

namespace gossamer::simd {

// Asks for kCount floats 1 KiB behind `at`, whether or not there are any.  A pass with several inputs and arithmetic between them fills
// the processor's window before it has met as many cache lines as memory could be bringing.  They are asked into the second-level cache,
// lest they wait for one of the few places that the first one has for what is on its way.
template <std::size_t kCount>
[[gnu::always_inline]] inline void fetch_behind(const float* at) {
  constexpr std::uintptr_t kAhead = 1024, kLine = 64;
#pragma GCC unroll 16
  for (std::uintptr_t line = 0; line < kCount * sizeof(float); line += kLine)
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(at) + kAhead + line), 0, 2);
}

// Whether a pass that may go past the caches writes to `to` a whole cache line at a time: half a line that is streamed is read first.
inline bool whole_lines(bool streaming, const void* to) { return streaming && reinterpret_cast<std::uintptr_t>(to) % 64 == 0; }

// Fill in what each file has for the target that Highway has chosen: the best one, but see all_kernels().  The name of the
// target, or null when there is nothing for it.
const char* add_best_tiles(Kernels* to);
const char* add_best_vectors(Kernels* to);
const char* add_best_factors(Kernels* to);

}  // namespace gossamer::simd
