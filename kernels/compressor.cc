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

std::size_t kept(double ratio, std::size_t count) {
  const double k = std::floor(ratio * static_cast<double>(count));
  // ratio <= 1, but the product may have rounded up.
  return k < 1 ? 1 : std::min(static_cast<std::size_t>(k), count);
}

Result<std::unique_ptr<Compressor>> make_compressor(const CompressionOptions& options) {
  const Scope scope = options.scope;
  if (scope != Scope::tensor && scope != Scope::model)
    return fail(Errc::invalid_argument, "compression.scope must be tensor or model");

  const bool sparse = options.codec == CodecId::top_k || options.codec == CodecId::random_k;
  if (sparse && !(options.ratio > 0 && options.ratio <= 1))
    return fail(Errc::invalid_argument,
                fmt::format("compression.ratio is {}; it must be above 0 and at most 1", options.ratio));
  if (options.codec == CodecId::qsgd && (options.levels < 1 || options.levels > 65535))
    return fail(Errc::invalid_argument,
                fmt::format("compression.levels is {}; it must be 1 .. 65535", options.levels));
  const bool can_be_unbiased =
      options.codec == CodecId::none || options.codec == CodecId::random_k || options.codec == CodecId::qsgd;
  if (options.unbiased && !can_be_unbiased)
    return fail(
        Errc::invalid_argument,
        "compression.unbiased is true, but this codec has no unbiased form; random-k and qsgd have one");

  switch (options.codec) {
    case CodecId::none:
      return make_identity_codec();
    case CodecId::fp16:
      return make_fp16_codec(scope);
    case CodecId::bf16:
      return make_bf16_codec();
    case CodecId::top_k:
      return make_top_k_codec(scope, options.ratio);
    case CodecId::random_k:
      return make_random_k_codec(scope, options.ratio, options.unbiased);
    case CodecId::sign:
      return make_sign_codec(scope);
    case CodecId::qsgd:
      return make_qsgd_codec(scope, options.levels, options.unbiased);
  }
  return fail(Errc::invalid_argument, fmt::format("compression.codec has the unknown value {}",
                                                  static_cast<unsigned>(options.codec)));
}

}  // namespace gossamer
