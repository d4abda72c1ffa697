#include "runtime/messages.h"

#include <cstring>
#include <fmt/format.h>

#include "base/serial.h"

namespace gossamer::messages {
namespace {

std::string text(Writer& writer) {
  const auto bytes = writer.view();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Reader reader_of(std::string_view bytes) { return Reader(std::as_bytes(std::span(bytes.data(), bytes.size()))); }

constexpr std::uint64_t kListMax = 1 << 20;  // entries of a list in a message; more is not ours

}  // namespace

std::string pack(const Record& from) {
  const IntervalRecord& r = from.record;
  Writer writer;
  writer.put(r.peer);
  writer.put(r.step);
  writer.put(r.round);
  writer.put(r.bytes_sent);
  writer.put(r.bytes_received);
  for (const double value : {r.epoch, r.seconds, r.loss, r.test_loss, r.accuracy, r.learning_rate, r.samples_per_s,
                             r.correction_norm, r.consensus_distance})
    writer.put(value);
  writer.put<std::uint64_t>(r.staleness.size());
  for (const auto& [peer, rounds] : r.staleness) {
    writer.put(peer);
    writer.put(rounds);
  }
  writer.put<std::uint64_t>(from.sketch.size());
  for (const double value : from.sketch) writer.put(value);
  return text(writer);
}

Result<Record> unpack_record(std::string_view bytes) {
  Reader reader = reader_of(bytes);
  Record to;
  IntervalRecord& r = to.record;
  r.peer = reader.get<PeerId>();
  r.step = reader.get<std::uint64_t>();
  r.round = reader.get<Round>();
  r.bytes_sent = reader.get<std::uint64_t>();
  r.bytes_received = reader.get<std::uint64_t>();
  for (double* value : {&r.epoch, &r.seconds, &r.loss, &r.test_loss, &r.accuracy, &r.learning_rate, &r.samples_per_s,
                        &r.correction_norm, &r.consensus_distance})
    *value = reader.get<double>();
  for (auto left = std::min(reader.get<std::uint64_t>(), kListMax); left > 0 && reader.ok(); --left) {
    const auto peer = reader.get<PeerId>();
    r.staleness[peer] = reader.get<std::uint64_t>();
  }
  for (auto left = std::min(reader.get<std::uint64_t>(), kListMax); left > 0 && reader.ok(); --left)
    to.sketch.push_back(reader.get<double>());
  if (!reader.ok() || reader.left() != 0) return fail(Errc::corrupt, fmt::format("a record of {} bytes does not parse", bytes.size()));
  return to;
}

std::string pack(const PeerSummary& s) {
  Writer writer;
  writer.put(s.peer);
  writer.text(s.host);
  for (const std::uint64_t value : {s.steps, s.rounds, s.samples, s.bytes_sent, s.bytes_received}) writer.put(value);
  for (const double value : {s.loss, s.accuracy, s.wall_s, s.compute_s, s.wait_s}) writer.put(value);
  return text(writer);
}

Result<PeerSummary> unpack_summary(std::string_view bytes) {
  Reader reader = reader_of(bytes);
  PeerSummary s;
  s.peer = reader.get<PeerId>();
  s.host = reader.text();
  for (std::uint64_t* value : {&s.steps, &s.rounds, &s.samples, &s.bytes_sent, &s.bytes_received}) *value = reader.get<std::uint64_t>();
  for (double* value : {&s.loss, &s.accuracy, &s.wall_s, &s.compute_s, &s.wait_s}) *value = reader.get<double>();
  if (!reader.ok() || reader.left() != 0) return fail(Errc::corrupt, fmt::format("a summary of {} bytes does not parse", bytes.size()));
  return s;
}

std::string pack(std::span<const float> model) { return {reinterpret_cast<const char*>(model.data()), model.size_bytes()}; }

Result<> unpack_model(std::string_view bytes, std::span<float> model) {
  if (bytes.size() != model.size_bytes())
    return fail(Errc::corrupt, fmt::format("a model of {} bytes came where {} were expected", bytes.size(), model.size_bytes()));
  std::memcpy(model.data(), bytes.data(), bytes.size());
  return {};
}

}  // namespace gossamer::messages
