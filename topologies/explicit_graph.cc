#include "topologies/explicit_graph.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/check.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

constexpr double kRounding = 1e-9;  // how far the weights of a file may be from summing to 1

// Every peer's edges as they are, compressed.
class StoredGraph final : public Topology {
 public:
  StoredGraph(std::string name, std::vector<Neighbourhood> peers)
      : name_(std::move(name)), peers_(std::move(peers)) {}
  std::string_view name() const override { return name_; }
  std::size_t peer_count() const override { return peers_.size(); }
  std::size_t period() const override { return 1; }
  Neighbourhood at(Round, PeerId self) const override {
    GOSSAMER_CHECK(self < peers_.size(), "a topology was asked for a peer that it does not have");
    return peers_[self];
  }

 private:
  std::string name_;
  std::vector<Neighbourhood> peers_;
};

std::uint64_t key(const EdgeSpec& e, bool directed) {
  const PeerId a = directed ? e.from : std::min(e.from, e.to), b = directed ? e.to : std::max(e.from, e.to);
  return std::uint64_t{a} << 32 | b;
}

void set_weight(std::vector<Edge>* edges, PeerId peer, double weight) {
  const auto at = std::lower_bound(edges->begin(), edges->end(), peer,
                                   [](const Edge& e, PeerId p) { return e.peer < p; });
  at->weight = weight;
}

// Self weights that a file leaves out make rows sum to 1.
Result<std::unique_ptr<Topology>> make_weighted(std::string name, const GraphSpec& graph, std::size_t peers,
                                                std::unique_ptr<Topology> by_rule) {
  std::vector<Neighbourhood> nodes(peers);
  for (PeerId i = 0; i < peers; ++i) nodes[i] = by_rule->at(0, i);
  std::vector<char> self_given(peers, 0);
  for (const auto& e : graph.edges) {
    if (!e.weight) continue;
    if (e.from == e.to) {
      nodes[e.to].self_weight = *e.weight;
      self_given[e.to] = 1;
      continue;
    }
    set_weight(&nodes[e.to].in, e.from, *e.weight);
    set_weight(&nodes[e.from].out, e.to, *e.weight);
    if (graph.directed) continue;
    set_weight(&nodes[e.from].in, e.to, *e.weight);
    set_weight(&nodes[e.to].out, e.from, *e.weight);
  }
  double worst_row = 0, worst_column = 0;
  PeerId row_peer = 0, column_peer = 0;
  for (PeerId i = 0; i < peers; ++i) {
    double row = 0, column = 0;
    for (const auto& e : nodes[i].in) row += e.weight;
    for (const auto& e : nodes[i].out) column += e.weight;
    if (!self_given[i]) {
      nodes[i].self_weight = 1 - row;
      if (nodes[i].self_weight < -kRounding)
        return fail(
            Errc::invalid_argument,
            fmt::format(
                "{}: the weights of what peer {} receives sum to {:.6g}, more than 1, so that nothing is "
                "left for itself; lower them, or remove them for Metropolis weights",
                name, i, row));
      if (nodes[i].self_weight < kRounding) nodes[i].self_weight = std::max(0.0, nodes[i].self_weight);
    }
    row += nodes[i].self_weight;
    column += nodes[i].self_weight;
    if (std::abs(row - 1) > worst_row) worst_row = std::abs(row - 1), row_peer = i;
    if (std::abs(column - 1) > worst_column) worst_column = std::abs(column - 1), column_peer = i;
  }
  if (worst_row > kRounding && worst_column > kRounding)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "{}: the weights are not stochastic: the row of peer {} is off by {:.3g} and the column of "
            "peer {} by {:.3g}; rows (for averaging) or columns (for push-sum) must sum to 1, self "
            "weights [i, i, w] included",
            name, row_peer, worst_row, column_peer, worst_column));
  return std::make_unique<StoredGraph>(std::move(name), std::move(nodes));
}

}  // namespace

std::string describe(const EdgeSpec& e) {
  return e.weight ? fmt::format("[{}, {}, {}]", e.from, e.to, *e.weight)
                  : fmt::format("[{}, {}]", e.from, e.to);
}

std::optional<EdgeProblem> check_edges(const GraphSpec& graph, std::size_t peers, WeightRule weights) {
  std::unordered_map<std::uint64_t, std::size_t> seen;
  seen.reserve(graph.edges.size() * 2);
  for (std::size_t i = 0; i < graph.edges.size(); ++i) {
    const auto& e = graph.edges[i];
    for (const PeerId end : {e.from, e.to})
      if (end >= peers)
        return EdgeProblem{
            i, fmt::format("edge {} names peer {}, and peers are 0 to {}; raise peers or correct the edge",
                           describe(e), end, peers - 1)};
    if (e.from == e.to && !(graph.directed && weights == WeightRule::given))
      return EdgeProblem{
          i, fmt::format("edge {} joins a peer with itself; remove it (self weights follow from the rule; "
                         "only directed edges with weights: explicit may give them)",
                         describe(e))};
    if (const auto [at, fresh] = seen.emplace(key(e, graph.directed), i); !fresh)
      return EdgeProblem{i, fmt::format("edge {} repeats edge {} of the list, {}; remove one of them",
                                        describe(e), at->second + 1, describe(graph.edges[at->second]))};
    if (e.weight && !(std::isfinite(*e.weight) && *e.weight > 0))
      return EdgeProblem{
          i, fmt::format("edge {} has a weight that is not above 0; weights are shares of a model, "
                         "between 0 and 1",
                         describe(e))};
    if (!e.weight && weights == WeightRule::given)
      return EdgeProblem{
          i, fmt::format("edge {} has no weight, and weights are explicit; write [{}, {}, weight] or "
                         "choose weights: metropolis",
                         describe(e), e.from, e.to)};
    if (e.weight && weights != WeightRule::given && weights != WeightRule::standard &&
        weights != WeightRule::metropolis)
      return EdgeProblem{
          i, fmt::format("edge {} has a weight of its own, which {} weights leave no room for; remove it or "
                         "choose weights: explicit (or metropolis, for the edges without one)",
                         describe(e), name(weights))};
  }
  return std::nullopt;
}

Result<std::unique_ptr<Topology>> make_explicit(std::string name, const GraphSpec& graph, std::size_t peers,
                                                WeightRule weights) {
  GOSSAMER_TRY(check_stored(name, peers));
  if (const auto problem = check_edges(graph, peers, weights))
    return fail(Errc::invalid_argument, problem->message);
  std::vector<std::pair<PeerId, PeerId>> pairs;
  pairs.reserve(graph.edges.size());
  bool some = false;
  for (const auto& e : graph.edges) {
    if (e.from != e.to) pairs.emplace_back(e.from, e.to);
    some |= e.weight.has_value();
  }
  auto rule = std::make_unique<AdjacencyRule>(peers, pairs, graph.directed);
  const WeightRule underlying = weights == WeightRule::given ? WeightRule::standard : weights;
  GOSSAMER_TRY_ASSIGN(auto by_rule, weigh(name, std::move(rule), underlying));
  if (!some) return by_rule;
  return make_weighted(std::move(name), graph, peers, std::move(by_rule));
}

}  // namespace gossamer
