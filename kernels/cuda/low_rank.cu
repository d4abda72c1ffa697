#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::FirstGuess& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Times& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::TransposedTimes& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::FoldBlocks& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Gram& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Whiten& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Rotate& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::MoveBody& work) { return start(stream, work); }
cudaError_t launch(cudaStream_t stream, const device::Expand& work) { return start(stream, work); }

}  // namespace gossamer::cuda
