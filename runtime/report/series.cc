#include "runtime/report/series.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace gossamer {
namespace {

constexpr std::size_t kGridMax = 240;

double measured(const IntervalRecord& record, Measure measure) {
  switch (measure) {
    case Measure::loss:
      return record.loss;
    case Measure::accuracy:
      return record.accuracy;
    case Measure::consensus:
      return record.consensus_distance;
  }
  return kUnknown;
}

double progress(const IntervalRecord& record, Against against) {
  switch (against) {
    case Against::step:
      return static_cast<double>(record.step);
    case Against::seconds:
      return record.seconds;
    case Against::bytes:
      return static_cast<double>(record.bytes_sent);
  }
  return kUnknown;
}

bool same_places(std::span<const PeerLine> lines) {
  const Line& first = lines.front().line;
  return std::all_of(lines.begin(), lines.end(), [&](const PeerLine& other) {
    return std::equal(first.begin(), first.end(), other.line.begin(), other.line.end(),
                      [](const Point& a, const Point& b) { return a.x == b.x; });
  });
}

// Where the lines are compared.
std::vector<double> places(std::span<const PeerLine> lines) {
  std::vector<double> grid;
  if (same_places(lines)) {
    for (const Point& point : lines.front().line) grid.push_back(point.x);
    return grid;
  }
  double low = lines.front().line.front().x, high = low;
  std::size_t points = 2;
  for (const PeerLine& line : lines) {
    low = std::min(low, line.line.front().x);
    high = std::max(high, line.line.back().x);
    points = std::max(points, line.line.size());
  }
  points = std::min(points, kGridMax);
  for (std::size_t i = 0; i < points; ++i)
    grid.push_back(low + (high - low) * static_cast<double>(i) / static_cast<double>(points - 1));
  return grid;
}

}  // namespace

std::vector<PeerLine> peer_lines(std::span<const IntervalRecord> records, Measure measure, Against against,
                                 bool positive) {
  std::map<PeerId, Line> lines;
  for (const IntervalRecord& record : records) {
    const Point point{progress(record, against), measured(record, measure)};
    if (std::isfinite(point.x) && std::isfinite(point.y) && (!positive || point.y > 0))
      lines[record.peer].push_back(point);
  }
  std::vector<PeerLine> out;
  for (auto& [peer, line] : lines) {
    std::stable_sort(line.begin(), line.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    out.push_back({peer, std::move(line)});
  }
  return out;
}

Together together(std::span<const PeerLine> lines) {
  Together out;
  if (lines.empty()) return out;
  const std::vector<double> grid = places(lines);
  struct Cell {
    double sum = 0, low = 0, high = 0;
    std::size_t count = 0;
    void add(double y) {
      low = count == 0 ? y : std::min(low, y);
      high = count == 0 ? y : std::max(high, y);
      sum += y;
      ++count;
    }
  };
  std::vector<Cell> cells(grid.size());
  const bool same = same_places(lines);
  for (const PeerLine& line : lines) {
    const Line& points = line.line;
    std::size_t next = 0;  // the first point at or behind the place
    for (std::size_t i = 0; i < grid.size(); ++i) {
      if (same) {
        cells[i].add(points[i].y);
        continue;
      }
      while (next < points.size() && points[next].x < grid[i]) ++next;
      if (next == points.size()) break;
      if (points[next].x == grid[i]) {
        cells[i].add(points[next].y);
      } else if (next > 0) {
        const Point a = points[next - 1], b = points[next];
        cells[i].add(a.y + (b.y - a.y) * (grid[i] - a.x) / (b.x - a.x));
      }
    }
  }
  for (std::size_t i = 0; i < grid.size(); ++i) {
    if (cells[i].count * 2 < lines.size() || cells[i].count == 0) continue;
    out.mean.push_back({grid[i], cells[i].sum / static_cast<double>(cells[i].count)});
    out.low.push_back({grid[i], cells[i].low});
    out.high.push_back({grid[i], cells[i].high});
  }
  if (out.mean.empty()) {  // single points side by side: no two peers share a place
    Cell all;
    double x = 0;
    for (const PeerLine& line : lines) {
      all.add(line.line.back().y);
      x += line.line.back().x;
    }
    x /= static_cast<double>(lines.size());
    out.mean = {{x, all.sum / static_cast<double>(all.count)}};
    out.low = {{x, all.low}};
    out.high = {{x, all.high}};
  }
  return out;
}

Line thin(const Line& line, std::size_t points, bool log) {
  if (line.size() <= points || points < 3)
    return line.size() <= points || line.empty() ? line : Line{line.front(), line.back()};
  const auto height = [&](const Point& p) { return log ? std::log10(p.y) : p.y; };
  Line out = {line.front()};
  const std::size_t buckets = points - 2, inner = line.size() - 2;
  const auto edge = [&](std::size_t bucket) { return 1 + bucket * inner / buckets; };
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    // The third corner is the mean of the next bucket; behind the last bucket lies the last point.
    const std::size_t from = edge(bucket + 1), to = bucket + 1 == buckets ? from + 1 : edge(bucket + 2);
    double x = 0, y = 0;
    for (std::size_t i = from; i < to; ++i) {
      x += line[i].x;
      y += height(line[i]);
    }
    x /= static_cast<double>(to - from);
    y /= static_cast<double>(to - from);
    std::size_t best = edge(bucket);
    double most = -1;
    for (std::size_t i = edge(bucket); i < edge(bucket + 1); ++i) {
      const Point a = out.back();
      const double area =
          std::abs((a.x - x) * (height(line[i]) - height(a)) - (a.x - line[i].x) * (y - height(a)));
      if (area > most) {
        most = area;
        best = i;
      }
    }
    out.push_back(line[best]);
  }
  out.push_back(line.back());
  return out;
}

}  // namespace gossamer
