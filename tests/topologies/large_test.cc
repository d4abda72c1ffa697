// 100,000 peers: every family is built and checked, and asking one peer costs its degree, not the number of
// peers.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "tests/topologies/all_families.h"
#include "tests/topologies/counting.h"
#include "topologies/check.h"

namespace gossamer {
namespace {

constexpr std::size_t kMany = 100'000;

TEST(AHundredThousandPeers, AreCheckedWithOneLookAtEachPeerAndRound) {
  for (const std::size_t n : {kMany, std::size_t{1} << 17})
    for (const auto& [what, spec] : all_families(n, false)) {
      const auto& family = spec.schedule[0].family;
      // The second size only for what needs a power of two.
      if (n != kMany && family != "hypercube" && family != "one-peer-hypercube") continue;
      SCOPED_TRACE(what);
      const auto begin = std::chrono::steady_clock::now();
      auto made = make_topology(spec);
      ASSERT_TRUE(made) << made.error().message;
      const Counting t(std::move(*made));
      const auto report = check_topology(t);
      ASSERT_TRUE(report) << report.error().message;
      const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      std::printf("%-45s gap %-12.6g %6.2f s  %s\n", what.c_str(), report->spectral_gap, took,
                  report->method.c_str());
      EXPECT_LE(t.asked, n * t.period() + 2);
      EXPECT_TRUE(report->connected && report->row_stochastic && report->column_stochastic);
      EXPECT_GT(report->spectral_gap, 0);
      EXPECT_LT(report->residual, 1e-2);
    }
}

TEST(AHundredThousandPeers, OfACompleteGraphAreCheckedFromItsClosedForm) {
  auto made = make_topology(family_spec("complete", kMany));
  ASSERT_TRUE(made);
  const Counting t(std::move(*made));
  const auto report = check_topology(t);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_LE(t.asked, 4u);
  EXPECT_EQ(report->degree_max, kMany - 1);
  EXPECT_EQ(report->beta, 0);
  EXPECT_EQ(report->rounds_to_consensus, 1u);
  const auto refused = check_topology(t, {.use_theory = false});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::unsupported);
}

TEST(AHundredThousandPeers, ReachTheAsymptoticGaps) {
  const auto n = static_cast<double>(kMany);
  const auto gap = [](const char* family) {
    const auto t = make_topology(family_spec(family, kMany));
    EXPECT_TRUE(t);
    return check_topology(**t)->spectral_gap;
  };
  // 4 pi^2 / (3 n^2) is 1.3e-9 here; 1 - cos cancels to 7 digits, which half angles keep.
  EXPECT_NEAR(gap("ring") / (4 * M_PI * M_PI / (3 * n * n)), 1, 1e-6);
  EXPECT_NEAR(gap("path") / (M_PI * M_PI / (3 * n * n)), 1, 1e-6);
  EXPECT_NEAR(gap("star") * n, 1, 1e-6);
  EXPECT_NEAR(gap("static-exponential"), 2.0 / 18, 1e-12);
}

// Rings, cubes, tori, exponentials and the like hold no table: two of a billion peers are as quick as two of
// ten.
TEST(ABillionPeers, AreAnsweredByRule) {
  const std::size_t n = std::size_t{1} << 30;
  for (const char* family : {"ring", "path", "star", "torus", "hypercube", "static-exponential",
                             "one-peer-exponential", "one-peer-hypercube", "base", "binary-tree"}) {
    SCOPED_TRACE(family);
    const auto t = make_topology(family_spec(family, n));
    ASSERT_TRUE(t) << t.error().message;
    const auto self = static_cast<PeerId>(n / 3);
    const auto here = (*t)->at(5, self);
    ASSERT_FALSE(here.in.empty());
    ASSERT_LE(here.in.size(), 30u);
    if (std::string_view(family) == "star") continue;  // the hub's list is as long as it must be
    // The neighbour agrees.
    const auto there = (*t)->at(5, here.in[0].peer);
    bool found = false;
    for (const auto& e : there.out) found |= e.peer == self && e.weight == here.in[0].weight;
    EXPECT_TRUE(found);
  }
}

}  // namespace
}  // namespace gossamer
