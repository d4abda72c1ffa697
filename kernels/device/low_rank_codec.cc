// Matrices as products of few columns by few rows, on a device.
//
// The host knows the order of everything beforehand, so a call is a sequence of launches and one wait.
#include <algorithm>

#include "base/check.h"
#include "kernels/codecs.h"
#include "kernels/device/calls.h"
#include "kernels/device/codecs.h"
#include "kernels/device/host_twin.h"
#include "kernels/device/low_rank_kernels.h"
#include "kernels/device/scratch.h"
#include "kernels/draws.h"
#include "kernels/low_rank_payload.h"
#include "kernels/tile_payload.h"
#include "kernels/wire.h"

namespace gossamer::device {
namespace {

static_assert(kRankOfDevice == kRankMax);

// Matrices that are multiplied in one launch.
struct MatrixList {
  std::vector<DeviceMatrix> table;
  std::uint64_t rows = 0, tiles = 0, groups = 0;

  void add(const LowRankChunk& chunk, std::size_t rank, std::uint64_t* sums) {
    const std::uint64_t blocks = shares(chunk.rows, kFactorRows), of_columns = shares(chunk.columns, kLanes);
    table.push_back({.first = chunk.first, .rows = chunk.rows, .columns = chunk.columns, .left = chunk.at, .right = chunk.at + rank * chunk.rows,
                     .first_row = rows, .first_tile = tiles, .first_group = groups, .sums = *sums});
    rows += chunk.rows;
    tiles += blocks * of_columns;
    groups += of_columns;
    *sums += blocks * rank * chunk.columns;
  }
  Matrices on_device(const DeviceMatrix* there) const { return {there, static_cast<std::uint32_t>(table.size()), rows, tiles, groups}; }
};

// Factors that are made orthonormal in one launch.
struct FactorList {
  std::vector<DeviceFactor> table;
  std::uint64_t parts = 0;

  void add(std::uint64_t at, std::uint64_t height, std::uint32_t number) {
    table.push_back({.at = at, .height = height, .first_part = parts, .number = number});
    parts += shares(height, kSumChunk);
  }
  Factors on_device(const DeviceFactor* there) const { return {there, static_cast<std::uint32_t>(table.size()), parts}; }
};

struct Lists {
  Lists(const LowRankTable& from, std::size_t rank) {
    for (const LowRankChunk& chunk : from.chunks()) {
      slices.push_back({.first = chunk.first, .count = chunk.count, .rows = chunk.rows, .columns = chunk.columns, .at = chunk.at});
      for (const LowRankPart& part : parts_of(chunk, rank))
        parts.push_back({.at = part.at, .count = part.count, .element = part.element, .largest = part.largest, .factor = part.factor ? 1u : 0u});
      if (!chunk.matrix()) continue;
      (chunk.tall() ? tall : wide).add(chunk, rank, &sums);
      const std::uint64_t right = chunk.at + rank * chunk.rows;
      longer.add(chunk.tall() ? chunk.at : right, std::max(chunk.rows, chunk.columns), chunk.number);
      shorter.add(chunk.tall() ? right : chunk.at, std::min(chunk.rows, chunk.columns), chunk.number);
    }
  }
  std::vector<DeviceSlice> slices;
  std::vector<DevicePart> parts;
  MatrixList tall, wide;
  FactorList longer, shorter;  // sides of the matrices
  std::uint64_t sums = 0;
};

class LowRankCodec final : public HostTwin {
 public:
  LowRankCodec(const CompressionOptions& options, std::unique_ptr<Compressor> host) : HostTwin(std::move(host)), format_(options), rank_(options.rank) {}

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, EncodeOf::plain, x, nullptr, nullptr, layout, seed, encoded);
  }

  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    return encode(stream, EncodeOf::difference, x, replica.data(), nullptr, layout, seed, encoded);
  }

  Result<std::size_t> encode_feedback(Stream& stream, std::span<const float> x, std::span<float> error, const Layout& layout,
                                      std::uint64_t seed, std::span<float> seen, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(error.size() == x.size() && seen.size() == x.size(), "vectors of one length");
    return encode(stream, EncodeOf::feedback, x, error.data(), seen.data(), layout, seed, encoded);
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override;

 private:
  // What one call has on the device; the lists of products where it encodes.
  struct Arrays {
    Arrays(std::byte* base, const Lists& lists, std::size_t floats, std::size_t bodies, bool encodes)
        : all(base),
          status(all.take<Status>(1)),
          slices(all.take<DeviceSlice>(lists.slices.size())),
          parts(all.take<DevicePart>(lists.parts.size())),
          body(all.take<float>(floats * bodies)) {
      if (!encodes) return;
      tall = all.take<DeviceMatrix>(lists.tall.table.size());
      wide = all.take<DeviceMatrix>(lists.wide.table.size());
      longer = all.take<DeviceFactor>(lists.longer.table.size());
      shorter = all.take<DeviceFactor>(lists.shorter.table.size());
      sums = all.take<float>(lists.sums);
      grams = all.take<double>(kPairs * lists.longer.parts);  // the shorter sides have no more parts
      inverses = all.take<double>(kRankOfDevice * kRankOfDevice * lists.longer.table.size());
    }
    Scratch all;
    Status* status;
    DeviceSlice* slices;
    DevicePart* parts;
    float* body;
    DeviceMatrix* tall = nullptr;
    DeviceMatrix* wide = nullptr;
    DeviceFactor* longer = nullptr;
    DeviceFactor* shorter = nullptr;
    float* sums = nullptr;
    double* grams = nullptr;
    double* inverses = nullptr;
  };

  Result<std::size_t> encode(Stream& stream, EncodeOf source, std::span<const float> x, float* memory, float* seen, const Layout& layout,
                             std::uint64_t seed, std::span<std::byte> encoded) const;
  void factor(DeviceStream& stream, EncodeOf source, const float* x, const float* y, const Lists& lists, const Arrays& arrays, std::uint64_t seed) const;

  const LowRankPayload format_;
  const unsigned rank_;
};

// The steps of the host's codec, for tall matrices and wide ones at once: the first meet their columns first, the others their
// rows, so that each step makes the longer or the shorter sides of all.
void LowRankCodec::factor(DeviceStream& stream, EncodeOf source, const float* x, const float* y, const Lists& lists, const Arrays& arrays,
                          std::uint64_t seed) const {
  const Factors longer = lists.longer.on_device(arrays.longer), shorter = lists.shorter.on_device(arrays.shorter);
  const Matrices tall = lists.tall.on_device(arrays.tall), wide = lists.wide.on_device(arrays.wide);
  stream.launch(FirstGuess{shorter, rank_, draw_key(seed), arrays.body});
  for (std::uint32_t step = 0, last = 2 * format_.power_iterations + 1;; ++step) {
    const bool makes_longer = step % 2 == 0;
    const Matrices& to_left = makes_longer ? tall : wide;
    const Matrices& to_right = makes_longer ? wide : tall;
    if (to_left.count > 0) stream.launch(Times{to_left, rank_, source, x, y, arrays.body});
    if (to_right.count > 0) {
      stream.launch(TransposedTimes{to_right, rank_, source, x, y, arrays.body, arrays.sums});
      stream.launch(FoldBlocks{to_right, rank_, arrays.sums, arrays.body});
    }
    if (step == last) return;
    const Factors& made = makes_longer ? longer : shorter;
    for (int turn = 0; turn < 2; ++turn) {
      stream.launch(Gram{made, rank_, arrays.body, arrays.grams});
      stream.launch(Whiten{made, rank_, arrays.grams, arrays.inverses, arrays.status});
      stream.launch(Rotate{made, rank_, arrays.inverses, arrays.body});
    }
  }
}

Result<std::size_t> LowRankCodec::encode(Stream& any, EncodeOf source, std::span<const float> x, float* memory, float* seen,
                                         const Layout& layout, std::uint64_t seed, std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  DeviceStream& stream = stream_of(any);
  const LowRankTable table = format_.table(layout);
  const std::size_t size = format_.size_of(table);
  GOSSAMER_CHECK(encoded.size() >= size, "less room than capacity()");

  const CodecHeader head = format_.header(layout, table);
  stream.upload(&head, encoded.data(), sizeof head);
  if (x.empty()) {
    GOSSAMER_TRY(stream.finish());
    return size;
  }
  const Lists lists(table, rank_);
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(Arrays(nullptr, lists, table.floats(), 1, true).all.used()));
  const Arrays arrays(base, lists, table.floats(), 1, true);
  stream.clear(arrays.status, sizeof(Status));
  upload(stream, lists.slices, arrays.slices);
  upload(stream, lists.parts, arrays.parts);
  upload(stream, lists.tall.table, arrays.tall);
  upload(stream, lists.wide.table, arrays.wide);
  upload(stream, lists.longer.table, arrays.longer);
  upload(stream, lists.shorter.table, arrays.shorter);

  if (!lists.longer.table.empty()) factor(stream, source, x.data(), memory, lists, arrays, seed);
  const Parts parts{arrays.parts, static_cast<std::uint32_t>(lists.parts.size()), table.floats()};
  stream.launch(MoveBody{.parts = parts, .writes = true, .source = source, .x = x.data(), .y = memory, .body = arrays.body,
                         .payload = encoded.data(), .status = arrays.status});
  if (source != EncodeOf::plain) {
    const Expand expand{.slices = {arrays.slices, static_cast<std::uint32_t>(lists.slices.size()), layout.size()},
                  .rank = rank_,
                  .keeps_error = source == EncodeOf::feedback,
                  .into = {.own = x.data(), .out = memory, .sum = seen, .payloads = 1, .weights = {1}},
                  .from = {arrays.body},
                  .status = arrays.status};
    stream.launch(expand);
  }
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
  if (status.refused != 0) return refused_vector(stream, *host_, source, x, memory, layout, seed);
  return size;
}

Result<> LowRankCodec::decode(Stream& any, std::span<const WeightedPayload> payloads, const Layout& layout, const DecodeInto& into) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  check_decode_into(payloads.size(), layout, into);
  DeviceStream& stream = stream_of(any);
  const LowRankTable table = format_.table(layout);
  const Lists lists(table, rank_);
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(Arrays(nullptr, lists, table.floats(), payloads.size(), false).all.used()));
  const Arrays arrays(base, lists, table.floats(), payloads.size(), false);
  stream.clear(arrays.status, sizeof(Status));
  upload(stream, lists.slices, arrays.slices);
  upload(stream, lists.parts, arrays.parts);

  const CodecHeader expected = format_.header(layout, table);
  const Parts parts{arrays.parts, static_cast<std::uint32_t>(lists.parts.size()), table.floats()};
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    GOSSAMER_TRY(check_size(name(), payloads[p].encoded.size(), expected.used));
    stream.launch(Check{.payload = payloads[p].encoded.data(), .expected = expected, .status = arrays.status});
    if (table.floats() == 0) continue;
    // MoveBody only reads it.
    stream.launch(MoveBody{.parts = parts, .body = arrays.body + p * table.floats(), .payload = const_cast<std::byte*>(payloads[p].encoded.data()),
                           .status = arrays.status});
  }

  const Expand work{.slices = {arrays.slices, static_cast<std::uint32_t>(lists.slices.size()), layout.size()},
                    .rank = rank_,
                    .into = pass_into(into),
                    .status = arrays.status};
  if (layout.size() > 0) launch_passes(stream, work, payloads, [&](std::size_t p) { return arrays.body + p * table.floats(); });
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
  if (status.refused != 0) return refused_payload(stream, *host_, payloads, layout);
  return {};
}

}  // namespace

std::unique_ptr<Compressor> make_low_rank_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host) {
  return std::make_unique<LowRankCodec>(options, std::move(host));
}

}  // namespace gossamer::device
