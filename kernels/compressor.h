// Turns a vector of floats into fewer bytes, and adds those bytes back onto a vector.
//
// A Compressor remembers nothing between calls.  What was lost to compression is the business of the
// mixer that keeps an estimate of it.
//
// The capacity depends on the layout alone; the size used is returned.  The same input and seed give
// the same bytes on every machine and device.  Decoders trust nothing: they check every length, index
// and scale against the layout, write only inside the target, and leave it untouched when they refuse.
//
// Scope: with `tensor` each tensor of the layout is compressed by itself (own scale, own k); with
// `model` the whole vector is one.
//
// Immutable after construction and therefore thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/layout.h"
#include "base/memory.h"
#include "base/result.h"

namespace gossamer {

// Sent with every payload.  Values are part of the wire format; never reuse one.
enum class CodecId : std::uint16_t { none = 1, fp16 = 2, bf16 = 3, top_k = 4, random_k = 5, sign = 6, qsgd = 7 };

enum class Scope : std::uint8_t { tensor, model };

struct CodecTraits {
  bool seeded = false;    // uses the seed; deterministic otherwise
  bool unbiased = false;  // E Q(x) = x
  bool linear = false;    // Q(x) + Q(y) with the same seed can be added without decoding
};

class Compressor {
 public:
  virtual ~Compressor() = default;

  virtual std::string_view name() const = 0;
  virtual CodecId codec() const = 0;
  virtual CodecTraits traits() const = 0;

  // The most bytes encode() can use for a vector of this layout.
  virtual std::size_t capacity(const Layout& layout) const = 0;

  // The d in E|x - Q(x)|^2 <= (1 - d) |x|^2 for any vector of this layout, 0 < d <= 1.  0 where no such
  // bound holds (an unbiased codec whose variance exceeds |x|^2).
  virtual double contraction(const Layout& layout) const = 0;

  // encoded = Q(x); returns the bytes used.  `seed` is the only randomness.
  // Errors: diverged when x holds a NaN or an infinity (nothing useful was written).
  // REQUIRES: x.size() == layout.size(), encoded.size() >= capacity(layout).
  virtual Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout,
                                     std::uint64_t seed, std::span<std::byte> encoded) const = 0;

  // Encodes d = x - replica and then does replica += decoded(d), by the very arithmetic of add_decoded with
  // scale 1: a receiver that holds the same replica and adds the bytes holds the same bits afterwards.
  // The basic form makes the difference in `scratch` (layout.size() floats); fused forms leave it unused.
  virtual Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica,
                                                const Layout& layout, std::uint64_t seed, std::span<float> scratch,
                                                std::span<std::byte> encoded) const;

  // target += scale * decoded(encoded).  Errors: corrupt, with target untouched.
  // REQUIRES: target.size() == layout.size().
  virtual Result<> add_decoded(Stream& stream, std::span<const std::byte> encoded, const Layout& layout, float scale,
                               std::span<float> target) const = 0;
};

// What a run file says about compression.
struct CompressionOptions {
  CodecId codec = CodecId::none;
  Scope scope = Scope::tensor;
  double ratio = 0.01;          // top-k, random-k: kept fraction; k = max(1, floor(ratio * n)) of each tensor (or model)
  std::uint32_t levels = 15;    // qsgd: s; 4 bits are s = 15 (CHOCO-SGD authors' s = 2^bits - 1)
  bool unbiased = false;        // random-k, qsgd: scale for E Q(x) = x instead of for contraction
};

// Errors: invalid_argument with the key and the permitted range.
Result<std::unique_ptr<Compressor>> make_compressor(const CompressionOptions& options);

}  // namespace gossamer
