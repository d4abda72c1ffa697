// Runs a kernel of kernels/device/ on a CUDA device: a warp of threads for each warp that it asks for.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/warp.cuh"
#include "kernels/device/work.h"

namespace gossamer::cuda {

inline constexpr unsigned kThreads = 256;

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Kernel kernel) {
  const std::uint64_t index = blockIdx.x * std::uint64_t{kThreads / device::kLanes} + threadIdx.x / device::kLanes;
  if (index >= kernel.warps()) return;
  Warp warp;
  kernel(warp, index);
}

template <class Kernel>
void start(cudaStream_t stream, const Kernel& kernel) {
  const std::uint64_t warps = kernel.warps();
  if (warps == 0) return;
  run<<<static_cast<unsigned>(device::shares(warps, kThreads / device::kLanes)), kThreads, 0, stream>>>(kernel);
}

}  // namespace gossamer::cuda
