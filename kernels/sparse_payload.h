// Where everything lies in the payload of a codec that sends some elements: shared by host and device codecs.
//
//     payload = header, a block for each chunk
//     block   = u64 k, u64 bytes of positions, positions (kernels/positions.h), zeros up to 8 bytes, values     top-k, threshold
//             | values                                                                                         random-k
//     values  = scales, zeros up to 8 bytes, codes: the k elements as one chunk of kernels/tiles.h
//
// The values are floats unless a code was chosen for them.  How many of random-k's elements are drawn from which tensor is a
// function of the layout (kernels/strata.h); how many of a threshold's, of the vector.  Immutable, thread safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/chunks.h"
#include "kernels/codecs.h"
#include "kernels/compressor.h"
#include "kernels/quantizer.h"
#include "kernels/wire.h"

namespace gossamer {

// What random-k draws of a chunk.
struct Groups {
  std::size_t size = 1;   // elements of a group; the chunk's last one may be shorter and counts as padded with zeros
  std::size_t count = 0;  // groups there are
  std::size_t drawn = 0;

  std::size_t values() const { return size * drawn; }
  double share() const { return static_cast<double>(drawn) / static_cast<double>(count); }
};

inline Groups groups_of(double ratio, std::size_t elements) {
  constexpr std::size_t kGroup = 8;          // floats of a 32-byte sector
  constexpr std::size_t kGroupedFrom = 512;  // kept elements from which on whole groups are drawn
  const std::size_t k = kept(ratio, elements);
  if (k < kGroupedFrom) return {1, elements, k};
  const std::size_t count = (elements + kGroup - 1) / kGroup;
  return {kGroup, count, std::min(count, (k + kGroup / 2) / kGroup)};
}

struct SparsePayload {
  explicit SparsePayload(const CompressionOptions& from) : options(from), values(tile_options({.codec = from.values})) {}

  CompressionOptions options;
  TileOptions values;

  bool drawn() const { return options.codec == CodecId::random_k; }
  ChunkTable table(const Layout& layout) const { return ChunkTable(layout, options.scope, values.how.code); }

  std::size_t scale_bytes(std::size_t k) const { return has_scale(values.how.code) ? padded(4 * tile_count(k), 8) : 0; }
  std::size_t value_bytes(std::size_t k) const { return scale_bytes(k) + chunk_code_bytes(values.how.code, k); }
  std::size_t capacity(const Layout& layout) const;

  // But for `used` and `seed`.
  CodecHeader header(const Layout& layout, const ChunkTable& chunks) const {
    return {.codec = static_cast<std::uint16_t>(options.codec),
            .code = static_cast<std::uint8_t>(values.how.code),
            .scope = static_cast<std::uint8_t>(options.scope),
            .flags = options.unbiased ? kUnbiased : std::uint8_t{0},
            .count = layout.size(),
            .parameter = options.codec == CodecId::threshold ? options.threshold : options.ratio,
            .layout = chunks.hash(),
            .chunks = static_cast<std::uint32_t>(chunks.chunks().size())};
  }
};

}  // namespace gossamer
