#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::WeightedSum& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Mix& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::CopyAndSquare<float>& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::CopyAndSquare<double>& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Sum& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Fold& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Measure& work) { start(stream, work); }

}  // namespace gossamer::cuda
