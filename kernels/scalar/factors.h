// Products of low-rank factors by the scalar reference (kernels/factors.h).
#pragma once

#include "kernels/factors.h"

namespace gossamer::scalar {

void times(const MatrixRows& m, FactorView right, std::size_t rank, FactorOut left);
void transposed_times(const MatrixRows& m, FactorView left, std::size_t rank, FactorOut right);
void outer(FactorView left, FactorView right, std::size_t rank, float* out, std::size_t count);

}  // namespace gossamer::scalar
