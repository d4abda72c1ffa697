#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::Group& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Extras& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::SumRows& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::WritePositions& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::WriteEmpty& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Draw& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Scatter& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::AddDistance& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Walk& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::CountPositions& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::CheckPositions& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::ReadPositions& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::CheckValues& work) { start(stream, work); }

}  // namespace gossamer::cuda
