#include "runtime/report/run_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "runtime/report/jsonl.h"
#include "runtime/report/summary.h"

namespace gossamer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTextMax = std::size_t{16} << 20;

// "peer-12.jsonl" and nothing else.
bool holds_records(const std::string& name) {
  constexpr std::string_view kFront = "peer-", kBack = ".jsonl";
  return name.size() > kFront.size() + kBack.size() && name.starts_with(kFront) && name.ends_with(kBack) &&
         std::all_of(name.begin() + kFront.size(), name.end() - kBack.size(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

// Empty when there is no such file.
Result<std::string> read_if_there(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::string();
  return read_file(path.string(), kTextMax);
}

Result<std::vector<std::string>> entries(const std::string& folder) {
  std::error_code problem;
  std::vector<std::string> names;
  fs::directory_iterator at(folder, problem);
  while (!problem && at != fs::directory_iterator()) {
    names.push_back(at->path().filename().string());
    at.increment(problem);
  }
  if (problem) return system_failure("cannot read the folder", folder, problem.value());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<ReportRun> read_run_folder(const std::string& folder) {
  ReportRun run;
  const fs::path path(folder);
  std::error_code ignored;
  run.name = fs::weakly_canonical(path, ignored).filename().string();
  if (run.name.empty()) run.name = folder;
  GOSSAMER_TRY_ASSIGN(run.summary, read_summary((path / kSummaryFile).string()));
  GOSSAMER_TRY_ASSIGN(const std::vector<std::string> names, entries(folder));
  for (const std::string& name : names) {
    if (!holds_records(name)) continue;
    GOSSAMER_TRY_ASSIGN(std::vector<IntervalRecord> records, read_records((path / name).string()));
    std::move(records.begin(), records.end(), std::back_inserter(run.records));
  }
  GOSSAMER_TRY_ASSIGN(run.run_yaml, read_if_there(path / kRunFile));
  GOSSAMER_TRY_ASSIGN(run.topology_svg, read_if_there(path / kDrawingFile));
  return run;
}

Result<std::vector<std::string>> find_run_folders(const std::string& folder) {
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / kSummaryFile, ignored)) return std::vector<std::string>{folder};
  GOSSAMER_TRY_ASSIGN(const std::vector<std::string> names, entries(folder));
  std::vector<std::string> found;
  for (const std::string& name : names) {
    const fs::path inner = fs::path(folder) / name;
    if (fs::exists(inner / kSummaryFile, ignored)) found.push_back(inner.string());
  }
  if (!found.empty()) return found;
  const bool unfinished = std::any_of(names.begin(), names.end(), holds_records);
  return fail(Errc::not_found,
              unfinished
                  ? fmt::format("{} has records and no {}: the run has not ended, or was killed", folder,
                                kSummaryFile)
                  : fmt::format("there is no {} in {} or in a folder directly inside it: name a folder that "
                                "`gossamer run` wrote",
                                kSummaryFile, folder));
}

}  // namespace gossamer
