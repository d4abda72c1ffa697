// Codecs that send some elements: the k largest, those above a threshold, or k drawn from the seed.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/chunks.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/parallel.h"
#include "kernels/positions.h"
#include "kernels/quantizer.h"
#include "kernels/select.h"
#include "kernels/sparse_payload.h"
#include "kernels/strata.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

// Calls visit(j, index) for each stratum, j ascending.
template <class Visit>
void for_each_drawn(std::uint64_t seed, std::uint32_t chunk, const Groups& groups, Visit visit) {
  const Strata strata(draw_key(seed), chunk, groups.count, groups.drawn);
  Philox4 words{};
  for (std::size_t j = 0; j < groups.drawn; ++j) {
    if (j % 4 == 0) words = strata.words(j / 4);
    visit(j, strata.index(j, words[j % 4]));
  }
}

constexpr std::uint64_t kElementsOfPart = 16384;  // that are worth a thread's while

// add(target[element], value) for each element that was sent of a chunk; it stands there once.  Elements are fetched ahead of time:
// each lies in a cache line of its own.
template <class T, class Add>
void scatter(Stream& stream, const Chunk& chunk, std::span<const std::uint64_t> indices, std::span<const float> values, std::span<T> target, const Add& add) {
  constexpr std::uint64_t kAhead = 32;
  T* const to = target.data() + chunk.first;
  parallel_for(stream, indices.size(), kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t j = begin; j < end; ++j) {
      if (j + kAhead < end) __builtin_prefetch(to + indices[j + kAhead], 1);
      if (indices[j] < chunk.count) add(to[indices[j]], values[j]);
    }
  });
}

// What encoding leaves to the next call on its stream.
struct EncodeScratch {
  Selection selection;
  std::vector<float> sent;
};

class SparseCodec final : public Compressor {
 public:
  SparseCodec(const CompressionOptions& options, const Kernels& kernels)
      : format_(options), options_(format_.options), values_(format_.values), kernels_(kernels) {}

  std::string_view name() const override { return codec_name(options_.codec); }
  CodecId codec() const override { return options_.codec; }
  CodecTraits traits() const override {
    // Linear: with one seed two payloads hold the same coordinates, and their values may be added.
    const bool random = drawn(), floats = options_.values == CodecId::none;
    return {.seeded = random || draws_numbers(values_.how.code),
            .unbiased = random && options_.unbiased && (floats || options_.values == CodecId::natural),
            .linear = random && floats};
  }

  std::size_t capacity(const Layout& layout) const override { return format_.capacity(layout); }

  // What the chosen ones lose to their code comes on top of what the others lose.
  double contraction(const Layout& layout) const override {
    if (options_.codec == CodecId::threshold) return 0;
    const ChunkTable chunks = format_.table(layout);
    double least = 1;
    for (const Chunk& chunk : chunks.chunks()) {
      const std::size_t k = kept(options_.ratio, chunk.count);
      const double share = drawn() ? groups_of(options_.ratio, chunk.count).share() : static_cast<double>(k) / static_cast<double>(chunk.count);
      const double of_values = contraction_of(values_, drawn() ? groups_of(options_.ratio, chunk.count).values() : k);
      // Unbiased: E|x - Q|^2 = (1/p - 1 + (1 - d)/p) |x|^2
      least = std::min(least, options_.unbiased ? 2 - (2 - of_values) / share : share * of_values);
    }
    return std::max(0.0, least);
  }

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, x, {}, layout, seed, encoded);
  }

  // The difference is made while it is looked at, and the replica written only where something was sent.
  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    if (x.empty()) return encode(stream, x, {}, layout, seed, encoded);
    return encode(stream, x, replica, layout, seed, encoded);
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override;

 private:
  bool drawn() const { return format_.drawn(); }

  bool choose(Stream& stream, const float* x, const float* replica, const Chunk& chunk, std::uint64_t seed, Selection* selection) const;
  void draw(const Chunk& chunk, std::uint64_t seed, std::vector<std::uint64_t>* indices) const;
  Result<std::size_t> encode(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                             std::uint64_t seed, std::span<std::byte> encoded) const;
  bool encode_values(std::span<const float> values, const Chunk& chunk, std::uint64_t seed, std::byte* to) const;
  void decode_values(const std::byte* from, std::span<float> values) const;
  const char* refuse_values(const std::byte* from, std::size_t k) const;

  // What each chunk of a payload says, in memory that nobody else writes.
  Result<std::vector<Selection>> read(std::span<const std::byte> encoded, const Layout& layout, const ChunkTable& chunks) const;

  const SparsePayload format_;
  const CompressionOptions& options_;  // of format_, as are
  const TileOptions& values_;
  const Kernels& kernels_;
};

void SparseCodec::draw(const Chunk& chunk, std::uint64_t seed, std::vector<std::uint64_t>* indices) const {
  const Groups groups = groups_of(options_.ratio, chunk.count);
  indices->resize(groups.values());
  for_each_drawn(seed, chunk.number, groups, [&](std::size_t j, std::size_t group) {
    for (std::size_t i = 0; i < groups.size; ++i) (*indices)[j * groups.size + i] = group * groups.size + i;
  });
}

bool SparseCodec::choose(Stream& stream, const float* x, const float* replica, const Chunk& chunk, std::uint64_t seed,
                         Selection* selection) const {
  const float* const v = x + chunk.first;
  const float* const h = replica == nullptr ? nullptr : replica + chunk.first;
  if (options_.codec == CodecId::top_k) return select_largest(stream, kernels_, v, h, chunk.count, kept(options_.ratio, chunk.count), selection);
  if (options_.codec == CodecId::threshold)
    return select_at_least(stream, kernels_, v, h, chunk.count, float_bits(static_cast<float>(options_.threshold)), selection);
  draw(chunk, seed, &selection->indices);
  selection->values.resize(selection->indices.size());
  const auto factor = static_cast<float>(options_.unbiased ? 1 / groups_of(options_.ratio, chunk.count).share() : 1);
  bool numbers = true;
  for (std::size_t j = 0; j < selection->indices.size(); ++j) {
    const std::uint64_t i = selection->indices[j];
    const float value = i >= chunk.count ? 0.0f : (h == nullptr ? v[i] : v[i] - h[i]) * factor;
    numbers = numbers && magnitude_bits(value) < kInfinityBits;
    selection->values[j] = value;
  }
  return numbers;
}

bool SparseCodec::encode_values(std::span<const float> values, const Chunk& chunk, std::uint64_t seed, std::byte* to) const {
  const std::size_t scales = format_.scale_bytes(values.size()), tail = values.size() % kTile;
  std::memset(to, 0, scales);
  std::byte* const codes = to + scales;
  const std::size_t end = values.size() / kTile * tile_stride(values_.how.code, kTile) + (tail != 0 ? tile_stride(values_.how.code, tail) : 0);
  std::memset(codes + end, 0, chunk_code_bytes(values_.how.code, values.size()) - end);
  return kernels_.encode({.how = quantizer_for(values_, std::max<std::size_t>(values.size(), 1)),
                          .x = values.data(),
                          .count = values.size(),
                          .key = draw_key(seed),
                          .chunk = chunk.number,
                          .codes = codes,
                          .scales = to});
}

void SparseCodec::decode_values(const std::byte* from, std::span<float> values) const {
  const CodedTiles one{.codes = from + format_.scale_bytes(values.size()), .scales = from};
  kernels_.decode({.how = values_.how, .target = DecodeTo::assign, .from = {&one, 1}, .count = values.size(), .out = values.data()});
}

const char* SparseCodec::refuse_values(const std::byte* from, std::size_t k) const {
  const Code code = values_.how.code;
  if (has_scale(code))
    for (std::size_t t = 0; t < tile_count(k); ++t)
      if (!valid_scale(code, load<float>(from + 4 * t))) return "a scale is negative, NaN or too large";
  const bool finite = has_scale(code) || kernels_.largest_coded(code, from, k) < kInfinityBits;
  return finite ? nullptr : "a value is NaN or infinite";
}

Result<std::size_t> SparseCodec::encode(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  GOSSAMER_CHECK(encoded.size() >= capacity(layout), "less room than capacity()");
  const ChunkTable chunks = format_.table(layout);
  std::size_t used = kCodecHeaderSize;
  auto& [selection, sent] = stream.keep<EncodeScratch>();
  for (const Chunk& chunk : chunks.chunks()) {
    const bool numbers = choose(stream, x.data(), replica.empty() ? nullptr : replica.data(), chunk, seed, &selection);
    std::byte* to = encoded.data() + used;
    const std::size_t k = selection.indices.size();
    if (numbers && !drawn()) {
      const std::size_t positions = write_positions(selection.indices, chunk.count, to + 16);
      store(std::uint64_t{k}, to);
      store(std::uint64_t{positions}, to + 8);
      std::memset(to + 16 + positions, 0, padded(positions, 8) - positions);
      to += 16 + padded(positions, 8);
    }
    if (!numbers || !encode_values(selection.values, chunk, seed, to))
      return cannot_encode(name(), replica.empty() ? EncodeOf::plain : EncodeOf::difference, x.data(), replica.data(), layout, chunk.first,
                           chunk.first + chunk.count);
    if (!replica.empty()) {
      sent.resize(k);
      decode_values(to, sent);
      scatter(stream, chunk, selection.indices, sent, replica, [](float& h, float q) { h += q; });
    }
    used = static_cast<std::size_t>(to - encoded.data()) + format_.value_bytes(k);
  }
  CodecHeader head = format_.header(layout, chunks);
  head.used = used;
  head.seed = drawn() ? seed : 0;
  std::memcpy(encoded.data(), &head, sizeof head);
  return used;
}

Result<std::vector<Selection>> SparseCodec::read(std::span<const std::byte> encoded, const Layout& layout, const ChunkTable& chunks) const {
  if (encoded.size() < kCodecHeaderSize || encoded.size() > capacity(layout))
    return fail(Errc::corrupt, fmt::format("{} payload of {} bytes where this model and these options take {} to {}: does the sender run "
                                           "another run file?",
                                           name(), encoded.size(), kCodecHeaderSize, capacity(layout)));
  GOSSAMER_TRY(check_header(name(), encoded, format_.header(layout, chunks)));
  const auto seed = load<std::uint64_t>(encoded.data() + offsetof(CodecHeader, seed));
  std::size_t at = kCodecHeaderSize;
  std::vector<Selection> all;
  for (const Chunk& chunk : chunks.chunks()) {
    Selection& selection = all.emplace_back();
    const auto refuse = [&](const char* why) {
      return fail(Errc::corrupt, fmt::format("{} payload, block at {}: {}", name(), describe_element(layout, chunk.first), why));
    };
    const std::size_t left = encoded.size() - at;
    std::size_t k = 0;
    if (drawn()) {
      draw(chunk, seed, &selection.indices);
      k = selection.indices.size();
    } else {
      if (left < 16) return refuse("it is cut off");
      const auto sent = load<std::uint64_t>(encoded.data() + at), positions = load<std::uint64_t>(encoded.data() + at + 8);
      if (options_.codec == CodecId::top_k ? sent != kept(options_.ratio, chunk.count) : sent > chunk.count)
        return refuse("the sender kept another number of elements");
      k = sent;
      if (positions > left - 16 || padded(positions, 8) > left - 16) return refuse("it is cut off");
      if (const char* const why = read_positions(encoded.subspan(at + 16, positions), chunk.count, k, &selection.indices)) return refuse(why);
      at += 16 + padded(positions, 8);
    }
    if (format_.value_bytes(k) > encoded.size() - at) return refuse("it is cut off");
    if (const char* const why = refuse_values(encoded.data() + at, k)) return refuse(why);
    selection.values.resize(k);
    decode_values(encoded.data() + at, selection.values);
    at += format_.value_bytes(k);
  }
  if (at != encoded.size()) return fail(Errc::corrupt, fmt::format("{} payload with {} bytes too many", name(), encoded.size() - at));
  return all;
}

Result<> SparseCodec::decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout, const DecodeInto& into) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  const std::size_t n = layout.size();
  GOSSAMER_CHECK((into.target == DecodeTo::wide ? into.wide.size() : into.out.size()) == n, "the vector is not that of the layout");
  const ChunkTable chunks = format_.table(layout);
  std::vector<Result<std::vector<Selection>>> read_all(payloads.size());
  parallel_for(stream, payloads.size(), 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t p = begin; p < end; ++p) read_all[p] = read(payloads[p].encoded, layout, chunks);
  });
  for (const auto& one : read_all)
    if (!one) return Failure(one.error());

  const auto scatter_all = [&](std::size_t payload, auto target, const auto& add) {
    for (std::size_t c = 0; c < chunks.chunks().size(); ++c) {
      const Selection& sent = (*read_all[payload])[c];
      scatter(stream, chunks.chunks()[c], sent.indices, sent.values, target, add);
    }
  };
  const std::span<float> out = into.out;
  const auto each = [&](const auto& body) {
    parallel_for(stream, n, kElementsOfPart, [&](std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t i = begin; i < end; ++i) body(i);
    });
  };
  switch (into.target) {
    case DecodeTo::assign:
      each([&](std::size_t i) { out[i] = 0; });
      [[fallthrough]];
    case DecodeTo::add:
      for (std::size_t p = 0; p < payloads.size(); ++p) scatter_all(p, out, [weight = payloads[p].weight](float& x, float q) { x += weight * q; });
      return {};
    case DecodeTo::wide:
      scatter_all(0, into.wide, [&](double& x, float q) { x += into.wide_weight * static_cast<double>(q); });
      return {};
    case DecodeTo::follow:
      scatter_all(0, out, [](float& x, float q) { x += q; });
      each([&, weight = payloads[0].weight](std::size_t i) { into.sum[i] += weight * (out[i] - into.own[i]); });
      return {};
    case DecodeTo::difference: {
      std::vector<float> q(n);
      each([&](std::size_t i) { out[i] = 0; });
      for (std::size_t p = 0; p < payloads.size(); ++p) {
        if (p > 0) each([&](std::size_t i) { q[i] = 0; });
        scatter_all(p, std::span(q), [](float& x, float value) { x = value; });
        each([&, weight = payloads[p].weight](std::size_t i) { out[i] += weight * (q[i] - into.own[i]); });
      }
      return {};
    }
  }
  return {};
}

}  // namespace

std::unique_ptr<Compressor> make_sparse_codec(const CompressionOptions& options, const Kernels& kernels) {
  return std::make_unique<SparseCodec>(options, kernels);
}

}  // namespace gossamer
