// Where peers lie in a picture.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <set>

#include "base/random.h"
#include "topologies/draw.h"

namespace gossamer {
namespace {

using std::numbers::pi;
using Adjacency = std::vector<std::vector<PeerId>>;

Adjacency union_of_rounds(const Topology& t) {
  const std::size_t n = t.peer_count();
  std::vector<std::set<PeerId>> sets(n);
  const Round rounds = std::min<Round>(std::max<std::size_t>(t.period(), 1), 64);
  for (Round r = 0; r < rounds; ++r)
    for (PeerId i = 0; i < n; ++i)
      for (const auto& e : t.at(r, i).in) sets[i].insert(e.peer), sets[e.peer].insert(i);
  Adjacency adjacency(n);
  for (std::size_t i = 0; i < n; ++i) adjacency[i].assign(sets[i].begin(), sets[i].end());
  return adjacency;
}

// Peer 0 at the top, clockwise.
Position on_circle(double turn) {
  return {std::sin(2 * pi * turn), -std::cos(2 * pi * turn)};
}

std::vector<Position> circle(std::size_t n) {
  std::vector<Position> places(n);
  for (std::size_t i = 0; i < n && n > 1; ++i)
    places[i] = on_circle(static_cast<double>(i) / static_cast<double>(n));
  return places;
}

std::vector<Position> star(std::size_t n) {
  std::vector<Position> places(n);
  for (std::size_t i = 1; i < n; ++i)
    places[i] = on_circle(static_cast<double>(i - 1) / static_cast<double>(n - 1));
  return places;
}

// Rows of a grid; a path turns around at the end of each.
std::vector<Position> grid(std::size_t n, std::size_t columns, bool turning) {
  std::vector<Position> places(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = i / columns, column = i % columns;
    places[i] = {static_cast<double>(turning && row % 2 == 1 ? columns - 1 - column : column),
                 static_cast<double>(row)};
  }
  return places;
}

// Row length of a torus in row-major order: from 0, neighbours follow each other to the end of the first row.
std::size_t torus_columns(const Adjacency& adjacency) {
  std::size_t i = 0;
  while (i + 1 < adjacency.size() &&
         std::binary_search(adjacency[i].begin(), adjacency[i].end(), static_cast<PeerId>(i + 1)))
    ++i;
  return i + 1;
}

// Each bit moves the vertex along its own direction (an oblique projection of the cube).  Of some skews and
// lengths, those that keep the two nearest vertices farthest apart, measured against the whole.
std::vector<Position> cube(std::size_t n) {
  const int bits = std::countr_zero(n);
  std::vector<Position> best;
  double widest = -1;
  for (const double shrink : {0.0, 0.06, 0.12, 0.2, 0.3, 0.45})
    for (const double skew : {0.0, 0.05, 0.1, 0.16}) {
      std::vector<Position> places(n);
      for (std::size_t i = 0; i < n; ++i)
        for (int b = 0; b < bits; ++b) {
          if ((i >> b & 1) == 0) continue;
          const double angle = pi * (b + skew * b * b / bits) / bits, length = 1 / (1 + shrink * b);
          places[i].x += length * std::cos(angle);
          places[i].y -= length * std::sin(angle);
        }
      double apart = 1e300, whole = 0;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < i; ++j) {
          const double d = std::hypot(places[i].x - places[j].x, places[i].y - places[j].y);
          apart = std::min(apart, d);
          whole = std::max(whole, d);
        }
      if (apart / whole <= widest) continue;
      widest = apart / whole;
      best = std::move(places);
    }
  return best;
}

// Layers by distance from the root; leaves evenly spaced, parents above the middle of their children.
std::vector<Position> layers(const Adjacency& adjacency, PeerId root) {
  const std::size_t n = adjacency.size();
  std::vector<Position> places(n);
  double next_leaf = 0;
  struct Frame {
    PeerId peer, parent;
    double depth;
    std::size_t child;
    double first, last;
  };
  std::vector<Frame> stack{{root, root, 0, 0, 0, 0}};
  while (!stack.empty()) {
    Frame& f = stack.back();
    if (f.child < adjacency[f.peer].size()) {
      const PeerId child = adjacency[f.peer][f.child++];
      if (child != f.parent) stack.push_back({child, f.peer, f.depth + 1, 0, -1, -1});
      continue;
    }
    const bool leaf = adjacency[f.peer].size() == (f.peer == root ? 0u : 1u);
    const double x = leaf ? next_leaf++ : (f.first + f.last) / 2;
    places[f.peer] = {x, f.depth};
    stack.pop_back();
    if (stack.empty()) break;
    Frame& parent = stack.back();
    if (parent.first < 0 ||
        (parent.peer == root && places[parent.peer].y == 0 && parent.last == 0 && parent.first == 0))
      parent.first = x;
    parent.last = x;
  }
  return places;
}

// Fruchterman and Reingold 1991: edges pull, all pairs push, steps cool down.
std::vector<Position> springs(const Adjacency& adjacency) {
  const std::size_t n = adjacency.size();
  auto places = circle(n);
  Random random(0x64726177, Purpose::topology, n);
  for (auto& p : places) p.x += 0.4 * (random.uniform() - 0.5), p.y += 0.4 * (random.uniform() - 0.5);
  const double ideal = 2 / std::sqrt(static_cast<double>(n));
  const int steps = n <= 200 ? 300 : n <= 700 ? 80 : 25;
  std::vector<Position> force(n);
  for (int step = 0; step < steps; ++step) {
    const double heat = 0.15 * (1 - static_cast<double>(step) / steps) + 0.002;
    for (auto& f : force) f = {};
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = i + 1; j < n; ++j) {
        const double dx = places[i].x - places[j].x, dy = places[i].y - places[j].y;
        const double push = ideal * ideal / (dx * dx + dy * dy + 1e-6);
        force[i].x += dx * push, force[i].y += dy * push;
        force[j].x -= dx * push, force[j].y -= dy * push;
      }
    for (std::size_t i = 0; i < n; ++i) {
      for (const PeerId j : adjacency[i]) {
        const double dx = places[i].x - places[j].x, dy = places[i].y - places[j].y;
        const double pull = std::sqrt(dx * dx + dy * dy) / ideal;
        force[i].x -= dx * pull, force[i].y -= dy * pull;
      }
      // A little gravity keeps separate parts together.
      force[i].x -= 0.3 * places[i].x, force[i].y -= 0.3 * places[i].y;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double size = std::hypot(force[i].x, force[i].y);
      const double move = size > 0 ? std::min(size, heat) / size : 0;
      places[i].x += force[i].x * move, places[i].y += force[i].y * move;
    }
  }
  return places;
}

bool is_tree(const Adjacency& adjacency) {
  std::size_t ends = 0;
  for (const auto& list : adjacency) ends += list.size();
  if (ends != 2 * (adjacency.size() - 1)) return false;
  std::vector<char> seen(adjacency.size(), 0);
  std::vector<PeerId> stack{0};
  seen[0] = 1;
  std::size_t found = 1;
  while (!stack.empty()) {
    const PeerId at = stack.back();
    stack.pop_back();
    for (const PeerId next : adjacency[at])
      if (!seen[next]) seen[next] = 1, ++found, stack.push_back(next);
  }
  return found == adjacency.size();
}

// Into the unit square, centred, with one scale for both axes unless that would leave a flat ribbon.
void fit(std::vector<Position>* places) {
  double left = 1e300, right = -1e300, top = 1e300, bottom = -1e300;
  for (const auto& p : *places) {
    left = std::min(left, p.x), right = std::max(right, p.x);
    top = std::min(top, p.y), bottom = std::max(bottom, p.y);
  }
  double wide = right - left, high = bottom - top;
  const double most = std::max({wide, high, 1e-9});
  wide = std::max(wide, 0.6 * most), high = std::max(high, 0.6 * most);
  const bool flat_x = right - left < 0.6 * most && right > left,
             flat_y = bottom - top < 0.6 * most && bottom > top;
  const double sx = (flat_x ? 0.6 / (right - left) : 1 / most),
               sy = (flat_y ? 0.6 / (bottom - top) : 1 / most);
  for (auto& p : *places) p = {0.5 + (p.x - (left + right) / 2) * sx, 0.5 + (p.y - (top + bottom) / 2) * sy};
}

}  // namespace

bool lies_on_circle(std::string_view family) {
  constexpr std::string_view kCircles[] = {
      "ring", "circulant", "complete", "static-exponential", "one-peer-exponential", "small-world", "base"};
  return std::find(std::begin(kCircles), std::end(kCircles), family) != std::end(kCircles);
}

std::vector<Position> layout_peers(const Topology& topology) {
  const std::size_t n = topology.peer_count();
  const std::string_view name = topology.name();
  std::vector<Position> places;
  if (n <= 2 || lies_on_circle(name)) {
    places = circle(n);
  } else if (name == "star") {
    places = star(n);
  } else if (name == "path") {
    places =
        grid(n, n <= 6 ? n : static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(n)))), true);
  } else if ((name == "hypercube" || name == "one-peer-hypercube") && n <= 256) {
    places = cube(n);
  } else {
    const auto adjacency = union_of_rounds(topology);
    if (name == "torus") {
      places = grid(n, torus_columns(adjacency), false);
    } else if (is_tree(adjacency)) {
      places = layers(adjacency, 0);
    } else {
      places = springs(adjacency);
    }
  }
  fit(&places);
  return places;
}

}  // namespace gossamer
