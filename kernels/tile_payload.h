// Where everything lies in the payload of a codec that sends a code for every element, and what is said of one that is refused.
//
//     payload = header, scales (one float32 per tile, or per chunk), padded to 64 bytes, codes
//
// bf16 has no scales, and none (floats as they are, so that a mailbox can be read as a vector) not even a header.
//
// Host and device codecs (kernels/device/) share it.  Immutable, thread safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/chunks.h"
#include "kernels/compressor.h"
#include "kernels/quantizer.h"
#include "kernels/wire.h"

namespace gossamer {

struct TilePayload {
  explicit TilePayload(const CompressionOptions& from) : codec(from.codec), scope(from.scope), options(tile_options(from)) {}

  CodecId codec;
  Scope scope;
  TileOptions options;

  Code code() const { return options.how.code; }
  bool has_header() const { return code() != Code::f32; }

  ChunkTable table(const Layout& layout) const {
    // Without scales the elements do not know of each other.
    return ChunkTable(layout, has_scale(code()) ? scope : Scope::model, code());
  }
  std::size_t scales_of(const ChunkTable& chunks) const {
    return !has_scale(code()) ? 0 : options.one_scale ? chunks.chunks().size() : chunks.tiles();
  }
  // Byte offsets: of a tile's scale, and of the codes of all chunks.
  std::size_t scale_at(const ChunkTable& chunks, const Chunk& chunk, std::uint64_t tile) const {
    const std::size_t index = options.one_scale ? static_cast<std::size_t>(&chunk - chunks.chunks().data()) : chunk.first_tile + tile;
    return kCodecHeaderSize + 4 * index;
  }
  std::size_t codes_at(const ChunkTable& chunks) const {
    return has_header() ? kCodecHeaderSize + padded(4 * scales_of(chunks), 64) : 0;
  }
  std::size_t size_of(const ChunkTable& chunks) const {
    // Floats as they are take no padding.
    if (code() == Code::f32) return chunks.chunks().empty() ? 0 : 4 * chunks.chunks().front().count;
    return codes_at(chunks) + chunks.code_bytes();
  }
  CodecHeader header(const Layout& layout, const ChunkTable& chunks) const;

  // The errors.
  Failure bad_scale(std::size_t index, float scale) const;
  Failure not_a_number() const;
};

// What a caller of Compressor::decode() promises of the vectors in `into`; aborts where it does not hold.
void check_decode_into(std::size_t payloads, const Layout& layout, const DecodeInto& into);

// The inner loop's part of it: `count` elements from element `at` on, the codes of which are in `from`.
DecodeTiles tiles_into(const DecodeInto& into, std::size_t at, std::size_t count, const Quantizer& how, std::span<const CodedTiles> from, bool streaming);

}  // namespace gossamer
