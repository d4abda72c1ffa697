#include "kernels/chunks.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/codes.h"

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

std::string describe_element(const Layout& layout, std::size_t element) {
  for (const Tensor& tensor : layout.tensors())
    if (element >= tensor.offset && element - tensor.offset < tensor.count)
      return tensor.name.empty() ? fmt::format("element {}", element)
                                 : fmt::format("element {} of tensor '{}'", element - tensor.offset, tensor.name);
  return fmt::format("element {}", element);
}

Failure cannot_encode(std::string_view codec, EncodeOf source, const float* x, const float* memory, const Layout& layout, std::size_t begin,
                      std::size_t end) {
  std::size_t worst = begin;
  std::uint32_t most = 0;
  for (std::size_t i = begin; i < end; ++i) {
    const float v = source == EncodeOf::plain ? x[i] : source == EncodeOf::difference ? x[i] - memory[i] : x[i] + memory[i];
    if (const std::uint32_t m = std::min(magnitude_bits(v), kInfinityBits); m > most) {
      most = m;
      worst = i;
    }
  }
  if (most == kInfinityBits) return fail(Errc::diverged, fmt::format("{}: {} is NaN or infinite", codec, describe_element(layout, worst)));
  return fail(Errc::diverged, fmt::format("{}: values too large to encode, the largest of them {} at {}", codec, float_of(most),
                                          describe_element(layout, worst)));
}

}  // namespace gossamer
