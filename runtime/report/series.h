// From the records of many peers to the lines of a chart.
//
// Functions of their arguments; any thread may call them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/records.h"

namespace gossamer {

enum class Measure { loss, accuracy, consensus };
enum class Against { step, seconds, bytes };

struct Point {
  double x = 0;
  double y = 0;
};
using Line = std::vector<Point>;  // ascending in x, all values finite

struct PeerLine {
  PeerId peer = 0;
  Line line;
};

// One line per peer that has a value at all, in the order of ids.  Intervals without a (finite) value are
// left out; so are values that are not positive when `positive`, which a logarithmic axis needs.
std::vector<PeerLine> peer_lines(std::span<const IntervalRecord> records, Measure measure, Against against,
                                 bool positive);

// What happens to all lines together: their mean, least and greatest along common places in x.  Peers that
// keep no common step meet on an even grid, linearly interpolated, as far as at least half of them have
// values.
struct Together {
  Line mean, low, high;
};
Together together(std::span<const PeerLine> lines);

// At most `points` of the line, chosen so that its shape stays (largest triangle per bucket, Steinarsson
// 2013). Triangles are measured in the given plane, logarithmic in y when `log`.
Line thin(const Line& line, std::size_t points, bool log);

}  // namespace gossamer
