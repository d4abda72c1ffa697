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
// `model` the whole vector is one, which low-rank, whose matrices are the tensors, refuses.
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
#include "kernels/tiles.h"

namespace gossamer {

// Sent with every payload.  Values are part of the wire format; never reuse one.  4 to 7 were those of wire version 1,
// and of the codecs of these names then.
enum class CodecId : std::uint16_t {
  none = 1,
  fp16 = 2,
  bf16 = 3,
  top_k = 4,
  random_k = 5,
  sign = 6,
  qsgd = 7,
  fp8 = 8,
  int8 = 9,
  int4 = 10,
  terngrad = 11,
  natural = 12,
  threshold = 13,
  low_rank = 14,
};

enum class Scope : std::uint8_t { tensor, model };

struct CodecTraits {
  bool seeded = false;    // uses the seed; deterministic otherwise
  bool unbiased = false;  // E Q(x) = x
  bool linear = false;    // Q(x) + Q(y) with the same seed can be added without decoding
};

// One payload's part in a sum.
struct WeightedPayload {
  std::span<const std::byte> encoded;
  float weight = 1;
};

// What becomes of decoded payloads q_0, q_1, ...; kernels/tiles.h says what each target computes, in which order.
struct DecodeInto {
  DecodeTo target = DecodeTo::add;
  std::span<float> out = {};        // all but wide
  std::span<const float> own = {};  // difference, follow
  std::span<float> sum = {};        // follow
  std::span<double> wide = {};      // wide
  double wide_weight = 1;
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
  // Errors: diverged when x holds a NaN or an infinity, or a number too large for the codec (nothing useful was written).
  // random-k looks at no more than it sends.
  // REQUIRES: x.size() == layout.size(), encoded.size() >= capacity(layout).
  virtual Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout,
                                     std::uint64_t seed, std::span<std::byte> encoded) const = 0;

  // Encodes d = x - replica and then does replica += decoded(d), in one pass and by the very arithmetic of add_decoded with
  // scale 1: a receiver that holds the same replica and adds the bytes holds the same bits afterwards.  After an error
  // the replica is finite where it was, but may be neither the old one nor the new.
  virtual Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica,
                                                const Layout& layout, std::uint64_t seed,
                                                std::span<std::byte> encoded) const = 0;

  // Error feedback: encodes v = x + error; then error = v - decoded(v), and seen = decoded(v).
  virtual Result<std::size_t> encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error,
                                              const Layout& layout, std::uint64_t seed, std::span<float> seen,
                                              std::span<std::byte> encoded) const;

  // Decodes payloads into what `into` says, in one pass where the codec can.  Nothing is written when one of them is
  // refused, except that `out` is of no use when it would have been written over (assign, difference).  Errors: corrupt.
  // REQUIRES: the vectors that the target uses have layout.size() elements; follow and wide take one payload.
  virtual Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                          const DecodeInto& into) const = 0;

  // target += scale * decoded(encoded).  Errors: corrupt, with target untouched.
  Result<> add_decoded(Stream& stream, std::span<const std::byte> encoded, const Layout& layout, float scale,
                       std::span<float> target) const {
    const WeightedPayload one{encoded, scale};
    return decode(stream, {&one, 1}, layout, {.target = DecodeTo::add, .out = target});
  }
};

// What a run file says about compression.
struct CompressionOptions {
  CodecId codec = CodecId::none;
  Scope scope = Scope::tensor;
  double ratio = 0.01;          // top-k, random-k: kept fraction; k = max(1, floor(ratio * n)) of each tensor (or model)
  double threshold = 1e-3;      // threshold: the smallest magnitude that is sent
  CodecId values = CodecId::none;  // top-k, threshold, random-k: how the kept values are sent
  std::uint32_t levels = 7;     // qsgd: s, 1 .. 127; sent in 2 bits up to 1, in 4 up to 7, else in 8
  Norm norm = Norm::max;        // qsgd: what the levels divide
  bool one_scale = false;       // qsgd, sign: one scale for the whole scope, as in the papers, not one per 256 elements
  std::uint32_t rank = 2;       // low-rank: columns of each factor, 1 .. 4
  std::uint32_t power_iterations = 1;  // low-rank: how often the factors are refined, 0 .. 8; each reads the matrix twice
  bool unbiased = false;        // random-k, qsgd, terngrad: scale for E Q(x) = x instead of for contraction
};

struct Kernels;

// `kernels`: who does the work; null means best_kernels().  It must outlive the codec, and changes no bit of the result.
// Errors: invalid_argument with the key and the permitted range.
Result<std::unique_ptr<Compressor>> make_compressor(const CompressionOptions& options, const Kernels* kernels = nullptr);

}  // namespace gossamer
