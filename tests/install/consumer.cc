// A program of somebody else, built against the installed tree alone.

#include <cstdio>

#include "topologies/topology_spec.h"

int main() {
  const auto ring = gossamer::make_topology(gossamer::family_spec("ring", 8));
  if (!ring) return 1;
  for (gossamer::PeerId peer = 0; peer < 8; ++peer) {
    if ((*ring)->at(0, peer).in.size() != 2) return 2;
  }
  std::printf("ring of %zu: every peer has 2 neighbours\n", (*ring)->peer_count());
}
