// Codecs that send a code for every element, on a device.
#include "base/check.h"
#include "kernels/device/calls.h"
#include "kernels/device/chunks.h"
#include "kernels/device/codecs.h"
#include "kernels/device/host_twin.h"
#include "kernels/device/scratch.h"
#include "kernels/draws.h"
#include "kernels/tile_payload.h"

namespace gossamer::device {
namespace {

class TileCodec final : public HostTwin {
 public:
  TileCodec(const CompressionOptions& options, std::unique_ptr<Compressor> host)
      : HostTwin(std::move(host)), format_(options), how_(format_.options.how) {}

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, {.how = how_, .source = EncodeOf::plain, .x = x.data()}, x.size(), layout, seed, encoded);
  }

  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    return encode(stream, {.how = how_, .source = EncodeOf::difference, .x = x.data(), .memory = replica.data()}, x.size(), layout,
                  seed, encoded);
  }

  Result<std::size_t> encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error, const Layout& layout,
                                      std::uint64_t seed, std::span<float> seen, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(error.size() == x.size() && seen.size() == x.size(), "vectors of one length");
    return encode(stream, {.how = how_, .source = EncodeOf::feedback, .x = x.data(), .memory = error.data(), .seen = seen.data()},
                  x.size(), layout, seed, encoded);
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override;

 private:
  // What one call has on the device.
  struct Arrays {
    Arrays(std::byte* base, std::size_t chunks, std::uint64_t parts)
        : all(base),
          status(all.take<Status>(1)),
          most(all.take<std::uint32_t>(chunks)),
          table(all.take<DeviceChunk>(chunks)),
          measures(all.take<float>(chunks)),
          sums(all.take<double>(chunks)),
          parts(all.take<double>(parts)) {}
    std::size_t cleared() const { return static_cast<std::size_t>(reinterpret_cast<std::byte*>(table) - reinterpret_cast<std::byte*>(status)); }
    Scratch all;
    Status* status;
    std::uint32_t* most;  // up to here, cleared
    DeviceChunk* table;
    float* measures;
    double* sums;
    double* parts;
  };

  std::vector<DeviceChunk> device_table(const ChunkTable& chunks) const {
    const std::size_t codes = format_.codes_at(chunks);
    return device_chunks(chunks, [&](const Chunk& chunk, DeviceChunk* one) {
      one->codes = codes + chunk.codes;
      one->scales = format_.scale_at(chunks, chunk, 0);
      one->divisor = quantizer_for(format_.options, chunk.count).divisor;
    });
  }

  Result<std::size_t> encode(Stream& stream, EncodeWork work, std::size_t count, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const;
  Result<> check(DeviceStream& stream, const WeightedPayload& payload, const Layout& layout, const ChunkTable& chunks, bool values,
                 Status* status) const;

  const TilePayload format_;
  const Quantizer how_;
};

Result<std::size_t> TileCodec::encode(Stream& any, EncodeWork work, std::size_t count, const Layout& layout, std::uint64_t seed,
                                      std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  GOSSAMER_CHECK(count == layout.size(), "the vector is not that of the layout");
  DeviceStream& stream = stream_of(any);
  const ChunkTable chunks = format_.table(layout);
  const std::size_t size = format_.size_of(chunks);
  GOSSAMER_CHECK(encoded.size() >= size, "less room than capacity()");

  if (format_.has_header()) {
    const CodecHeader head = format_.header(layout, chunks);
    stream.upload(&head, encoded.data(), sizeof head);
    const std::size_t scales_end = kCodecHeaderSize + 4 * format_.scales_of(chunks);
    stream.clear(encoded.data() + scales_end, format_.codes_at(chunks) - scales_end);
  }
  if (count == 0) {
    GOSSAMER_TRY(stream.finish());
    return size;
  }

  const std::vector<DeviceChunk> table = device_table(chunks);
  const bool one_scale = format_.options.one_scale && has_scale(how_.code);
  const std::uint64_t parts = parts_of(table);
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(Arrays(nullptr, table.size(), one_scale ? parts : 0).all.used()));
  const Arrays arrays(base, table.size(), one_scale ? parts : 0);
  stream.clear(arrays.status, arrays.cleared());
  upload(stream, table, arrays.table);

  work.payload = encoded.data();
  work.chunks = {arrays.table, static_cast<std::uint32_t>(table.size()), chunks.tiles(), parts};
  work.padded = format_.has_header();
  work.key = draw_key(seed);
  work.status = arrays.status;
  if (one_scale) {
    const Terms terms = how_.code == Code::sign ? Terms::magnitudes : how_.norm == Norm::two ? Terms::squares : Terms::none;
    stream.launch(Sum{.terms = terms, .source = work.source, .x = work.x, .y = work.memory, .chunks = work.chunks, .parts = arrays.parts, .most = arrays.most});
    if (terms != Terms::none) stream.launch(Fold{work.chunks, arrays.parts, arrays.sums});
    stream.launch(Measure{how_, work.chunks, arrays.sums, arrays.most, arrays.measures, encoded.data(), arrays.status});
    work.measures = arrays.measures;
  }
  stream.launch(work);
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
  if (status.refused != 0) return refused_vector(stream, *host_, work.source, {work.x, count}, work.memory, layout, seed);
  return size;
}

// Asks for the checks of one payload, but for its length, which is checked here.
Result<> TileCodec::check(DeviceStream& stream, const WeightedPayload& payload, const Layout& layout, const ChunkTable& chunks, bool values,
                          Status* status) const {
  const CodecHeader expected = format_.header(layout, chunks);
  GOSSAMER_TRY(check_size(name(), payload.encoded.size(), expected.used));
  if (payload.encoded.empty()) return {};
  stream.launch(Check{.payload = payload.encoded.data(),
                      .expected = expected,
                      .has_header = format_.has_header(),
                      .code = how_.code,
                      .scales = format_.scales_of(chunks),
                      .values = values ? layout.size() : 0,
                      .values_at = format_.codes_at(chunks),
                      .status = status});
  return {};
}

Result<> TileCodec::decode(Stream& any, std::span<const WeightedPayload> payloads, const Layout& layout, const DecodeInto& into) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  check_decode_into(payloads.size(), layout, into);
  DeviceStream& stream = stream_of(any);
  const ChunkTable chunks = format_.table(layout);
  const std::vector<DeviceChunk> table = device_table(chunks);
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(Arrays(nullptr, table.size(), 0).all.used()));
  const Arrays arrays(base, table.size(), 0);
  stream.clear(arrays.status, arrays.cleared());
  upload(stream, table, arrays.table);

  // Payloads that are floats may hold anything.  Where the result is written over, a NaN or an infinity shows there, and the
  // payloads need not be read twice.
  const bool floats = !has_scale(how_.code);
  const bool seen_after = floats && (into.target == DecodeTo::assign || into.target == DecodeTo::difference);
  for (const WeightedPayload& payload : payloads) GOSSAMER_TRY(check(stream, payload, layout, chunks, floats && !seen_after, arrays.status));
  if (floats && !seen_after) {  // a number that is none must be known of before the first write
    GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
    if (status.refused != 0 || status.not_a_number != 0) return refused_payload(stream, *host_, payloads, layout);
  }

  const DecodeWork work{.how = how_,
                        .into = pass_into(into),
                        .one_scale = format_.options.one_scale,
                        .chunks = {arrays.table, static_cast<std::uint32_t>(table.size()), chunks.tiles(), 0},
                        .status = arrays.status};
  if (layout.size() > 0) launch_passes(stream, work, payloads, [&](std::size_t p) { return payloads[p].encoded.data(); });
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
  if (status.refused != 0 || status.bad_scale != 0) return refused_payload(stream, *host_, payloads, layout);
  if (seen_after && status.not_a_number != 0) {  // of a payload, or of their sum?
    stream.clear(arrays.status, sizeof status);
    for (const WeightedPayload& payload : payloads) GOSSAMER_TRY(check(stream, payload, layout, chunks, true, arrays.status));
    GOSSAMER_TRY_ASSIGN(const Status of_payloads, status_of(stream, arrays.status));
    if (of_payloads.not_a_number != 0) return refused_payload(stream, *host_, payloads, layout);
  }
  return {};
}

}  // namespace

std::unique_ptr<Compressor> make_tile_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host) {
  return std::make_unique<TileCodec>(options, std::move(host));
}

}  // namespace gossamer::device
