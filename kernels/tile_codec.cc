// Codecs that send a code for every element: casts, quantizers and signs, all of them the tiles of kernels/tiles.h.
//
// What must be checked of a payload before it is used: its length, its header, its scales.  Codes need no look, as every
// bit pattern is a number (kernels/codes.h), except where they are floats themselves.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/check.h"
#include "kernels/chunks.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/parallel.h"
#include "kernels/quantizer.h"
#include "kernels/reduce.h"
#include "kernels/tile_payload.h"
#include "kernels/vector.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kTilesOfPart = 64;  // of work that is worth a thread's while: 16,384 elements

class TileCodec final : public Compressor {
 public:
  TileCodec(const CompressionOptions& options, const Kernels& kernels)
      : format_(options), options_(format_.options), how_(options_.how), kernels_(kernels) {}

  std::string_view name() const override { return codec_name(format_.codec); }
  CodecId codec() const override { return format_.codec; }

  CodecTraits traits() const override {
    const bool exact = how_.code == Code::f32;
    return {.seeded = draws_numbers(how_.code),
            .unbiased = exact || how_.code == Code::natural || (is_stochastic(how_.code) && options_.unbiased),
            .linear = exact};
  }

  std::size_t capacity(const Layout& layout) const override { return format_.size_of(format_.table(layout)); }

  double contraction(const Layout& layout) const override {
    // The worst chunk bounds the vector: all of its weight may lie there.
    double least = 1;
    const ChunkTable chunks = format_.table(layout);
    for (const Chunk& chunk : chunks.chunks()) least = std::min(least, std::max(0.0, contraction_of(options_, chunk.count)));
    return least;
  }

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, {.how = how_, .source = EncodeOf::plain, .x = x.data()}, x, layout, seed, encoded);
  }

  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica,
                                        const Layout& layout, std::uint64_t seed,
                                        std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    return encode(stream, {.how = how_, .source = EncodeOf::difference, .x = x.data(), .memory = replica.data()}, x, layout, seed,
                  encoded);
  }

  Result<std::size_t> encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error, const Layout& layout,
                                      std::uint64_t seed, std::span<float> seen, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(error.size() == x.size() && seen.size() == x.size(), "vectors of one length");
    return encode(stream, {.how = how_, .source = EncodeOf::feedback, .x = x.data(), .memory = error.data(), .seen = seen.data()}, x,
                  layout, seed, encoded);
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override {
    GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
    check_decode_into(payloads.size(), layout, into);
    const ChunkTable chunks = format_.table(layout);
    // Payloads that are floats may hold anything.  Where the result is written over, a NaN or an infinity shows there, and the
    // payloads need not be read twice.
    const bool floats = !has_scale(how_.code);
    const bool seen_after = floats && (into.target == DecodeTo::assign || into.target == DecodeTo::difference);
    for (const WeightedPayload& payload : payloads) {
      GOSSAMER_TRY(check(payload.encoded, layout, chunks));
      if (floats && !seen_after && !values_are_numbers(stream, payload.encoded, layout, chunks)) return format_.not_a_number();
    }
    std::atomic<bool> numbers = true;

    const std::size_t touched = (4 * payloads.size() + 8) * layout.size();
    const bool streaming = touched >= kStreamingBytes;
    parallel_for(stream, chunks.tiles(), kTilesOfPart, [&](std::uint64_t begin, std::uint64_t end) {
      std::vector<CodedTiles> from(payloads.size());
      chunks.for_tiles(begin, end, [&](const Chunk& chunk, std::uint64_t tile, std::uint64_t tiles) {
        for (std::size_t p = 0; p < payloads.size(); ++p) {
          const std::byte* const bytes = payloads[p].encoded.data();
          from[p] = {.codes = bytes + format_.codes_at(chunks) + chunk.codes + tile * tile_stride(how_.code, kTile),
                     .scales = scale_of(bytes, chunks, chunk, tile),
                     .one_scale = options_.one_scale,
                     .weight = payloads[p].weight};
        }
        const std::size_t first = tile * kTile, count = std::min<std::size_t>(tiles * kTile, chunk.count - first);
        if (kernels_.decode(tiles_into(into, chunk.first + first, count, how_, from, streaming)) >= kInfinityBits) numbers = false;
      });
    });
    if (seen_after && !numbers) {
      for (const WeightedPayload& payload : payloads)
        if (!values_are_numbers(stream, payload.encoded, layout, chunks)) return format_.not_a_number();
    }
    return {};
  }

 private:
  // Where the scale of a tile lies.
  template <class Byte>
  Byte* scale_of(Byte* payload, const ChunkTable& chunks, const Chunk& chunk, std::uint64_t tile) const {
    return has_scale(how_.code) ? payload + format_.scale_at(chunks, chunk, tile) : nullptr;
  }

  float measure(Stream& stream, const EncodeTiles& job, const Chunk& chunk) const;
  Result<std::size_t> encode(Stream& stream, EncodeTiles job, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const;
  Result<> check(std::span<const std::byte> encoded, const Layout& layout, const ChunkTable& chunks) const;
  bool values_are_numbers(Stream& stream, std::span<const std::byte> encoded, const Layout& layout, const ChunkTable& chunks) const;

  const TilePayload format_;
  const TileOptions& options_;  // of format_
  const Quantizer how_;         // of options_
  const Kernels& kernels_;
};

// The one measure of a chunk; infinite or NaN where an element is.
float TileCodec::measure(Stream& stream, const EncodeTiles& job, const Chunk& chunk) const {
  const std::size_t parts = (chunk.count + kSumChunk - 1) / kSumChunk;
  std::vector<double> sums(parts);
  std::vector<std::uint32_t> most(parts);
  parallel_for(stream, parts, 4, [&](std::uint64_t begin, std::uint64_t end) {
    alignas(64) float made[kSumChunk];
    for (std::uint64_t p = begin; p < end; ++p) {
      const std::size_t first = p * kSumChunk, length = std::min(kSumChunk, chunk.count - first);
      const float* v = job.x + chunk.first + first;
      if (job.source != EncodeOf::plain) {
        const float* const memory = job.memory + chunk.first + first;
        for (std::size_t i = 0; i < length; ++i) made[i] = job.source == EncodeOf::difference ? v[i] - memory[i] : v[i] + memory[i];
        v = made;
      }
      most[p] = kernels_.largest(v, nullptr, length);
      if (how_.code == Code::sign) sums[p] = kernels_.sum(SumOf::magnitudes, v, nullptr, length);
      if (how_.norm == Norm::two) sums[p] = kernels_.sum(SumOf::products, v, v, length);
    }
  });
  const std::uint32_t largest = *std::max_element(most.begin(), most.end());
  if (largest >= kTooLargeBits) return float_of(largest);
  const double sum = sum_of_chunks(parts, [&](std::size_t p) { return sums[p]; });
  if (how_.code == Code::sign) return static_cast<float>(sum / static_cast<double>(chunk.count));
  return how_.norm == Norm::two ? static_cast<float>(std::sqrt(sum)) : float_of(largest);
}

// `all` has the vectors from their first element, and what is the same for all chunks.
Result<std::size_t> TileCodec::encode(Stream& stream, EncodeTiles all, std::span<const float> x, const Layout& layout,
                                      std::uint64_t seed, std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  const ChunkTable chunks = format_.table(layout);
  const std::size_t size = format_.size_of(chunks);
  GOSSAMER_CHECK(encoded.size() >= size, "less room than capacity()");
  std::byte* const codes = encoded.data() + format_.codes_at(chunks);
  all.key = draw_key(seed);
  all.streaming = 4 * x.size() >= kStreamingBytes;

  std::vector<float> measures(options_.one_scale ? chunks.chunks().size() : 0);
  for (std::size_t c = 0; c < measures.size(); ++c) {
    measures[c] = measure(stream, all, chunks.chunks()[c]);
    const Scaling by = scaling_of(quantizer_for(options_, chunks.chunks()[c].count), measures[c]);
    if (!valid_scale(how_.code, by.scale)) return cannot_encode(name(), all.source, x.data(), all.memory, layout, 0, layout.size());
    store(by.scale, scale_of(encoded.data(), chunks, chunks.chunks()[c], 0));
  }

  std::atomic<bool> fits = true;
  parallel_for(stream, chunks.tiles(), kTilesOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    chunks.for_tiles(begin, end, [&](const Chunk& chunk, std::uint64_t tile, std::uint64_t tiles) {
      if (!fits.load(std::memory_order_relaxed)) return;
      const std::size_t first = tile * kTile, at = chunk.first + first;
      EncodeTiles job = all;
      job.how = quantizer_for(options_, chunk.count);
      job.x += at;
      if (job.memory != nullptr) job.memory += at;
      if (job.seen != nullptr) job.seen += at;
      job.count = std::min<std::size_t>(tiles * kTile, chunk.count - first);
      job.first_tile = tile;
      job.chunk = chunk.number;
      job.codes = codes + chunk.codes + tile * tile_stride(how_.code, kTile);
      if (options_.one_scale)
        job.measure = measures[static_cast<std::size_t>(&chunk - chunks.chunks().data())];
      else
        job.scales = scale_of(encoded.data(), chunks, chunk, tile);
      if (!kernels_.encode(job)) fits = false;
    });
  });
  if (!fits) return cannot_encode(name(), all.source, x.data(), all.memory, layout, 0, layout.size());

  if (!format_.has_header()) return size;
  const CodecHeader head = format_.header(layout, chunks);
  std::memcpy(encoded.data(), &head, sizeof head);
  const std::size_t scales_end = kCodecHeaderSize + 4 * format_.scales_of(chunks);
  std::memset(encoded.data() + scales_end, 0, format_.codes_at(chunks) - scales_end);
  for (const Chunk& chunk : chunks.chunks()) {
    const std::size_t tail = chunk.count % kTile;
    const std::size_t end = chunk.count / kTile * tile_stride(how_.code, kTile) + (tail != 0 ? tile_stride(how_.code, tail) : 0);
    std::memset(codes + chunk.codes + end, 0, chunk_code_bytes(how_.code, chunk.count) - end);
  }
  return size;
}

// All that a sender could have got wrong, or wants to get wrong, but for the floats of a payload of floats.
Result<> TileCodec::check(std::span<const std::byte> encoded, const Layout& layout, const ChunkTable& chunks) const {
  const CodecHeader expected = format_.header(layout, chunks);
  GOSSAMER_TRY(check_size(name(), encoded.size(), expected.used));
  if (format_.has_header()) GOSSAMER_TRY(check_header(name(), encoded, expected));

  std::size_t bad = format_.scales_of(chunks);
  for (std::size_t s = 0; s < format_.scales_of(chunks); ++s)
    if (!valid_scale(how_.code, load<float>(encoded.data() + kCodecHeaderSize + 4 * s))) bad = std::min(bad, s);
  if (bad < format_.scales_of(chunks)) return format_.bad_scale(bad, load<float>(encoded.data() + kCodecHeaderSize + 4 * bad));
  return {};
}

bool TileCodec::values_are_numbers(Stream& stream, std::span<const std::byte> encoded, const Layout& layout,
                                   const ChunkTable& chunks) const {
  std::atomic<bool> finite = true;
  const std::byte* const values = encoded.data() + format_.codes_at(chunks);
  parallel_for(stream, layout.size(), kTilesOfPart * kTile, [&](std::uint64_t begin, std::uint64_t end) {
    const std::size_t width = code_bits(how_.code) / 8;
    if (kernels_.largest_coded(how_.code, values + begin * width, end - begin) >= kInfinityBits) finite = false;
  });
  return finite;
}

}  // namespace

std::unique_ptr<Compressor> make_tile_codec(const CompressionOptions& options, const Kernels& kernels) {
  return std::make_unique<TileCodec>(options, kernels);
}

}  // namespace gossamer
