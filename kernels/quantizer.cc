#include "kernels/quantizer.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace gossamer {
namespace {

// The omega in E|x - Q(x)|^2 <= omega |x|^2 of rounding at random to s levels up to the largest of n elements.  Beside
// that largest one the others err most, a (u - a) each with u = 1/s, where they all are a = (sqrt(1 + (n-1) u^2) - 1) /
// ((n-1) u) of it.
double variance_of_max_norm(double n, double s) { return (std::sqrt(1 + (n - 1) / (s * s)) - 1) / 2; }

// The same of levels up to the 2-norm (Alistarh et al., QSGD, lemma 3.1).
double variance_of_two_norm(double n, double s) { return std::min(n / (s * s), std::sqrt(n) / s); }

// Elements that share a scale.
double share(const TileOptions& options, std::size_t count) {
  return static_cast<double>(options.one_scale ? count : std::min(count, kTile));
}

double variance(const TileOptions& options, std::size_t count) {
  const double n = share(options, count), s = options.how.levels;
  return options.how.norm == Norm::max ? variance_of_max_norm(n, s) : variance_of_two_norm(n, s);
}

bool divided(const TileOptions& options, std::size_t count) {
  return is_stochastic(options.how.code) && !options.unbiased && variance(options, count) >= 1;
}

}  // namespace

TileOptions tile_options(const CompressionOptions& options) {
  TileOptions all{.one_scale = options.one_scale, .unbiased = options.unbiased};
  const auto stochastic = [&how = all.how](std::uint32_t levels) {
    how.levels = levels;
    how.code = levels <= 1 ? Code::stochastic2 : levels <= 7 ? Code::stochastic4 : Code::stochastic8;
  };
  switch (options.codec) {
    case CodecId::fp16:
      all.how.code = Code::f16;
      break;
    case CodecId::bf16:
      all.how.code = Code::bf16;
      break;
    case CodecId::fp8:
      all.how.code = Code::e4m3;
      break;
    case CodecId::int8:
      all.how.code = Code::nearest8;
      break;
    case CodecId::int4:
      all.how.code = Code::nearest4;
      break;
    case CodecId::qsgd:
      stochastic(options.levels);
      all.how.norm = options.norm;
      break;
    case CodecId::terngrad:
      stochastic(1);
      break;
    case CodecId::sign:
      all.how.code = Code::sign;
      break;
    case CodecId::natural:
      all.how.code = Code::natural;
      break;
    default:
      GOSSAMER_CHECK(options.codec == CodecId::none, "no codec of tiles");
      break;
  }
  return all;
}

Quantizer quantizer_for(const TileOptions& options, std::size_t count) {
  Quantizer how = options.how;
  how.divisor = static_cast<float>(how.levels * (divided(options, count) ? 1 + variance(options, count) : 1));
  return how;
}

double contraction_of(const TileOptions& options, std::size_t count) {
  const double n = share(options, count);
  const auto rounded = [n](double levels) { return 1 / (1 + (n - 1) / (4 * levels * levels)) * (1 - 1e-6); };
  switch (options.how.code) {
    case Code::f32:
      return 1;
    case Code::bf16:  // 8 significant bits: each element is wrong by at most 2^-8 of itself
      return 1 - 0x1p-16;
    case Code::f16:  // 11 bits; those too small for them are wrong by at most 2^-25 of where the largest is 2^14
      return 1 - 0x1p-22 - n * 0x1p-78;
    case Code::e4m3:  // 4 bits; the smallest are wrong by at most 2^-10 of where the largest is 448
      return 1 - 0x1.01p-8 - n * 0x1p-37;
    case Code::nearest8:  // the others err most where they are half a level
      return rounded(127);
    case Code::nearest4:
      return rounded(7);
    case Code::stochastic8:
    case Code::stochastic4:
    case Code::stochastic2: {
      const double omega = variance(options, count);
      return (divided(options, count) ? 1 / (1 + omega) : 1 - omega) - 1e-6;
    }
    case Code::sign:  // |x|_1^2 / (n |x|_2^2): near 2/pi for normally distributed elements, 1/n when one is all
      return 1 / n - (n == 1 ? 1e-6 : 0);
    case Code::natural:
      return 7.0 / 8 - 1e-4;
  }
  return 0;
}

std::string_view codec_name(CodecId codec) {
  switch (codec) {
    case CodecId::none:
      return "none";
    case CodecId::fp16:
      return "fp16";
    case CodecId::bf16:
      return "bf16";
    case CodecId::top_k:
      return "top-k";
    case CodecId::random_k:
      return "random-k";
    case CodecId::sign:
      return "sign";
    case CodecId::qsgd:
      return "qsgd";
    case CodecId::fp8:
      return "fp8";
    case CodecId::int8:
      return "int8";
    case CodecId::int4:
      return "int4";
    case CodecId::terngrad:
      return "terngrad";
    case CodecId::natural:
      return "natural";
    case CodecId::threshold:
      return "threshold";
    case CodecId::low_rank:
      return "low-rank";
  }
  return "unknown";
}

}  // namespace gossamer
