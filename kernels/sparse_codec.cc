// Codecs that send some elements: the k largest, those above a threshold, or k drawn from the seed.
//
//     payload = header, a block for each chunk
//     block   = u64 k, u64 bytes of positions, positions (kernels/positions.h), zeros up to 8 bytes, values     top-k, threshold
//             | values                                                                                         random-k
//     values  = scales, zeros up to 8 bytes, codes: the k elements as one chunk of kernels/tiles.h
//
// The values are floats unless a code was chosen for them.  How many of random-k's elements are drawn from which tensor is a
// function of the layout; how many of a threshold's, of the vector.
//
// Random-k.  The chunk is cut into aligned groups, of one element or, where at least 512 are kept, of 8, which are a sector of
// memory.  The groups are cut into as many strata as are to be drawn, the first ones one longer; one group is drawn in each, and
// then all are rotated by one offset, modulo their number.  Strata make the groups distinct at O(1) each; the rotation gives
// each the same chance whatever the strata do, so the error is that of draws without replacement: E |x - Q(x)|^2 = (1 - p) |x|^2
// with p the share of groups drawn, or (1/p - 1) |x|^2 when values are divided by p to make E Q(x) = x.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/chunks.h"
#include "kernels/codecs.h"
#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/positions.h"
#include "kernels/quantizer.h"
#include "kernels/select.h"
#include "kernels/wire.h"

namespace gossamer {
namespace {

constexpr std::size_t kGroup = 8;            // floats of a 32-byte sector
constexpr std::size_t kGroupedFrom = 512;    // kept elements from which on whole groups are drawn

std::uint64_t multiply_high(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
  const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const std::uint64_t low = a0 * b1 + (middle & 0xffffffffu);
  return a1 * b1 + (middle >> 32) + (low >> 32);
}

// Calls visit(j, index) for `drawn` distinct indices among `count`, j ascending.
template <class Visit>
void for_each_drawn(std::uint64_t seed, std::size_t chunk, std::size_t count, std::size_t drawn, Visit visit) {
  const CodecDraws draws(seed);
  const Philox4 r = draws.words(DrawUse::rotation, chunk, 0);
  const std::size_t offset = multiply_high(std::uint64_t{r[1]} << 32 | r[0], count);
  const std::size_t length = count / drawn, longer = count % drawn;
  Philox4 words{};
  std::size_t begin = offset;  // of the stratum, rotated
  for (std::size_t j = 0; j < drawn; ++j) {
    if (j % 4 == 0) words = draws.words(DrawUse::strata, chunk, j / 4);
    const std::size_t size = length + (j < longer ? 1 : 0);
    // 32 random bits are enough for strata up to 2^32; of longer ones only some can be drawn, which the rotation makes good.
    const std::size_t index = begin + multiply_high(std::uint64_t{words[j % 4]} << 32, size);
    visit(j, index < count ? index : index - count);
    begin += size;
    if (begin >= count) begin -= count;
  }
}

// What random-k draws of a chunk.
struct Groups {
  std::size_t size = 1;   // elements of a group; the chunk's last one may be shorter and counts as padded with zeros
  std::size_t count = 0;  // groups there are
  std::size_t drawn = 0;

  std::size_t values() const { return size * drawn; }
  double share() const { return static_cast<double>(drawn) / static_cast<double>(count); }
};

Groups groups_of(double ratio, std::size_t elements) {
  const std::size_t k = kept(ratio, elements);
  if (k < kGroupedFrom) return {1, elements, k};
  const std::size_t count = (elements + kGroup - 1) / kGroup;
  return {kGroup, count, std::min(count, (k + kGroup / 2) / kGroup)};
}

class SparseCodec final : public Compressor {
 public:
  SparseCodec(const CompressionOptions& options, const Kernels& kernels)
      : options_(options), values_(tile_options({.codec = options.values})), kernels_(kernels) {}

  std::string_view name() const override { return codec_name(options_.codec); }
  CodecId codec() const override { return options_.codec; }
  CodecTraits traits() const override {
    // Linear: with one seed two payloads hold the same coordinates, and their values may be added.
    const bool random = drawn(), floats = options_.values == CodecId::none;
    return {.seeded = random || draws_numbers(values_.how.code),
            .unbiased = random && options_.unbiased && (floats || options_.values == CodecId::natural),
            .linear = random && floats};
  }

  std::size_t capacity(const Layout& layout) const override {
    const ChunkTable chunks = table(layout);
    std::size_t size = kCodecHeaderSize;
    for (const Chunk& chunk : chunks.chunks()) {
      if (drawn()) {
        size += value_bytes(groups_of(options_.ratio, chunk.count).values());
      } else if (options_.codec == CodecId::top_k) {
        const std::size_t k = kept(options_.ratio, chunk.count);
        size += 16 + padded(positions_capacity(chunk.count, k), 8) + value_bytes(k);
      } else {  // no form takes more than a bitmap and a byte for every 255 of the fewer than n/8 bytes that are less
        size += 16 + padded(chunk.count / 8 + chunk.count / 2040 + 2, 8) + value_bytes(chunk.count);
      }
    }
    return size;
  }

  // What the chosen ones lose to their code comes on top of what the others lose.
  double contraction(const Layout& layout) const override {
    if (options_.codec == CodecId::threshold) return 0;
    const ChunkTable chunks = table(layout);
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
  bool drawn() const { return options_.codec == CodecId::random_k; }
  ChunkTable table(const Layout& layout) const { return ChunkTable(layout, options_.scope, values_.how.code); }

  std::size_t scale_bytes(std::size_t k) const { return has_scale(values_.how.code) ? padded(4 * tile_count(k), 8) : 0; }
  std::size_t value_bytes(std::size_t k) const { return scale_bytes(k) + chunk_code_bytes(values_.how.code, k); }

  CodecHeader header(const Layout& layout, const ChunkTable& chunks) const {
    return {.codec = static_cast<std::uint16_t>(options_.codec),
            .code = static_cast<std::uint8_t>(values_.how.code),
            .scope = static_cast<std::uint8_t>(options_.scope),
            .flags = options_.unbiased ? kUnbiased : std::uint8_t{0},
            .count = layout.size(),
            .parameter = options_.codec == CodecId::threshold ? options_.threshold : options_.ratio,
            .layout = chunks.hash(),
            .chunks = static_cast<std::uint32_t>(chunks.chunks().size())};
  }

  bool choose(Stream& stream, const float* x, const float* replica, const Chunk& chunk, std::uint64_t seed, Selection* selection) const;
  void draw(const Chunk& chunk, std::uint64_t seed, std::vector<std::uint64_t>* indices) const;
  Result<std::size_t> encode(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                             std::uint64_t seed, std::span<std::byte> encoded) const;
  bool encode_values(std::span<const float> values, const Chunk& chunk, std::uint64_t seed, std::byte* to) const;
  void decode_values(const std::byte* from, std::span<float> values) const;
  const char* refuse_values(const std::byte* from, std::size_t k) const;

  // Calls visit(chunk, selection) for each chunk of a payload that was checked while it does.
  template <class Visit>
  Result<> read(std::span<const std::byte> encoded, const Layout& layout, Visit visit) const;

  CompressionOptions options_;
  TileOptions values_;
  const Kernels& kernels_;
};

void SparseCodec::draw(const Chunk& chunk, std::uint64_t seed, std::vector<std::uint64_t>* indices) const {
  const Groups groups = groups_of(options_.ratio, chunk.count);
  indices->resize(groups.values());
  for_each_drawn(seed, chunk.number, groups.count, groups.drawn, [&](std::size_t j, std::size_t group) {
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
  const std::size_t scales = scale_bytes(values.size()), tail = values.size() % kTile;
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
  const CodedTiles one{.codes = from + scale_bytes(values.size()), .scales = from};
  kernels_.decode({.how = values_.how, .target = DecodeTo::assign, .from = {&one, 1}, .count = values.size(), .out = values.data()});
}

const char* SparseCodec::refuse_values(const std::byte* from, std::size_t k) const {
  const Code code = values_.how.code;
  if (has_scale(code))
    for (std::size_t t = 0; t < tile_count(k); ++t)
      if (!valid_scale(code, load<float>(from + 4 * t))) return "a scale is negative, NaN or too large";
  std::uint32_t most = 0;
  if (code == Code::f32)
    for (std::size_t i = 0; i < k; ++i) most = std::max(most, load<std::uint32_t>(from + 4 * i) & 0x7fffffffu);
  if (code == Code::bf16)
    for (std::size_t i = 0; i < k; ++i) most = std::max(most, (load<std::uint16_t>(from + 2 * i) & 0x7fffu) << 16);
  return most >= kInfinityBits ? "a value is NaN or infinite" : nullptr;
}

Result<std::size_t> SparseCodec::encode(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  GOSSAMER_CHECK(encoded.size() >= capacity(layout), "less room than capacity()");
  const ChunkTable chunks = table(layout);
  std::size_t used = kCodecHeaderSize;
  Selection selection;
  std::vector<float> sent;
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
    if (!numbers || !encode_values(selection.values, chunk, seed, to)) {
      std::size_t worst = chunk.first;
      const auto magnitude = [&](std::size_t i) { return std::min(magnitude_bits(replica.empty() ? x[i] : x[i] - replica[i]), kInfinityBits); };
      for (std::size_t i = chunk.first; i < chunk.first + chunk.count; ++i)
        if (magnitude(i) > magnitude(worst)) worst = i;
      return fail(Errc::diverged, magnitude(worst) == kInfinityBits
                                      ? fmt::format("{}: {} is NaN or infinite", name(), describe_element(layout, worst))
                                      : fmt::format("{}: values too large to encode, the largest of them {} at {}", name(),
                                                    float_of(magnitude(worst)), describe_element(layout, worst)));
    }
    if (!replica.empty()) {
      sent.resize(k);
      decode_values(to, sent);
      for (std::size_t j = 0; j < k; ++j)
        if (selection.indices[j] < chunk.count) replica[chunk.first + selection.indices[j]] += sent[j];
    }
    used = static_cast<std::size_t>(to - encoded.data()) + value_bytes(k);
  }
  CodecHeader head = header(layout, chunks);
  head.used = used;
  head.seed = drawn() ? seed : 0;
  std::memcpy(encoded.data(), &head, sizeof head);
  return used;
}

template <class Visit>
Result<> SparseCodec::read(std::span<const std::byte> encoded, const Layout& layout, Visit visit) const {
  const ChunkTable chunks = table(layout);
  if (encoded.size() < kCodecHeaderSize || encoded.size() > capacity(layout))
    return fail(Errc::corrupt, fmt::format("{} payload of {} bytes where this model and these options take {} to {}: does the sender run "
                                           "another run file?",
                                           name(), encoded.size(), kCodecHeaderSize, capacity(layout)));
  GOSSAMER_TRY(check_header(name(), encoded, header(layout, chunks)));
  const auto seed = load<std::uint64_t>(encoded.data() + offsetof(CodecHeader, seed));
  std::size_t at = kCodecHeaderSize;
  Selection selection;
  for (const Chunk& chunk : chunks.chunks()) {
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
    if (value_bytes(k) > encoded.size() - at) return refuse("it is cut off");
    if (const char* const why = refuse_values(encoded.data() + at, k)) return refuse(why);
    selection.values.resize(k);
    decode_values(encoded.data() + at, selection.values);
    visit(chunk, selection);
    at += value_bytes(k);
  }
  if (at != encoded.size()) return fail(Errc::corrupt, fmt::format("{} payload with {} bytes too many", name(), encoded.size() - at));
  return {};
}

Result<> SparseCodec::decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout, const DecodeInto& into) const {
  GOSSAMER_CHECK(stream.kind() == MemoryKind::host, "host codecs work on host streams");
  const std::size_t n = layout.size();
  GOSSAMER_CHECK((into.target == DecodeTo::wide ? into.wide.size() : into.out.size()) == n, "the vector is not that of the layout");
  for (const WeightedPayload& payload : payloads) GOSSAMER_TRY(read(payload.encoded, layout, [](const Chunk&, const Selection&) {}));

  // A payload may have changed since: what it says now is checked again, and stays inside the vector.
  const auto scatter = [&](const WeightedPayload& payload, auto add) {
    return read(payload.encoded, layout, [&](const Chunk& chunk, const Selection& selection) {
      for (std::size_t j = 0; j < selection.indices.size(); ++j)
        if (selection.indices[j] < chunk.count) add(chunk.first + selection.indices[j], selection.values[j]);
    });
  };
  const std::span<float> out = into.out;
  switch (into.target) {
    case DecodeTo::assign:
      std::fill(out.begin(), out.end(), 0.0f);
      [[fallthrough]];
    case DecodeTo::add:
      for (const WeightedPayload& payload : payloads)
        GOSSAMER_TRY(scatter(payload, [&](std::size_t i, float q) { out[i] += payload.weight * q; }));
      return {};
    case DecodeTo::wide:
      return scatter(payloads[0], [&](std::size_t i, float q) { into.wide[i] += into.wide_weight * static_cast<double>(q); });
    case DecodeTo::follow:
      GOSSAMER_TRY(scatter(payloads[0], [&](std::size_t i, float q) { out[i] += q; }));
      for (std::size_t i = 0; i < n; ++i) into.sum[i] += payloads[0].weight * (out[i] - into.own[i]);
      return {};
    case DecodeTo::difference: {
      std::vector<float> q(n);
      std::fill(out.begin(), out.end(), 0.0f);
      for (const WeightedPayload& payload : payloads) {
        std::fill(q.begin(), q.end(), 0.0f);
        GOSSAMER_TRY(scatter(payload, [&](std::size_t i, float value) { q[i] = value; }));
        for (std::size_t i = 0; i < n; ++i) out[i] += payload.weight * (q[i] - into.own[i]);
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
