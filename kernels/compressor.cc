#include "kernels/compressor.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/codecs.h"

namespace gossamer {

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

  if (codec == CodecId::threshold && !(options.threshold >= 0x1p-80 && options.threshold <= 0x1p120))
    return fail(Errc::invalid_argument, fmt::format("compression.threshold is {}; it must be 2^-80 .. 2^120", options.threshold));
  const bool keeps_some = sparse || codec == CodecId::threshold;
  if (!keeps_some && options.values != CodecId::none)
    return fail(Errc::invalid_argument, "compression.values belongs to top-k, threshold and random-k");
  switch (options.values) {
    case CodecId::none:
    case CodecId::fp16:
    case CodecId::bf16:
    case CodecId::fp8:
    case CodecId::int8:
    case CodecId::int4:
    case CodecId::natural:
      break;
    default:
      return fail(Errc::invalid_argument, "compression.values must be none, fp16, bf16, fp8, int8, int4 or natural");
  }

  if (codec == CodecId::low_rank) {
    if (scope == Scope::model)
      return fail(Errc::invalid_argument, "compression.scope is model, but low-rank factors the matrices of the model; it must be tensor");
    if (options.rank < 1 || options.rank > kRankMax)
      return fail(Errc::invalid_argument, fmt::format("compression.rank is {}; it must be 1 .. {}", options.rank, kRankMax));
    if (options.power_iterations > kPowerIterationsMax)
      return fail(Errc::invalid_argument, fmt::format("compression.power_iterations is {}; it must be 0 .. {}", options.power_iterations, kPowerIterationsMax));
  }

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
    case CodecId::random_k:
    case CodecId::threshold:
      return make_sparse_codec(options, with);
    case CodecId::low_rank:
      return make_low_rank_codec(options, with);
  }
  return fail(Errc::invalid_argument, fmt::format("compression.codec has the unknown value {}",
                                                  static_cast<unsigned>(options.codec)));
}

}  // namespace gossamer
