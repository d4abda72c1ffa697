#include "kernels/low_rank_payload.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/codes.h"

namespace gossamer {

LowRankTable::LowRankTable(const Layout& layout, std::size_t rank) {
  hash_ = 0xcbf29ce484222325u;  // FNV-1a, a word at a time
  const std::vector<Tensor>& tensors = layout.tensors();
  chunks_.reserve(tensors.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const Tensor& tensor = tensors[t];
    LowRankChunk chunk{.number = static_cast<std::uint32_t>(t), .first = tensor.offset, .count = tensor.count, .at = floats_};
    if (tensor.count > 0 && tensor.shape.size() >= 2) {
      const std::size_t rows = tensor.shape.front(), columns = tensor.count / rows;
      if (rank * (rows + columns) < tensor.count) {
        chunk.rows = rows;
        chunk.columns = columns;
      }
    }
    for (const std::size_t word : {tensor.count, chunk.rows}) hash_ = (hash_ ^ word) * 0x100000001b3u;
    if (tensor.count == 0) continue;
    floats_ += chunk.matrix() ? rank * (chunk.rows + chunk.columns) : chunk.count;
    chunks_.push_back(chunk);
  }
}

std::vector<LowRankPart> parts_of(const LowRankChunk& chunk, std::size_t rank) {
  if (!chunk.matrix()) return {{.at = chunk.at, .count = chunk.count, .largest = kInfinityBits - 1, .element = chunk.first}};
  const std::uint32_t orthonormal = float_bits(kOrthonormalMax), other = float_bits(kFactorMax);
  return {{.at = chunk.at, .count = rank * chunk.rows, .largest = chunk.tall() ? orthonormal : other, .factor = true},
          {.at = chunk.at + rank * chunk.rows, .count = rank * chunk.columns, .largest = chunk.tall() ? other : orthonormal, .factor = true}};
}

CodecHeader LowRankPayload::header(const Layout& layout, const LowRankTable& table) const {
  return {.codec = static_cast<std::uint16_t>(CodecId::low_rank),
          .code = static_cast<std::uint8_t>(Code::f32),
          .scope = static_cast<std::uint8_t>(Scope::tensor),
          .levels = static_cast<std::uint32_t>(rank),
          .count = layout.size(),
          .used = size_of(table),
          .layout = table.hash(),
          .chunks = static_cast<std::uint32_t>(table.chunks().size())};
}

Failure LowRankPayload::bad_value(const Layout& layout, const LowRankChunk& chunk, const LowRankPart& part, float value) const {
  const std::string where = describe_element(layout, chunk.first);
  if (!part.factor) return fail(Errc::corrupt, fmt::format("low-rank payload, tensor of {}: a value is NaN or infinite", where));
  return fail(Errc::corrupt, fmt::format("low-rank payload, factors of the tensor of {}: {} where magnitudes are at most {}", where, value, float_of(part.largest)));
}

}  // namespace gossamer
