// Random families: d-regular, Erdos-Renyi, small world.
//
// A graph is a pure function of (seed, place in the schedule, peers, options).  A draw that is not connected
// is thrown away and the next one taken (attempt 0, 1, 2, ... of the same seed), kAttempts times; then the
// family is refused, since peers that never meet cannot agree.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/random.h"
#include "topologies/family_list.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kAttempts = 64;

using Pairs = std::vector<std::pair<PeerId, PeerId>>;

std::uint64_t key(PeerId a, PeerId b) {
  return std::uint64_t{std::min(a, b)} << 32 | std::max(a, b);
}

// Draws until connected.  `draw` may give up on one attempt by returning no edges.
template <class Draw>
Result<std::unique_ptr<Topology>> first_connected(const char* family, const FamilyRequest& r, Draw draw,
                                                  const std::string& remedy) {
  GOSSAMER_TRY(check_stored(family, r.peers));
  if (r.peers == 1) return weigh(family, std::make_unique<AdjacencyRule>(1, Pairs{}, false), r.weights);
  for (std::uint64_t attempt = 0; attempt < kAttempts; ++attempt) {
    Random random(r.seed, Purpose::topology, r.stream, attempt);
    const Pairs edges = draw(random);
    if (edges.size() + 1 < r.peers) continue;
    auto graph = std::make_unique<AdjacencyRule>(r.peers, edges, false);
    if (graph->connected()) return weigh(family, std::move(graph), r.weights);
  }
  return fail(Errc::invalid_argument,
              fmt::format("{}: none of {} draws from seed {} is connected with {} peers; {}", family,
                          kAttempts, r.seed, r.peers, remedy));
}

// Pairs stubs at random, then repairs self loops and repeated edges by swapping ends with edges drawn at
// random.
Pairs regular_graph(std::size_t n, std::size_t degree, Random& random) {
  std::vector<PeerId> stubs;
  stubs.reserve(n * degree);
  for (PeerId i = 0; i < n; ++i) stubs.insert(stubs.end(), degree, i);
  random.shuffle(stubs);
  const std::size_t count = stubs.size() / 2;
  const auto first = [&](std::size_t e) -> PeerId& { return stubs[2 * e]; };
  const auto second = [&](std::size_t e) -> PeerId& { return stubs[2 * e + 1]; };
  std::unordered_set<std::uint64_t> seen;
  seen.reserve(2 * count);
  std::vector<std::size_t> bad;
  std::vector<char> good(count, 0);
  for (std::size_t e = 0; e < count; ++e) {
    good[e] = first(e) != second(e) && seen.insert(key(first(e), second(e))).second;
    if (!good[e]) bad.push_back(e);
  }
  for (std::size_t tries = 200 * (bad.size() + 1); !bad.empty() && tries > 0; --tries) {
    const std::size_t e = bad.back(), other = random.below(count);
    if (other == e || !good[other]) continue;
    // (a,b) bad and (c,d) good become (a,d) and (c,b), if both are new.
    const PeerId a = first(e), b = second(e), c = first(other), d = second(other);
    if (a == d || c == b || key(a, d) == key(c, b) || seen.contains(key(a, d)) || seen.contains(key(c, b)))
      continue;
    seen.erase(key(c, d));
    seen.insert(key(a, d));
    seen.insert(key(c, b));
    std::swap(second(e), second(other));
    good[e] = 1;
    bad.pop_back();
  }
  Pairs edges;
  if (!bad.empty()) return edges;
  edges.reserve(count);
  for (std::size_t e = 0; e < count; ++e) edges.emplace_back(first(e), second(e));
  return edges;
}

Pairs complement(std::size_t n, const Pairs& edges) {
  std::unordered_set<std::uint64_t> taken;
  for (const auto& [a, b] : edges) taken.insert(key(a, b));
  Pairs rest;
  for (PeerId a = 0; a < n; ++a)
    for (PeerId b = a + 1; b < n; ++b)
      if (!taken.contains(key(a, b))) rest.emplace_back(a, b);
  return rest;
}

Result<std::unique_ptr<Topology>> make_regular(const FamilyRequest& r) {
  const auto degree = static_cast<std::size_t>(r.number("degree", r.peers % 2 == 0 ? 3 : 4));
  if (r.peers > 1 && degree >= r.peers)
    return fail(Errc::invalid_argument,
                fmt::format("random-regular: degree {} is too large for {} peers; at most {}", degree,
                            r.peers, r.peers - 1));
  if (r.peers * degree % 2 != 0 && r.peers > 1)
    return fail(
        Errc::invalid_argument,
        fmt::format("random-regular: {} peers of degree {} would need half an edge; make one of them even",
                    r.peers, degree));
  // Dense graphs are drawn as what is missing from the complete one, where repairs always find room.
  const std::size_t missing = r.peers - 1 - std::min(degree, r.peers - 1);
  return first_connected(
      "random-regular", r,
      [&](Random& random) {
        if (degree <= missing) return regular_graph(r.peers, degree, random);
        const auto gaps = regular_graph(r.peers, missing, random);
        return gaps.size() == r.peers * missing / 2 ? complement(r.peers, gaps) : Pairs{};
      },
      "raise degree (3 and more is almost always connected)");
}

Result<std::unique_ptr<Topology>> make_erdos_renyi(const FamilyRequest& r) {
  const auto n = static_cast<double>(r.peers);
  const double threshold = r.peers > 1 ? std::log(n) / n : 0;
  const double p = r.number("probability", std::min(1.0, 2 * threshold));
  return first_connected(
      "erdos-renyi", r,
      [&](Random& random) {
        // Geometric jumps over the pairs that are not drawn: work is proportional to the edges.
        Pairs edges;
        if (p >= 1) return complement(r.peers, edges);
        if (p <= 0) return edges;
        const double scale = 1 / std::log1p(-p);
        std::uint64_t row = 1, column = 0;  // pair (row, column), column < row
        double jump = std::floor(std::log(1 - random.uniform()) * scale);
        for (;;) {
          if (jump > 1e18) return edges;
          std::uint64_t left = static_cast<std::uint64_t>(jump);
          while (row < r.peers && left >= row - column) {
            left -= row - column;
            ++row;
            column = 0;
          }
          if (row >= r.peers) return edges;
          column += left;
          edges.emplace_back(static_cast<PeerId>(column), static_cast<PeerId>(row));
          jump = std::floor(std::log(1 - random.uniform()) * scale) + 1;
        }
      },
      fmt::format("raise probability (connected from about ln n / n = {:.3g} on)", threshold));
}

// Watts and Strogatz 1998: a ring where everybody knows the k nearest; each edge's far end moves with
// probability p.
Result<std::unique_ptr<Topology>> make_small_world(const FamilyRequest& r) {
  const auto k = static_cast<std::size_t>(r.number("nearest", r.peers > 4 ? 4 : 2));
  const double p = r.number("rewire", 0.3);
  if (k % 2 != 0)
    return fail(Errc::invalid_argument,
                fmt::format("small-world: nearest must be even (as many on each side), not {}", k));
  if (k >= r.peers && r.peers > 2)
    return fail(Errc::invalid_argument,
                fmt::format("small-world: nearest = {} is too large for {} peers; at most {}", k, r.peers,
                            (r.peers - 1) / 2 * 2));
  return first_connected(
      "small-world", r,
      [&](Random& random) {
        Pairs edges;
        std::unordered_set<std::uint64_t> seen;
        for (std::size_t hop = 1; hop <= k / 2; ++hop)
          for (std::size_t i = 0; i < r.peers; ++i) {
            const auto a = static_cast<PeerId>(i), b = static_cast<PeerId>((i + hop) % r.peers);
            if (a != b && seen.insert(key(a, b)).second) edges.emplace_back(a, b);
          }
        std::vector<std::size_t> degree(r.peers, 0);
        for (const auto& [a, b] : edges) ++degree[a], ++degree[b];
        for (auto& [a, b] : edges) {
          if (random.uniform() >= p || degree[a] + 1 >= r.peers) continue;
          PeerId to = a;
          while (to == a || seen.contains(key(a, to))) to = static_cast<PeerId>(random.below(r.peers));
          seen.erase(key(a, b));
          seen.insert(key(a, to));
          --degree[b];
          ++degree[to];
          b = to;
        }
        return edges;
      },
      "raise nearest or lower rewire");
}

class TreeRule final : public GraphRule {
 public:
  explicit TreeRule(std::size_t peers) : peers_(peers) {}
  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override {
    peers->clear();
    if (self > 0) peers->push_back((self - 1) / 2);
    for (std::size_t child = 2 * std::size_t{self} + 1; child <= 2 * std::size_t{self} + 2 && child < peers_;
         ++child)
      peers->push_back(static_cast<PeerId>(child));
  }
  std::size_t out_degree(PeerId self) const override {
    const std::size_t first = 2 * std::size_t{self} + 1;
    return (self > 0 ? 1 : 0) + (first < peers_ ? 1 : 0) + (first + 1 < peers_ ? 1 : 0);
  }
  // The root has two children; peer 1 is the first to have a parent and two.
  std::size_t max_degree() const override { return peers_ >= 5 ? 3 : std::min<std::size_t>(2, peers_ - 1); }
  bool edges_reach_max_degree() const override { return peers_ <= 4; }
  bool regular() const override { return peers_ <= 2; }

 private:
  std::size_t peers_;
};

Result<std::unique_ptr<Topology>> make_tree(const FamilyRequest& r) {
  return weigh("binary-tree", std::make_unique<TreeRule>(r.peers), r.weights);
}

constexpr auto kCount = FamilyOption::Kind::count;
constexpr auto kReal = FamilyOption::Kind::real;

}  // namespace

Family random_regular_family() {
  return {
      "random-regular",
      "a random graph in which everybody has the same degree; an expander",
      {{"degree", kCount, 1, 1e6, "neighbours of every peer (default: 3, or 4 for an odd number of peers)"}},
      make_regular};
}
Family erdos_renyi_family() {
  return {"erdos-renyi",
          "every pair is an edge with the same probability",
          {{"probability", kReal, 0, 1, "of an edge (default: 2 ln n / n)"}},
          make_erdos_renyi};
}
Family small_world_family() {
  return {"small-world",
          "a ring of near neighbours with some edges rewired at random",
          {{"nearest", kCount, 2, 1e6, "ring neighbours before rewiring, even (default: 4)"},
           {"rewire", kReal, 0, 1, "probability that an edge moves (default: 0.3)"}},
          make_small_world};
}
Family binary_tree_family() {
  return {"binary-tree",
          "peer i exchanges with its parent (i-1)/2 and its children; for relay-sgd",
          {},
          make_tree};
}

}  // namespace gossamer
