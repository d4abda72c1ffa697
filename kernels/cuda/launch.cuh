// Runs a kernel of kernels/device/ on a CUDA device: a warp of threads for each warp that it asks for.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/warp.cuh"
#include "kernels/device/work.h"

namespace gossamer::cuda {

inline constexpr unsigned kThreads = 256;
inline constexpr std::uint64_t kBlocksMax = 0x7fffffff;  // of a grid, in x

template <class Kernel>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ Kernel kernel) {
  const std::uint64_t index = blockIdx.x * std::uint64_t{kThreads / device::kLanes} + threadIdx.x / device::kLanes;
  if (index >= kernel.warps()) return;
  Warp warp;
  kernel(warp, index);
}

template <class Kernel>
cudaError_t start(cudaStream_t stream, const Kernel& kernel) {
  const std::uint64_t blocks = device::shares(kernel.warps(), kThreads / device::kLanes);
  if (blocks == 0) return cudaSuccess;
  if (blocks > kBlocksMax) return cudaErrorInvalidConfiguration;
  cudaLaunchConfig_t how{};
  how.gridDim = dim3(static_cast<unsigned>(blocks));
  how.blockDim = dim3(kThreads);
  how.stream = stream;
  return cudaLaunchKernelEx(&how, run<Kernel>, kernel);
}

}  // namespace gossamer::cuda
