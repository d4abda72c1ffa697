#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::DecodeWork& work) {
  device::with_kernel(work, [stream](const auto& kernel) { start(stream, kernel); });
}
void launch(cudaStream_t stream, const device::Check& work) { start(stream, work); }

}  // namespace gossamer::cuda
