#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "runtime/report/axis.h"
#include "runtime/report/drawing.h"
#include "runtime/report/series.h"
#include "runtime/report/text.h"

namespace gossamer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks) out.push_back(tick.label);
  return out;
}

TEST(Axis, HasRoundLabelsInAFittingUnit) {
  const Axis steps = make_axis(0, 4000, Unit::count, false, Ends::exact);
  EXPECT_THAT(labels(steps), ElementsAre("0", "1000", "2000", "3000", "4000"));
  EXPECT_EQ(steps.unit, "");
  const Axis bytes = make_axis(0, 70.4e6, Unit::bytes, false, Ends::exact);
  EXPECT_THAT(labels(bytes), ElementsAre("0", "10", "20", "30", "40", "50", "60", "70"));
  EXPECT_EQ(bytes.unit, "MB");
  EXPECT_NEAR(bytes.place(35.2e6), 0.5, 1e-12);
  const Axis time = make_axis(0, 1500, Unit::seconds, false, Ends::exact);
  EXPECT_THAT(labels(time), ElementsAre("0", "5", "10", "15", "20", "25"));
  EXPECT_EQ(time.unit, "min");
  const Axis accuracy = make_axis(0.42, 0.991, Unit::fraction, false, Ends::round);
  EXPECT_THAT(labels(accuracy), ElementsAre("40", "50", "60", "70", "80", "90", "100"));
  EXPECT_NEAR(accuracy.low, 0.4, 1e-12);
  EXPECT_NEAR(accuracy.high, 1.0, 1e-12);
}

TEST(Axis, LogarithmicLabelsArePowersOrRoundValues) {
  EXPECT_THAT(labels(make_axis(0.01, 10, Unit::number, true, Ends::round)),
              ElementsAre("0.01", "0.1", "1", "10"));
  EXPECT_THAT(labels(make_axis(2.1, 42, Unit::number, true, Ends::round)),
              ElementsAre("2", "5", "10", "20", "50"));
  EXPECT_THAT(labels(make_axis(1e-12, 1, Unit::number, true, Ends::round)), Not(testing::IsEmpty()));
  EXPECT_THAT(labels(make_axis(1e-12, 1, Unit::number, true, Ends::round)), testing::Contains("10⁻¹²"));
}

TEST(Axis, ShowsAnyRangeWithAFewTicksInside) {
  Random random(1, Purpose::test);
  for (int i = 0; i < 3000; ++i) {
    const double scale = std::pow(10.0, random.uniform() * 24 - 12);
    const bool log = i % 2 == 0;
    double low = (log ? random.uniform() + 1e-9 : random.normal()) * scale;
    double high = low + random.uniform() * std::abs(low) * (i % 3 == 0 ? 1e-3 : 1e3);
    if (i % 50 == 0) high = low;
    const auto unit = static_cast<Unit>(i % 5);
    const Axis axis = make_axis(low, high, unit, log, i % 4 < 2 ? Ends::round : Ends::exact);
    EXPECT_GE(axis.ticks.size(), 1u) << low << " " << high;
    EXPECT_LE(axis.ticks.size(), 14u) << low << " " << high;
    for (const Tick& tick : axis.ticks) {
      EXPECT_GE(tick.at, -1e-6);
      EXPECT_LE(tick.at, 1 + 1e-6);
    }
    EXPECT_GE(axis.place(low), -1e-6) << low << " " << high;
    EXPECT_LE(axis.place(high), 1 + 1e-6) << low << " " << high;
  }
}

IntervalRecord at(PeerId peer, std::uint64_t step, double loss) {
  IntervalRecord record;
  record.peer = peer;
  record.step = step;
  record.loss = loss;
  record.seconds = static_cast<double>(step) * (1 + peer);  // peer 1 is half as fast
  return record;
}

TEST(Series, MeanAndRangeAtCommonSteps) {
  const std::vector<IntervalRecord> records = {at(1, 20, 4), at(0, 10, 1), at(0, 20, 2), at(1, 10, 3),
                                               at(2, 10, kUnknown)};
  const auto lines = peer_lines(records, Measure::loss, Against::step, false);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].peer, 1u);
  EXPECT_EQ(lines[1].line[0].y, 3);
  const Together all = together(lines);
  ASSERT_EQ(all.mean.size(), 2u);
  EXPECT_EQ(all.mean[0].y, 2);
  EXPECT_EQ(all.low[1].y, 2);
  EXPECT_EQ(all.high[1].y, 4);
}

TEST(Series, PeersOfDifferentPaceMeetByInterpolation) {
  std::vector<IntervalRecord> records;
  for (std::uint64_t step = 1; step <= 100; ++step)
    for (PeerId peer = 0; peer < 2; ++peer)
      records.push_back(at(peer, step, static_cast<double>(step * (1 + peer))));
  // Against time both lines are y = x, so is their mean.
  const Together all = together(peer_lines(records, Measure::loss, Against::seconds, false));
  ASSERT_GT(all.mean.size(), 50u);
  for (const Point& point : all.mean) EXPECT_NEAR(point.y, point.x, 1e-9);
  EXPECT_EQ(all.mean.back().x, 200);
}

TEST(Series, SinglePointsStillHaveAMean) {
  const std::vector<IntervalRecord> records = {at(0, 10, 1), at(1, 11, 3), at(2, 15, 8)};
  const Together all = together(peer_lines(records, Measure::loss, Against::step, false));
  ASSERT_EQ(all.mean.size(), 1u);
  EXPECT_EQ(all.mean[0].y, 4);
  EXPECT_EQ(all.mean[0].x, 12);
  EXPECT_TRUE(together({}).mean.empty());
}

TEST(Series, ThinningKeepsEndsAndPeaks) {
  Line line;
  for (int i = 0; i < 10000; ++i)
    line.push_back({static_cast<double>(i), i == 4711 ? 50.0 : std::sin(i * 0.001)});
  const Line thinned = thin(line, 100, false);
  EXPECT_EQ(thinned.size(), 100u);
  EXPECT_EQ(thinned.front().x, 0);
  EXPECT_EQ(thinned.back().x, 9999);
  EXPECT_TRUE(std::any_of(thinned.begin(), thinned.end(), [](const Point& p) { return p.y == 50; }));
  EXPECT_TRUE(std::is_sorted(thinned.begin(), thinned.end(),
                             [](const Point& a, const Point& b) { return a.x < b.x; }));
  EXPECT_EQ(thin(line, 20000, false).size(), line.size());
  EXPECT_EQ(thin({}, 10, true).size(), 0u);
}

TEST(Text, NumbersReadLikeNumbers) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(999'999), "1.00 MB");
  EXPECT_EQ(format_bytes(70.36e6), "70.4 MB");
  EXPECT_EQ(format_bytes(3e30), "3000000000000000 PB");
  EXPECT_EQ(format_bytes(kUnknown), "-");
  EXPECT_EQ(format_count(109386), "109 k");
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(0.349), "0.35 s");
  EXPECT_EQ(format_duration(59.97), "1 min 00 s");
  EXPECT_EQ(format_duration(3599.9), "1 h 00 min");
  EXPECT_EQ(format_duration(200000), "2 d 7 h");
  EXPECT_EQ(format_duration(-1), "-");
  EXPECT_EQ(format_percent(0.9731), "97.31 %");
  EXPECT_EQ(format_percent(0.000123), "0.012 %");
  EXPECT_EQ(format_percent(25), "2500 %");
  EXPECT_EQ(format_number(1.23456e-5), "1.235e-05");
}

TEST(Text, EscapingLeavesNoMarkup) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  EXPECT_EQ(escape_html("grün ✓"), "grün ✓");
  EXPECT_EQ(escape_html(std::string_view("\xff\0\x1b\xc0\xaf", 5)), "\ufffd\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(escape_html("\xe2\x82"), "\ufffd\ufffd");
}

TEST(Text, ClipCountsCharacters) {
  EXPECT_EQ(clip("grün", 4), "grün");
  EXPECT_EQ(clip("grüner", 5), "gr...");
  EXPECT_EQ(clip("üüüüüü", 5), "üü...");
  EXPECT_EQ(clip("üüüüüü", 2), "üü");
  EXPECT_EQ(display_width("üüü"), 3u);
}

TEST(Drawing, PlainShapesBecomePartOfThePage) {
  const std::string svg =
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g><circle cx="1" cy="1" r="1"/></g></svg>)";
  EXPECT_THAT(embed_drawing("<?xml version=\"1.0\"?>\n<!-- made --> " + svg + "\n", "graph", 10000),
              HasSubstr(svg));
}

TEST(Drawing, AnythingElseIsShownWhereItCanDoNothing) {
  for (const char* svg :
       {"<svg><script>alert(1)</script></svg>", "<svg onload=\"alert(1)\"/>", "<svg><a href=\"x\"/></svg>",
        "<svg><style>body{display:none}</style></svg>", "<svg><image href=\"http://x\"/></svg>",
        "<svg><circle fill=\"url(http://x)\"/></svg>", "<svg><g></svg>", "<svg></svg><script/>",
        "<svg></svg>text", "<svg x=1></svg>", "<svg><foreignObject/></svg>", "<svg x=\"<\"/>",
        "<svg><![CDATA[</svg>]]></svg>", "<svg><circle r=\"1\"", "<svg><title>\xff</title></svg>"}) {
    const std::string html = embed_drawing(svg, "graph", 10000);
    EXPECT_THAT(html, HasSubstr("<img alt=\"graph\" src=\"data:image/svg+xml;base64,")) << svg;
    EXPECT_THAT(html, Not(HasSubstr("<svg")));
  }
  EXPECT_THAT(embed_drawing("<svg><script/></svg>", "", 99),
              HasSubstr("base64,PHN2Zz48c2NyaXB0Lz48L3N2Zz4=\""));
}

TEST(Drawing, WhatIsNoDrawingIsReplacedByASentence) {
  for (const char* svg : {"", "hello", "<html></html>", "<svgx></svgx>", "<!-- <svg>"})
    EXPECT_THAT(embed_drawing(svg, "graph", 10000), HasSubstr("not an SVG document")) << svg;
  EXPECT_THAT(embed_drawing("<svg/>" + std::string(20000, ' '), "graph", 10000),
              HasSubstr("left out: it takes 20.0 kB"));
}

}  // namespace
}  // namespace gossamer
