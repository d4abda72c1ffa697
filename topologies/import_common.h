// What all importers share: numbering of peers, positions for messages, the final judgement.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "topologies/topology_spec.h"

namespace gossamer {

// "origin:line:column" of a byte offset into `text`; lines and columns count from 1.
std::string position(const std::string& origin, std::string_view text, std::size_t offset);

// Ids 0 .. n-1 in any order are the peers' numbers; any other ids name the peers in the order of the list.
// Returns the number for each id.
Result<std::vector<PeerId>> number_peers(const std::vector<std::string>& ids, std::vector<PeerSpec>* members);

// Checks the edges and makes the topology once; errors name the place of the edge, given by its offset.
// Weights are explicit when every edge has one.
Result<TopologySpec> finish_import(TopologySpec spec, const std::vector<std::size_t>& edge_offsets,
                                   std::string_view text, const std::string& origin);

}  // namespace gossamer
