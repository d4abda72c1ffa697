// How a run file's words become a Quantizer, and what can be promised of it.
#pragma once

#include <string_view>

#include "kernels/compressor.h"
#include "kernels/tiles.h"

namespace gossamer {

struct TileOptions {
  Quantizer how;
  bool one_scale = false;  // of the whole chunk
  bool unbiased = false;   // never divided for the sake of contraction
};

// Of a codec that sends a code for every element; the sparsifiers are not among them.
TileOptions tile_options(const CompressionOptions& options);

// `how` for a chunk of this many elements.  An unbiased quantizer whose variance exceeds |x|^2 contracts when what it gives
// is divided by 1 + omega.
Quantizer quantizer_for(const TileOptions& options, std::size_t count);

// The d in E|x - Q(x)|^2 <= (1 - d) |x|^2 for chunks of `count` > 0 elements; not positive where there is none.
double contraction_of(const TileOptions& options, std::size_t count);

// "qsgd"; the word of a run file.
std::string_view codec_name(CodecId codec);

}  // namespace gossamer
