#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::DecodeWork& work) {
  cudaError_t error = cudaSuccess;
  device::with_kernel(work, [&](const auto& kernel) { error = start(stream, kernel); });
  return error;
}
cudaError_t launch(cudaStream_t stream, const device::Check& work) { return start(stream, work); }

}  // namespace gossamer::cuda
