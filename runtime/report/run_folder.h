// The folder that a run leaves behind, read back.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/report/html.h"

namespace gossamer {

inline constexpr const char* kSummaryFile = "summary.json";
inline constexpr const char* kRunFile = "run.yaml";
inline constexpr const char* kDrawingFile = "topology.svg";

// summary.json must be there; the records of each peer, the run file and the drawing are read where they are.
// The run's name is that of the folder.
Result<ReportRun> read_run_folder(const std::string& folder);

// The run folders that `folder` stands for: itself when it holds a summary.json, otherwise those directly
// inside it that do, in the order of their names.  Not finding any is an error.
Result<std::vector<std::string>> find_run_folders(const std::string& folder);

}  // namespace gossamer
