// peer-<rank>.jsonl: one JSON object per line and interval, appended while the run goes on.
//
// Keys are those of IntervalRecord in their order; a number that is not finite is null.  A row reaches the
// operating system in one write, so that a reader (or a crash) meets whole rows.  docs/report.md explains the
// keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "runtime/records.h"

namespace gossamer {

// "peer-3.jsonl"
std::string record_file_name(PeerId peer);

// One row, without the line break.
std::string to_json_line(const IntervalRecord& record);

// Unknown keys are passed over and missing ones keep their defaults, so that files of neighbouring versions
// can be read; a value of the wrong kind is an error.
Result<IntervalRecord> parse_record(std::string_view line);

// All rows of a file.  A last line without its line break that does not parse is what a killed process
// leaves, and is dropped; anything else that does not parse is an error that names the line.
Result<std::vector<IntervalRecord>> read_records(const std::string& path);

// Appends rows to a file.  Belongs to one thread.
class RecordWriter {
 public:
  enum class Start { fresh, resume };  // resume keeps the rows that are there, less a torn last line

  static Result<RecordWriter> open(const std::string& path, Start start = Start::fresh);

  // Reports a failure to write only the first time; rows that cannot be written are counted in lost() and the
  // file keeps its whole rows.  A run is not ended for want of a log line, and should say once that it misses
  // some.
  Result<> append(const IntervalRecord& record);

  std::uint64_t lost() const { return lost_; }

 private:
  RecordWriter(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  FileDescriptor file_;
  std::uint64_t lost_ = 0;
};

}  // namespace gossamer
