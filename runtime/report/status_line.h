// What a terminal shows while a run goes on: one calm line that is rewritten in place, or, where the output
// is a file or a pipe, a plain line now and then.
//
// format_status() is a pure function; StatusLine decides when and how it is written, and is told the time.
// A StatusLine belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "runtime/records.h"

namespace gossamer {

struct Status {
  std::uint64_t step = 0;
  std::uint64_t steps = 0;  // of the whole run; 0 when not known
  double epoch = 0;
  double epochs = 0;  // 0 when not known
  double loss = kUnknown;
  double accuracy = kUnknown;
  double consensus_distance = kUnknown;
  double bytes_per_peer = 0;
  double elapsed_s = 0;
};

// How much of the run is done, 0 to 1; unknown when its length is.
double progress_of(const Status& status);

// The status in at most `width` characters: what matters least (consensus distance, then epoch, bytes, ...)
// is left out first.  What is not known is not mentioned.
std::string format_status(const Status& status, std::size_t width);

class StatusLine {
 public:
  enum class Mode { terminal, lines, quiet };
  using Write = std::function<void(std::string_view)>;

  // `write` puts bytes on the output and flushes them; `width` gives the columns of the terminal at the
  // moment (it may be resized) and is asked only in mode terminal.
  StatusLine(Mode mode, Write write, std::function<std::size_t()> width);

  // Shows the status if it is time to: ten times a second on a terminal; otherwise every five seconds or ten
  // percent, whichever comes later, and at least once a minute.
  void update(const Status& status, Time now);

  // Shows the status whatever the time, and leaves the line standing.
  void finish(const Status& status);

  // Takes the line away, so that something else can be printed; the next update shows it again.
  void clear();

 private:
  void show(const Status& status);

  Mode mode_;
  Write write_;
  std::function<std::size_t()> width_;
  bool shown_once_ = false;
  Time shown_at_;
  double shown_progress_ = 0;
  std::size_t on_screen_ = 0;  // characters of the line that stands there
  std::string last_;
};

// Mode, output and width for a file descriptor: quiet when `quiet`, terminal when it is one (and TERM, passed
// in, is not "dumb").
StatusLine::Mode status_mode(int descriptor, bool quiet, std::string_view term);
StatusLine make_status_line(int descriptor, StatusLine::Mode mode);

}  // namespace gossamer
