// kernels/vector.h for vectors on a device: the same bits.  All spans are device memory.
//
// Elementwise calls return when the work is asked for; sums wait for it.  Errors of the device: as DeviceStream::finish().
#pragma once

#include <optional>
#include <span>

#include "kernels/device/stream.h"
#include "kernels/implementations.h"

namespace gossamer {

// Without overlap.
void copy(DeviceStream& stream, std::span<const float> from, std::span<float> to);

// y = a * y;  y = y + (a * x)
void scale(DeviceStream& stream, float a, std::span<float> y);
void axpy(DeviceStream& stream, float a, std::span<const float> x, std::span<float> y);

// out = ((w0 * x0) + w1 * x1) + ... in fp32; `out` may be one of the inputs.
// REQUIRES: at most 128 terms.
void weighted_sum(DeviceStream& stream, std::span<const WeightedVector> terms, std::span<float> out);

// The passes with a norm on their way, as on the host: the bits of its results, and of its norms.  They wait.
Result<double> copy_and_norm(DeviceStream& stream, std::span<const float> from, std::span<float> to);
Result<double> narrow(DeviceStream& stream, double a, std::span<const double> x, std::span<float> to);
// REQUIRES: at most 128 others.
Result<std::optional<double>> mix(DeviceStream& stream, std::span<const WeightedVector> others, std::span<const float> x, std::span<float> out);

// Sums in fp64, in the order of kernels/reduce.h.
Result<double> dot(DeviceStream& stream, std::span<const float> x, std::span<const float> y);
Result<double> squared_norm(DeviceStream& stream, std::span<const float> x);
Result<double> squared_distance(DeviceStream& stream, std::span<const float> x, std::span<const float> y);

// True when no element is NaN or infinite.
Result<bool> all_finite(DeviceStream& stream, std::span<const float> x);

}  // namespace gossamer
