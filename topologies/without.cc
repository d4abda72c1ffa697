#include "topologies/without.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <tuple>
#include <unordered_set>

#include "base/check.h"

namespace gossamer {
namespace {

constexpr double kSame = 1e-12;     // sums of the same weights in another order
constexpr double kRounding = 1e-9;  // how far the weights of a file may be from summing to 1

struct Flow {
  PeerId from = 0;
  PeerId to = 0;
  double weight = 0;  // W[to][from]
};

// Absent peers that are joined through absent peers, and the living around them.  Every living peer around a
// gap gathers the same numbers in the same order, so that both ends of a new edge agree to the bit.
struct Gap {
  PeerId first = 0;             // its smallest member
  std::vector<Edge> senders;    // ascending, with what the gap took from each
  std::vector<Edge> receivers;  // ascending, with what the gap gave to each
  double taken = 0;
  double given = 0;
  bool columns = true;  // those of its members sum to 1

  bool balanced() const { return std::abs(taken - given) <= kSame * std::max(taken, given); }
  // What leaves a sender is kept as it was; else what reaches a receiver.  (Both, when balanced.)
  bool sender_decides() const { return columns || balanced(); }
};

bool before(const Edge& e, PeerId peer) {
  return e.peer < peer;
}

double weight_of(const std::vector<Edge>& edges, PeerId peer) {
  const auto at = std::lower_bound(edges.begin(), edges.end(), peer, before);
  return at == edges.end() || at->peer != peer ? 0 : at->weight;
}

double total(const std::vector<Edge>& edges) {
  return std::accumulate(edges.begin(), edges.end(), 0.0,
                         [](double sum, const Edge& e) { return sum + e.weight; });
}

// One edge per peer, ascending; weights of the same peer are added in the order in which they stand.
void merge(std::vector<Edge>* edges) {
  std::stable_sort(edges->begin(), edges->end(),
                   [](const Edge& a, const Edge& b) { return a.peer < b.peer; });
  std::size_t kept = 0;
  for (const Edge& e : *edges) {
    if (kept > 0 && (*edges)[kept - 1].peer == e.peer) {
      (*edges)[kept - 1].weight += e.weight;
    } else {
      (*edges)[kept++] = e;
    }
  }
  edges->resize(kept);
}

bool same_peers(const Gap& gap) {
  return std::equal(gap.senders.begin(), gap.senders.end(), gap.receivers.begin(), gap.receivers.end(),
                    [](const Edge& a, const Edge& b) { return a.peer == b.peer; });
}

bool symmetric(const Gap& gap) {
  return same_peers(gap) &&
         std::equal(gap.senders.begin(), gap.senders.end(), gap.receivers.begin(),
                    [](const Edge& a, const Edge& b) {
                      return std::abs(a.weight - b.weight) <= kSame * std::max(a.weight, b.weight);
                    });
}

// The edges of `self` in the chain of the peers around a gap.
std::vector<Flow> chain(const Gap& gap, PeerId self) {
  const auto& around = gap.senders;
  const auto here =
      static_cast<std::size_t>(std::lower_bound(around.begin(), around.end(), self, before) - around.begin());
  const auto offer = [](const std::vector<Edge>& edges, std::size_t k) {
    return edges[k].weight / (k == 0 || k + 1 == edges.size() ? 1 : 2);
  };
  const bool both = symmetric(gap);
  const auto weight = [&](std::size_t from, std::size_t to) {
    if (both) return std::min(offer(around, from), offer(around, to));
    return gap.sender_decides() ? offer(around, from) : offer(gap.receivers, to);
  };
  std::vector<Flow> flows;
  const auto join = [&](std::size_t other) {
    flows.push_back({self, around[other].peer, weight(here, other)});
    flows.push_back({around[other].peer, self, weight(other, here)});
  };
  if (here > 0) join(here - 1);
  if (here + 1 < around.size()) join(here + 1);
  return flows;
}

// The north-west corner rule, its parts tied together.
std::vector<Flow> transport(const Gap& gap) {
  std::vector<Flow> flows;
  std::vector<std::size_t> cuts;  // flows that use up both ends: with the next one a new part begins
  const double nothing = kSame * gap.taken;
  auto from = gap.senders.begin();
  auto to = gap.receivers.begin();
  double left = from->weight, room = to->weight;
  for (;;) {
    const double weight = std::min(left, room);
    flows.push_back({from->peer, to->peer, weight});
    left -= weight;
    room -= weight;
    const bool emptied = left <= nothing, filled = room <= nothing;
    if (emptied && ++from == gap.senders.end()) break;
    if (filled && ++to == gap.receivers.end()) break;
    if (emptied && filled) cuts.push_back(flows.size() - 1);
    if (emptied) left = from->weight;
    if (filled) room = to->weight;
  }
  // A third, since a flow between two cuts gives to both.
  std::vector<Flow> crossing;
  std::vector<double> gone(flows.size(), 0);
  for (const std::size_t cut : cuts) {
    const Flow &a = flows[cut], &b = flows[cut + 1];
    if (a.to == b.from || a.from == b.to) continue;  // in touch as it is
    const double weight = std::min(a.weight, b.weight) / 3;
    crossing.push_back({a.from, b.to, weight});
    crossing.push_back({b.from, a.to, weight});
    gone[cut] += weight;
    gone[cut + 1] += weight;
  }
  for (std::size_t f = 0; f < flows.size(); ++f) flows[f].weight -= gone[f];
  flows.insert(flows.end(), crossing.begin(), crossing.end());
  return flows;
}

// Every sender to every receiver; only the edges of `self`.
std::vector<Flow> share_out(const Gap& gap, PeerId self) {
  std::vector<Flow> flows;
  const double all = gap.sender_decides() ? gap.given : gap.taken;
  const double sends = weight_of(gap.senders, self), receives = weight_of(gap.receivers, self);
  if (sends > 0)
    for (const Edge& to : gap.receivers) flows.push_back({self, to.peer, sends * to.weight / all});
  if (receives > 0)
    for (const Edge& from : gap.senders)
      if (from.peer != self) flows.push_back({from.peer, self, from.weight * receives / all});
  return flows;
}

// "ring of 8 without 2 and 5".
std::string describe(const Topology& base, const std::vector<bool>& absent) {
  constexpr std::size_t kMostNamed = 4;
  const auto count = static_cast<std::size_t>(std::count(absent.begin(), absent.end(), true));
  if (count == 0) return std::string(base.name());
  std::string who;
  if (count > kMostNamed) {
    who = fmt::format("{} peers", count);
  } else {
    for (std::size_t r = 0, named = 0; r < absent.size(); ++r)
      if (absent[r]) {
        who += fmt::format("{}{}", named == 0 ? "" : named + 1 == count ? " and " : ", ", r);
        ++named;
      }
  }
  return fmt::format("{} of {} without {}", base.name(), absent.size(), who);
}

class Without final : public Topology {
 public:
  Without(const Topology& base, std::vector<bool> absent)
      : base_(base), absent_(std::move(absent)), name_(describe(base, absent_)), facts_(base.facts()) {
    if (std::find(absent_.begin(), absent_.end(), true) == absent_.end()) return;
    // What does not hold of the whole may hold of what is left.
    const auto certain = [](std::optional<bool> fact) { return fact == true ? fact : std::nullopt; };
    TopologyFacts left;
    left.symmetric = certain(facts_.symmetric);
    left.doubly_stochastic = certain(facts_.doubly_stochastic);
    facts_ = left;
  }

  std::string_view name() const override { return name_; }
  std::size_t peer_count() const override { return absent_.size(); }
  std::size_t period() const override { return base_.period(); }
  TopologyFacts facts() const override { return facts_; }

  Neighbourhood at(Round round, PeerId self) const override {
    GOSSAMER_CHECK(self < absent_.size(), "a topology was asked for a peer that it does not have");
    if (absent_[self]) return {};
    Neighbourhood here = base_.at(round, self);
    const auto gaps = gaps_beside(round, here);
    if (gaps.empty()) return here;
    const auto is_absent = [this](const Edge& e) { return static_cast<bool>(absent_[e.peer]); };
    std::erase_if(here.in, is_absent);
    std::erase_if(here.out, is_absent);
    for (const Gap& gap : gaps) bridge(gap, self, &here);
    merge(&here.in);
    merge(&here.out);
    if (here.in.empty() && here.out.empty()) here.self_weight = 1;  // not nearly 1
    return here;
  }

 private:
  // Ascending by their first members: the two ends of an edge add its parts in the same order.
  std::vector<Gap> gaps_beside(Round round, const Neighbourhood& here) const {
    std::vector<Gap> gaps;
    std::unordered_set<PeerId> seen;
    for (const auto* edges : {&here.in, &here.out})
      for (const Edge& e : *edges)
        if (absent_[e.peer] && seen.insert(e.peer).second) gaps.push_back(gap_of(round, e.peer, &seen));
    std::sort(gaps.begin(), gaps.end(), [](const Gap& a, const Gap& b) { return a.first < b.first; });
    return gaps;
  }

  Gap gap_of(Round round, PeerId member, std::unordered_set<PeerId>* seen) const {
    using Shared = std::tuple<PeerId, PeerId, double>;  // living, absent: the sums do not depend on the walk
    std::vector<Shared> taken, given;
    std::vector<PeerId> to_visit{member};
    Gap gap;
    gap.first = member;
    while (!to_visit.empty()) {
      const PeerId visited = to_visit.back();
      to_visit.pop_back();
      gap.first = std::min(gap.first, visited);
      const Neighbourhood there = base_.at(round, visited);
      if (std::abs(there.self_weight + total(there.out) - 1) > kRounding) gap.columns = false;
      for (const auto* edges : {&there.in, &there.out})
        for (const Edge& e : *edges) {
          if (!absent_[e.peer]) {
            (edges == &there.in ? taken : given).emplace_back(e.peer, visited, e.weight);
          } else if (seen->insert(e.peer).second) {
            to_visit.push_back(e.peer);
          }
        }
    }
    const auto per_peer = [](std::vector<Shared>* shared) {
      std::sort(shared->begin(), shared->end());
      std::vector<Edge> edges;
      edges.reserve(shared->size());
      for (const auto& [living, through, weight] : *shared) edges.push_back({living, weight});
      merge(&edges);
      return edges;
    };
    gap.senders = per_peer(&taken);
    gap.receivers = per_peer(&given);
    gap.taken = total(gap.senders);
    gap.given = total(gap.receivers);
    return gap;
  }

  std::vector<Flow> flows_of(const Gap& gap, PeerId self) const {
    if (gap.senders.empty() || gap.receivers.empty()) return {};
    if (symmetric(gap) || (same_peers(gap) && !gap.balanced())) return chain(gap, self);
    if (gap.balanced() && facts_.doubly_stochastic == true) return transport(gap);
    return share_out(gap, self);
  }

  // Adds what `self` hands on and is handed across the gap; it keeps the rest.
  void bridge(const Gap& gap, PeerId self, Neighbourhood* here) const {
    double sent = 0, received = 0;
    for (const Flow& flow : flows_of(gap, self)) {
      if (flow.from == flow.to) continue;
      if (flow.from == self) {
        here->out.push_back({flow.to, flow.weight});
        sent += flow.weight;
      } else if (flow.to == self) {
        here->in.push_back({flow.from, flow.weight});
        received += flow.weight;
      }
    }
    const double kept = gap.sender_decides() ? weight_of(gap.senders, self) - sent
                                             : weight_of(gap.receivers, self) - received;
    here->self_weight += std::max(kept, 0.0);
  }

  const Topology& base_;
  std::vector<bool> absent_;
  std::string name_;
  TopologyFacts facts_;
};

}  // namespace

std::unique_ptr<Topology> without(const Topology& base, std::vector<bool> absent) {
  GOSSAMER_CHECK(absent.size() == base.peer_count(), "who is absent must be said of every peer");
  return std::make_unique<Without>(base, std::move(absent));
}

}  // namespace gossamer
