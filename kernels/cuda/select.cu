#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::Sample& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Least& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Find& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Settle& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Digits& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Pick& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Count& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Kept& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Keep& work) { return start(stream, work); }

}  // namespace gossamer::cuda
