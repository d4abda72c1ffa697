// Codecs that send some elements, on a device.
//
// How many elements a threshold keeps, and how many bytes their positions take, only the device knows; the host asks twice
// before it says where everything goes.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/codecs.h"
#include "kernels/device/calls.h"
#include "kernels/device/chunks.h"
#include "kernels/device/codecs.h"
#include "kernels/device/host_twin.h"
#include "kernels/device/positions_kernels.h"
#include "kernels/device/scratch.h"
#include "kernels/device/sparse_kernels.h"
#include "kernels/device/vector.h"
#include "kernels/positions.h"
#include "kernels/sparse_payload.h"

namespace gossamer::device {
namespace {

// The selections of all chunks that keep something: where they lie, here and in the payload.
struct Selections {
  std::vector<DeviceChunk> table;
  std::vector<SparseChunk> sparse, empty;  // of those that keep something, and of the others
  std::vector<std::uint64_t> begins;       // for each chunk of the vector
  std::uint64_t count = 0, tiles = 0, parts = 0;

  Selections(const SparsePayload& format, const ChunkTable& chunks, const std::vector<std::uint64_t>& kept) {
    for (std::size_t c = 0; c < kept.size(); ++c) {
      const Chunk& chunk = chunks.chunks()[c];
      const std::size_t k = kept[c];
      SparseChunk one{.first = chunk.first, .count = chunk.count, .form = static_cast<std::uint32_t>(position_form(chunk.count, k))};
      if (!format.drawn()) one.positions = bytes_of_positions(chunk.count, k);
      begins.push_back(count);
      if (k == 0) {
        empty.push_back(one);
        order.push_back(&empty);
        continue;
      }
      order.push_back(&sparse);
      sparse.push_back(one);
      table.push_back({.first = count, .count = k, .first_tile = tiles, .first_part = parts, .number = chunk.number,
                       .divisor = quantizer_for(format.values, k).divisor});
      count += k;
      tiles += tile_count(k);
      parts += shares(k, kSumChunk);
    }
  }
  Selections(const Selections&) = delete;
  Selections& operator=(const Selections&) = delete;

  // Blocks one behind the other, in the order of chunks; returns their end.
  std::size_t place(const SparsePayload& format) {
    std::size_t at = kCodecHeaderSize, with = 0, without = 0;
    for (const auto* list : order) {
      const bool keeps = list == &sparse;
      SparseChunk& one = keeps ? sparse[with] : empty[without++];
      one.head = at;
      if (!format.drawn()) at += 16 + padded(one.positions, 8);
      if (!keeps) continue;
      DeviceChunk& values = table[with++];
      values.scales = at;
      values.codes = at + format.scale_bytes(values.count);
      at += format.value_bytes(values.count);
    }
    return at;
  }

  Chunks on_device(const DeviceChunk* there) const { return {there, static_cast<std::uint32_t>(table.size()), tiles, parts}; }

  // But for the bytes behind blocks of 255.
  static std::size_t bytes_of_positions(std::size_t n, std::size_t k) {
    switch (position_form(n, k)) {
      case PositionForm::bitmap:
        return shares(n, 8);
      case PositionForm::bytes:
        return shares(n, 256) + k;
      case PositionForm::words:
        return 4 * shares(n, 65536) + 2 * k;
    }
    return 0;
  }

 private:
  std::vector<const std::vector<SparseChunk>*> order;
};

// What a selection has on the device.
struct SelectionArrays {
  SelectionArrays(Scratch& all, const Selections& of)
      : status(all.take<Status>(1)),
        indices(all.take<std::uint64_t>(of.count)),
        values(all.take<float>(of.count)),
        table(all.take<DeviceChunk>(of.table.size())),
        sparse(all.take<SparseChunk>(of.table.size())),
        empty(all.take<SparseChunk>(of.empty.size())),
        begins(all.take<std::uint64_t>(of.begins.size())),
        rows{all.take<Counts>(of.parts), all.take<Counts>(shares(of.parts, kRowsOfGroup)), of.parts},
        sums(all.take<Counts>(of.table.size())) {}
  Status* status;
  std::uint64_t* indices;
  float* values;
  DeviceChunk* table;
  SparseChunk* sparse;
  SparseChunk* empty;
  std::uint64_t* begins;
  Rows rows;
  Counts* sums;
};

class SparseCodec final : public HostTwin {
 public:
  SparseCodec(const CompressionOptions& options, std::unique_ptr<Compressor> host) : HostTwin(std::move(host)), format_(options) {}

  Result<std::size_t> encode(Stream& stream, std::span<const float> x, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const override {
    return encode(stream, x, nullptr, layout, seed, encoded);
  }

  Result<std::size_t> encode_difference(Stream& stream, std::span<const float> x, std::span<float> replica, const Layout& layout,
                                        std::uint64_t seed, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(replica.size() == x.size(), "the replica is not of the vector's length");
    return encode(stream, x, replica.data(), layout, seed, encoded);
  }

  Result<std::size_t> encode_feedback(Stream& any, std::span<const float> x, std::span<float> error, const Layout& layout,
                                      std::uint64_t seed, std::span<float> seen, std::span<std::byte> encoded) const override {
    GOSSAMER_CHECK(error.size() == x.size() && seen.size() == x.size(), "vectors of one length");
    GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
    DeviceStream& stream = stream_of(any);
    axpy(stream, 1, x, error);
    GOSSAMER_TRY_ASSIGN(const std::size_t used, encode(any, error, layout, seed, encoded));
    const WeightedPayload one{encoded.first(used)};
    GOSSAMER_TRY(decode(any, {&one, 1}, layout, {.target = DecodeTo::assign, .out = seen}));
    axpy(stream, -1, seen, error);
    GOSSAMER_TRY(stream.finish());
    return used;
  }

  Result<> decode(Stream& stream, std::span<const WeightedPayload> payloads, const Layout& layout,
                  const DecodeInto& into) const override;

 private:
  Choice choice_of(const Chunk& chunk, std::vector<std::uint32_t>* sampled, std::size_t number) const;
  Result<std::size_t> encode(Stream& stream, std::span<const float> x, float* replica, const Layout& layout, std::uint64_t seed,
                             std::span<std::byte> encoded) const;
  std::vector<Drawing> drawings(const ChunkTable& chunks, std::uint64_t seed) const;
  // The values of a payload's selections.
  DecodeWork decode_values(const std::byte* payload, const Chunks& chosen, float* values, Status* status) const {
    return {.how = format_.values.how, .into = {.target = DecodeTo::assign, .out = values, .payloads = 1, .weights = {1}}, .from = {payload}, .chunks = chosen, .status = status};
  }

  const SparsePayload format_;
};

// What is looked for in a chunk.  A sample pays in large ones, where it is small beside the vector, and what it finds beside the
// sample.
Choice SparseCodec::choice_of(const Chunk& chunk, std::vector<std::uint32_t>* sampled, std::size_t number) const {
  if (format_.options.codec == CodecId::threshold) {
    const std::uint32_t least = float_bits(static_cast<float>(format_.options.threshold));
    return {.least = least, .cut = least, .equal = ~std::uint64_t{0}};
  }
  const std::size_t k = kept(format_.options.ratio, chunk.count);
  Choice choice{.keep = k, .counted = k < chunk.count ? 1u : 0u, .equal = k < chunk.count ? 0 : ~std::uint64_t{0}};
  const double share = static_cast<double>(k) / static_cast<double>(chunk.count);
  if (chunk.count < (1 << 16) || share > 0.9 || 64 / share > static_cast<double>(chunk.count) / 16) return choice;
  const std::size_t wanted = std::max<std::size_t>(std::min<std::size_t>(65536, chunk.count / 16), static_cast<std::size_t>(64 / share));
  choice.sampled = wanted / kRun;
  choice.stride = chunk.count / choice.sampled;
  const double expected = share * static_cast<double>(choice.sampled * kRun);
  choice.sample_rank = std::min<std::uint64_t>(choice.sampled * kRun, static_cast<std::uint64_t>(expected + 4 * std::sqrt(expected)) + 1);
  choice.sample = static_cast<std::uint32_t>(sampled->size());
  sampled->push_back(static_cast<std::uint32_t>(number));
  return choice;
}

std::vector<Drawing> SparseCodec::drawings(const ChunkTable& chunks, std::uint64_t seed) const {
  std::vector<Drawing> all;
  for (const Chunk& chunk : chunks.chunks()) {
    const Groups groups = groups_of(format_.options.ratio, chunk.count);
    all.push_back({Strata(draw_key(seed), chunk.number, groups.count, groups.drawn), groups.size});
  }
  return all;
}

Result<std::size_t> SparseCodec::encode(Stream& any, std::span<const float> x, float* replica, const Layout& layout, std::uint64_t seed,
                                        std::span<std::byte> encoded) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  GOSSAMER_CHECK(x.size() == layout.size(), "the vector is not that of the layout");
  GOSSAMER_CHECK(encoded.size() >= capacity(layout), "less room than capacity()");
  DeviceStream& stream = stream_of(any);
  const ChunkTable chunks = format_.table(layout);
  const std::size_t chunk_count = chunks.chunks().size();
  const Vector v{x.data(), replica};
  const auto refused = [&] {
    return refused_vector(stream, *host_, replica == nullptr ? EncodeOf::plain : EncodeOf::difference, x, replica, layout, seed);
  };

  // How many elements each chunk keeps.
  std::vector<std::uint64_t> keeps(chunk_count);
  const std::vector<DeviceChunk> table = device_chunks(chunks, [](const Chunk&, DeviceChunk*) {});
  const std::uint64_t parts = parts_of(table);
  std::vector<Choice> choices;
  std::vector<std::uint32_t> sampled;
  Chunks vector{nullptr, static_cast<std::uint32_t>(chunk_count), chunks.tiles(), parts};
  Choice* choices_there = nullptr;
  std::uint32_t* bitmap = nullptr;
  Rows rows{nullptr, nullptr, parts};
  if (format_.drawn()) {
    for (std::size_t c = 0; c < chunk_count; ++c) keeps[c] = groups_of(format_.options.ratio, chunks.chunks()[c].count).values();
  } else if (chunk_count > 0) {
    for (std::size_t c = 0; c < chunk_count; ++c) choices.push_back(choice_of(chunks.chunks()[c], &sampled, c));
    std::uint64_t runs = 0;
    for (const Choice& choice : choices) runs = std::max(runs, choice.sampled);
    DeviceChunk* table_there = nullptr;
    std::uint32_t* sampled_there = nullptr;
    std::uint64_t *sample_bins = nullptr, *digit_bins = nullptr, *kept_there = nullptr;
    const auto cut = [&](std::byte* base) {
      Scratch all(base);
      choices_there = all.take<Choice>(chunk_count);
      table_there = all.take<DeviceChunk>(chunk_count);
      sampled_there = all.take<std::uint32_t>(sampled.size());
      sample_bins = all.take<std::uint64_t>(sampled.size() * kSampleBins);
      digit_bins = all.take<std::uint64_t>(chunk_count * kDigitBins);
      kept_there = all.take<std::uint64_t>(chunk_count);
      bitmap = all.take<std::uint32_t>(parts * kWordsOfRow);
      rows.rows = all.take<Counts>(parts);
      rows.groups = all.take<Counts>(shares(parts, kRowsOfGroup));
      return all.used();
    };
    GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(cut(nullptr)));
    cut(base);
    upload(stream, choices, choices_there);
    upload(stream, table, table_there);
    upload(stream, sampled, sampled_there);
    vector.table = table_there;
    const auto count = static_cast<std::uint32_t>(chunk_count), sampled_count = static_cast<std::uint32_t>(sampled.size());
    if (sampled_count > 0) {
      stream.clear(sample_bins, sampled.size() * kSampleBins * sizeof(std::uint64_t));
      stream.launch(Sample{v, vector, choices_there, runs, sample_bins, sampled_there, sampled_count});
      stream.launch(Least{sample_bins, sampled_there, sampled_count, choices_there});
    }
    stream.launch(Find{v, vector, false, bitmap, choices_there});
    if (sampled_count > 0) stream.launch(Find{v, vector, true, bitmap, choices_there});
    if (std::any_of(choices.begin(), choices.end(), [](const Choice& choice) { return choice.counted != 0; })) {
      stream.launch(Settle{choices_there, count});
      for (unsigned round = 0; round < 3; ++round) {
        stream.clear(digit_bins, chunk_count * kDigitBins * sizeof(std::uint64_t));
        stream.launch(Digits{v, vector, round, bitmap, choices_there, digit_bins});
        stream.launch(Pick{round, digit_bins, choices_there, count});
      }
    }
    stream.launch(Count{v, vector, bitmap, choices_there, rows.rows});
    stream.launch(Group{rows});
    if (format_.options.codec == CodecId::top_k) {
      for (std::size_t c = 0; c < chunk_count; ++c) keeps[c] = choices[c].keep;
    } else {
      stream.launch(Kept{vector, rows, choices_there, kept_there});
      stream.download(kept_there, keeps.data(), keeps.size() * sizeof keeps[0]);
      GOSSAMER_TRY(stream.finish());
    }
  }

  // Which ones, and how many bytes their positions take.
  Selections selections(format_, chunks, keeps);
  std::vector<float> factors;
  for (const Chunk& chunk : chunks.chunks())
    factors.push_back(static_cast<float>(format_.options.unbiased ? 1 / groups_of(format_.options.ratio, chunk.count).share() : 1));
  const std::vector<Drawing> draws = format_.drawn() ? drawings(chunks, seed) : std::vector<Drawing>();
  Drawing* draws_there = nullptr;
  float *factors_there = nullptr, *sent = nullptr;
  const auto cut = [&](Scratch& all) {
    draws_there = all.take<Drawing>(draws.size());
    factors_there = all.take<float>(factors.size());
    sent = all.take<float>(replica == nullptr ? 0 : selections.count);
    return SelectionArrays(all, selections);
  };
  Scratch counted(nullptr);
  cut(counted);
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(counted.used(), 1));
  Scratch all(base);
  const SelectionArrays arrays = cut(all);
  const Chunks chosen = selections.on_device(arrays.table);
  stream.clear(arrays.status, sizeof(Status));
  upload(stream, selections.table, arrays.table);
  upload(stream, selections.sparse, arrays.sparse);
  if (format_.drawn()) {
    upload(stream, draws, draws_there);
    upload(stream, factors, factors_there);
    stream.launch(Draw{v, chosen, arrays.sparse, draws_there, factors_there, arrays.indices, arrays.values, arrays.status});
  } else if (chunk_count > 0) {
    upload(stream, selections.begins, arrays.begins);
    stream.launch(Keep{v, vector, rows, bitmap, choices_there, arrays.begins, arrays.indices, arrays.values, arrays.status});
    const auto is_bytes = [](const SparseChunk& one) { return one.form == static_cast<std::uint32_t>(PositionForm::bytes); };
    if (std::any_of(selections.sparse.begin(), selections.sparse.end(), is_bytes)) {
      stream.launch(Extras{chosen, arrays.sparse, arrays.indices, arrays.rows.rows});
      stream.launch(Group{arrays.rows});
      stream.launch(SumRows{chosen, arrays.rows, arrays.sums});
      std::vector<Counts> extras(selections.table.size());
      stream.download(arrays.sums, extras.data(), extras.size() * sizeof(Counts));
      GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
      if (status.refused != 0) return refused();
      for (std::size_t c = 0; c < extras.size(); ++c) selections.sparse[c].positions += extras[c].a;
    }
  }

  // The payload.
  const std::size_t used = selections.place(format_);
  CodecHeader head = format_.header(layout, chunks);
  head.used = used;
  head.seed = format_.drawn() ? seed : 0;
  stream.clear(encoded.data(), used);
  stream.upload(&head, encoded.data(), sizeof head);
  upload(stream, selections.table, arrays.table);
  upload(stream, selections.sparse, arrays.sparse);
  if (!format_.drawn()) {
    upload(stream, selections.empty, arrays.empty);
    stream.launch(WriteEmpty{arrays.empty, static_cast<std::uint32_t>(selections.empty.size()), encoded.data()});
    stream.launch(WritePositions{chosen, arrays.sparse, arrays.rows, arrays.indices, encoded.data()});
  }
  stream.launch(EncodeWork{.how = format_.values.how, .x = arrays.values, .payload = encoded.data(), .chunks = chosen, .key = draw_key(seed), .status = arrays.status});
  if (replica != nullptr) {
    stream.launch(decode_values(encoded.data(), chosen, sent, arrays.status));
    stream.launch(Scatter{.chunks = chosen, .sparse = arrays.sparse, .indices = arrays.indices, .values = sent, .out = replica, .status = arrays.status});
  }
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, arrays.status));
  if (status.refused != 0) return refused();
  return used;
}

// One payload, as far as the host has looked at it.
struct Incoming {
  Incoming(const SparsePayload& format, const ChunkTable& chunks, const std::vector<std::uint64_t>& kept) : kept(kept), selections(format, chunks, kept) {}
  std::vector<std::uint64_t> kept;
  Selections selections;
  std::vector<SparseChunk> all;  // of every chunk of the vector
  std::vector<Drawing> draws;
};

// Why the fronts of the blocks cannot be those of a payload of this size; else they are filled in.  The same rules as the host's.
bool place_as_told(const SparsePayload& format, const ChunkTable& chunks, const std::vector<Front>& fronts, std::size_t size, Incoming* incoming) {
  std::size_t at = kCodecHeaderSize, with = 0;
  for (std::size_t c = 0; c < fronts.size(); ++c) {
    const std::uint64_t n = chunks.chunks()[c].count, k = incoming->kept[c], positions = fronts[c].positions;
    const PositionForm form = position_form(n, k);
    const std::size_t least = Selections::bytes_of_positions(n, k);
    if (size - at < 16 || fronts[c].head != at) return false;
    if (form == PositionForm::bytes ? positions < shares(n, 256) : positions != least) return false;
    if (positions > size - at - 16 || padded(positions, 8) > size - at - 16) return false;
    incoming->all.push_back({chunks.chunks()[c].first, n, at, positions, static_cast<std::uint32_t>(form)});
    at += 16 + padded(positions, 8);
    if (format.value_bytes(k) > size - at) return false;
    if (k > 0) {
      incoming->selections.sparse[with] = incoming->all.back();
      DeviceChunk& values = incoming->selections.table[with++];
      values.scales = at;
      values.codes = at + format.scale_bytes(k);
    }
    at += format.value_bytes(k);
  }
  return at == size;
}

Result<> SparseCodec::decode(Stream& any, std::span<const WeightedPayload> payloads, const Layout& layout, const DecodeInto& into) const {
  GOSSAMER_CHECK(any.kind() == MemoryKind::cuda, "device codecs work on device streams");
  const std::size_t n = layout.size();
  GOSSAMER_CHECK((into.target == DecodeTo::wide ? into.wide.size() : into.out.size()) == n, "the vector is not that of the layout");
  DeviceStream& stream = stream_of(any);
  const ChunkTable chunks = format_.table(layout);
  const std::size_t chunk_count = chunks.chunks().size(), most = capacity(layout);
  const auto refused = [&] { return refused_payload(stream, *host_, payloads, layout); };

  // The fronts: headers, and what each block says of itself.
  const std::vector<DeviceChunk> table = device_chunks(chunks, [](const Chunk&, DeviceChunk*) {});
  const std::uint64_t parts = parts_of(table);
  std::vector<CodecHeader> heads(payloads.size());
  std::vector<std::vector<Front>> fronts(payloads.size(), std::vector<Front>(chunk_count));
  DeviceChunk* table_there = nullptr;
  Front* fronts_there = nullptr;
  const auto cut_fronts = [&](std::byte* base) {
    Scratch all(base);
    table_there = all.take<DeviceChunk>(chunk_count);
    fronts_there = all.take<Front>(chunk_count * payloads.size());
    return all.used();
  };
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(cut_fronts(nullptr)));
  cut_fronts(base);
  upload(stream, table, table_there);
  const Chunks vector{table_there, static_cast<std::uint32_t>(chunk_count), chunks.tiles(), parts};
  stream.clear(fronts_there, chunk_count * payloads.size() * sizeof(Front));
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    const std::span<const std::byte> bytes = payloads[p].encoded;
    if (bytes.size() < kCodecHeaderSize || bytes.size() > most) return refused();
    stream.download(bytes.data(), &heads[p], sizeof heads[p]);
    if (format_.drawn()) continue;
    stream.launch(Walk{bytes.data(), bytes.size(), format_.values.how.code, vector, fronts_there + p * chunk_count});
    stream.download(fronts_there + p * chunk_count, fronts[p].data(), chunk_count * sizeof(Front));
  }
  GOSSAMER_TRY(stream.finish());

  std::vector<std::unique_ptr<Incoming>> incoming;
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    const std::size_t size = payloads[p].encoded.size();
    if (!check_header(name(), heads[p], size, format_.header(layout, chunks))) return refused();
    std::vector<std::uint64_t> keeps(chunk_count);
    for (std::size_t c = 0; c < chunk_count; ++c) {
      const std::size_t count = chunks.chunks()[c].count;
      keeps[c] = format_.drawn() ? groups_of(format_.options.ratio, count).values() : fronts[p][c].k;
      const bool top = format_.options.codec == CodecId::top_k;
      if (!format_.drawn() && (top ? keeps[c] != kept(format_.options.ratio, count) : keeps[c] > count)) return refused();
    }
    incoming.push_back(std::make_unique<Incoming>(format_, chunks, keeps));
    if (format_.drawn()) {
      if (incoming.back()->selections.place(format_) != size) return refused();
      incoming.back()->draws = drawings(chunks, heads[p].seed);
    } else if (!place_as_told(format_, chunks, fronts[p], size, incoming.back().get())) {
      return refused();
    }
  }

  // Everything that may be refused, of all payloads.
  struct There {
    SelectionArrays arrays;
    Drawing* draws;
    SparseChunk* all;
    std::uint64_t* kept;
    Rows written, elements;
  };
  Status* status_there = nullptr;
  float* q = nullptr;  // one decoded payload, of all elements
  const auto cut = [&](Scratch& all) {
    status_there = all.take<Status>(1);
    q = all.take<float>(into.target == DecodeTo::difference ? n : 0);
    const auto rows = [&] { return Rows{all.take<Counts>(format_.drawn() ? 0 : parts), all.take<Counts>(shares(parts, kRowsOfGroup)), parts}; };
    std::vector<There> there;
    for (const auto& one : incoming)
      there.push_back({SelectionArrays(all, one->selections), all.take<Drawing>(one->draws.size()), all.take<SparseChunk>(one->all.size()),
                       all.take<std::uint64_t>(one->kept.size()), rows(), rows()});
    return there;
  };
  Scratch counted(nullptr);
  cut(counted);
  GOSSAMER_TRY_ASSIGN(std::byte* const second, stream.scratch(counted.used(), 1));
  Scratch all(second);
  const std::vector<There> there = cut(all);
  stream.clear(status_there, sizeof(Status));
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    const Incoming& one = *incoming[p];
    const std::byte* const bytes = payloads[p].encoded.data();
    const SelectionArrays& arrays = there[p].arrays;
    const Chunks chosen = one.selections.on_device(arrays.table);
    upload(stream, one.selections.table, arrays.table);
    upload(stream, one.selections.sparse, arrays.sparse);
    if (format_.drawn()) {
      upload(stream, one.draws, there[p].draws);
      stream.launch(Draw{.chunks = chosen, .sparse = arrays.sparse, .drawings = there[p].draws, .indices = arrays.indices, .status = status_there});
    } else {
      upload(stream, one.selections.begins, arrays.begins);
      upload(stream, one.all, there[p].all);
      upload(stream, one.kept, there[p].kept);
      const Positions from{vector, there[p].all, there[p].kept, arrays.begins, bytes, status_there};
      const Rows &written = there[p].written, &elements = there[p].elements;
      stream.launch(CountPositions{from, {}, false, written.rows});
      stream.launch(Group{written});
      stream.launch(CountPositions{from, written, true, elements.rows});
      stream.launch(Group{elements});
      stream.launch(CheckPositions{from, elements, written});
      stream.launch(ReadPositions{from, elements, written, arrays.indices});
    }
    stream.launch(CheckValues{chosen, format_.values.how.code, bytes, status_there});
  }
  GOSSAMER_TRY_ASSIGN(const Status status, status_of(stream, status_there));
  if (status.refused != 0) return refused();

  if (into.target == DecodeTo::assign || into.target == DecodeTo::difference) stream.clear(into.out.data(), into.out.size_bytes());
  for (std::size_t p = 0; p < payloads.size(); ++p) {
    const SelectionArrays& arrays = there[p].arrays;
    const Chunks chosen = incoming[p]->selections.on_device(arrays.table);
    stream.launch(decode_values(payloads[p].encoded.data(), chosen, arrays.values, status_there));
    Scatter scatter{.chunks = chosen, .sparse = arrays.sparse, .indices = arrays.indices, .values = arrays.values, .out = into.out.data(), .status = status_there};
    switch (into.target) {
      case DecodeTo::add:
      case DecodeTo::assign:
        scatter.weight = payloads[p].weight;
        stream.launch(scatter);
        break;
      case DecodeTo::wide:
        scatter.target = ScatterTo::wide;
        scatter.wide = into.wide.data();
        scatter.wide_weight = into.wide_weight;
        stream.launch(scatter);
        break;
      case DecodeTo::follow:
        stream.launch(scatter);
        stream.launch(AddDistance{into.sum.data(), into.out.data(), into.own.data(), payloads[p].weight, n});
        break;
      case DecodeTo::difference:
        stream.clear(q, n * sizeof(float));
        scatter.target = ScatterTo::put;
        scatter.out = q;
        stream.launch(scatter);
        stream.launch(AddDistance{into.out.data(), q, into.own.data(), payloads[p].weight, n});
        break;
    }
  }
  return stream.finish();
}

}  // namespace

std::unique_ptr<Compressor> make_sparse_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host) {
  return std::make_unique<SparseCodec>(options, std::move(host));
}

}  // namespace gossamer::device
