// `gossamer report DIR... [-o report.html]`: compares runs that have ended, as a table and as one page.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace gossamer {

struct ReportRequest {
  std::vector<std::string> folders;  // of runs, or folders of such folders
  std::string output;                // empty: report.html in the only folder, or here when there are several
  std::string title;                 // empty: the name of the only run, or "Comparison of n runs"
};

struct ReportAnswer {
  std::string table;  // for a terminal
  std::string json;   // for programs: name and summary of each run
  std::string page;   // the path of the page that was written
};

Result<ReportAnswer> make_report(const ReportRequest& request);

// Adds the command; when it is given, parsing runs it, prints the answer and sets `*code` to how the process
// is to end (runtime/exit_code.h).  `code` outlives the parsing.
void add_report_command(CLI::App& app, int* code);

}  // namespace gossamer
