// What a topology file says, as plain data: who takes part, which graph (or schedule of graphs) joins them,
// how edges are weighed.  load_topology() reads one, make_topology() makes it a Topology, to_yaml() writes
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "topologies/topology.h"

namespace gossamer {

// How the entries of W follow from the graph.  d_i is the degree of peer i.
enum class WeightRule : std::uint8_t {
  standard,    // metropolis where edges have no direction, uniform where they have one
  metropolis,  // 1 / (1 + max(d_i, d_j)): symmetric and doubly stochastic; needs undirected edges
  uniform,     // each sender divides itself evenly among itself and its receivers: columns sum to 1
  max_degree,  // 1 / (1 + largest degree of the graph): symmetric, every edge alike; needs undirected edges
  lazy,        // (I + W) / 2 of the standard rule: no eigenvalue below 0
  best_constant,  // I - a L with the a that mixes fastest; self weights may be 0 or negative; undirected
  given,          // "explicit" in files: the third entry of every edge
};

std::string_view name(WeightRule rule);
std::optional<WeightRule> weight_rule(std::string_view name);

struct PeerSpec {
  std::string name;
  std::string host;
  std::uint16_t port = 0;
  friend bool operator==(const PeerSpec&, const PeerSpec&) = default;
};

struct EdgeSpec {
  PeerId from = 0;
  PeerId to = 0;
  std::optional<double> weight;  // W[to][from], and W[from][to] when undirected
  friend bool operator==(const EdgeSpec&, const EdgeSpec&) = default;
};

// Options of a family by key.  Every value is a list of numbers: a flag is {0} or {1}, a count or a
// probability one number, a shape or a list of hops several.  family.h says which keys a family knows.
using FamilyOptions = std::map<std::string, std::vector<double>, std::less<>>;

// One graph, or one family that is itself a schedule.
struct GraphSpec {
  std::string family;  // empty: `edges` are meant
  FamilyOptions options;
  std::vector<EdgeSpec> edges;
  bool directed = false;  // of `edges`
  std::size_t rounds =
      0;  // in a schedule: how many rounds it stays; 0 is its own period (1 for a static graph)
  friend bool operator==(const GraphSpec&, const GraphSpec&) = default;
};

struct TopologySpec {
  std::string name;  // for people; empty takes the family's
  std::size_t peers = 0;
  std::vector<PeerSpec> members;    // empty, or one per peer
  std::vector<GraphSpec> schedule;  // one after another, then from the start; one entry is the usual case
  WeightRule weights = WeightRule::standard;
  std::uint64_t seed = 1;  // of the random families; the same seed is the same graph everywhere
  friend bool operator==(const TopologySpec&, const TopologySpec&) = default;
};

// A spec of one family; options as in GraphSpec.
TopologySpec family_spec(std::string family, std::size_t peers, FamilyOptions options = {});

// Refuses what makes no sense (too few peers for the family, an edge to nobody, weights that are not
// stochastic, a random graph that does not come out connected) with cause and remedy.
Result<std::unique_ptr<Topology>> make_topology(const TopologySpec& spec);

// All peers that `self` ever sends to or hears from, ascending.  For a schedule without period these are all
// others.
std::vector<PeerId> potential_neighbours(const Topology& topology, PeerId self);

}  // namespace gossamer
