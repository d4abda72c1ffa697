// The frame around codecs that send a block for each chunk: scope, sizes, and the checks that make refusal all or nothing.
//
// A payload is the header of kernels/wire.h followed by one block per tensor, or a single one
// for the whole model; tensors without elements have no block.  The size of each is a function of the
// element count alone, hence the size of a payload is one of the layout: capacity() is what encode()
// uses, and a decoder finds every boundary without reading a byte that the sender wrote.
//
// Decoding checks the prelude and all blocks before it writes.  A codec's add_block() stays inside its
// arguments even if the bytes change between the two passes, as those of a one-sided put can.
#pragma once

#include "kernels/compressor.h"
#include "kernels/wire.h"

namespace gossamer {

// Words of 32 bits that hold one bit for each of `count` elements.
constexpr std::size_t bit_words(std::size_t count) { return count / 32 + (count % 32 != 0 ? 1 : 0); }

// The bits of the last of those words that belong to an element.
constexpr std::uint32_t tail_mask(std::size_t count) {
  return count % 32 == 0 ? ~std::uint32_t{0} : (std::uint32_t{1} << (count % 32)) - 1;
}

// all_finite() for floats that lie in a payload.
inline bool all_finite_at(const std::byte* from, std::size_t count) {
  std::uint32_t carried = 0;
  for (std::size_t i = 0; i < count; ++i) carried |= (load<std::uint32_t>(from + 4 * i) & 0x7fffffffu) + 0x00800000u;
  return (carried >> 31) == 0;
}

class BlockCodec : public Compressor {
 public:
  std::size_t capacity(const Layout& layout) const final;
  double contraction(const Layout& layout) const final;
  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout,
                             std::uint64_t seed, std::span<std::byte> encoded) const final;
  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const final;

 protected:
  explicit BlockCodec(Scope scope) : scope_(scope) {}

  // What tells one block's random numbers from another's.
  struct Draw {
    std::uint64_t seed = 0;
    std::size_t block = 0;
  };

  virtual std::size_t prelude_size() const { return 0; }
  virtual void write_prelude(std::uint64_t /*seed*/, std::byte* /*to*/) const {}
  // Gives the seed that the sender used, for codecs whose decoder needs it.
  virtual Result<std::uint64_t> read_prelude(const std::byte* /*from*/) const { return 0; }

  // All of these are called with at least one element, and with exactly block_size(count) bytes.
  virtual std::size_t block_size(std::size_t count) const = 0;
  virtual double block_contraction(std::size_t count) const = 0;
  // x is finite.  False when its encoding would not be: a norm or a scaled value beyond float32.
  virtual bool encode_block(std::span<const float> x, Draw draw, std::byte* to) const = 0;
  // Why these bytes cannot be a block of `count` elements; null if they can.
  virtual const char* refuse_block(const std::byte* from, std::size_t count) const = 0;
  virtual void add_block(const std::byte* from, Draw draw, float scale, std::span<float> target) const = 0;

 private:
  Result<> check(std::span<const std::byte> encoded, const Layout& layout) const;
  void add(std::span<const std::byte> encoded, const Layout& layout, float scale, std::span<float> target) const;

  template <class Visit>
  void for_each_block(const Layout& layout, Visit visit) const;

  Scope scope_;
};

}  // namespace gossamer
