#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::EncodeWork& work) {
  device::with_kernel(work, [stream](const auto& kernel) { start(stream, kernel); });
}

}  // namespace gossamer::cuda
