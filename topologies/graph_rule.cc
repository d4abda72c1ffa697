#include "topologies/graph_rule.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "topologies/spectrum.h"

namespace gossamer {

TopologyFacts GraphRule::facts(double edge_weight) const {
  TopologyFacts facts;
  if (regular()) facts.degree = max_degree();
  const auto ends = laplacian();
  if (!ends) return facts;
  facts.connected = ends->second > 0;
  facts.symmetric = facts.doubly_stochastic = true;
  const double second = 1 - edge_weight * ends->second;
  facts.lambda_min = 1 - edge_weight * ends->largest;
  facts.beta = facts.second_modulus = std::max(std::abs(second), std::abs(*facts.lambda_min));
  if (*facts.beta < 1e-14) {
    facts.beta = facts.second_modulus = 0;
    facts.exact_after = 1;
  }
  facts.source = "closed form (Laplacian eigenvalues of the family)";
  return facts;
}

Result<> check_stored(std::string_view what, std::size_t peers) {
  if (peers <= kStoredPeersMax) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{}: {} peers, where {} is the most of a graph whose edges are stored; number the peers from 0 without gaps, or take a "
                          "family with a rule, such as ring or one-peer-exponential",
                          what, peers, kStoredPeersMax));
}

AdjacencyRule::Rows AdjacencyRule::rows(std::size_t peers,
                                        const std::vector<std::pair<PeerId, PeerId>>& edges, bool backwards,
                                        bool both) {
  Rows rows;
  rows.start.assign(peers + 1, 0);
  for (const auto& [from, to] : edges) {
    ++rows.start[(backwards ? to : from) + 1];
    if (both) ++rows.start[to + 1];
  }
  for (std::size_t i = 0; i < peers; ++i) rows.start[i + 1] += rows.start[i];
  rows.peer.resize(rows.start[peers]);
  auto next = rows.start;
  for (const auto& [from, to] : edges) {
    if (backwards) {
      rows.peer[next[to]++] = from;
    } else {
      rows.peer[next[from]++] = to;
      if (both) rows.peer[next[to]++] = from;
    }
  }
  for (std::size_t i = 0; i < peers; ++i)
    std::sort(rows.peer.begin() + static_cast<std::ptrdiff_t>(rows.start[i]),
              rows.peer.begin() + static_cast<std::ptrdiff_t>(rows.start[i + 1]));
  return rows;
}

AdjacencyRule::AdjacencyRule(std::size_t peers, const std::vector<std::pair<PeerId, PeerId>>& edges,
                             bool directed)
    : peers_(peers), directed_(directed), out_(rows(peers, edges, false, !directed)) {
  if (directed) in_ = rows(peers, edges, true, false);
  for (std::size_t i = 0; i < peers; ++i) {
    max_degree_ = std::max(max_degree_, out_.start[i + 1] - out_.start[i]);
    if (directed) max_degree_ = std::max(max_degree_, in_.start[i + 1] - in_.start[i]);
  }
}

void AdjacencyRule::receivers(PeerId self, std::vector<PeerId>* peers) const {
  peers->assign(out_.peer.begin() + static_cast<std::ptrdiff_t>(out_.start[self]),
                out_.peer.begin() + static_cast<std::ptrdiff_t>(out_.start[self + 1]));
}

void AdjacencyRule::senders(PeerId self, std::vector<PeerId>* peers) const {
  if (!directed_) return receivers(self, peers);
  peers->assign(in_.peer.begin() + static_cast<std::ptrdiff_t>(in_.start[self]),
                in_.peer.begin() + static_cast<std::ptrdiff_t>(in_.start[self + 1]));
}

std::size_t AdjacencyRule::out_degree(PeerId self) const {
  return out_.start[self + 1] - out_.start[self];
}

bool AdjacencyRule::reaches_all(const Rows& rows) {
  const std::size_t peers = rows.start.size() - 1;
  if (peers == 0) return true;
  std::vector<char> seen(peers, 0);
  std::vector<PeerId> stack{0};
  seen[0] = 1;
  std::size_t found = 1;
  while (!stack.empty()) {
    const PeerId at = stack.back();
    stack.pop_back();
    for (std::size_t e = rows.start[at]; e < rows.start[at + 1]; ++e) {
      if (seen[rows.peer[e]]) continue;
      seen[rows.peer[e]] = 1;
      ++found;
      stack.push_back(rows.peer[e]);
    }
  }
  return found == peers;
}

bool AdjacencyRule::connected() const {
  return reaches_all(out_) && (!directed_ || reaches_all(in_));
}

namespace {

class WeightedGraph final : public Topology {
 public:
  WeightedGraph(std::string name, std::unique_ptr<GraphRule> graph, WeightRule rule, double constant)
      : name_(std::move(name)), graph_(std::move(graph)), rule_(rule), constant_(constant) {}

  std::string_view name() const override { return name_; }
  std::size_t peer_count() const override { return graph_->peer_count(); }
  std::size_t period() const override { return 1; }

  Neighbourhood at(Round, PeerId self) const override {
    GOSSAMER_CHECK(self < peer_count(), "a topology was asked for a peer that it does not have");
    std::vector<PeerId> peers;
    graph_->senders(self, &peers);
    Neighbourhood here;
    here.in.reserve(peers.size());
    const std::size_t own = graph_->out_degree(self);
    double taken = 0;
    for (const PeerId peer : peers) {
      const double w = weight(graph_->out_degree(peer), own);
      here.in.push_back({peer, w});
      taken += w;
    }
    here.self_weight = sender_decides() ? self_weight(own) : 1 - taken;
    if (!graph_->directed() && !sender_decides()) {
      here.out = here.in;
      return here;
    }
    graph_->receivers(self, &peers);
    here.out.reserve(peers.size());
    for (const PeerId peer : peers) here.out.push_back({peer, weight(own, graph_->out_degree(peer))});
    return here;
  }

  TopologyFacts facts() const override {
    double w = 0;
    switch (rule_) {
      case WeightRule::standard:
      case WeightRule::metropolis:
      case WeightRule::lazy:
        if (!(graph_->directed() ? graph_->regular() : graph_->edges_reach_max_degree())) return structure();
        w = 1.0 / static_cast<double>(1 + graph_->max_degree());
        if (rule_ == WeightRule::lazy) w /= 2;
        break;
      case WeightRule::uniform:
        if (!graph_->regular()) return structure();
        w = 1.0 / static_cast<double>(1 + graph_->max_degree());
        break;
      case WeightRule::max_degree:
      case WeightRule::best_constant:
      case WeightRule::given:
        w = constant_;
        break;
    }
    return graph_->facts(w);
  }

 private:
  // Uniform weights, and lazy ones on directed edges, depend on the sender alone.
  bool sender_decides() const {
    return rule_ == WeightRule::uniform ||
           (graph_->directed() && (rule_ == WeightRule::standard || rule_ == WeightRule::lazy));
  }
  double self_weight(std::size_t own) const {
    const double keep = 1.0 / static_cast<double>(1 + own);
    return rule_ == WeightRule::lazy ? (1 + keep) / 2 : keep;
  }
  double weight(std::size_t sender_degree, std::size_t receiver_degree) const {
    switch (rule_) {
      case WeightRule::max_degree:
      case WeightRule::best_constant:
      case WeightRule::given:
        return constant_;
      default:
        break;
    }
    const std::size_t degree = sender_decides() ? sender_degree : std::max(sender_degree, receiver_degree);
    const double w = 1.0 / static_cast<double>(1 + degree);
    return rule_ == WeightRule::lazy ? w / 2 : w;
  }
  TopologyFacts structure() const {
    TopologyFacts facts;
    if (graph_->regular()) facts.degree = graph_->max_degree();
    return facts;
  }

  std::string name_;
  std::unique_ptr<GraphRule> graph_;
  WeightRule rule_;
  double constant_;
};

}  // namespace

Result<std::unique_ptr<Topology>> weigh(std::string name, std::unique_ptr<GraphRule> graph, WeightRule rule) {
  const bool undirected_only =
      rule == WeightRule::metropolis || rule == WeightRule::max_degree || rule == WeightRule::best_constant;
  if (graph->directed() && undirected_only)
    return fail(
        Errc::invalid_argument,
        fmt::format("{} weights need edges without direction, and {} has directed ones; use weights: uniform "
                    "(for push-sum), or make the graph undirected",
                    gossamer::name(rule), name));
  if (rule == WeightRule::given)
    return fail(
        Errc::invalid_argument,
        fmt::format("explicit weights belong to listed edges, [from, to, weight]; {} is a family, so choose "
                    "metropolis, uniform, lazy, max-degree or best-constant",
                    name));
  double constant = 0;
  if (rule == WeightRule::max_degree) constant = 1.0 / static_cast<double>(1 + graph->max_degree());
  if (rule == WeightRule::best_constant && graph->peer_count() > 1) {
    auto ends = graph->laplacian();
    if (!ends) {
      GOSSAMER_TRY_ASSIGN(ends, laplacian_ends(*graph));
    }
    if (!(ends->second > 0))
      return fail(
          Errc::invalid_argument,
          fmt::format("best-constant weights need a connected graph, and {} is not; add edges or choose "
                      "another rule",
                      name));
    constant = 2 / (ends->second + ends->largest);
  }
  return std::make_unique<WeightedGraph>(std::move(name), std::move(graph), rule, constant);
}

Result<> needs_own_weights(std::string_view family, WeightRule rule, std::string_view why) {
  if (rule == WeightRule::standard) return {};
  return fail(Errc::invalid_argument, fmt::format("{} brings its own weights ({}); remove weights: {}",
                                                  family, why, gossamer::name(rule)));
}

}  // namespace gossamer
