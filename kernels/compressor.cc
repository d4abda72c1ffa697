#include "kernels/compressor.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/codecs.h"

namespace gossamer {

Result<std::size_t> Compressor::encode_difference(Stream& stream, std::span<const float> x,
                                                  std::span<float> replica, const Layout& layout,
                                                  std::uint64_t seed, std::span<float> scratch,
                                                  std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(x.size() == layout.size() && replica.size() == layout.size(),
                 "vectors are not those of the layout");
  GOSSAMER_CHECK(scratch.size() >= layout.size(), "scratch is shorter than the layout");
  float* const d = scratch.data();
  for (std::size_t i = 0; i < x.size(); ++i) d[i] = x[i] - replica[i];
  GOSSAMER_TRY_ASSIGN(const std::size_t used, encode(stream, scratch.first(x.size()), layout, seed, encoded));
  // The receiver's own code moves the replica: what it computes from these bytes is what we now hold.
  GOSSAMER_TRY(add_decoded(stream, encoded.first(used), layout, 1.0f, replica));
  return used;
}

Result<std::size_t> Compressor::encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error,
                                                const Layout& layout, std::uint64_t seed, std::span<float> seen,
                                                std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(x.size() == layout.size() && error.size() == layout.size() && seen.size() == layout.size(),
                 "vectors are not those of the layout");
  for (std::size_t i = 0; i < x.size(); ++i) error[i] = x[i] + error[i];
  GOSSAMER_TRY_ASSIGN(const std::size_t used, encode(stream, error, layout, seed, encoded));
  const WeightedPayload one{encoded.first(used)};
  GOSSAMER_TRY(decode(stream, {&one, 1}, layout, {.target = DecodeTo::assign, .out = seen}));
  for (std::size_t i = 0; i < x.size(); ++i) error[i] -= seen[i];
  return used;
}

std::size_t kept(double ratio, std::size_t count) {
  const double k = std::floor(ratio * static_cast<double>(count));
  // ratio <= 1, but the product may have rounded up.
  return k < 1 ? 1 : std::min(static_cast<std::size_t>(k), count);
}

Result<std::unique_ptr<Compressor>> make_compressor(const CompressionOptions& options, const Kernels* kernels) {
  const Kernels& with = kernels == nullptr ? best_kernels() : *kernels;
  const Scope scope = options.scope;
  if (scope != Scope::tensor && scope != Scope::model)
    return fail(Errc::invalid_argument, "compression.scope must be tensor or model");

  const CodecId codec = options.codec;
  const bool sparse = codec == CodecId::top_k || codec == CodecId::random_k;
  if (sparse && !(options.ratio > 0 && options.ratio <= 1))
    return fail(Errc::invalid_argument,
                fmt::format("compression.ratio is {}; it must be above 0 and at most 1", options.ratio));
  if (codec == CodecId::qsgd && (options.levels < 1 || options.levels > 127))
    return fail(Errc::invalid_argument,
                fmt::format("compression.levels is {}; it must be 1 .. 127", options.levels));
  const bool can_be_unbiased = codec == CodecId::none || codec == CodecId::random_k || codec == CodecId::qsgd || codec == CodecId::terngrad;
  if (options.unbiased && !can_be_unbiased)
    return fail(Errc::invalid_argument,
                "compression.unbiased is true, but this codec has no such choice; random-k, qsgd and terngrad have it");
  if (options.one_scale && codec != CodecId::qsgd && codec != CodecId::sign)
    return fail(Errc::invalid_argument, "compression.scales: single is a choice of qsgd and sign");

  switch (codec) {
    case CodecId::none:
    case CodecId::fp16:
    case CodecId::bf16:
    case CodecId::fp8:
    case CodecId::int8:
    case CodecId::int4:
    case CodecId::qsgd:
    case CodecId::terngrad:
    case CodecId::sign:
    case CodecId::natural:
      return make_tile_codec(options, with);
    case CodecId::top_k:
      return make_top_k_codec(scope, options.ratio, with);
    case CodecId::random_k:
      return make_random_k_codec(scope, options.ratio, options.unbiased, with);
  }
  return fail(Errc::invalid_argument, fmt::format("compression.codec has the unknown value {}",
                                                  static_cast<unsigned>(options.codec)));
}

}  // namespace gossamer
