// RelaySGD on trees, the parameter server on a star, and all-reduce by halving and doubling.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

// Edges between all pairs of peers of a tree.
std::vector<std::vector<int>> distances(const Topology& tree) {
  const std::size_t n = tree.peer_count();
  std::vector<std::vector<int>> distance(n, std::vector<int>(n, -1));
  for (PeerId from = 0; from < n; ++from) {
    std::vector<PeerId> front = {from};
    distance[from][from] = 0;
    for (std::size_t at = 0; at < front.size(); ++at)
      for (const Edge& edge : tree.at(0, front[at]).out)
        if (distance[from][edge.peer] < 0) {
          distance[from][edge.peer] = distance[from][front[at]] + 1;
          front.push_back(edge.peer);
        }
  }
  return distance;
}

std::uint64_t heard_by(const Mixer& mixer, std::size_t neighbours, std::size_t d) {
  Writer writer;
  mixer.save(writer);
  Reader reader(writer.view());
  std::uint64_t count = 0;
  std::vector<float> sum(d);
  for (std::size_t i = 0; i < neighbours; ++i) {
    count += reader.get<std::uint64_t>();
    reader.array(std::span(sum));
  }
  EXPECT_TRUE(reader.ok());
  return count;
}

class Trees : public testing::TestWithParam<std::pair<const char*, std::size_t>> {};
INSTANTIATE_TEST_SUITE_P(Families, Trees,
                         testing::Values(std::pair{"path", std::size_t{6}}, std::pair{"path", std::size_t{2}}, std::pair{"binary-tree", std::size_t{10}},
                                         std::pair{"star", std::size_t{5}}),
                         [](const auto& info) {
                           std::string name = info.param.first + std::to_string(info.param.second);
                           std::erase(name, '-');
                           return name;
                         });

// E22: values that stand still are summed once each; after as many rounds as the tree is wide the average is exact, and not before.
TEST_P(Trees, TheRelayedSumIsTheExactMeanAfterDiameterRounds) {
  const auto tree = graph(GetParam().first, GetParam().second);
  const std::size_t n = tree->peer_count(), d = 3;
  const auto distance = distances(*tree);
  int diameter = 0;
  for (const auto& row : distance) diameter = std::max(diameter, *std::max_element(row.begin(), row.end()));
  Network network(*tree, {.algorithm = "relay-sgd", .dimension = d});
  network.randomise(1);
  const Matrix start = models(network);
  const auto mean = network.mean();
  for (int t = 1; t <= diameter; ++t) {
    for (PeerId p = 0; p < n; ++p) network.model(p).assign(start[p].begin(), start[p].end());
    ASSERT_TRUE(network.round());
    for (PeerId p = 0; p < n; ++p) {
      const auto near = std::count_if(distance[p].begin(), distance[p].end(), [&](int k) { return k >= 1 && k <= t; });
      EXPECT_EQ(heard_by(network.mixer(p), tree->at(0, p).in.size(), d), static_cast<std::uint64_t>(near)) << "round " << t;
    }
    if (t < diameter) {
      EXPECT_GT(network.spread(mean), 1e-3) << "round " << t;
    }
  }
  for (PeerId p = 0; p < n; ++p)
    for (std::size_t i = 0; i < d; ++i) EXPECT_NEAR(network.model(p)[i], mean[i], 1e-6);
}

// x_i = 1/n sum over j of what j published dist(i,j) - 1 rounds ago, the own model in place of what has not come yet.
TEST_P(Trees, RelaySgdAveragesModelsAsOldAsTheyAreFar) {
  const auto tree = graph(GetParam().first, GetParam().second);
  const std::size_t n = tree->peer_count(), d = 3;
  const auto distance = distances(*tree);
  Network network(*tree, {.algorithm = "relay-sgd", .dimension = d});
  network.randomise(2);
  Matrix x = models(network);
  std::vector<Matrix> published;
  for (int t = 0; t < 30; ++t) {
    published.push_back(plus(x, -0.1, slopes(x)));
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t i = 0; i < d; ++i) {
        double sum = 0;
        for (std::size_t q = 0; q < n; ++q) {
          const int then = q == p ? t : t - (distance[p][q] - 1);
          sum += then < 0 ? published[t][p][i] : published[then][q][i];
        }
        x[p][i] = sum / static_cast<double>(n);
      }
    train(network, 1, 0.1);
    ASSERT_LT(largest_difference(models(network), x), 2e-5) << t;
  }
}

TEST(RelaySgd, AGraphWithACycleOrAScheduleIsRefused) {
  EXPECT_NE(refusal("relay-sgd", *graph("ring", 5)).find("binary-tree"), std::string::npos);
  EXPECT_NE(refusal("relay-sgd", *graph("one-peer-hypercube", 8)), "");
  EXPECT_EQ(refusal("relay-sgd", *graph("path", 5)), "");
}

class Servers : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Forms, Servers, testing::Values("parameter-server", "parameter-server-models", "all-reduce-halving-doubling"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(Servers, EverybodyHoldsTheMean) {
  const bool star = std::string(GetParam()).starts_with("parameter");
  for (const std::size_t n : star ? std::vector<std::size_t>{2, 3, 6} : std::vector<std::size_t>{1, 2, 4, 8, 16})
    for (const std::size_t d : {1, 3, 7, 64, 1000}) {
      const auto topology = graph(star ? "star" : "complete", n);
      Network network(*topology, {.algorithm = GetParam(), .dimension = d});
      network.randomise(3);
      for (int round = 0; round < 2; ++round) {
        const auto mean = network.mean();
        const auto result = network.round();
        ASSERT_TRUE(result) << n << " peers, " << d << " elements: " << result.error().message;
        for (PeerId p = 0; p < n; ++p)
          for (std::size_t i = 0; i < d; ++i) ASSERT_NEAR(network.model(p)[i], mean[i], 2e-6);
      }
      if (std::string(GetParam()) != "parameter-server-models") {
        for (PeerId p = 1; p < n; ++p) EXPECT_EQ(network.model(p), network.model(0)) << "the same bits";
      }
    }
}

TEST(ParameterServer, TheHubSendsAndHearsAllAndALeafOne) {
  const std::size_t n = 6, d = 4000;
  const auto star = graph("star", n);
  Network network(*star, {.algorithm = "parameter-server", .dimension = d});
  ASSERT_TRUE(network.round());
  std::vector<std::uint64_t> before;
  for (PeerId p = 0; p < n; ++p) before.push_back(network.fabric(p).traffic().bytes_sent);
  ASSERT_TRUE(network.round());
  std::vector<double> sent;
  for (PeerId p = 0; p < n; ++p) sent.push_back(static_cast<double>(network.fabric(p).traffic().bytes_sent - before[p]) / (4 * d));
  std::sort(sent.begin(), sent.end());
  EXPECT_NEAR(sent[0], 1, 0.05);
  EXPECT_NEAR(sent[n - 2], 1, 0.05);
  EXPECT_NEAR(sent[n - 1], n - 1, 0.2);
}

TEST(ParameterServer, RoundedModelsEndWithTheSameBitsEverywhere) {
  const auto star = graph("star", 4);
  Network network(*star, {.algorithm = "parameter-server", .compression = {.codec = CodecId::bf16}, .dimension = 50});
  network.randomise(4);
  ASSERT_TRUE(network.round());
  for (PeerId p = 1; p < 4; ++p) EXPECT_EQ(network.model(p), network.model(0));
}

TEST(ParameterServer, WhatIsNoStarIsRefused) {
  for (const char* family : {"ring", "complete", "path"}) EXPECT_NE(refusal("parameter-server", *graph(family, 5)).find("family: star"), std::string::npos) << family;
  EXPECT_NE(refusal("parameter-server", *graph("star", 4), {.codec = CodecId::top_k}), "");
}

TEST(HalvingDoubling, OtherThanAPowerOfTwoIsRefusedWithTheRing) {
  EXPECT_NE(refusal("all-reduce-halving-doubling", *graph("complete", 6)).find("algorithm: all-reduce"), std::string::npos);
}

TEST(HalvingDoubling, SendsAsMuchAsTheRing) {
  const std::size_t n = 8, d = 8000;
  const auto complete = graph("complete", n);
  Network network(*complete, {.algorithm = "all-reduce-halving-doubling", .dimension = d});
  ASSERT_TRUE(network.round());
  const std::uint64_t before = network.fabric(3).traffic().bytes_sent;
  ASSERT_TRUE(network.round());
  EXPECT_NEAR(static_cast<double>(network.fabric(3).traffic().bytes_sent - before), 2. * (n - 1) / n * d * 4, 0.06 * d * 4);
}

}  // namespace
}  // namespace gossamer
