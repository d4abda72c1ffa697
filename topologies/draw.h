// A picture of a topology, as SVG that stands alone or inside an HTML page.
//
// Peers lie where their family is at home: on a circle, a grid, in layers, as a projected cube; random graphs
// are laid out by simulated springs (seeded, so the same graph is the same picture).  A schedule is one small
// picture per round.  Colours follow the reader's light or dark setting.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "topologies/topology.h"

namespace gossamer {

struct DrawOptions {
  std::string title;                // empty: the topology's name and the number of peers
  std::vector<std::string> labels;  // of the peers; empty: their numbers
  std::size_t rounds_max = 12;      // of a schedule
  bool legend = true;
};

// Above this many peers, or twenty times as many edges in one round, the picture is a card that says how
// large the topology is: nobody could see more.
inline constexpr std::size_t kDrawnPeersMax = 2000;

std::string draw_svg(const Topology& topology, const DrawOptions& options = {});

// Where draw_svg() puts the peers, in the unit square.
struct Position {
  double x = 0;
  double y = 0;
};
std::vector<Position> layout_peers(const Topology& topology);
// Whether that is a circle, where chords bow towards the middle.
bool lies_on_circle(std::string_view family);

}  // namespace gossamer
