// Matrices as products of few columns by few rows (PowerSGD: Vogels, Karimireddy, Jaggi, NeurIPS 2019, arXiv 1905.13727).
//
// PowerSGD begins each power iteration where the last one ended.  A Compressor remembers nothing, so here it begins at columns
// drawn from the seed and is repeated `power_iterations` times instead: then a payload is a function of vector and seed, one
// codec serves any number of edges, checkpoints and new members need nothing more, and the contraction holds for every single
// payload, whatever was sent before (docs/compression.md).
#include <fmt/core.h>

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/low_rank.h"
#include "kernels/low_rank_payload.h"
#include "kernels/parallel.h"
#include "kernels/tile_payload.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kElementsOfPart = 16384;  // that are worth a thread's while
constexpr std::size_t kExpanded = 2048;           // elements of a product at a time: they stay in the first-level cache

// A payload behind its header, aligned.
using Body = std::vector<float>;

struct WeightedBody {
  const float* floats = nullptr;
  float weight = 1;
};

class LowRankCodec final : public Compressor {
 public:
  LowRankCodec(const CompressionOptions& options, const Kernels& kernels) : format_(options), kernels_(kernels) {}

  std::string_view name() const override { return "low-rank"; }
  CodecId codec() const override { return CodecId::low_rank; }
  CodecTraits traits() const override { return {.seeded = true}; }
  std::size_t capacity(const Layout& layout) const override { return format_.size_of(format_.table(layout)); }

  // Random columns meet rank/side of a matrix on average, and a power iteration never loses any of it.
  double contraction(const Layout& layout) const override {
    double least = 1;
    for (const LowRankTable table = format_.table(layout); const LowRankChunk& chunk : table.chunks())
      if (chunk.matrix()) least = std::min(least, static_cast<double>(format_.rank) / static_cast<double>(std::min(chunk.rows, chunk.columns)));
    return least;
  }

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, EncodeOf::plain, x, {}, {}, layout, seed, encoded);
  }

  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    return encode(stream, EncodeOf::difference, x, replica, {}, layout, seed, encoded);
  }

  Result<std::size_t> encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error, const Layout& layout,
                                      std::uint64_t seed, std::span<float> seen, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(error.size() == x.size() && seen.size() == x.size(), "vectors of one length");
    return encode(stream, EncodeOf::feedback, x, error, seen, layout, seed, encoded);
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override {
    GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
    check_decode_into(payloads.size(), layout, into);
    const LowRankTable table = format_.table(layout);
    // Each byte is read once: what was checked is what is used, though the sender may still be writing.
    std::vector<Body> bodies(payloads.size());
    std::vector<WeightedBody> weighted;
    for (std::size_t p = 0; p < payloads.size(); ++p) {
      GOSSAMER_TRY(read(payloads[p].encoded, layout, table, &bodies[p]));
      weighted.push_back({bodies[p].data(), payloads[p].weight});
    }
    add(stream, weighted, table, layout, into);
    return {};
  }

 private:
  Result<std::size_t> encode(Stream& stream, EncodeOf source, std::span<const float> x, std::span<float> memory, std::span<float> seen,
                             const Layout& layout, std::uint64_t seed, std::span<std::byte> encoded) const;
  bool factor(Stream& stream, const MatrixOf& m, const LowRankChunk& chunk, std::uint64_t seed, Body* body) const;
  // to = elements `first` .. of the chunk, less the replica or with the error.
  void make(EncodeOf source, const float* x, const float* memory, std::size_t count, float* to) const;
  void expand(const LowRankChunk& chunk, const float* body, std::size_t first, std::span<float> to) const;
  void add(Stream& stream, std::span<const WeightedBody> bodies, const LowRankTable& table, const Layout& layout, const DecodeInto& into) const;
  void keep_error(Stream& stream, const Body& body, const LowRankTable& table, std::span<const float> x, std::span<float> error,
                  std::span<float> seen) const;
  Result<> read(std::span<const std::byte> encoded, const Layout& layout, const LowRankTable& table, Body* body) const;

  const LowRankPayload format_;
  const Kernels& kernels_;
};

void LowRankCodec::make(EncodeOf source, const float* x, const float* memory, std::size_t count, float* to) const {
  const WeightedVector terms[] = {{1, {x, count}}, {source == EncodeOf::difference ? -1.0f : 1.0f, {memory, memory == nullptr ? 0 : count}}};
  kernels_.weighted_sum(std::span(terms).first(source == EncodeOf::plain ? 1 : 2), 0, to, count, false);
}

// False when a column is not finite.
bool LowRankCodec::factor(Stream& stream, const MatrixOf& m, const LowRankChunk& chunk, std::uint64_t seed, Body* body) const {
  const std::span<float> left(body->data() + chunk.at, format_.rank * m.rows), right(left.data() + left.size(), format_.rank * m.columns);
  const std::span<float> guess = chunk.tall() ? right : left;
  const CodecDraws draws(seed);
  Philox4 words{};
  for (std::size_t e = 0; e < guess.size(); ++e) {
    if (e % 8 == 0) words = first_guess_words(draws, chunk.number, e);
    guess[e] = first_guess(words, e);
  }
  for (std::uint32_t step = 0, last = 2 * format_.power_iterations + 1;; ++step) {
    const bool to_left = (step % 2 == 0) == chunk.tall();
    if (to_left)
      multiply(stream, kernels_, m, right, format_.rank, left);
    else
      multiply_transposed(stream, kernels_, m, left, format_.rank, right);
    if (step == last) return true;
    if (!orthonormalise(stream, kernels_, to_left ? left : right, format_.rank)) return false;
  }
}

Result<std::size_t> LowRankCodec::encode(Stream& stream, EncodeOf source, std::span<const float> x, std::span<float> memory,
                                         std::span<float> seen, const Layout& layout, std::uint64_t seed,
                                         std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  const LowRankTable table = format_.table(layout);
  const std::size_t size = format_.size_of(table);
  GOSSAMER_CHECK(encoded.size() >= size, "less room than capacity()");

  Body body(table.floats());
  for (const LowRankChunk& chunk : table.chunks()) {
    const float* const from = x.data() + chunk.first;
    const float* const of_memory = memory.empty() ? nullptr : memory.data() + chunk.first;
    bool numbers = true;
    if (chunk.matrix())
      numbers = factor(stream, {source, from, of_memory, chunk.rows, chunk.columns}, chunk, seed, &body);
    else
      make(source, from, of_memory, chunk.count, body.data() + chunk.at);
    for (const LowRankPart& part : parts_of(chunk, format_.rank))
      numbers = numbers && kernels_.largest(body.data() + part.at, nullptr, part.count) <= part.largest;
    if (!numbers) return cannot_encode(name(), source, x.data(), memory.data(), layout, 0, layout.size());
  }
  const CodecHeader head = format_.header(layout, table);
  std::memcpy(encoded.data(), &head, sizeof head);
  if (!body.empty()) std::memcpy(encoded.data() + sizeof head, body.data(), sizeof(float) * body.size());

  const WeightedBody one{body.data()};
  if (source == EncodeOf::difference) add(stream, {&one, 1}, table, layout, {.target = DecodeTo::add, .out = memory});
  if (source == EncodeOf::feedback) keep_error(stream, body, table, x, memory, seen);
  return size;
}

// Elements of a chunk as its receivers have them.
void LowRankCodec::expand(const LowRankChunk& chunk, const float* body, std::size_t first, std::span<float> to) const {
  if (chunk.matrix())
    gossamer::expand(kernels_, body + chunk.at, body + chunk.at + format_.rank * chunk.rows, chunk.rows, chunk.columns, format_.rank, first, to);
  else
    kernels_.copy(body + chunk.at + first, to.data(), to.size(), false);
}

void LowRankCodec::keep_error(Stream& stream, const Body& body, const LowRankTable& table, std::span<const float> x, std::span<float> error,
                              std::span<float> seen) const {
  parallel_for(stream, x.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    table.for_elements(begin, end, [&](const LowRankChunk& chunk, std::size_t first, std::size_t count) {
      const std::size_t at = chunk.first + first;
      expand(chunk, body.data(), first, seen.subspan(at, count));
      make(EncodeOf::feedback, x.data() + at, error.data() + at, count, error.data() + at);
      kernels_.axpy(-1, seen.data() + at, error.data() + at, count);
    });
  });
}

// As a payload of plain floats would be decoded, which the product is made into piece by piece.
void LowRankCodec::add(Stream& stream, std::span<const WeightedBody> bodies, const LowRankTable& table, const Layout& layout,
                       const DecodeInto& into) const {
  const bool streaming = (into.target == DecodeTo::assign || into.target == DecodeTo::difference) && 4 * layout.size() >= kStreamingBytes;
  parallel_for(stream, layout.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<float> values(bodies.size() * kExpanded);
    std::vector<CodedTiles> from(bodies.size());
    table.for_elements(begin, end, [&](const LowRankChunk& chunk, std::size_t first, std::size_t all) {
      for (std::size_t done = 0; done < all; done += kExpanded) {
        const std::size_t count = std::min(kExpanded, all - done), at = chunk.first + first + done;
        for (std::size_t p = 0; p < bodies.size(); ++p) {
          const float* source = bodies[p].floats + chunk.at + first + done;
          if (chunk.matrix()) {
            float* const product = values.data() + p * kExpanded;
            expand(chunk, bodies[p].floats, first + done, {product, count});
            source = product;
          }
          from[p] = {.codes = reinterpret_cast<const std::byte*>(source), .weight = bodies[p].weight};
        }
        kernels_.decode(tiles_into(into, at, count, {.code = Code::f32}, from, streaming));
      }
    });
  });
}

Result<> LowRankCodec::read(std::span<const std::byte> encoded, const Layout& layout, const LowRankTable& table, Body* body) const {
  GOSSAMER_TRY(check_size(name(), encoded.size(), format_.size_of(table)));
  GOSSAMER_TRY(check_header(name(), encoded, format_.header(layout, table)));
  body->resize(table.floats());
  if (!body->empty()) std::memcpy(body->data(), encoded.data() + kCodecHeaderSize, sizeof(float) * body->size());
  for (const LowRankChunk& chunk : table.chunks())
    for (const LowRankPart& part : parts_of(chunk, format_.rank)) {
      const std::span<const float> floats(body->data() + part.at, part.count);
      if (kernels_.largest(floats.data(), nullptr, floats.size()) <= part.largest) continue;
      const auto bad = std::find_if(floats.begin(), floats.end(), [&](float f) { return magnitude_bits(f) > part.largest; });
      return format_.bad_value(layout, chunk, part, *bad);
    }
  return {};
}

}  // namespace

std::unique_ptr<Compressor> make_low_rank_codec(const CompressionOptions& options, const Kernels& kernels) {
  return std::make_unique<LowRankCodec>(options, kernels);
}

}  // namespace gossamer
