#include "runtime/report/status_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "runtime/report/text.h"

namespace gossamer {
namespace {

using testing::HasSubstr;
using testing::Not;

Status half_way() {
  Status s;
  s.step = 500;
  s.steps = 1000;
  s.epoch = 5;
  s.epochs = 10;
  s.loss = 0.123456;
  s.accuracy = 0.9731;
  s.consensus_distance = 0.0123456;
  s.bytes_per_peer = 70.4e6;
  s.elapsed_s = 30;
  return s;
}

TEST(FormatStatus, SaysEverythingWhereThereIsRoom) {
  EXPECT_EQ(format_status(half_way(), 200),
            " 50 %  step 500/1000  epoch 5.0/10  loss 0.1235  accuracy 97.31 %  consensus 0.0123  70.4 "
            "MB/peer  left 30.0 s");
}

TEST(FormatStatus, FitsEveryWidthAndKeepsWhatMattersMost) {
  const std::size_t full = display_width(format_status(half_way(), 200));
  for (std::size_t width = 0; width <= full + 5; ++width)
    EXPECT_LE(display_width(format_status(half_way(), width)), width);
  EXPECT_EQ(display_width(format_status(half_way(), full)), full);
  EXPECT_THAT(format_status(half_way(), full - 1), Not(HasSubstr("consensus")));
  EXPECT_THAT(format_status(half_way(), full - 1), HasSubstr("accuracy"));
  EXPECT_EQ(format_status(half_way(), 40), " 50 %  step 500/1000  loss 0.1235");
  EXPECT_EQ(format_status(half_way(), 6), " 50 %");
}

TEST(FormatStatus, DoesNotMentionWhatIsNotKnown) {
  EXPECT_EQ(format_status(Status(), 80), "step 0");
  Status s;
  s.step = 7;
  s.elapsed_s = 12;
  EXPECT_EQ(format_status(s, 80), "step 7  time 12.0 s");
  s = half_way();
  s.step = 1000;
  EXPECT_THAT(format_status(s, 200), HasSubstr("100 %"));
  EXPECT_THAT(format_status(s, 200), HasSubstr("time 30.0 s"));
}

// What a terminal shows after the bytes it was sent.
class Screen {
 public:
  explicit Screen(std::size_t width) : width_(width) {}
  void write(std::string_view text) {
    ++writes;
    for (const char c : text) {
      if (c == '\r') {
        column_ = 0;
      } else if (c == '\n') {
        lines.emplace_back();
        column_ = 0;
      } else {
        EXPECT_LT(column_, width_) << "the line wraps";
        std::string& line = lines.back();
        if (line.size() <= column_) line.resize(column_ + 1, ' ');
        line[column_++] = c;
      }
    }
  }
  std::string line(std::size_t i) const {
    return lines.at(i).substr(0, lines.at(i).find_last_not_of(' ') + 1);
  }
  std::vector<std::string> lines = {""};
  int writes = 0;
  void resize(std::size_t width) { width_ = width; }

 private:
  std::size_t width_;
  std::size_t column_ = 0;
};

Time at(double s) {
  return Time{} + from_seconds(s);
}

TEST(StatusLine, RewritesOneLineOfATerminal) {
  Screen screen(60);
  std::size_t width = 60;
  StatusLine line(
      StatusLine::Mode::terminal, [&](std::string_view t) { screen.write(t); }, [&] { return width; });
  Status s = half_way();
  line.update(s, at(1));
  EXPECT_EQ(screen.line(0), format_status(s, 59));
  s.loss = 1;  // shorter than before: nothing of the old line may remain
  line.update(s, at(2));
  EXPECT_EQ(screen.line(0), format_status(s, 59));
  line.clear();
  EXPECT_EQ(screen.line(0), "");
  line.update(s, at(3));
  width = 30;
  screen.resize(30);
  line.update(s, at(4));
  EXPECT_EQ(screen.line(0).substr(0, 29),
            format_status(s, 29) + std::string(29 - format_status(s, 29).size(), ' '));
  line.finish(s);
  EXPECT_EQ(screen.lines.size(), 2u);
  EXPECT_EQ(screen.line(1), "");
}

TEST(StatusLine, DoesNotFlicker) {
  Screen screen(80);
  StatusLine line(
      StatusLine::Mode::terminal, [&](std::string_view t) { screen.write(t); }, [] { return 80u; });
  Status s = half_way();
  for (int i = 0; i < 1000; ++i) {  // a thousand steps in a second
    s.step = static_cast<std::uint64_t>(i);
    line.update(s, at(0.001 * i));
  }
  EXPECT_LE(screen.writes, 11);
  EXPECT_GE(screen.writes, 9);
  const int before = screen.writes;
  line.update(s, at(10));
  line.update(s, at(11));  // nothing new
  EXPECT_LE(screen.writes, before + 1);
}

TEST(StatusLine, WritesPlainLinesNowAndThen) {
  std::string out;
  StatusLine line(
      StatusLine::Mode::lines, [&](std::string_view t) { out += t; }, [] { return 0u; });
  Status s = half_way();
  s.steps = 1000;
  for (int i = 0; i <= 1000; ++i) {  // 100 s
    s.step = static_cast<std::uint64_t>(i);
    line.update(s, at(0.1 * i));
  }
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 11);
  EXPECT_THAT(out, Not(HasSubstr("\r")));
  out.clear();
  s.steps = 1'000'000;  // slow: once a minute nonetheless
  StatusLine slow(
      StatusLine::Mode::lines, [&](std::string_view t) { out += t; }, [] { return 0u; });
  for (int i = 0; i < 180; ++i) slow.update(s, at(i));
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 3);
  slow.finish(s);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 4);
}

TEST(StatusLine, QuietSaysNothing) {
  std::string out;
  StatusLine line(
      StatusLine::Mode::quiet, [&](std::string_view t) { out += t; }, [] { return 80u; });
  line.update(half_way(), at(1));
  line.clear();
  line.finish(half_way());
  EXPECT_EQ(out, "");
  EXPECT_EQ(status_mode(1, true, "xterm"), StatusLine::Mode::quiet);
}

}  // namespace
}  // namespace gossamer
