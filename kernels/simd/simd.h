// What the SIMD files share.
#pragma once

#include "kernels/implementations.h"

// Whether the target that Highway compiles now is worth its code; asked once for each, so it must stay a macro.  Below AVX2
// there are too few lanes: with less than 8 floats a mask of bits is no whole byte.  Such processors get the scalar reference.
#define GOSSAMER_SIMD_TARGET (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

namespace gossamer::simd {

// Fill in what each file has for the target that Highway has chosen: the best one, but see all_kernels().  The name of the
// target, or null when there is nothing for it.
const char* add_best_tiles(Kernels* to);
const char* add_best_vectors(Kernels* to);
const char* add_best_factors(Kernels* to);

}  // namespace gossamer::simd
