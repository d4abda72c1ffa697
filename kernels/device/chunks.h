// The chunk table as the device kernels read it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/chunks.h"
#include "kernels/device/tile_kernels.h"
#include "kernels/reduce.h"

namespace gossamer::device {

// What it does not know, place(chunk, DeviceChunk*) adds: where codes and scales lie in the payload, and the divisor.
template <class Place>
std::vector<DeviceChunk> device_chunks(const ChunkTable& chunks, Place place) {
  std::vector<DeviceChunk> table;
  table.reserve(chunks.chunks().size());
  std::uint64_t part = 0;
  for (const Chunk& chunk : chunks.chunks()) {
    table.push_back({.first = chunk.first, .count = chunk.count, .first_tile = chunk.first_tile, .first_part = part, .number = chunk.number});
    place(chunk, &table.back());
    part += shares(chunk.count, kSumChunk);
  }
  return table;
}

inline std::uint64_t parts_of(const std::vector<DeviceChunk>& table) {
  return table.empty() ? 0 : table.back().first_part + shares(table.back().count, kSumChunk);
}

}  // namespace gossamer::device
