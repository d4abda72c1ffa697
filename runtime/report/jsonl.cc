#include "runtime/report/jsonl.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>

#include "base/file.h"
#include "runtime/report/json.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kFileMax = std::uint64_t{4} << 30;
constexpr int kDepthMax = 2;

Result<PeerId> parse_peer(const std::string& text) {
  PeerId peer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), peer);
  if (error != std::errc() || end != text.data() + text.size())
    return fail(Errc::corrupt, fmt::format("'staleness' has a key '{}' that is no peer", text));
  return peer;
}

// Leaves only whole rows, and gives the size that remains.
Result<> drop_torn_row(int fd, const std::string& path) {
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) return system_failure("cannot append to", path, errno);
  off_t keep = end;
  for (char last = 0; keep > 0; --keep) {
    if (::pread(fd, &last, 1, keep - 1) != 1) return system_failure("cannot read", path, errno);
    if (last == '\n') break;
  }
  if (keep != end && ::ftruncate(fd, keep) != 0) return system_failure("cannot shorten", path, errno);
  return {};
}

}  // namespace

std::string record_file_name(PeerId peer) {
  return fmt::format("peer-{}.jsonl", peer);
}

std::string to_json_line(const IntervalRecord& r) {
  fmt::memory_buffer line;
  auto out = fmt::appender(line);
  char lead = '{';
  const auto whole = [&](const char* key, std::uint64_t value) {
    out = fmt::format_to(out, "{}\"{}\":{}", lead, key, value);
    lead = ',';
  };
  const auto real = [&](const char* key, double value) {
    out = std::isfinite(value) ? fmt::format_to(out, "{}\"{}\":{}", lead, key, value)
                               : fmt::format_to(out, "{}\"{}\":null", lead, key);
  };
  whole("peer", r.peer);
  whole("step", r.step);
  whole("round", r.round);
  real("epoch", r.epoch);
  real("seconds", r.seconds);
  real("loss", r.loss);
  real("test_loss", r.test_loss);
  real("accuracy", r.accuracy);
  real("learning_rate", r.learning_rate);
  real("samples_per_s", r.samples_per_s);
  whole("bytes_sent", r.bytes_sent);
  whole("bytes_received", r.bytes_received);
  real("correction_norm", r.correction_norm);
  real("consensus_distance", r.consensus_distance);
  out = fmt::format_to(out, ",\"staleness\":{{");
  const char* separator = "";
  for (const auto& [peer, rounds] : r.staleness) {
    out = fmt::format_to(out, "{}\"{}\":{}", separator, peer, rounds);
    separator = ",";
  }
  fmt::format_to(out, "}}}}");
  return fmt::to_string(line);
}

Result<IntervalRecord> parse_record(std::string_view line) {
  GOSSAMER_TRY_ASSIGN(const nlohmann::json object, parse_json_object(line, kDepthMax));
  IntervalRecord r;
  ObjectReader reader(object);
  reader.take("peer", r.peer);
  reader.take("step", r.step);
  reader.take("round", r.round);
  reader.take("epoch", r.epoch);
  reader.take("seconds", r.seconds);
  reader.take("loss", r.loss);
  reader.take("test_loss", r.test_loss);
  reader.take("accuracy", r.accuracy);
  reader.take("learning_rate", r.learning_rate);
  reader.take("samples_per_s", r.samples_per_s);
  reader.take("bytes_sent", r.bytes_sent);
  reader.take("bytes_received", r.bytes_received);
  reader.take("correction_norm", r.correction_norm);
  reader.take("consensus_distance", r.consensus_distance);
  if (const auto* staleness = reader.object("staleness")) {
    for (const auto& [key, value] : staleness->items()) {
      GOSSAMER_TRY_ASSIGN(const PeerId peer, parse_peer(key));
      if (!value.is_number_unsigned()) return fail(Errc::corrupt, "'staleness' should hold whole numbers");
      r.staleness[peer] = value.get<std::uint64_t>();
    }
  }
  GOSSAMER_TRY(reader.done());
  return r;
}

Result<std::vector<IntervalRecord>> read_records(const std::string& path) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path, kFileMax));
  std::vector<IntervalRecord> records;
  std::string_view rest = text;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    const bool whole = end != std::string_view::npos;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(whole ? end + 1 : rest.size());
    if (line.empty()) continue;
    auto record = parse_record(line);
    if (record)
      records.push_back(std::move(*record));
    else if (whole)
      return fail(fmt::format("{}:{}", path, number), record.error());
  }
  return records;
}

Result<RecordWriter> RecordWriter::open(const std::string& path, Start start) {
  const int mode = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (start == Start::fresh ? O_TRUNC : 0);
  FileDescriptor file(::open(path.c_str(), mode, 0666));
  if (!file) return system_failure("cannot write", path, errno);
  if (start == Start::resume) GOSSAMER_TRY(drop_torn_row(file.number(), path));
  return RecordWriter(path, std::move(file));
}

Result<> RecordWriter::append(const IntervalRecord& record) {
  const std::string row = to_json_line(record) + "\n";
  const off_t before = ::lseek(file_.number(), 0, SEEK_END);
  ssize_t wrote = 0;
  do wrote = ::write(file_.number(), row.data(), row.size());
  while (wrote < 0 && errno == EINTR);
  if (wrote == static_cast<ssize_t>(row.size())) return {};
  // A short write without an error is a disk that filled up in the middle of the row.
  const int cause = wrote < 0 ? errno : ENOSPC;
  if (wrote > 0 && before >= 0 && ::ftruncate(file_.number(), before) != 0)
    return ++lost_, system_failure("cannot take back half a row of", path_, errno);
  if (++lost_ > 1) return {};
  return system_failure("cannot append to", path_, cause);
}

}  // namespace gossamer
