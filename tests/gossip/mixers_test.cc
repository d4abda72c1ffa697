// What each algorithm promises, through the real engine and transport.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/gossip/network.h"
#include "topologies/check.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing_support::Network;
using testing_support::NetworkOptions;

std::unique_ptr<Topology> graph(const std::string& family, std::size_t peers) {
  auto topology = make_topology(family_spec(family, peers));
  EXPECT_TRUE(topology) << topology.error().message;
  return std::move(*topology);
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

double length(const std::vector<double>& a) { return distance(a, std::vector<double>(a.size())); }

TEST(Dpsgd, OneRoundIsTheMixingMatrix) {
  const auto ring = graph("ring", 6);
  Network network(*ring, {.algorithm = "d-psgd", .dimension = 3});
  for (PeerId i = 0; i < 6; ++i) network.model(i) = {static_cast<float>(i * i), 1, -2.f * i};
  ASSERT_TRUE(network.round());
  for (PeerId i = 0; i < 6; ++i) {
    const auto square = [](unsigned k) { return static_cast<float>(k * k); };
    EXPECT_NEAR(network.model(i)[0], (square((i + 5) % 6) + square(i) + square((i + 1) % 6)) / 3, 1e-5);
    EXPECT_EQ(network.model(i)[1], 1.f) << "equal models stay equal to the bit";
  }
}

TEST(Dpsgd, TheSecondEigenvectorShrinksByTheSecondEigenvalue) {
  const std::size_t n = 12;
  const auto ring = graph("ring", n);
  Network network(*ring, {.algorithm = "d-psgd", .dimension = 1});
  for (PeerId i = 0; i < n; ++i) network.model(i) = {static_cast<float>(std::cos(2 * M_PI * i / n))};
  ASSERT_TRUE(network.round());
  const double beta = 1. / 3 + 2. / 3 * std::cos(2 * M_PI / n);
  for (PeerId i = 0; i < n; ++i) EXPECT_NEAR(network.model(i)[0], beta * std::cos(2 * M_PI * i / n), 1e-6);
}

TEST(Dpsgd, ACompleteGraphAveragesInOneRound) {
  const auto complete = graph("complete", 5);
  Network network(*complete, {.algorithm = "d-psgd", .dimension = 100});
  network.randomise(3);
  const auto mean = network.mean();
  ASSERT_TRUE(network.round());
  for (PeerId i = 0; i < 5; ++i)
    for (std::size_t k = 0; k < 100; ++k) EXPECT_NEAR(network.model(i)[k], mean[k], 1e-6);
}

TEST(Dpsgd, OnePeerHypercubeAveragesExactlyAfterItsPeriod) {
  const auto cube = graph("one-peer-hypercube", 8);
  Network network(*cube, {.algorithm = "d-psgd", .dimension = 50});
  network.randomise(3);
  const auto mean = network.mean();
  const double start = network.spread(mean);
  for (int round = 0; round < 3; ++round) ASSERT_TRUE(network.round());
  EXPECT_LT(network.spread(mean) / start, 1e-12);
}

// E7: averaging inside each node and gossiping between nodes is flat gossip with W = W_nodes (x) J_local.
TEST(Dpsgd, HierarchicalGossipIsTheKroneckerMatrix) {
  const std::size_t nodes = 5, local = 3, n = nodes * local, d = 20;
  TopologySpec spec;
  spec.peers = n;
  spec.weights = WeightRule::given;
  GraphSpec edges;
  for (PeerId a = 0; a < n; ++a)
    for (PeerId b = a + 1; b < n; ++b) {
      const std::size_t apart = (b / local + nodes - a / local) % nodes;
      const bool same_or_next = apart == 0 || apart == 1 || apart == nodes - 1;
      if (same_or_next) edges.edges.push_back({a, b, 1. / 3 / local});
    }
  spec.schedule = {edges};
  const auto flat = make_topology(spec);
  ASSERT_TRUE(flat) << flat.error().message;
  Network network(**flat, {.algorithm = "d-psgd", .dimension = d});
  network.randomise(11);
  std::vector<std::vector<double>> node(nodes, std::vector<double>(d));
  for (PeerId i = 0; i < n; ++i)
    for (std::size_t k = 0; k < d; ++k) node[i / local][k] += network.model(i)[k] / local;
  ASSERT_TRUE(network.round());
  for (PeerId i = 0; i < n; ++i)
    for (std::size_t k = 0; k < d; ++k) {
      const std::size_t at = i / local;
      EXPECT_NEAR(network.model(i)[k], (node[(at + nodes - 1) % nodes][k] + node[at][k] + node[(at + 1) % nodes][k]) / 3, 1e-5);
    }
}

TEST(Dpsgd, RoundedModelsKeepTheMean) {
  const auto ring = graph("ring", 8);
  Network network(*ring, {.algorithm = "d-psgd", .compression = {.codec = CodecId::bf16}, .dimension = 200});
  network.randomise(4);
  const auto mean = network.mean();
  for (int round = 0; round < 100; ++round) ASSERT_TRUE(network.round());
  EXPECT_LT(distance(network.mean(), mean) / length(mean), 1e-5);
  EXPECT_LT(network.spread(network.mean()) / 1600, 1e-4) << "they agree up to what bf16 resolves";
}

TEST(Dpsgd, ALossyCodecIsRefusedWithTheRemedy) {
  const auto ring = graph("ring", 4);
  const Layout layout = Layout::flat(10);
  const auto top_k = make_compressor({.codec = CodecId::top_k}).value();
  const auto mixer = make_mixer("d-psgd", {.self = 0, .peers = 4, .layout = &layout, .topology = ring.get(), .compressor = top_k.get()});
  ASSERT_FALSE(mixer);
  EXPECT_EQ(mixer.error().code, Errc::invalid_argument);
  EXPECT_NE(mixer.error().message.find("choco-sgd"), std::string::npos);
}

// E9: with the identity and gamma 1, CHOCO's first exchange makes the replicas the models, so that every round is plain gossip.
TEST(Choco, IdentityAndGammaOneIsPlainGossip) {
  for (const ReplicaForm form : {ReplicaForm::aggregate, ReplicaForm::per_edge}) {
    const auto ring = graph("ring", 7);
    Network choco(*ring, {.algorithm = "choco-sgd", .replicas = form, .dimension = 40});
    Network plain(*ring, {.algorithm = "d-psgd", .dimension = 40});
    choco.randomise(5);
    plain.randomise(5);
    for (int round = 0; round < 20; ++round) {
      ASSERT_TRUE(choco.round());
      ASSERT_TRUE(plain.round());
      for (PeerId i = 0; i < 7; ++i)
        for (std::size_t k = 0; k < 40; ++k) ASSERT_NEAR(choco.model(i)[k], plain.model(i)[k], 1e-5);
    }
  }
}

struct CodecCase {
  std::string name;
  CompressionOptions options;
};

std::vector<CodecCase> codecs() {
  return {{"none", {.codec = CodecId::none}},
          {"bf16", {.codec = CodecId::bf16}},
          {"top_k", {.codec = CodecId::top_k, .ratio = 0.05}},
          {"random_k", {.codec = CodecId::random_k, .ratio = 0.05}},
          {"sign", {.codec = CodecId::sign}},
          {"qsgd", {.codec = CodecId::qsgd, .levels = 15}},
          {"low_rank", {.codec = CodecId::low_rank, .rank = 2}}};
}

class ChocoEveryCodec : public testing::TestWithParam<CodecCase> {};
INSTANTIATE_TEST_SUITE_P(Codecs, ChocoEveryCodec, testing::ValuesIn(codecs()), [](const auto& info) { return info.param.name; });

// E12 and E10: on every kind of graph and for every codec the mean is kept, and the replicas at both ends have the same hash
// (a mismatch ends the round with an error).
TEST_P(ChocoEveryCodec, KeepsTheMeanAndItsReplicas) {
  for (const char* family : {"ring", "one-peer-hypercube", "static-exponential"}) {
    const auto topology = graph(family, 8);
    Network network(*topology, {.algorithm = "choco-sgd", .compression = GetParam().options, .step_size = 0.1,
                                .replicas = ReplicaForm::per_edge, .verify_replicas = true, .dimension = 300, .shape = {20, 15}});
    network.randomise(6);
    const auto mean = network.mean();
    const double start = network.spread(mean);
    for (int round = 0; round < 120; ++round) {
      const auto result = network.round();
      ASSERT_TRUE(result) << family << ": " << result.error().message;
    }
    EXPECT_LT(distance(network.mean(), mean) / length(mean), 1e-5) << family;
    EXPECT_LT(network.spread(mean), start) << family;
  }
}

TEST_P(ChocoEveryCodec, AggregateFormKeepsTheMean) {
  const auto topology = graph("ring", 8);
  Network network(*topology, {.algorithm = "choco-sgd", .compression = GetParam().options, .step_size = 0.1,
                              .replicas = ReplicaForm::aggregate, .dimension = 300, .shape = {20, 15}});
  network.randomise(6);
  const auto mean = network.mean();
  for (int round = 0; round < 120; ++round) ASSERT_TRUE(network.round());
  EXPECT_LT(distance(network.mean(), mean) / length(mean), 1e-5);
}

// E11: r_i = sum_j w_ij (h_j - h_i).
TEST(Choco, TheAggregateIsTheWeightedSumOfTheReplicas) {
  const std::size_t n = 8, d = 200;
  const auto ring = graph("ring", n);
  Network network(*ring, {.algorithm = "choco-sgd", .compression = {.codec = CodecId::top_k, .ratio = 0.1}, .step_size = 0.2,
                          .replicas = ReplicaForm::aggregate, .dimension = d});
  network.randomise(8);
  for (int round = 0; round < 200; ++round) ASSERT_TRUE(network.round());
  std::vector<std::vector<float>> replica(n, std::vector<float>(d));
  std::vector<std::vector<double>> sum(n, std::vector<double>(d));
  for (PeerId i = 0; i < n; ++i) {
    Writer writer;
    network.mixer(i).save(writer);
    Reader reader(writer.view());
    reader.array(std::span(replica[i]));
    reader.array(std::span(sum[i]));
    ASSERT_TRUE(reader.ok());
  }
  for (PeerId i = 0; i < n; ++i)
    for (std::size_t k = 0; k < d; ++k)
      EXPECT_NEAR(sum[i][k], (replica[(i + n - 1) % n][k] - 2 * replica[i][k] + replica[(i + 1) % n][k]) / 3, 2e-6);
}

// E16, the refusal.
TEST(Choco, TheAggregateFormIsRefusedOnAChangingGraph) {
  const auto cube = graph("one-peer-hypercube", 8);
  const Layout layout = Layout::flat(10);
  const auto none = make_compressor({}).value();
  const auto mixer = make_mixer("choco-sgd", {.self = 0, .peers = 8, .layout = &layout, .topology = cube.get(), .compressor = none.get(),
                                              .replicas = ReplicaForm::aggregate});
  ASSERT_FALSE(mixer);
  EXPECT_NE(mixer.error().message.find("per-edge"), std::string::npos);
}

// CHOCO-Gossip, theorem 2 (Koloskova, Stich, Jaggi, ICML 2019): with gamma = rho^2 d / (16 rho + rho^2 + 4 b^2 + 2 rho b^2 - 8 rho d), where
// rho is the spectral gap, b the norm of I - W and d what the codec keeps of the square at least, the squared distances to the mean and to
// the replicas shrink by 1 - rho^2 d / 82 in every round.
TEST(Choco, ComesTogetherAtLeastAsFastAsTheTheoremSays) {
  struct Case {
    CompressionOptions codec;
    double kept = 1;
  };
  const Case cases[] = {{{.codec = CodecId::none}, 1}, {{.codec = CodecId::top_k, .ratio = 0.25}, 0.25}, {{.codec = CodecId::sign}, 1.0 / 40}};
  for (const auto& [codec, kept] : cases) {
    const auto topology = graph("torus", 9);
    const auto report = check_topology(*topology);
    ASSERT_TRUE(report && report->lambda_min) << "a static, symmetric graph";
    const double gap = report->spectral_gap, norm = 1 - *report->lambda_min;
    const double gamma = gap * gap * kept / (16 * gap + gap * gap + 4 * norm * norm + 2 * gap * norm * norm - 8 * gap * kept);
    Network network(*topology, {.algorithm = "choco-sgd", .compression = codec, .step_size = gamma, .dimension = 40});
    network.randomise(12);
    const std::vector<double> mean = network.mean();
    const std::vector<double> zero(40);
    const double start = network.spread(mean) + network.spread(zero);  // the replicas start at zero
    const int rounds = 1500;
    for (int t = 1; t <= rounds; ++t) {
      ASSERT_TRUE(network.round());
      ASSERT_LE(network.spread(mean), std::pow(1 - gap * gap * kept / 82, t) * start + 1e-6) << "round " << t << ", gamma " << gamma;
    }
    EXPECT_LT(network.spread(mean), 0.2 * start) << "so slow that the bound says nothing";
  }
}

TEST(Choco, AForeignGammaIsRefused) {
  const auto ring = graph("ring", 4);
  const Layout layout = Layout::flat(10);
  const auto none = make_compressor({}).value();
  for (const double gamma : {0.0, -0.1, 1.5, std::nan("")})
    EXPECT_FALSE(make_mixer("choco-sgd", {.self = 0, .peers = 4, .layout = &layout, .topology = ring.get(), .compressor = none.get(),
                                          .step_size = gamma}));
}

// Where all start from one model the replicas do too: nothing is left to catch up with, whatever the codec drops.
TEST(Choco, ACommonStartLeavesNothingToExchange) {
  for (const ReplicaForm form : {ReplicaForm::aggregate, ReplicaForm::per_edge}) {
    const auto ring = graph("ring", 4);
    Network network(*ring, {.algorithm = "choco-sgd", .compression = {.codec = CodecId::top_k, .ratio = 0.01}, .step_size = 0.5, .replicas = form, .dimension = 200});
    network.randomise(1);
    const auto start = network.model(0);
    for (PeerId i = 0; i < 4; ++i) {
      network.model(i) = start;
      network.mixer(i).start(start);
    }
    for (int round = 0; round < 3; ++round) ASSERT_TRUE(network.round());
    for (PeerId i = 0; i < 4; ++i) EXPECT_EQ(network.model(i), start);
    network.model(2)[7] += 1;
    ASSERT_TRUE(network.round());
    EXPECT_NE(network.model(1)[7], start[7]) << "and a step is seen by the neighbours at once";
  }
}

// A replica that differs by one bit is found in the next round: the check can fail.
TEST(Choco, APartedReplicaIsFoundWithinARound) {
  const auto ring = graph("ring", 4);
  Network network(*ring, {.algorithm = "choco-sgd", .replicas = ReplicaForm::per_edge, .verify_replicas = true, .dimension = 16});
  network.randomise(1);
  ASSERT_TRUE(network.round());
  Writer writer;
  network.mixer(2).save(writer);
  std::vector<std::byte> bytes = writer.take();
  bytes.back() ^= std::byte{1};  // the last float of a replica of a neighbour's model
  Reader reader(bytes);
  ASSERT_TRUE(network.mixer(2).load(reader));
  const auto result = network.round();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::corrupt);
  EXPECT_NE(result.error().message.find("replica"), std::string::npos);
}

TEST(Choco, ReplicasSurviveSaveAndLoad) {
  for (const ReplicaForm form : {ReplicaForm::aggregate, ReplicaForm::per_edge}) {
    const auto ring = graph("ring", 4);
    Network a(*ring, {.algorithm = "choco-sgd", .replicas = form, .dimension = 16}), b(*ring, {.algorithm = "choco-sgd", .replicas = form, .dimension = 16});
    a.randomise(1);
    for (int round = 0; round < 5; ++round) ASSERT_TRUE(a.round());
    for (PeerId i = 0; i < 4; ++i) {
      Writer writer, again;
      a.mixer(i).save(writer);
      Reader reader(writer.view());
      ASSERT_TRUE(b.mixer(i).load(reader));
      b.mixer(i).save(again);
      EXPECT_TRUE(std::equal(writer.view().begin(), writer.view().end(), again.view().begin(), again.view().end()));
      Reader cut(writer.view().first(writer.view().size() - 1));
      EXPECT_FALSE(b.mixer(i).load(cut));
    }
  }
}

TEST(AllReduce, EveryPeerGetsTheMeanToTheSameBits) {
  for (const std::size_t n : {1, 2, 3, 5, 8})
    for (const std::size_t d : {1, 7, 64, 1000}) {
      const auto complete = graph("complete", std::max<std::size_t>(n, 1));
      Network network(*complete, {.algorithm = "all-reduce", .dimension = d});
      network.randomise(9);
      const auto mean = network.mean();
      ASSERT_TRUE(network.round()) << n << " peers, " << d << " elements";
      for (PeerId i = 0; i < n; ++i) {
        EXPECT_EQ(std::memcmp(network.model(i).data(), network.model(0).data(), d * sizeof(float)), 0);
        for (std::size_t k = 0; k < d; ++k) EXPECT_NEAR(network.model(i)[k], mean[k], 2e-6);
      }
    }
}

TEST(AllReduce, IntegersAverageExactly) {
  const auto complete = graph("complete", 4);
  Network network(*complete, {.algorithm = "all-reduce", .dimension = 10});
  for (PeerId i = 0; i < 4; ++i)
    for (std::size_t k = 0; k < 10; ++k) network.model(i)[k] = static_cast<float>(4 * i + 8 * k);
  ASSERT_TRUE(network.round());
  for (std::size_t k = 0; k < 10; ++k) EXPECT_EQ(network.model(3)[k], 6.f + 8 * k);
}

TEST(AllReduce, SendsTwiceTheVectorLessOnePart) {
  const std::size_t n = 8, d = 8000;
  const auto complete = graph("complete", n);
  Network network(*complete, {.algorithm = "all-reduce", .dimension = d});
  ASSERT_TRUE(network.round());
  const std::uint64_t before = network.fabric(0).traffic().bytes_sent;
  ASSERT_TRUE(network.round());
  const double sent = static_cast<double>(network.fabric(0).traffic().bytes_sent - before);
  EXPECT_NEAR(sent, 2. * (n - 1) / n * d * 4, 0.06 * d * 4) << "payloads plus notices";
}

}  // namespace
}  // namespace gossamer
