#include "kernels/chunks.h"

#include <fmt/core.h>

#include <algorithm>

namespace gossamer {

ChunkTable::ChunkTable(const Layout& layout, Scope scope, Code code) {
  hash_ = 0xcbf29ce484222325u;  // FNV-1a, a word at a time
  const auto add = [&](std::size_t number, std::size_t first, std::size_t count) {
    hash_ = (hash_ ^ count) * 0x100000001b3u;
    if (count == 0) return;
    chunks_.push_back({static_cast<std::uint32_t>(number), first, count, tiles_, code_bytes_});
    tiles_ += tile_count(count);
    code_bytes_ += chunk_code_bytes(code, count);
  };
  if (scope == Scope::model) {
    add(0, 0, layout.size());
    return;
  }
  const std::vector<Tensor>& tensors = layout.tensors();
  chunks_.reserve(tensors.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) add(t, tensors[t].offset, tensors[t].count);
}

std::size_t ChunkTable::chunk_of(std::uint64_t tile) const {
  const auto behind = std::upper_bound(chunks_.begin(), chunks_.end(), tile,
                                       [](std::uint64_t t, const Chunk& chunk) { return t < chunk.first_tile; });
  return static_cast<std::size_t>(behind - chunks_.begin()) - 1;
}

std::string describe_element(const Layout& layout, std::size_t element) {
  for (const Tensor& tensor : layout.tensors())
    if (element >= tensor.offset && element - tensor.offset < tensor.count)
      return tensor.name.empty() ? fmt::format("element {}", element)
                                 : fmt::format("element {} of tensor '{}'", element - tensor.offset, tensor.name);
  return fmt::format("element {}", element);
}

}  // namespace gossamer
