// What every family promises, for every size.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/topologies/all_families.h"
#include "topologies/check.h"

namespace gossamer {
namespace {

class EveryFamily : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EveryFamily, HasRowsOrColumnsThatSumToOneAndListsInOrder) {
  for (const auto& [what, spec] : all_families(GetParam())) {
    SCOPED_TRACE(what);
    const auto topology = make_topology(spec);
    ASSERT_TRUE(topology) << topology.error().message;
    const Topology& t = **topology;
    const std::size_t n = t.peer_count();
    ASSERT_EQ(n, GetParam());
    ASSERT_GT(t.period(), 0u);
    const auto facts = t.facts();
    for (Round r = 0; r < t.period(); ++r) {
      std::vector<double> column(n, 0);
      double worst_row = 0;
      for (PeerId i = 0; i < n; ++i) {
        const auto here = t.at(r, i);
        double row = here.self_weight;
        column[i] += here.self_weight;
        for (const auto* list : {&here.in, &here.out})
          for (std::size_t e = 0; e < list->size(); ++e) {
            ASSERT_NE((*list)[e].peer, i) << "a peer is its own neighbour";
            ASSERT_LT((*list)[e].peer, n);
            if (e > 0) {
              ASSERT_LT((*list)[e - 1].peer, (*list)[e].peer) << "not ascending";
            }
            ASSERT_GT((*list)[e].weight, 0);
          }
        for (const auto& e : here.in) row += e.weight, column[e.peer] += e.weight;
        worst_row = std::max(worst_row, std::abs(row - 1));
        if (spec.weights != WeightRule::best_constant) {
          ASSERT_GT(here.self_weight, 0) << "round " << r << " peer " << i;
        }
        if (facts.degree) {
          ASSERT_EQ(here.out.size(), *facts.degree);
        }
      }
      double worst_column = 0;
      for (const double sum : column) worst_column = std::max(worst_column, std::abs(sum - 1));
      ASSERT_LE(worst_column, 1e-12) << "round " << r;
      if (spec.weights != WeightRule::uniform) {
        ASSERT_LE(worst_row, 1e-12) << "round " << r;
      }
    }
  }
}

TEST_P(EveryFamily, HasInListsThatMirrorTheOutLists) {
  for (const auto& [what, spec] : all_families(GetParam())) {
    SCOPED_TRACE(what);
    const auto t = make_topology(spec);
    ASSERT_TRUE(t) << t.error().message;
    for (Round r = 0; r < (*t)->period(); ++r) {
      std::map<std::pair<PeerId, PeerId>, double> sent, received;  // (from, to)
      for (PeerId i = 0; i < (*t)->peer_count(); ++i) {
        const auto here = (*t)->at(r, i);
        for (const auto& e : here.out) sent[{i, e.peer}] = e.weight;
        for (const auto& e : here.in) received[{e.peer, i}] = e.weight;
      }
      ASSERT_EQ(sent, received) << "round " << r;
    }
  }
}

TEST_P(EveryFamily, RepeatsAfterItsPeriodAndIsTheSameForEverybody) {
  for (const auto& [what, spec] : all_families(GetParam(), false)) {
    SCOPED_TRACE(what);
    // Two peers build it on their own and read it in opposite orders.
    const auto mine = make_topology(spec), theirs = make_topology(spec);
    ASSERT_TRUE(mine && theirs);
    const auto n = static_cast<PeerId>((*mine)->peer_count());
    const Round period = (*mine)->period();
    std::vector<Neighbourhood> backwards(period * n);
    for (Round r = period; r-- > 0;)
      for (PeerId i = n; i-- > 0;) backwards[r * n + i] = (*theirs)->at(r, i);
    for (Round r = 0; r < period; ++r)
      for (PeerId i = 0; i < n; ++i) {
        const auto here = (*mine)->at(r, i);
        ASSERT_EQ(here, backwards[r * n + i]);
        ASSERT_EQ(here, (*mine)->at(r + period, i));
        ASSERT_EQ(here, (*mine)->at(r + 7 * period, i));
      }
  }
}

TEST_P(EveryFamily, IsConnectedOverItsPeriod) {
  for (const auto& [what, spec] : all_families(GetParam(), false)) {
    SCOPED_TRACE(what);
    const auto t = make_topology(spec);
    ASSERT_TRUE(t);
    const auto report = check_topology(**t, {.use_theory = false});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->connected);
    EXPECT_TRUE(report->column_stochastic && report->row_stochastic);
  }
}

TEST_P(EveryFamily, HasTheoryThatAgreesWithComputation) {
  for (const auto& [what, spec] : all_families(GetParam())) {
    SCOPED_TRACE(what);
    const auto t = make_topology(spec);
    ASSERT_TRUE(t);
    const auto theory = check_topology(**t), computed = check_topology(**t, {.use_theory = false});
    ASSERT_TRUE(theory && computed);
    EXPECT_NEAR(theory->beta, computed->beta, 1e-9);
    EXPECT_NEAR(theory->second_eigenvalue_modulus, computed->second_eigenvalue_modulus, 1e-9);
    EXPECT_EQ(theory->rounds_to_consensus, computed->rounds_to_consensus);
    EXPECT_EQ(theory->lambda_min.has_value(), computed->lambda_min.has_value());
    if (theory->lambda_min && computed->lambda_min) {
      EXPECT_NEAR(*theory->lambda_min, *computed->lambda_min, 1e-9);
    }
    const auto facts = (*t)->facts();
    EXPECT_EQ(facts.symmetric.value_or(computed->symmetric), computed->symmetric);
    EXPECT_EQ(facts.connected.value_or(computed->connected), computed->connected);
    EXPECT_EQ(facts.bipartite.value_or(computed->bipartite), computed->bipartite);
    const bool doubly = computed->row_stochastic && computed->column_stochastic;
    EXPECT_EQ(facts.doubly_stochastic.value_or(doubly), doubly);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, EveryFamily,
                         ::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 24, 25, 31, 32, 33,
                                           36));

TEST(OnePeerHypercube, PairsUpEverybodyInEveryRound) {
  for (const std::size_t n : {2, 4, 8, 16, 64, 256}) {
    const auto t = make_topology(family_spec("one-peer-hypercube", n));
    ASSERT_TRUE(t);
    for (Round r = 0; r < 2 * (*t)->period(); ++r)
      for (PeerId i = 0; i < n; ++i) {
        const auto mine = (*t)->at(r, i);
        ASSERT_EQ(mine.in.size(), 1u);
        const PeerId partner = mine.in[0].peer;
        ASSERT_EQ((*t)->at(r, partner).in[0].peer, i) << "partner(partner(i)) != i";
        ASSERT_EQ(mine.out, mine.in);
      }
  }
}

TEST(BaseGraph, WithOneNeighbourIsAMatchingInEveryRound) {
  for (std::size_t n = 2; n <= 48; ++n) {
    const auto t = make_topology(family_spec("base", n));
    ASSERT_TRUE(t);
    for (Round r = 0; r < (*t)->period(); ++r)
      for (PeerId i = 0; i < n; ++i) {
        const auto mine = (*t)->at(r, i);
        ASSERT_LE(mine.in.size(), 1u);
        if (!mine.in.empty()) {
          ASSERT_EQ((*t)->at(r, mine.in[0].peer).in[0].peer, i);
        }
      }
  }
}

TEST(RandomFamilies, DependOnTheSeedAndOnThePlaceInASchedule) {
  for (const char* family : {"random-regular", "erdos-renyi", "small-world"}) {
    SCOPED_TRACE(family);
    auto spec = family_spec(family, 64);
    spec.schedule.push_back(spec.schedule[0]);
    auto other = spec;
    other.seed = 2;
    const auto a = make_topology(spec), b = make_topology(other);
    ASSERT_TRUE(a && b);
    std::size_t differs_by_seed = 0, differs_by_place = 0;
    for (PeerId i = 0; i < 64; ++i) {
      differs_by_seed += (*a)->at(0, i) != (*b)->at(0, i);
      differs_by_place += (*a)->at(0, i) != (*a)->at(1, i);
    }
    EXPECT_GT(differs_by_seed, 20u);
    EXPECT_GT(differs_by_place, 20u);
  }
}

// Committed, so that a change of the generator is noticed: peers of one run may run different builds.
TEST(RandomFamilies, DrawTheSameGraphInEveryVersion) {
  const auto regular = make_topology(family_spec("random-regular", 10));
  const auto erdos = make_topology(family_spec("erdos-renyi", 10));
  const auto small = make_topology(family_spec("small-world", 10));
  ASSERT_TRUE(regular && erdos && small);
  const auto neighbours = [](const Topology& t, PeerId i) {
    std::vector<PeerId> peers;
    for (const auto& e : t.at(0, i).in) peers.push_back(e.peer);
    return peers;
  };
  EXPECT_EQ(neighbours(**regular, 0), (std::vector<PeerId>{2, 3, 8}));
  EXPECT_EQ(neighbours(**erdos, 0), (std::vector<PeerId>{1, 2, 3, 6, 8}));
  EXPECT_EQ(neighbours(**small, 0), (std::vector<PeerId>{2, 3, 9}));
}

TEST(RandomRegular, HasTheDegreeThatWasAskedForDenseOrSparse) {
  for (std::size_t n = 4; n <= 20; ++n)
    for (std::size_t d = 3; d < n; ++d) {
      if (n * d % 2 != 0) continue;
      const auto t = make_topology(family_spec("random-regular", n, {{"degree", {static_cast<double>(d)}}}));
      ASSERT_TRUE(t) << n << " " << d << ": " << t.error().message;
      for (PeerId i = 0; i < n; ++i) ASSERT_EQ((*t)->at(0, i).in.size(), d) << n << " " << d;
    }
}

TEST(ErdosRenyi, HasTheExpectedNumberOfEdges) {
  const std::size_t n = 2000;
  const double p = 0.02;
  const auto t = make_topology(family_spec("erdos-renyi", n, {{"probability", {p}}}));
  ASSERT_TRUE(t);
  double edges = 0;
  for (PeerId i = 0; i < n; ++i) edges += static_cast<double>((*t)->at(0, i).in.size()) / 2;
  const double pairs = n * (n - 1.0) / 2, deviation = std::sqrt(pairs * p * (1 - p));
  EXPECT_NEAR(edges, pairs * p, 4 * deviation);
}

TEST(SmallWorld, KeepsItsEdgesAndIsARingLatticeWithoutRewiring) {
  const auto lattice = make_topology(family_spec("small-world", 30, {{"rewire", {0}}, {"nearest", {4}}}));
  const auto circulant = make_topology(family_spec("circulant", 30, {{"hops", {1, 2}}}));
  const auto rewired = make_topology(family_spec("small-world", 30, {{"rewire", {1}}, {"nearest", {4}}}));
  ASSERT_TRUE(lattice && circulant && rewired);
  std::size_t edges = 0;
  for (PeerId i = 0; i < 30; ++i) {
    EXPECT_EQ((*lattice)->at(0, i), (*circulant)->at(0, i));
    edges += (*rewired)->at(0, i).in.size();
  }
  EXPECT_EQ(edges, 30u * 4);
}

TEST(PotentialNeighbours, AreTheUnionOverThePeriodInBothDirections) {
  const auto exponential = make_topology(family_spec("one-peer-exponential", 8));
  ASSERT_TRUE(exponential);
  EXPECT_EQ(potential_neighbours(**exponential, 0), (std::vector<PeerId>{1, 2, 4, 6, 7}));
  const auto cube = make_topology(family_spec("one-peer-hypercube", 8));
  ASSERT_TRUE(cube);
  EXPECT_EQ(potential_neighbours(**cube, 5), (std::vector<PeerId>{1, 4, 7}));
  const auto star = make_topology(family_spec("star", 4));
  ASSERT_TRUE(star);
  EXPECT_EQ(potential_neighbours(**star, 3), (std::vector<PeerId>{0}));
  EXPECT_EQ(potential_neighbours(**star, 0), (std::vector<PeerId>{1, 2, 3}));
  const auto alone = make_topology(family_spec("ring", 1));
  ASSERT_TRUE(alone);
  EXPECT_TRUE(potential_neighbours(**alone, 0).empty());
}

TEST(Schedule, RunsItsGraphsOneAfterAnother) {
  TopologySpec spec = family_spec("one-peer-hypercube", 8);  // three rounds of its own
  spec.schedule.push_back({.family = "ring", .rounds = 2});
  spec.schedule.push_back({.family = "", .edges = {{0, 1, {}}, {2, 3, {}}, {4, 5, {}}, {6, 7, {}}}});
  const auto t = make_topology(spec);
  ASSERT_TRUE(t) << t.error().message;
  EXPECT_EQ((*t)->period(), 6u);
  const auto cube = make_topology(family_spec("one-peer-hypercube", 8)),
             ring = make_topology(family_spec("ring", 8));
  ASSERT_TRUE(cube && ring);
  for (PeerId i = 0; i < 8; ++i) {
    for (const Round lap : {0, 1, 5}) {
      for (Round r = 0; r < 3; ++r) EXPECT_EQ((*t)->at(6 * lap + r, i), (*cube)->at(r, i));
      EXPECT_EQ((*t)->at(6 * lap + 3, i), (*ring)->at(0, i));
      EXPECT_EQ((*t)->at(6 * lap + 4, i), (*ring)->at(0, i));
      EXPECT_EQ((*t)->at(6 * lap + 5, i), (Neighbourhood{0.5, {{i ^ 1u, 0.5}}, {{i ^ 1u, 0.5}}}));
    }
  }
}

struct Refused {
  const char* why;
  TopologySpec spec;
  const char* says;
};

TEST(MakeTopology, RefusesWhatMakesNoSenseWithCauseAndRemedy) {
  const auto weighted = [](TopologySpec spec, WeightRule rule) {
    spec.weights = rule;
    return spec;
  };
  const auto edges = [](std::size_t peers, std::vector<EdgeSpec> list, bool directed = false) {
    TopologySpec spec;
    spec.peers = peers;
    spec.schedule.push_back({.edges = std::move(list), .directed = directed});
    return spec;
  };
  const Refused cases[] = {
      {"no peers", family_spec("ring", 0), "set peers"},
      {"no graph", {.peers = 3}, "needs a graph"},
      {"unknown family", family_spec("rign", 4), "did you mean `ring`?"},
      {"unknown option", family_spec("random-regular", 8, {{"degre", {3}}}), "degree"},
      {"option of another family", family_spec("ring", 8, {{"shape", {2, 4}}}), "no option shape"},
      {"fractional count", family_spec("base", 8, {{"k", {1.5}}}), "whole number"},
      {"probability above 1", family_spec("erdos-renyi", 8, {{"probability", {1.5}}}), "from 0 to 1"},
      {"NaN", family_spec("erdos-renyi", 8, {{"probability", {std::nan("")}}}), "from 0 to 1"},
      {"cube of 6", family_spec("hypercube", 6), "4 or 8 peers"},
      {"one-peer cube of 6", family_spec("one-peer-hypercube", 6), "family: base"},
      {"torus of 7", family_spec("torus", 7), "ring"},
      {"torus of another size", family_spec("torus", 8, {{"shape", {3, 3}}}), "9 places"},
      {"half an edge", family_spec("random-regular", 9, {{"degree", {3}}}), "half an edge"},
      {"degree too large", family_spec("random-regular", 4, {{"degree", {4}}}), "at most 3"},
      {"never connected", family_spec("random-regular", 8, {{"degree", {1}}}), "raise degree"},
      {"sparse", family_spec("erdos-renyi", 100, {{"probability", {0.005}}}), "raise probability"},
      {"odd nearest", family_spec("small-world", 10, {{"nearest", {3}}}), "even"},
      {"hop too far", family_spec("circulant", 4, {{"hops", {4}}}), "1 to 3"},
      {"no hops", family_spec("circulant", 4), "needs hops"},
      {"k too large", family_spec("base", 3, {{"k", {3}}}), "at most 2"},
      {"metropolis on directed", weighted(family_spec("static-exponential", 8), WeightRule::metropolis),
       "direction"},
      {"own weights", weighted(family_spec("base", 8), WeightRule::lazy), "own weights"},
      {"explicit family", weighted(family_spec("ring", 8), WeightRule::given), "listed edges"},
      {"out of range", edges(3, {{0, 3, {}}}), "peers are 0 to 2"},
      {"self loop", edges(3, {{1, 1, {}}}), "itself"},
      {"repeated", edges(3, {{0, 1, {}}, {1, 0, {}}}), "repeats edge 1"},
      {"negative weight", weighted(edges(2, {{0, 1, -0.5}}), WeightRule::given), "not above 0"},
      {"infinite weight", weighted(edges(2, {{0, 1, INFINITY}}), WeightRule::given), "not above 0"},
      {"missing weight", weighted(edges(2, {{0, 1, {}}}), WeightRule::given), "has no weight"},
      {"sum above 1", weighted(edges(3, {{0, 1, 0.7}, {1, 2, 0.7}}), WeightRule::given), "more than 1"},
      {"weight under another rule", weighted(edges(2, {{0, 1, 0.5}}), WeightRule::lazy), "explicit"},
      {"not stochastic", weighted(edges(2, {{0, 1, 0.5}, {0, 0, 0.6}, {1, 1, 0.4}}, true), WeightRule::given),
       "not stochastic"},
      {"best-constant disconnected", weighted(edges(4, {{0, 1, {}}, {2, 3, {}}}), WeightRule::best_constant),
       "connected"},
      {"in a schedule",
       {.peers = 4, .schedule = {{.family = "ring"}, {.family = "star", .options = {{"hub", {1}}}}}},
       "graph 2"},
      {"names",
       {.peers = 2, .members = {{"a", "", 0}}, .schedule = {{.family = "ring"}}},
       "name all or none"},
  };
  for (const auto& c : cases) {
    const auto t = make_topology(c.spec);
    ASSERT_FALSE(t) << c.why;
    EXPECT_EQ(t.error().code, Errc::invalid_argument) << c.why;
    EXPECT_NE(t.error().message.find(c.says), std::string::npos) << c.why << ": " << t.error().message;
  }
}

TEST(ExplicitWeights, AreTakenAsWrittenAndTheRestFollowsTheRule) {
  TopologySpec spec;
  spec.peers = 4;
  spec.weights = WeightRule::metropolis;
  spec.schedule.push_back({.edges = {{0, 1, {}}, {1, 2, 0.25}, {2, 3, {}}, {3, 0, {}}}});
  const auto t = make_topology(spec);
  ASSERT_TRUE(t) << t.error().message;
  const auto one = (*t)->at(0, 1);
  EXPECT_EQ(one.in, (std::vector<Edge>{{0, 1.0 / 3}, {2, 0.25}}));
  EXPECT_EQ(one.out, one.in);
  EXPECT_NEAR(one.self_weight, 1 - 1.0 / 3 - 0.25, 1e-15);
}

TEST(ExplicitWeights, MayGiveSelfWeightsOnDirectedEdges) {
  // Column stochastic: peer 0 keeps 0.4 and sends 0.6; peer 1 keeps 0.5 and sends 0.5.
  TopologySpec spec;
  spec.peers = 2;
  spec.weights = WeightRule::given;
  spec.schedule.push_back({.edges = {{0, 1, 0.6}, {1, 0, 0.5}, {0, 0, 0.4}, {1, 1, 0.5}}, .directed = true});
  const auto t = make_topology(spec);
  ASSERT_TRUE(t) << t.error().message;
  const auto report = check_topology(**t);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->column_stochastic);
  EXPECT_FALSE(report->row_stochastic);
  EXPECT_NEAR(report->second_eigenvalue_modulus, 0.1, 1e-12);  // trace 0.9 = 1 - 0.1
}

}  // namespace
}  // namespace gossamer
