#include "runtime/report/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/runtime/report/sample_run.h"
#include "tests/runtime/report/xml_check.h"

namespace gossamer {
namespace {

using test::sample_run;
using test::svgs_of;
using test::xml_problem;
using testing::HasSubstr;
using testing::Not;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

void expect_sound(const std::string& page) {
  EXPECT_LE(page.size(), kReportSizeMax);
  for (const std::string_view svg : svgs_of(page)) EXPECT_EQ(xml_problem(svg), "");
  const std::string body = page.substr(page.find("<body"), page.rfind("<script>") - page.find("<body"));
  for (const char* tag : {"div", "section", "figure", "table", "details", "p", "ul", "span", "main"}) {
    const std::regex open(std::string("<") + tag + "[ >]");
    EXPECT_EQ(
        static_cast<std::size_t>(std::distance(std::sregex_iterator(body.begin(), body.end(), open), {})),
        count(body, std::string("</") + tag + ">"))
        << tag;
  }
  EXPECT_THAT(body, Not(testing::ContainsRegex("[^a-z](nan|inf)[^a-z]")));
  EXPECT_EQ(count(page, "<script"), 1u);
  for (const char* outside : {"http://", "https://", "src=\"/", "@import", "<link", "<iframe"})
    EXPECT_EQ(count(page, outside),
              count(page, "'http://www.w3.org/2000/svg'") * (std::string(outside) == "http://"))
        << outside;
}

TEST(XmlCheck, SeesWhatIsNotWellFormed) {
  EXPECT_EQ(xml_problem("<svg a=\"1\"><g/>x &amp; y</svg>"), "");
  for (const char* bad : {"", "<svg>", "<svg></g>", "<svg a=1/>", "<svg a=\"1\" a=\"2\"/>",
                          "<svg>&nbsp;</svg>", "<svg/><svg/>", "<svg a=\"<\"/>", "<svg><g></svg>", "x<svg/>"})
    EXPECT_NE(xml_problem(bad), "") << bad;
}

TEST(Report, ShowsTheNumbersOfARun) {
  const std::string page = report_html({"My run", {sample_run("run", 4, 50)}});
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("<title>My run</title>"));
  EXPECT_THAT(page, HasSubstr("<b>93.75 %</b><span>accuracy of the mean model"));
  EXPECT_THAT(page, HasSubstr("<b>500 kB</b><span>sent by each peer"));
  EXPECT_THAT(page, HasSubstr("<b>50.00 %</b><span>of what all-reduce would send (1.00 MB)"));
  EXPECT_THAT(page, HasSubstr("width:70.0%"));  // computing
  EXPECT_THAT(page, HasSubstr("width:20.0%"));  // waiting
  EXPECT_THAT(page, HasSubstr("algorithm: d-psgd\n"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_EQ(svgs_of(page).size(), 9u + 5u);               // three charts by three axes; five swatches
  EXPECT_EQ(count(page, "data-name=\"peer 3\" d="), 9u);  // one line per peer in each
  EXPECT_EQ(count(page, "data-name=\"mean of peers\" d="), 9u);
}

// Reads a value back from the drawing, as the page's script does.
TEST(Report, TheLineLiesWhereItsValuesAre) {
  ReportRun run = sample_run("run", 1, 3);
  run.records[0].loss = 2;
  run.records[1].loss = 1.25;
  run.records[2].loss = 1;
  const std::string page = report_html({"", {run}});
  std::smatch match;
  const std::regex plot(
      R"re(class="plot x-step" data-x="count" data-x0="([^"]+)" data-x1="([^"]+)" data-y="number" data-y0="([^"]+)" data-y1="([^"]+)")re");
  ASSERT_TRUE(std::regex_search(page, match, plot));
  const double x0 = std::stod(match[1]), x1 = std::stod(match[2]), y0 = std::stod(match[3]),
               y1 = std::stod(match[4]);
  const std::string rest = match.suffix();
  const std::regex line(R"re(data-name="peer 0" d="M(\S+) (\S+) (\S+) (\S+) (\S+) (\S+)")re");
  ASSERT_TRUE(std::regex_search(rest, match, line));
  const std::vector<double> steps = {10, 20, 30}, losses = {2, 1.25, 1};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(x0 + std::stod(match[1 + 2 * i]) / 1000 * (x1 - x0), steps[i], 0.01);
    EXPECT_NEAR(y0 + (1 - std::stod(match[2 + 2 * i]) / 1000) * (y1 - y0), losses[i], 0.001);
  }
}

TEST(Report, ComparesRuns) {
  const std::string page =
      report_html({"Two", {sample_run("dense", 4, 50, 1.0), sample_run("sparse", 4, 50, 0.01)}});
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("<h2>Comparison</h2>"));
  EXPECT_THAT(page, HasSubstr("<td class=\"best\">10.0 kB</td>"));
  EXPECT_THAT(page, HasSubstr("1.00 %<span class=\"meter\">"));
  EXPECT_THAT(page, HasSubstr("What accuracy costs"));
  EXPECT_EQ(count(page, "data-name=\"sparse\" d="), 9u);
  EXPECT_EQ(count(page, "<details class=\"run\">"), 2u);
}

TEST(Report, EveryStringIsEscaped) {
  const std::string evil = "<script>alert(\"1\")</script>'&";
  ReportRun run = sample_run(evil, 2, 10);
  RunSummary& s = run.summary;
  s.algorithm = s.topology = s.codec = s.transport = s.peers[0].host = run.run_yaml = evil;
  run.topology_svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><title>" + evil + "</title></svg>";
  for (const auto& runs : {std::vector{run}, std::vector{run, run}}) {
    const std::string page = report_html({evil, runs});
    EXPECT_EQ(count(page, "<script"), 1u);
    EXPECT_EQ(count(page, "alert(\"1\")"), 0u);
    EXPECT_GE(count(page, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"), 5u);
    run.topology_svg.clear();
    expect_sound(report_html({evil, {run}}));
  }
}

TEST(Report, DegradesSensibly) {
  expect_sound(report_html({"", {}}));
  expect_sound(report_html({"", {ReportRun()}}));
  expect_sound(report_html({"", {ReportRun(), ReportRun()}}));
  expect_sound(report_html({"one record", {sample_run("one", 1, 1)}}));
  expect_sound(report_html({"two peers, one record", {sample_run("two", 2, 1)}}));
  ReportRun unknown = sample_run("unknown", 3, 20);
  for (IntervalRecord& record : unknown.records) {
    record.accuracy = kUnknown;
    if (record.step > 100)
      record.loss = record.step > 150 ? std::numeric_limits<double>::infinity() : kUnknown;
    record.consensus_distance = 0;
    record.bytes_sent = 0;
  }
  unknown.summary.mean_model_accuracy = unknown.summary.mean_model_loss = kUnknown;
  unknown.summary.all_reduce_bytes_per_peer = unknown.summary.wall_s = 0;
  const std::string page = report_html({"unknown", {unknown}});
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("Nothing was recorded."));
  EXPECT_THAT(page, HasSubstr("No bytes were sent."));
  EXPECT_THAT(page, HasSubstr("3 of 3 peers have no finite loss in their last interval."));
  EXPECT_THAT(page, HasSubstr("60 records of exactly 0 are not drawn"));
  EXPECT_THAT(page, HasSubstr("<b>\u2013</b><span>accuracy of the mean model"));
}

TEST(Report, ExtremeValuesStillDraw) {
  ReportRun run = sample_run("extreme", 2, 20);
  for (std::size_t i = 0; i < run.records.size(); ++i) {
    run.records[i].loss = i % 2 == 0 ? 1e300 : -1e300;
    run.records[i].consensus_distance = i % 2 == 0 ? 1e-300 : 1e300;
    run.records[i].bytes_sent = ~std::uint64_t{0};
    run.records[i].seconds = i == 3 ? kUnknown : 1e-9;
  }
  expect_sound(report_html({"", {run}}));
}

TEST(Report, ManyPeersBecomeABand) {
  const std::string page = report_html({"many", {sample_run("many", 1000, 100)}});
  expect_sound(page);
  EXPECT_EQ(count(page, "data-band=\"all peers\" d="), 9u);
  EXPECT_EQ(count(page, "data-name=\"peer 3\" d="), 0u);
}

TEST(Report, StaysSmallHoweverMuchThereIs) {
  std::vector<ReportRun> runs;
  for (int i = 0; i < 300; ++i) {
    runs.push_back(sample_run(std::string(300, 'n') + std::to_string(i), i < 40 ? 60 : 4, i < 40 ? 300 : 20));
    runs.back().run_yaml = std::string(100'000, '&');
    runs.back().topology_svg = "<svg>" + std::string(300'000, ' ') + "</svg>";
  }
  const std::string page = report_html({std::string(100'000, 't'), runs});
  expect_sound(page);
  EXPECT_THAT(page, HasSubstr("of 300 runs"));
}

}  // namespace
}  // namespace gossamer
