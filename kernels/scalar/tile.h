// Single tiles by the scalar reference, which SIMD also uses for the short tile at the end of a chunk.
#pragma once

#include "kernels/tiles.h"

namespace gossamer::scalar {

// The tile of `job` that begins at element `first`, `count` elements long; its codes go to `codes`.
bool encode_tile(const EncodeTiles& job, std::size_t first, std::size_t count, std::byte* codes);
std::uint32_t decode_tile(const DecodeTiles& job, std::size_t first, std::size_t count);

}  // namespace gossamer::scalar
