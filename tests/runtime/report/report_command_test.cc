#include "runtime/report_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "runtime/report/jsonl.h"
#include "runtime/report/run_folder.h"
#include "runtime/report/summary.h"
#include "tests/runtime/report/sample_run.h"
#include "tests/runtime/report/temp_dir.h"

namespace gossamer {
namespace {

using test::contents;
using test::put;
using test::sample_run;
using test::TempDir;
using testing::HasSubstr;

void leave(const ReportRun& run, const std::string& folder) {
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(write_summary(folder + "/summary.json", run.summary));
  for (const PeerSummary& peer : run.summary.peers) {
    auto writer = RecordWriter::open(folder + "/" + record_file_name(peer.peer));
    ASSERT_TRUE(writer);
    for (const IntervalRecord& record : run.records) {
      if (record.peer == peer.peer) {
        ASSERT_TRUE(writer->append(record));
      }
    }
  }
  put(folder + "/run.yaml", run.run_yaml);
  put(folder + "/topology.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"><circle r=\"1\"/></svg>");
  put(folder + "/peer-x.jsonl", "not records\n");
  put(folder + "/peer-0.log", "not records\n");
}

TEST(ReportCommand, ReadsWhatRunsLeaveBehind) {
  const TempDir dir;
  leave(sample_run("", 3, 20), dir / "dense");
  leave(sample_run("", 3, 20, 0.01), dir / "sparse");
  const auto run = read_run_folder(dir / "sparse/");
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(run->records.size(), 60u);
  EXPECT_EQ(run->run_yaml, "algorithm: d-psgd\n");

  const auto answer = make_report({.folders = {dir / "dense", dir / "sparse"}, .output = dir / "out.html"});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_THAT(answer->table, HasSubstr("\ndense"));
  EXPECT_THAT(answer->table, HasSubstr("10.0 kB         1.00 %"));
  EXPECT_THAT(answer->json, HasSubstr("\"name\": \"sparse\""));
  const std::string page = contents(dir / "out.html");
  EXPECT_THAT(page, HasSubstr("<title>Comparison of 2 runs</title>"));
  EXPECT_THAT(page, HasSubstr("<circle r=\"1\"/>"));
  EXPECT_THAT(page, HasSubstr("data-name=\"sparse\""));
}

TEST(ReportCommand, AFolderOfRunsStandsForThem) {
  const TempDir dir;
  leave(sample_run("", 1, 5), dir / "b");
  leave(sample_run("", 1, 5), dir / "a");
  const auto answer = make_report({.folders = {dir.path()}});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->page, dir / "report.html");
  EXPECT_LT(answer->table.find("\na "), answer->table.find("\nb "));
  leave(sample_run("", 1, 5), dir / "b/a");
  const auto twice = make_report({.folders = {dir / "a", dir / "b/a", dir / "a"}, .output = dir / "r.html"});
  ASSERT_TRUE(twice);
  EXPECT_THAT(twice->table, HasSubstr("/a "));
}

TEST(ReportCommand, SaysWhatIsMissing) {
  const TempDir dir;
  EXPECT_EQ(make_report({.folders = {dir / "no"}}).error().code, Errc::not_found);
  EXPECT_THAT(make_report({.folders = {dir.path()}}).error().message,
              HasSubstr("name a folder that `gossamer run` wrote"));
  put(dir / "peer-0.jsonl", "");
  EXPECT_THAT(make_report({.folders = {dir.path()}}).error().message, HasSubstr("the run has not ended"));
  put(dir / "summary.json", "{");
  EXPECT_EQ(make_report({.folders = {dir.path()}}).error().code, Errc::corrupt);
  EXPECT_THAT(make_report({.folders = {dir.path()}}).error().message, HasSubstr("summary.json: "));
}

TEST(ReportCommand, SetsHowTheProcessEnds) {
  const TempDir dir;
  leave(sample_run("", 1, 5), dir / "a");
  const auto run = [](std::vector<std::string> words) {
    CLI::App app;
    int code = -1;
    add_report_command(app, &code);
    std::reverse(words.begin(), words.end());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    app.parse(words);
    return std::tuple(code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr());
  };
  const auto [good, out, quiet] = run({"report", dir / "a", "-o", dir / "x.html"});
  EXPECT_EQ(good, 0);
  EXPECT_THAT(out, HasSubstr("wrote " + (dir / "x.html")));
  EXPECT_EQ(quiet, "");
  const auto [bad, nothing, why] = run({"report", dir / "b"});
  EXPECT_EQ(bad, 3);
  EXPECT_EQ(nothing, "");
  EXPECT_THAT(why, HasSubstr("gossamer report: "));
  const auto [json, object, silence] = run({"report", "--json", dir / "a", "--output", dir / "x.html"});
  EXPECT_EQ(json, 0);
  EXPECT_THAT(object, testing::StartsWith("[\n"));
}

}  // namespace
}  // namespace gossamer
