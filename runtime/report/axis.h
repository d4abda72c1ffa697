// The axes of a chart: from a range of values to places and labels.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gossamer {

enum class Unit { number, fraction, count, seconds, bytes };

struct Tick {
  double at = 0;  // 0 at the low end of the axis, 1 at the high end
  std::string label;
};

struct Axis {
  double low = 0;  // of the values; their decimal logarithms when `log`
  double high = 1;
  bool log = false;
  std::vector<Tick> ticks;
  std::string unit;  // what the labels count: "", "%", "min", "MB"

  // REQUIRES: value > 0 when log.
  double place(double value) const;
};

enum class Ends {
  round,  // reach out to the next tick: for values up the side
  exact,  // end where the data does: for progress along the bottom
};

// An axis that shows everything from `low` to `high` with about `ticks` labels at round values.
// REQUIRES: both finite, and positive when `log`.
Axis make_axis(double low, double high, Unit unit, bool log, Ends ends, std::size_t ticks = 5);

}  // namespace gossamer
