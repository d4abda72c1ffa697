#include "base/random.h"

#include <gtest/gtest.h>

#include <vector>

namespace gossamer {
namespace {

// The known-answer vectors of the authors' Random123 distribution (kat_vectors, philox4x32).
TEST(Philox, MatchesTheAuthorsKnownAnswers) {
  EXPECT_EQ((philox4x32<10>({0, 0, 0, 0}, {0, 0})), (Philox4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ((philox4x32<10>({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u})), (Philox4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ((philox4x32<10>({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0})),
            (Philox4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  EXPECT_EQ((philox4x32<7>({0, 0, 0, 0}, {0, 0})), (Philox4{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}));
}

TEST(Random, PurposesAndSubStreamsDiffer) {
  EXPECT_NE(Random(1, Purpose::test)(), Random(1, Purpose::topology)());
  EXPECT_NE(Random(1, Purpose::test, 1)(), Random(1, Purpose::test, 2)());
  EXPECT_NE(Random(1, Purpose::test, 0, 1)(), Random(1, Purpose::test, 1, 0)());
  EXPECT_EQ(Random(1, Purpose::test, 3, 4)(), Random(1, Purpose::test, 3, 4)());
}

TEST(Random, MomentsAreRight) {
  Random random(7, Purpose::test);
  const int n = 200000;
  double uniform = 0, normal = 0, normal2 = 0, gamma = 0, exponential = 0;
  for (int i = 0; i < n; ++i) {
    uniform += random.uniform();
    const double x = random.normal();
    normal += x;
    normal2 += x * x;
    gamma += random.gamma(0.3);
    exponential += random.exponential();
  }
  EXPECT_NEAR(uniform / n, 0.5, 0.003);
  EXPECT_NEAR(normal / n, 0, 0.01);
  EXPECT_NEAR(normal2 / n, 1, 0.015);
  EXPECT_NEAR(gamma / n, 0.3, 0.006);
  EXPECT_NEAR(exponential / n, 1, 0.01);
}

TEST(Random, BelowIsUniformAndInRange) {
  Random random(7, Purpose::test);
  std::vector<int> seen(7);
  for (int i = 0; i < 70000; ++i) ++seen.at(random.below(7));
  for (int count : seen) EXPECT_NEAR(count, 10000, 500);
}

TEST(Random, ShuffleIsAPermutation) {
  Random random(7, Purpose::test);
  std::vector<int> order(100);
  for (int i = 0; i < 100; ++i) order[i] = i;
  random.shuffle(order);
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_NE(order, sorted);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sorted[i], i);
}

}  // namespace
}  // namespace gossamer
