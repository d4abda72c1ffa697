#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::WeightedSum& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Mix& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::CopyAndSquare<float>& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::CopyAndSquare<double>& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Sum& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Fold& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Measure& work) { return start(stream, work); }

}  // namespace gossamer::cuda
