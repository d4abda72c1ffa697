#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::EncodeWork& work) {
  cudaError_t error = cudaSuccess;
  device::with_kernel(work, [&](const auto& kernel) { error = start(stream, kernel); });
  return error;
}

}  // namespace gossamer::cuda
