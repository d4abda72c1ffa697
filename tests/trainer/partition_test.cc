#include "trainer/partition.h"

#include <cmath>
#include <numeric>

#include "tests/trainer/testing.h"

namespace gossamer {
namespace {

using Shards = std::vector<std::vector<std::uint32_t>>;

// Mean over peers of the total variation distance between a peer's mix of classes and the whole set's: 0 is
// iid, 1 - 1/classes the most that equal classes allow.
double skew(const Dataset& data, const Shards& shards) {
  std::vector<double> whole(data.classes);
  for (const std::int32_t label : data.labels)
    whole[static_cast<std::size_t>(label)] += 1.0 / static_cast<double>(data.samples);
  double sum = 0;
  for (const auto& shard : shards) {
    std::vector<double> own(data.classes);
    for (const std::uint32_t i : shard)
      own[static_cast<std::size_t>(data.labels[i])] += 1.0 / static_cast<double>(shard.size());
    for (std::size_t c = 0; c < data.classes; ++c)
      sum += 0.5 * std::fabs(own[c] - whole[c]) / static_cast<double>(shards.size());
  }
  return sum;
}

Shards cut(const Dataset& data, const PartitionOptions& options, std::size_t peers, std::uint64_t seed = 1) {
  auto shards = partition(data, options, peers, seed);
  if (!shards) ADD_FAILURE() << shards.error().message;
  return shards ? *shards : Shards();
}

class EveryScheme : public testing::TestWithParam<const char*> {};

TEST_P(EveryScheme, IsExhaustiveDisjointAscendingAndLeavesNobodyEmpty) {
  const Dataset data = made_up(1000, 1, 10);
  for (const double alpha : {0.01, 1.0, 100.0})
    for (const std::size_t peers : {1u, 3u, 16u, 64u}) {
      PartitionOptions options;
      options.scheme = GetParam();
      options.alpha = alpha;
      options.samples_min = 4;
      const Shards shards = cut(data, options, peers);
      ASSERT_EQ(shards.size(), peers);
      std::vector<int> owners(data.samples);
      for (const auto& shard : shards) {
        EXPECT_GE(shard.size(), 4u);
        EXPECT_TRUE(std::is_sorted(shard.begin(), shard.end()));
        for (const std::uint32_t i : shard) ++owners.at(i);
      }
      EXPECT_EQ(owners, std::vector<int>(data.samples, 1));
    }
}

TEST_P(EveryScheme, IsAFunctionOfTheSeed) {
  const Dataset data = made_up(200, 1, 10);
  PartitionOptions options;
  options.scheme = GetParam();
  EXPECT_EQ(cut(data, options, 8, 5), cut(data, options, 8, 5));
  EXPECT_NE(cut(data, options, 8, 5), cut(data, options, 8, 6));
}

TEST_P(EveryScheme, AsManyPeersAsSamplesGetOneEach) {
  const Dataset data = made_up(20, 1, 2);
  PartitionOptions options;
  options.scheme = GetParam();
  options.shards = 1;
  for (const auto& shard : cut(data, options, 20)) EXPECT_EQ(shard.size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Partition, EveryScheme, testing::Values("iid", "by-label", "dirichlet"),
                         [](const auto& each) {
                           return each.param == std::string("by-label") ? "by_label"
                                                                        : std::string(each.param);
                         });

TEST(Partition, IidPartsDifferByOneSampleAtMost) {
  const Dataset data = made_up(1003, 1, 10);
  for (const auto& shard : cut(data, {}, 8))
    EXPECT_TRUE(shard.size() == 125 || shard.size() == 126) << shard.size();
}

TEST(Partition, DirichletRunsFromOneClassPerPeerToNearIid) {
  const Dataset data = made_up(10000, 1, 10);
  const double iid = skew(data, cut(data, {}, 10));
  PartitionOptions options;
  options.scheme = "dirichlet";
  std::vector<double> skews;
  for (const double alpha : {0.02, 0.5, 10.0, 1e6}) {
    options.alpha = alpha;
    skews.push_back(skew(data, cut(data, options, 10)));
  }
  EXPECT_TRUE(std::is_sorted(skews.rbegin(), skews.rend()));
  EXPECT_GT(skews.front(), 0.6);
  EXPECT_LT(skews.back(), iid)
      << "with alpha large every class is divided evenly, which is closer than chance";
}

TEST(Partition, ByLabelGivesEachPeerFewClasses) {
  const Dataset data = made_up(1000, 1, 10);
  PartitionOptions options;
  options.scheme = "by-label";
  for (const std::size_t shards : {1u, 2u}) {
    options.shards = shards;
    for (const auto& shard : cut(data, options, 10)) {
      std::vector<int> has(10);
      for (const std::uint32_t i : shard) has[static_cast<std::size_t>(data.labels[i])] = 1;
      EXPECT_LE(std::accumulate(has.begin(), has.end(), 0), static_cast<int>(2 * shards))
          << "a piece spans two labels at most";
    }
  }
}

TEST(Partition, TheRichestPeerGivesToTheNeedy) {
  // Two samples of one class and an extreme alpha: one peer would get both.
  Dataset data = made_up(3, 1, 1);
  PartitionOptions options;
  options.scheme = "dirichlet";
  options.alpha = 1e-4;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const auto& shard : cut(data, options, 3, seed)) EXPECT_EQ(shard.size(), 1u);
}

TEST(Partition, ImpossibleOnesAreRefused) {
  const Dataset data = made_up(10, 1, 2);
  PartitionOptions options;
  expect_failure(partition(data, options, 11, 1), Errc::invalid_argument,
                 {"10 training samples", "11 peers"});
  options.scheme = "by-label";
  options.shards = 3;
  expect_failure(partition(data, options, 5, 1), Errc::invalid_argument, {"lower shards"});
  options.shards = 1;
  expect_failure(partition(made_up(10, 1, 0), options, 5, 1), Errc::invalid_argument, {"use iid"});
  options.scheme = "random";
  expect_failure(validate(options), Errc::invalid_argument, {"'random'", "iid, by-label, dirichlet"});
  options = {};
  options.alpha = 0;
  expect_failure(validate(options), Errc::invalid_argument, {"alpha is 0"});
}

}  // namespace
}  // namespace gossamer
