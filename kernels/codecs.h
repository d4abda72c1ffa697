// The codecs of make_compressor(), one maker each; options were checked by it.
#pragma once

#include "kernels/compressor.h"
#include "kernels/implementations.h"

namespace gossamer {

// Codecs of one scale and one code per element: all but the sparsifiers.
std::unique_ptr<Compressor> make_tile_codec(const CompressionOptions& options, const Kernels& kernels);

// top-k, threshold and random-k.
std::unique_ptr<Compressor> make_sparse_codec(const CompressionOptions& options, const Kernels& kernels);

// low-rank.
inline constexpr std::uint32_t kRankMax = 4, kPowerIterationsMax = 8;
std::unique_ptr<Compressor> make_low_rank_codec(const CompressionOptions& options, const Kernels& kernels);

// How many of `count` > 0 elements the sparsifiers keep: max(1, floor(ratio * count)), in fp64.
std::size_t kept(double ratio, std::size_t count);

}  // namespace gossamer
