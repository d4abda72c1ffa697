#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::FirstGuess& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Times& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::TransposedTimes& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::FoldBlocks& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Gram& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Whiten& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Rotate& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::MoveBody& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Expand& work) { start(stream, work); }

}  // namespace gossamer::cuda
