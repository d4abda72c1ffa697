// What the trained tasks are made of: batches and matrix products.
#include <algorithm>
#include <hwy/targets.h>
#include <numeric>
#include <set>

#include "tests/trainer/testing.h"
#include "trainer/batches.h"
#include "trainer/multiply.h"

namespace gossamer {
namespace {

TEST(Batches, AnEpochVisitsEachSampleAtMostOnceAndTheNextInAnotherOrder) {
  std::vector<std::uint32_t> shard(50);
  std::iota(shard.begin(), shard.end(), 100u);
  Batches batches(shard, 8, 0, 1);
  EXPECT_EQ(batches.steps_per_epoch(), 6u);
  std::vector<std::vector<std::uint32_t>> epochs(2);
  for (std::uint64_t step = 0; step < 12; ++step)
    for (const std::uint32_t i : batches.at(step)) epochs[step / 6].push_back(i);
  for (const auto& epoch : epochs) {
    EXPECT_EQ(epoch.size(), 48u);
    EXPECT_EQ(std::set(epoch.begin(), epoch.end()).size(), 48u);
    EXPECT_GE(*std::min_element(epoch.begin(), epoch.end()), 100u);
  }
  EXPECT_NE(epochs[0], epochs[1]);
}

TEST(Batches, SeedPeerAndStepDecide) {
  const auto first = [](PeerId peer, std::uint64_t seed, std::uint64_t step) {
    std::vector<std::uint32_t> shard(64);
    std::iota(shard.begin(), shard.end(), 0u);
    Batches batches(shard, 16, peer, seed);
    const auto batch = batches.at(step);
    return std::vector(batch.begin(), batch.end());
  };
  EXPECT_EQ(first(1, 2, 3), first(1, 2, 3));
  EXPECT_NE(first(1, 2, 3), first(0, 2, 3));
  EXPECT_NE(first(1, 2, 3), first(1, 1, 3));
  EXPECT_NE(first(1, 2, 3), first(1, 2, 7)) << "the same place in another epoch";
}

TEST(Batches, AShardSmallerThanTheBatchIsOneBatch) {
  Batches batches({4, 2}, 8, 0, 1);
  EXPECT_EQ(batches.batch_size(), 2u);
  EXPECT_EQ(batches.steps_per_epoch(), 1u);
  const auto batch = batches.at(9);
  EXPECT_EQ(std::set(batch.begin(), batch.end()), (std::set<std::uint32_t>{2, 4}));
}

// Every instruction set that this machine has gives the same bits as three plain loops.
TEST(Multiply, EqualsTheNaiveSumToTheBitOnEveryInstructionSet) {
  Random random(5, Purpose::test);
  const auto check = [&](std::size_t m, std::size_t n, std::size_t k, bool turned) {
    const std::size_t gap = 3;  // rows of b and c may be longer than what is used of them
    std::vector<float> a(m * k), b(k * (n + gap)), c(m * (n + gap));
    for (auto* each : {&a, &b, &c})
      for (float& x : *each) x = static_cast<float>(random.normal());
    std::vector<float> expected = c;
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t q = 0; q < k; ++q)
          expected[i * (n + gap) + j] += (turned ? a[q * m + i] : a[i * k + q]) * b[q * (n + gap) + j];
    const StridedMatrix left = turned ? StridedMatrix{a.data(), 1, m} : StridedMatrix{a.data(), k, 1};
    multiply_add(m, n, k, left, b.data(), n + gap, c.data(), n + gap);
    EXPECT_EQ(c, expected) << m << " x " << n << " x " << k << (turned ? ", a transposed" : "");
  };
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (target & (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)) continue;  // multiply.cc leaves these out
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    for (const bool turned : {false, true}) {
      check(1, 1, 1, turned);
      check(7, 13, 5, turned);
      check(4, 32, 9, turned);
      check(33, 47, 21, turned);
      check(10, 64, 32, turned);
      check(3, 70, 2, turned);
      check(5, 3, 0, turned);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(Transpose, MovesEveryElement) {
  std::vector<float> from(17 * 40), to(from.size());
  std::iota(from.begin(), from.end(), 0.0f);
  transpose(17, 40, from.data(), to.data());
  for (std::size_t i = 0; i < 17; ++i)
    for (std::size_t j = 0; j < 40; ++j) ASSERT_EQ(to[j * 17 + i], from[i * 40 + j]);
}

}  // namespace
}  // namespace gossamer
