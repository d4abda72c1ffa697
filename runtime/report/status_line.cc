#include "runtime/report/status_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <utility>

#include "runtime/report/text.h"

namespace gossamer {
namespace {

constexpr double kTerminalInterval = 0.1;
constexpr double kLineInterval = 5;
constexpr double kLineIntervalMax = 60;
constexpr double kLineProgress = 0.1;
constexpr std::size_t kWidthFallback = 80;
constexpr std::string_view kGap = "  ";

}  // namespace

double progress_of(const Status& s) {
  if (s.steps > 0) return std::min(1.0, static_cast<double>(s.step) / static_cast<double>(s.steps));
  if (s.epochs > 0) return std::clamp(s.epoch / s.epochs, 0.0, 1.0);
  return kUnknown;
}

std::string format_status(const Status& s, std::size_t width) {
  const double done = progress_of(s);
  // In the order of the line; `worth` says which go last when it is narrow.
  struct Part {
    int worth;
    std::string text;
  };
  std::array<Part, 8> parts;
  if (std::isfinite(done)) parts[0] = {9, fmt::format("{:3.0f} %", std::floor(done * 100))};
  parts[1] = {8, s.steps > 0 ? fmt::format("step {}/{}", s.step, s.steps) : fmt::format("step {}", s.step)};
  if (s.epochs > 0)
    parts[2] = {3, fmt::format("epoch {:.1f}/{:g}", s.epoch, s.epochs)};
  else if (s.epoch > 0)
    parts[2] = {3, fmt::format("epoch {:.1f}", s.epoch)};
  if (std::isfinite(s.loss)) parts[3] = {7, "loss " + format_number(s.loss)};
  if (std::isfinite(s.accuracy)) parts[4] = {6, "accuracy " + format_percent(s.accuracy)};
  if (std::isfinite(s.consensus_distance))
    parts[5] = {2, "consensus " + format_number(s.consensus_distance, 3)};
  if (s.bytes_per_peer > 0) parts[6] = {4, format_bytes(s.bytes_per_peer) + "/peer"};
  if (done > 0.01 && done < 1 && s.elapsed_s > 1)
    parts[7] = {5, "left " + format_duration(s.elapsed_s / done * (1 - done))};
  else if (s.elapsed_s > 0)
    parts[7] = {5, "time " + format_duration(s.elapsed_s)};

  const auto joined = [&] {
    std::string line;
    for (const Part& part : parts)
      if (!part.text.empty()) line += (line.empty() ? "" : std::string(kGap)) + part.text;
    return line;
  };
  std::string line = joined();
  while (display_width(line) > width) {
    Part* least = nullptr;
    std::size_t left = 0;
    for (Part& part : parts) {
      if (part.text.empty()) continue;
      ++left;
      if (!least || part.worth < least->worth) least = &part;
    }
    if (left <= 1) return clip(line, width);
    least->text.clear();
    line = joined();
  }
  return line;
}

StatusLine::StatusLine(Mode mode, Write write, std::function<std::size_t()> width)
    : mode_(mode), write_(std::move(write)), width_(std::move(width)) {}

void StatusLine::update(const Status& status, Time now) {
  if (mode_ == Mode::quiet) return;
  const double since = seconds(now - shown_at_);
  const double progress = progress_of(status);
  if (shown_once_ && mode_ == Mode::terminal && since < kTerminalInterval) return;
  if (shown_once_ && mode_ == Mode::lines) {
    const bool further = !std::isfinite(progress) || progress - shown_progress_ >= kLineProgress - 1e-9;
    if (since < kLineInterval || (!further && since < kLineIntervalMax)) return;
  }
  shown_once_ = true;
  shown_at_ = now;
  if (std::isfinite(progress)) shown_progress_ = progress;
  show(status);
}

void StatusLine::show(const Status& status) {
  if (mode_ == Mode::lines) {
    write_(format_status(status, 200) + "\n");
    return;
  }
  // The last column stays free: terminals wrap when it is written.
  const std::size_t width = std::max<std::size_t>(width_(), 2) - 1;
  const std::string line = format_status(status, width);
  if (line == last_) return;
  // One write of the new text over the old, and blanks over what was longer: nothing is ever seen half
  // erased. After the terminal became narrower, the old line has wrapped and blanks must not wrap too.
  const std::size_t length = display_width(line);
  const std::size_t blanks = std::min(on_screen_, width) > length ? std::min(on_screen_, width) - length : 0;
  write_("\r" + line + std::string(blanks, ' '));
  on_screen_ = length;
  last_ = line;
}

void StatusLine::finish(const Status& status) {
  if (mode_ == Mode::quiet) return;
  show(status);
  if (mode_ == Mode::terminal) write_("\n");
  on_screen_ = 0;
  last_.clear();
}

void StatusLine::clear() {
  if (mode_ != Mode::terminal || on_screen_ == 0) return;
  const std::size_t blanks = std::min(on_screen_, std::max<std::size_t>(width_(), 2) - 1);
  write_("\r" + std::string(blanks, ' ') + "\r");
  on_screen_ = 0;
  last_.clear();
}

StatusLine::Mode status_mode(int descriptor, bool quiet, std::string_view term) {
  if (quiet) return StatusLine::Mode::quiet;
  return ::isatty(descriptor) == 1 && term != "dumb" ? StatusLine::Mode::terminal : StatusLine::Mode::lines;
}

StatusLine make_status_line(int descriptor, StatusLine::Mode mode) {
  return StatusLine(
      mode,
      [descriptor](std::string_view text) {
        // A status that cannot be shown (the reader of a pipe has gone) is no reason to stop a run.
        while (!text.empty()) {
          const ssize_t wrote = ::write(descriptor, text.data(), text.size());
          if (wrote < 0 && errno == EINTR) continue;
          if (wrote <= 0) return;
          text.remove_prefix(static_cast<std::size_t>(wrote));
        }
      },
      [descriptor]() -> std::size_t {
        winsize size = {};
        return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kWidthFallback;
      });
}

}  // namespace gossamer
