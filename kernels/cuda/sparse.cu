#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::Group& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Extras& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::SumRows& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::WritePositions& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::WriteEmpty& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Draw& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Scatter& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::AddDistance& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Walk& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::CountPositions& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::CheckPositions& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::ReadPositions& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::CheckValues& work) { return start(stream, work); }

}  // namespace gossamer::cuda
