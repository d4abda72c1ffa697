#include "kernels/tile_payload.h"

#include <fmt/core.h>

#include "base/check.h"
#include "kernels/codes.h"

namespace gossamer {

CodecHeader TilePayload::header(const Layout& layout, const ChunkTable& chunks) const {
  return {.codec = static_cast<std::uint16_t>(codec),
          .code = static_cast<std::uint8_t>(code()),
          .norm = static_cast<std::uint8_t>(options.how.norm),
          .scope = static_cast<std::uint8_t>(scope),
          .flags = static_cast<std::uint8_t>((options.one_scale ? kOneScale : 0) | (options.unbiased ? kUnbiased : 0)),
          .levels = is_stochastic(code()) ? options.how.levels : 0,
          .count = layout.size(),
          .used = size_of(chunks),
          .layout = chunks.hash(),
          .chunks = static_cast<std::uint32_t>(chunks.chunks().size())};
}

Failure TilePayload::bad_scale(std::size_t index, float scale) const {
  return fail(Errc::corrupt, fmt::format("{} payload: scale {} is {}; it must be 0 .. {}", codec_name(codec), index, scale, largest_scale(code())));
}

Failure TilePayload::not_a_number() const {
  return fail(Errc::corrupt, fmt::format("{} payload: a value is NaN or infinite", codec_name(codec)));
}

void check_decode_into(std::size_t payloads, const Layout& layout, const DecodeInto& into) {
  const auto fits = [&](auto vector, bool used) { return vector.size() == (used ? layout.size() : 0); };
  GOSSAMER_CHECK(fits(into.out, into.target != DecodeTo::wide), "the vector is not that of the layout");
  GOSSAMER_CHECK(fits(into.own, into.target == DecodeTo::difference || into.target == DecodeTo::follow), "own: another length");
  GOSSAMER_CHECK(fits(into.sum, into.target == DecodeTo::follow), "sum: another length");
  GOSSAMER_CHECK(fits(into.wide, into.target == DecodeTo::wide), "wide: another length");
  GOSSAMER_CHECK(payloads == 1 || (into.target != DecodeTo::follow && into.target != DecodeTo::wide), "one payload at a time");
}

DecodeTiles tiles_into(const DecodeInto& into, std::size_t at, std::size_t count, const Quantizer& how, std::span<const CodedTiles> from, bool streaming) {
  const auto from_element = [at](auto vector) { return vector.empty() ? nullptr : vector.data() + at; };
  return {.how = how,
          .target = into.target,
          .from = from,
          .count = count,
          .own = from_element(into.own),
          .out = from_element(into.out),
          .sum = from_element(into.sum),
          .wide = from_element(into.wide),
          .wide_weight = into.wide_weight,
          .streaming = streaming};
}

}  // namespace gossamer
