#include "kernels/sparse_payload.h"

#include "kernels/codecs.h"
#include "kernels/positions.h"
#include "kernels/strata.h"

namespace gossamer {

std::size_t SparsePayload::capacity(const Layout& layout) const {
  const ChunkTable chunks = table(layout);
  std::size_t size = kCodecHeaderSize;
  for (const Chunk& chunk : chunks.chunks()) {
    if (drawn()) {
      size += value_bytes(groups_of(options.ratio, chunk.count).values());
    } else if (options.codec == CodecId::top_k) {
      const std::size_t k = kept(options.ratio, chunk.count);
      size += 16 + padded(positions_capacity(chunk.count, k), 8) + value_bytes(k);
    } else {  // no form takes more than a bitmap and a byte for every 255 of the fewer than n/8 bytes that are less
      size += 16 + padded(chunk.count / 8 + chunk.count / 2040 + 2, 8) + value_bytes(chunk.count);
    }
  }
  return size;
}

}  // namespace gossamer
