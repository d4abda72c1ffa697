#include "kernels/cuda/launch.cuh"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::Sample& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Least& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Find& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Settle& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Digits& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Pick& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Count& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Kept& work) { start(stream, work); }
void launch(cudaStream_t stream, const device::Keep& work) { start(stream, work); }

}  // namespace gossamer::cuda
