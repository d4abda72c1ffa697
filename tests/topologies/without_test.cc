// What is left of every family when peers are absent.
#include "topologies/without.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/random.h"
#include "tests/topologies/all_families.h"
#include "tests/topologies/counting.h"

namespace gossamer {
namespace {

// W of one round: (receiver, sender) to weight, self weights included.
using Matrix = std::map<std::pair<PeerId, PeerId>, double>;

// Fails where a list is out of order, or the two ends of an edge do not say the same to the bit.
Matrix matrix(const Topology& t, Round round) {
  Matrix received, sent;
  for (PeerId i = 0; i < t.peer_count(); ++i) {
    const auto here = t.at(round, i);
    received[{i, i}] = sent[{i, i}] = here.self_weight;
    for (const auto* list : {&here.in, &here.out})
      for (std::size_t e = 0; e < list->size(); ++e) {
        EXPECT_NE((*list)[e].peer, i) << "a peer is its own neighbour";
        EXPECT_GT((*list)[e].weight, 0);
        if (e > 0) {
          EXPECT_LT((*list)[e - 1].peer, (*list)[e].peer) << "not ascending";
        }
      }
    for (const auto& e : here.in) received[{i, e.peer}] = e.weight;
    for (const auto& e : here.out) sent[{e.peer, i}] = e.weight;
  }
  EXPECT_EQ(received, sent) << "round " << round;
  return received;
}

struct Shape {
  double row = 0, column = 0;  // farthest from a sum of 1
  bool symmetric = true;
};

Shape shape(const Matrix& w, std::size_t peers) {
  std::vector<double> rows(peers, -1), columns(peers, -1);
  Shape shape;
  for (const auto& [at, weight] : w) {
    rows[at.first] += weight;
    columns[at.second] += weight;
    const auto mirror = w.find({at.second, at.first});
    if (mirror == w.end() || mirror->second != weight) shape.symmetric = false;
  }
  for (const double r : rows) shape.row = std::max(shape.row, std::abs(r));
  for (const double c : columns) shape.column = std::max(shape.column, std::abs(c));
  return shape;
}

// Whether the first living peer reaches all living ones, forwards and backwards, over the union of rounds.
bool in_touch(const std::set<std::pair<PeerId, PeerId>>& edges, const std::vector<bool>& absent) {
  const auto first = static_cast<PeerId>(std::find(absent.begin(), absent.end(), false) - absent.begin());
  const auto living = static_cast<std::size_t>(std::count(absent.begin(), absent.end(), false));
  for (const bool forwards : {true, false}) {
    std::vector<std::vector<PeerId>> next(absent.size());
    for (const auto& e : edges) next[forwards ? e.second : e.first].push_back(forwards ? e.first : e.second);
    std::set<PeerId> met{first};
    std::vector<PeerId> to_visit{first};
    while (!to_visit.empty()) {
      const PeerId i = to_visit.back();
      to_visit.pop_back();
      for (const PeerId j : next[i])
        if (met.insert(j).second) to_visit.push_back(j);
    }
    if (met.size() != living) return false;
  }
  return true;
}

struct Left {
  std::size_t edges = 0;  // of all rounds, each direction one
  std::size_t base_edges = 0;
  bool connected = false;  // over the period
  bool base_connected = false;
};

// Everything that holds of any base and any absent peers.
Left check(const Topology& base, const std::vector<bool>& absent) {
  const auto t = without(base, absent);
  const std::size_t n = base.peer_count();
  EXPECT_EQ(t->peer_count(), n);
  EXPECT_EQ(t->period(), base.period());
  Left left;
  std::set<std::pair<PeerId, PeerId>> met, base_met;
  std::vector<std::set<PeerId>> neighbours(n);
  const auto facts = t->facts();
  for (Round r = 0; r < base.period(); ++r) {
    const Matrix before = matrix(base, r), after = matrix(*t, r);
    for (const auto& [at, weight] : before)
      if (at.first != at.second) base_met.insert(at), ++left.base_edges;
    for (const auto& [at, weight] : after) {
      if (at.first == at.second) continue;
      EXPECT_FALSE(absent[at.first] || absent[at.second]) << at.second << " to " << at.first;
      const auto old = before.find(at);
      if (old != before.end()) {
        EXPECT_GE(weight, old->second) << "an edge between living peers lost weight";
      }
      neighbours[at.first].insert(at.second);
      neighbours[at.second].insert(at.first);
      met.insert(at);
      ++left.edges;
    }
    for (const auto& [at, weight] : before)
      if (!absent[at.first] && !absent[at.second]) {
        EXPECT_TRUE(after.contains(at)) << "an edge between living peers is gone";
      }
    for (PeerId i = 0; i < n; ++i) {
      const auto here = t->at(r, i);
      EXPECT_EQ(here, t->at(r + base.period(), i));
      if (absent[i]) {
        EXPECT_EQ(here, Neighbourhood{});
        continue;
      }
      EXPECT_GE(here.self_weight, base.at(r, i).self_weight);
      if (here.in.empty() && here.out.empty()) {
        EXPECT_EQ(here.self_weight, 1);
      }
    }
    const Shape was = shape(before, n), is = shape(after, n);
    if (was.symmetric) {
      EXPECT_TRUE(is.symmetric);
    }
    if (was.row <= 1e-12) {
      EXPECT_LE(is.row, 1e-12);
    }
    if (was.column <= 1e-12) {
      EXPECT_LE(is.column, 1e-12);
    }
    if (facts.symmetric) {
      EXPECT_EQ(*facts.symmetric, is.symmetric);
    }
    if (facts.doubly_stochastic) {
      EXPECT_EQ(*facts.doubly_stochastic, is.row <= 1e-12 && is.column <= 1e-12);
    }
  }
  for (PeerId i = 0; i < n; ++i) {
    EXPECT_EQ(potential_neighbours(*t, i), std::vector<PeerId>(neighbours[i].begin(), neighbours[i].end()));
  }
  left.connected = in_touch(met, absent);
  left.base_connected = in_touch(base_met, std::vector<bool>(n, false));
  return left;
}

std::vector<bool> absent_of(std::size_t n, std::initializer_list<PeerId> ranks) {
  std::vector<bool> absent(n, false);
  for (const PeerId r : ranks) absent[r] = true;
  return absent;
}

// `count` of them at random.
std::vector<bool> some_absent(std::size_t n, std::size_t count, Random* random) {
  std::vector<bool> absent(n, false);
  while (count > 0) {
    const auto r = random->below(n);
    if (absent[r]) continue;
    absent[r] = true;
    --count;
  }
  return absent;
}

// One, a third, two thirds, all but two, all but one at random; three in a row; the first.
std::vector<std::vector<bool>> cases(std::size_t n, std::uint64_t stream) {
  Random random(1, Purpose::test, n, stream);
  std::vector<std::vector<bool>> all;
  for (const std::size_t count : {std::size_t{1}, n / 3, 2 * n / 3, n - 2, n - 1})
    if (count > 0 && count < n) all.push_back(some_absent(n, count, &random));
  if (n > 3) {
    const auto first = static_cast<PeerId>(random.below(n));
    const auto rank = [n](PeerId r) { return static_cast<PeerId>(r % n); };
    all.push_back(absent_of(n, {first, rank(first + 1), rank(first + 2)}));
  }
  all.push_back(absent_of(n, {0}));
  return all;
}

std::string ranks(const std::vector<bool>& absent) {
  std::string text = "without";
  for (std::size_t r = 0; r < absent.size(); ++r)
    if (absent[r]) text += " " + std::to_string(r);
  return text;
}

class Without : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Without, AnybodyAbsentIsTheBaseBitForBitWhenNobodyIs) {
  for (const auto& [what, spec] : all_families(GetParam())) {
    SCOPED_TRACE(what);
    const auto base = make_topology(spec);
    ASSERT_TRUE(base) << base.error().message;
    const auto t = without(**base, std::vector<bool>(GetParam(), false));
    EXPECT_EQ(t->name(), (*base)->name());
    EXPECT_EQ(t->facts().beta, (*base)->facts().beta);
    for (Round r = 0; r < (*base)->period() + 2; ++r)
      for (PeerId i = 0; i < GetParam(); ++i) ASSERT_EQ(t->at(r, i), (*base)->at(r, i));
  }
}

TEST_P(Without, AbsentPeersMatricesStayStochasticAndStaticGraphsConnected) {
  std::uint64_t stream = 0;
  auto samples = all_families(GetParam());
  if (GetParam() > 4) {
    const double far = static_cast<double>(GetParam() / 2);
    samples.push_back({"circulant directed",
                       family_spec("circulant", GetParam(), {{"hops", {1, far}}, {"directed", {1}}})});
    samples.push_back({"circulant directed 2 3",
                       family_spec("circulant", GetParam(), {{"hops", {2, 3}}, {"directed", {1}}})});
  }
  for (const auto& [what, spec] : samples) {
    const auto base = make_topology(spec);
    ASSERT_TRUE(base) << base.error().message;
    for (const auto& absent : cases(GetParam(), ++stream)) {
      SCOPED_TRACE(what + " " + ranks(absent));
      const Left left = check(**base, absent);
      if ((*base)->period() == 1) {
        EXPECT_TRUE(left.connected || !left.base_connected);
      }
      // Repair must not cost what it saves: a gap has fewer than two edges for one that it had.
      EXPECT_LE(left.edges, 2 * left.base_edges);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Without, ::testing::Values(2, 3, 4, 5, 8, 9, 12, 16, 23));

// The same graph under the ranks of `living` peers, ascending.
void expect_equal_up_to_ranks(const Topology& left, const std::vector<bool>& absent, const Topology& small) {
  std::vector<PeerId> living;
  for (PeerId r = 0; r < absent.size(); ++r)
    if (!absent[r]) living.push_back(r);
  ASSERT_EQ(living.size(), small.peer_count());
  for (PeerId i = 0; i < living.size(); ++i) {
    auto expected = small.at(0, i);
    for (auto* list : {&expected.in, &expected.out})
      for (auto& e : *list) e.peer = living[e.peer];
    EXPECT_EQ(left.at(0, living[i]), expected) << "rank " << living[i];
  }
}

TEST(ARing, StaysARingWithItsWeights) {
  for (const bool directed : {false, true}) {
    const FamilyOptions options{{"directed", {directed ? 1.0 : 0.0}}};
    const auto base = make_topology(family_spec("ring", 12, options));
    ASSERT_TRUE(base);
    for (const auto& absent : {absent_of(12, {2}), absent_of(12, {0, 11}), absent_of(12, {3, 4, 5}),
                               absent_of(12, {1, 4, 5, 9}), absent_of(12, {0, 1, 2, 4, 5, 6, 8, 9, 10})}) {
      SCOPED_TRACE(ranks(absent));
      const auto living = static_cast<std::size_t>(std::count(absent.begin(), absent.end(), false));
      const auto small = make_topology(family_spec("ring", living, options));
      ASSERT_TRUE(small);
      expect_equal_up_to_ranks(*without(**base, absent), absent, **small);
    }
  }
}

TEST(ARing, OfWhichTwoAreLeftJoinsThemOverBothSides) {
  const auto base = make_topology(family_spec("ring", 6));
  ASSERT_TRUE(base);
  const auto t = without(**base, absent_of(6, {0, 2, 3, 5}));
  const double third = 1.0 / 3;
  EXPECT_EQ(t->at(0, 1).in, (std::vector<Edge>{{4, third + third}}));
  EXPECT_EQ(t->at(0, 4).in, (std::vector<Edge>{{1, third + third}}));
  const auto last = without(**base, absent_of(6, {0, 1, 2, 3, 5}));
  EXPECT_EQ(last->at(0, 4), Neighbourhood{});
}

TEST(ATree, StaysATree) {
  for (const char* family : {"binary-tree", "path", "star"})
    for (const std::size_t n : {2, 3, 7, 15, 20}) {
      const auto base = make_topology(family_spec(family, n));
      ASSERT_TRUE(base);
      for (std::uint64_t stream = 0; stream < 4; ++stream)
        for (const auto& absent : cases(n, stream)) {
          SCOPED_TRACE(std::string(family) + " " + ranks(absent));
          const Left left = check(**base, absent);
          const auto living = static_cast<std::size_t>(std::count(absent.begin(), absent.end(), false));
          EXPECT_TRUE(left.connected);
          EXPECT_EQ(left.edges, 2 * (living - 1));
        }
    }
}

TEST(AStar, ThatLostItsHubBecomesAPath) {
  const auto base = make_topology(family_spec("star", 6));
  ASSERT_TRUE(base);
  const auto t = without(**base, absent_of(6, {0}));
  const double half = 1.0 / 6 / 2;  // an inner peer splits what it gave to the hub
  EXPECT_EQ(t->at(0, 1).in, (std::vector<Edge>{{2, half}}));
  EXPECT_EQ(t->at(0, 3).in, (std::vector<Edge>{{2, half}, {4, half}}));
  EXPECT_EQ(t->at(0, 5).in, (std::vector<Edge>{{4, half}}));
  EXPECT_NEAR(t->at(0, 3).self_weight, 5.0 / 6, 1e-15);
  EXPECT_NEAR(t->at(0, 5).self_weight, 1 - half, 1e-15);
}

TEST(OnePeerExponential, PassesOnWhatWentThroughTheAbsent) {
  const auto base = make_topology(family_spec("one-peer-exponential", 8));
  ASSERT_TRUE(base);
  const auto t = without(**base, absent_of(8, {3, 4}));
  EXPECT_EQ(t->at(0, 2), (Neighbourhood{0.5, {{1, 0.5}}, {{5, 0.5}}}));  // 2 -> 3 -> 4 -> 5
  EXPECT_EQ(t->at(0, 5), (Neighbourhood{0.5, {{2, 0.5}}, {{6, 0.5}}}));
  EXPECT_EQ(t->at(1, 1), (Neighbourhood{0.5, {{7, 0.5}}, {{5, 0.5}}}));  // 1 -> 3 -> 5
  EXPECT_EQ(t->at(2, 7), Neighbourhood{});                               // 7 -> 3 -> 7
  EXPECT_EQ(t->at(2, 1), (Neighbourhood{0.5, {{5, 0.5}}, {{5, 0.5}}}));
}

TEST(OnePeerHypercube, HoldsTogetherWithoutAnyThreeOfSixteen) {
  const auto base = make_topology(family_spec("one-peer-hypercube", 16));
  ASSERT_TRUE(base);
  for (PeerId a = 0; a < 16; ++a)
    for (PeerId b = a + 1; b < 16; ++b)
      for (PeerId c = b + 1; c < 16; ++c) {
        const auto absent = absent_of(16, {a, b, c});
        EXPECT_TRUE(check(**base, absent).connected) << ranks(absent);
      }
  // Without all its partners a peer is alone.
  const auto alone = without(**base, absent_of(16, {1, 2, 4, 8}));
  EXPECT_TRUE(potential_neighbours(*alone, 0).empty());
}

// Of random directed graphs only the columns, or only the rows, sum to 1.
TEST(DirectedGraphs, KeepTheSumsThatTheyHaveAndStayStronglyConnected) {
  for (const bool columns : {true, false})
    for (std::uint64_t stream = 0; stream < 40; ++stream) {
      Random random(2, Purpose::test, columns, stream);
      const std::size_t n = 4 + random.below(9);
      std::set<std::pair<PeerId, PeerId>> edges;  // (from, to)
      for (PeerId i = 0; i < n; ++i) edges.insert({i, static_cast<PeerId>((i + 1) % n)});
      for (std::size_t chords = random.below(2 * n); chords > 0; --chords) {
        const auto from = static_cast<PeerId>(random.below(n)), to = static_cast<PeerId>(random.below(n));
        if (from != to) edges.insert({from, to});
      }
      TopologySpec spec;
      spec.peers = n;
      spec.weights = WeightRule::given;
      spec.schedule.push_back({.directed = true});
      std::vector<double> degree(n, 1);
      for (const auto& e : edges) ++degree[columns ? e.first : e.second];
      for (const auto& e : edges)
        spec.schedule[0].edges.push_back({e.first, e.second, 1 / degree[columns ? e.first : e.second]});
      for (PeerId i = 0; i < n; ++i) spec.schedule[0].edges.push_back({i, i, 1 / degree[i]});
      const auto base = make_topology(spec);
      ASSERT_TRUE(base) << base.error().message;
      for (const auto& absent : cases(n, stream)) {
        SCOPED_TRACE(std::to_string(stream) + (columns ? " columns " : " rows ") + ranks(absent));
        const Left left = check(**base, absent);
        ASSERT_TRUE(left.base_connected);
        EXPECT_TRUE(left.connected);
      }
    }
}

TEST(APeer, AsksForItselfAndForTheGapsBesideItOnly) {
  constexpr std::size_t kMany = 1'000'000;
  auto made = make_topology(family_spec("ring", kMany));
  ASSERT_TRUE(made);
  const Counting base(std::move(*made));
  std::vector<bool> absent(kMany, false);
  for (PeerId r = 500; r < 510; ++r) absent[r] = true;
  for (PeerId r = 1000; r < kMany; r += 2) absent[r] = true;
  const auto t = without(base, absent);
  base.asked = 0;
  const auto here = t->at(0, 510);
  EXPECT_EQ(here.in, ((std::vector<Edge>{{499, 1.0 / 3}, {511, 1.0 / 3}})));
  EXPECT_EQ(base.asked, 11u);
}

TEST(WhoIsAbsent, IsPartOfTheName) {
  const auto base = make_topology(family_spec("ring", 8));
  ASSERT_TRUE(base);
  EXPECT_EQ(without(**base, absent_of(8, {2}))->name(), "ring of 8 without 2");
  EXPECT_EQ(without(**base, absent_of(8, {0, 2, 5}))->name(), "ring of 8 without 0, 2 and 5");
  EXPECT_EQ(without(**base, absent_of(8, {0, 1, 2, 3, 5}))->name(), "ring of 8 without 5 peers");
}

}  // namespace
}  // namespace gossamer
