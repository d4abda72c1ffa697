// A static graph without weights, and the weights that a rule puts on it.
//
// Families with regular structure answer from arithmetic and hold no table; random and explicit graphs hold
// their adjacency.  WeightedGraph makes either one a Topology.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "topologies/topology.h"
#include "topologies/topology_spec.h"

namespace gossamer {

// The second smallest and the largest eigenvalue of the graph Laplacian L = D - A.
struct LaplacianEnds {
  double second = 0;
  double largest = 0;
};

// Immutable; lists are ascending, without the peer itself and without repetition.
class GraphRule {
 public:
  virtual ~GraphRule() = default;
  virtual std::size_t peer_count() const = 0;
  virtual void senders(PeerId self, std::vector<PeerId>* peers) const = 0;
  virtual void receivers(PeerId self, std::vector<PeerId>* peers) const { senders(self, peers); }
  virtual std::size_t out_degree(PeerId self) const = 0;
  virtual std::size_t max_degree() const = 0;
  virtual bool directed() const { return false; }
  // Whether every edge has an end of the largest degree: Metropolis then weighs all edges alike.
  virtual bool edges_reach_max_degree() const { return false; }
  virtual bool regular() const { return false; }
  // Undirected graphs with a closed form.
  virtual std::optional<LaplacianEnds> laplacian() const { return std::nullopt; }
  // Everything else that is known of the graph with weight `w` on every edge.
  virtual TopologyFacts facts(double edge_weight) const;
};

// A graph that is stored takes memory for each peer; families with a rule take none.  Refuses more peers than this.
inline constexpr std::size_t kStoredPeersMax = std::size_t{1} << 24;
Result<> check_stored(std::string_view what, std::size_t peers);

// A stored graph (compressed sparse rows).
class AdjacencyRule final : public GraphRule {
 public:
  // REQUIRES: check_stored(), ends < peers, no repetition, no self loops.  Undirected edges are given once.
  AdjacencyRule(std::size_t peers, const std::vector<std::pair<PeerId, PeerId>>& edges, bool directed);

  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override;
  void receivers(PeerId self, std::vector<PeerId>* peers) const override;
  std::size_t out_degree(PeerId self) const override;
  std::size_t max_degree() const override { return max_degree_; }
  bool directed() const override { return directed_; }
  // Every peer reaches every other along edges (backwards too, when undirected).
  bool connected() const;

 private:
  struct Rows {
    std::vector<std::size_t> start;
    std::vector<PeerId> peer;
  };
  static Rows rows(std::size_t peers, const std::vector<std::pair<PeerId, PeerId>>& edges, bool backwards,
                   bool both);
  static bool reaches_all(const Rows& rows);

  std::size_t peers_;
  bool directed_;
  std::size_t max_degree_ = 0;
  Rows out_, in_;  // in_ stays empty when undirected
};

// `rule` must be possible on this graph (metropolis, max_degree and best_constant need undirected edges).
Result<std::unique_ptr<Topology>> weigh(std::string name, std::unique_ptr<GraphRule> graph, WeightRule rule);

// The same for a family whose weights belong to it: only the standard rule is accepted.
Result<> needs_own_weights(std::string_view family, WeightRule rule, std::string_view why);

}  // namespace gossamer
