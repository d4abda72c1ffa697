// summary.json: what a run came to.  docs/report.md explains every key.
//
// Functions of their arguments; any thread may call them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "runtime/records.h"

namespace gossamer {

// Indented JSON with a line break at the end, keys always in the same order; a number that is not finite is
// null.
std::string to_json(const RunSummary& summary);

// [{"name": ..., "summary": {...}}...]
std::string to_json(std::span<const std::pair<std::string, RunSummary>> runs);

// Unknown keys are passed over and missing ones keep their defaults; a value of the wrong kind and another
// "version" are errors.
Result<RunSummary> parse_summary(std::string_view json);

// Atomic: a reader sees the whole file or none.
Result<> write_summary(const std::string& path, const RunSummary& summary);
Result<RunSummary> read_summary(const std::string& path);

}  // namespace gossamer
