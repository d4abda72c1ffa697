#include "runtime/report_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>

#include "base/file.h"
#include "runtime/exit_code.h"
#include "runtime/report/html.h"
#include "runtime/report/run_folder.h"
#include "runtime/report/summary.h"
#include "runtime/report/table.h"

namespace gossamer {
namespace {

// Folders of different places may have one name; then the paths as they were given tell them apart.
void tell_apart(std::vector<ReportRun>& runs, const std::vector<std::string>& folders) {
  std::multiset<std::string> names;
  for (const ReportRun& run : runs) names.insert(run.name);
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (names.count(runs[i].name) > 1) runs[i].name = folders[i];
}

}  // namespace

Result<ReportAnswer> make_report(const ReportRequest& request) {
  std::vector<std::string> folders;
  for (const std::string& folder : request.folders) {
    GOSSAMER_TRY_ASSIGN(const std::vector<std::string> found, find_run_folders(folder));
    for (const std::string& one : found)
      if (std::find(folders.begin(), folders.end(), one) == folders.end()) folders.push_back(one);
  }
  if (folders.empty()) return fail(Errc::invalid_argument, "name at least one folder of a run");
  ReportInput input;
  for (const std::string& folder : folders) {
    GOSSAMER_TRY_ASSIGN(ReportRun run, read_run_folder(folder));
    input.runs.push_back(std::move(run));
  }
  tell_apart(input.runs, folders);
  input.title = !request.title.empty()   ? request.title
                : input.runs.size() == 1 ? input.runs[0].name
                                         : fmt::format("Comparison of {} runs", input.runs.size());
  std::vector<std::pair<std::string, RunSummary>> summaries;
  for (const ReportRun& run : input.runs) summaries.emplace_back(run.name, run.summary);

  ReportAnswer answer;
  answer.page = !request.output.empty() ? request.output
                : request.folders.size() == 1
                    ? (std::filesystem::path(request.folders[0]) / "report.html").string()
                    : "report.html";
  answer.table = comparison_text(summaries);
  answer.json = to_json(summaries);
  GOSSAMER_TRY(write_file_atomically(answer.page, report_html(input)));
  return answer;
}

void add_report_command(CLI::App& app, int* code) {
  struct Flags {
    ReportRequest request;
    bool json = false;
  };
  auto flags = std::make_shared<Flags>();  // lives in the command's callback
  CLI::App* command =
      app.add_subcommand("report", "Compare runs that have ended: a table here, and a page with charts");
  command
      ->add_option("DIR", flags->request.folders,
                   "Folders that `gossamer run` wrote, or folders of such folders")
      ->required();
  command->add_option("-o,--output", flags->request.output,
                      "The page to write (default: report.html in DIR, or here when there are several)");
  command->add_option("--title", flags->request.title, "Headline of the page");
  command->add_flag("--json", flags->json, "Print the summaries as JSON instead of a table");
  command->callback([flags, code] {
    const auto answer = make_report(flags->request);
    if (!answer) {
      fmt::print(stderr, "gossamer report: {}\n", answer.error().message);
      *code = exit_code(answer.error().code);
      return;
    }
    if (flags->json)
      fmt::print("{}", answer->json);
    else
      fmt::print("{}\nwrote {}\n", answer->table, answer->page);
    *code = 0;
  });
}

}  // namespace gossamer
