// Launches each kind of work.  Errors are returned, not looked for in cudaGetLastError(): what lies there may be another library's.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/device/work.h"

namespace gossamer::cuda {

cudaError_t launch(cudaStream_t stream, const device::EncodeWork& work);
cudaError_t launch(cudaStream_t stream, const device::DecodeWork& work);
cudaError_t launch(cudaStream_t stream, const device::Check& work);
cudaError_t launch(cudaStream_t stream, const device::WeightedSum& work);
cudaError_t launch(cudaStream_t stream, const device::Mix& work);
cudaError_t launch(cudaStream_t stream, const device::CopyAndSquare<float>& work);
cudaError_t launch(cudaStream_t stream, const device::CopyAndSquare<double>& work);
cudaError_t launch(cudaStream_t stream, const device::Sum& work);
cudaError_t launch(cudaStream_t stream, const device::Fold& work);
cudaError_t launch(cudaStream_t stream, const device::Measure& work);
cudaError_t launch(cudaStream_t stream, const device::Sample& work);
cudaError_t launch(cudaStream_t stream, const device::Least& work);
cudaError_t launch(cudaStream_t stream, const device::Find& work);
cudaError_t launch(cudaStream_t stream, const device::Settle& work);
cudaError_t launch(cudaStream_t stream, const device::Digits& work);
cudaError_t launch(cudaStream_t stream, const device::Pick& work);
cudaError_t launch(cudaStream_t stream, const device::Count& work);
cudaError_t launch(cudaStream_t stream, const device::Kept& work);
cudaError_t launch(cudaStream_t stream, const device::Keep& work);
cudaError_t launch(cudaStream_t stream, const device::Group& work);
cudaError_t launch(cudaStream_t stream, const device::Extras& work);
cudaError_t launch(cudaStream_t stream, const device::SumRows& work);
cudaError_t launch(cudaStream_t stream, const device::WritePositions& work);
cudaError_t launch(cudaStream_t stream, const device::WriteEmpty& work);
cudaError_t launch(cudaStream_t stream, const device::Draw& work);
cudaError_t launch(cudaStream_t stream, const device::Scatter& work);
cudaError_t launch(cudaStream_t stream, const device::AddDistance& work);
cudaError_t launch(cudaStream_t stream, const device::Walk& work);
cudaError_t launch(cudaStream_t stream, const device::CountPositions& work);
cudaError_t launch(cudaStream_t stream, const device::CheckPositions& work);
cudaError_t launch(cudaStream_t stream, const device::ReadPositions& work);
cudaError_t launch(cudaStream_t stream, const device::CheckValues& work);
cudaError_t launch(cudaStream_t stream, const device::FirstGuess& work);
cudaError_t launch(cudaStream_t stream, const device::Times& work);
cudaError_t launch(cudaStream_t stream, const device::TransposedTimes& work);
cudaError_t launch(cudaStream_t stream, const device::FoldBlocks& work);
cudaError_t launch(cudaStream_t stream, const device::Gram& work);
cudaError_t launch(cudaStream_t stream, const device::Whiten& work);
cudaError_t launch(cudaStream_t stream, const device::Rotate& work);
cudaError_t launch(cudaStream_t stream, const device::MoveBody& work);
cudaError_t launch(cudaStream_t stream, const device::Expand& work);

}  // namespace gossamer::cuda
