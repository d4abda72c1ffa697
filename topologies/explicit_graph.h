// Graphs that list their edges.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "topologies/topology.h"
#include "topologies/topology_spec.h"

namespace gossamer {

// What is wrong with one edge of a list; files use the index to name the line.
struct EdgeProblem {
  std::size_t index = 0;
  std::string message;
};

// Ends out of range, repetition, self loops (which only directed explicit weights may have, as self weights),
// weights that are not positive numbers or missing.
std::optional<EdgeProblem> check_edges(const GraphSpec& graph, std::size_t peers, WeightRule weights);

// "[1, 2]" or "[1, 2, 0.25]".
std::string describe(const EdgeSpec& edge);

Result<std::unique_ptr<Topology>> make_explicit(std::string name, const GraphSpec& graph, std::size_t peers,
                                                WeightRule weights);

}  // namespace gossamer
