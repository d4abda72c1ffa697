// The report: one page that shows what one run came to, or compares several.
//
// Self-contained: no network, no fonts or scripts from elsewhere; it follows the reader's light or dark mode
// and fits a phone.  Everything but the read-outs under the pointer works without a script.  However many
// runs, peers and records there are, the page stays below kReportSizeMax: lines are thinned, tables
// shortened, and the page says so where it happens.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runtime/records.h"

namespace gossamer {

inline constexpr std::size_t kReportSizeMax = 2'000'000;

struct ReportRun {
  std::string name;
  RunSummary summary;
  std::vector<IntervalRecord> records;  // of all peers, in any order
  std::string run_yaml;                 // the resolved run file
  std::string topology_svg;             // empty: there is no drawing
};

struct ReportInput {
  std::string title;
  std::vector<ReportRun> runs;
};

std::string report_html(const ReportInput& input);

}  // namespace gossamer
