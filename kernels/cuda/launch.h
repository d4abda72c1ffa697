// Launches each kind of work; errors show in cudaGetLastError().
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/device/work.h"

namespace gossamer::cuda {

void launch(cudaStream_t stream, const device::EncodeWork& work);
void launch(cudaStream_t stream, const device::DecodeWork& work);
void launch(cudaStream_t stream, const device::Check& work);
void launch(cudaStream_t stream, const device::WeightedSum& work);
void launch(cudaStream_t stream, const device::Mix& work);
void launch(cudaStream_t stream, const device::CopyAndSquare<float>& work);
void launch(cudaStream_t stream, const device::CopyAndSquare<double>& work);
void launch(cudaStream_t stream, const device::Sum& work);
void launch(cudaStream_t stream, const device::Fold& work);
void launch(cudaStream_t stream, const device::Measure& work);
void launch(cudaStream_t stream, const device::Sample& work);
void launch(cudaStream_t stream, const device::Least& work);
void launch(cudaStream_t stream, const device::Find& work);
void launch(cudaStream_t stream, const device::Settle& work);
void launch(cudaStream_t stream, const device::Digits& work);
void launch(cudaStream_t stream, const device::Pick& work);
void launch(cudaStream_t stream, const device::Count& work);
void launch(cudaStream_t stream, const device::Kept& work);
void launch(cudaStream_t stream, const device::Keep& work);
void launch(cudaStream_t stream, const device::Group& work);
void launch(cudaStream_t stream, const device::Extras& work);
void launch(cudaStream_t stream, const device::SumRows& work);
void launch(cudaStream_t stream, const device::WritePositions& work);
void launch(cudaStream_t stream, const device::WriteEmpty& work);
void launch(cudaStream_t stream, const device::Draw& work);
void launch(cudaStream_t stream, const device::Scatter& work);
void launch(cudaStream_t stream, const device::AddDistance& work);
void launch(cudaStream_t stream, const device::Walk& work);
void launch(cudaStream_t stream, const device::CountPositions& work);
void launch(cudaStream_t stream, const device::CheckPositions& work);
void launch(cudaStream_t stream, const device::ReadPositions& work);
void launch(cudaStream_t stream, const device::CheckValues& work);
void launch(cudaStream_t stream, const device::FirstGuess& work);
void launch(cudaStream_t stream, const device::Times& work);
void launch(cudaStream_t stream, const device::TransposedTimes& work);
void launch(cudaStream_t stream, const device::FoldBlocks& work);
void launch(cudaStream_t stream, const device::Gram& work);
void launch(cudaStream_t stream, const device::Whiten& work);
void launch(cudaStream_t stream, const device::Rotate& work);
void launch(cudaStream_t stream, const device::MoveBody& work);
void launch(cudaStream_t stream, const device::Expand& work);

}  // namespace gossamer::cuda
