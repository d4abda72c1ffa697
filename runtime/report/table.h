// Runs side by side, as text for a terminal.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/records.h"

namespace gossamer {

// One row per run under the heads run, accuracy, loss, bytes per peer, vs all-reduce, wall time; columns
// aligned, each line ended.  Accuracy and loss are those of the mean model, or the hub's.
std::string comparison_text(const std::vector<std::pair<std::string, RunSummary>>& runs);

// Any table: the first column to the left, the others to the right.  REQUIRES: every row as long as `head`.
std::string text_table(const std::vector<std::string>& head,
                       const std::vector<std::vector<std::string>>& rows);

}  // namespace gossamer
