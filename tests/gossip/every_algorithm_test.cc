// What holds for all algorithms at once, row by row of the one list; and for those that compress, codec by codec.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include "tests/gossip/training.h"
#include "topologies/check.h"

namespace gossamer {
namespace {

using namespace testing_support;

std::string words(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

// A graph that the algorithm takes.
std::unique_ptr<Topology> graph_for(const Algorithm& algorithm, std::size_t peers) {
  switch (algorithm.shape) {
    case Shape::tree: return graph("binary-tree", peers);
    case Shape::star: return graph("star", peers);
    default: return graph("ring", peers, WeightRule::lazy);
  }
}

class EveryAlgorithm : public testing::TestWithParam<Algorithm> {};
INSTANTIATE_TEST_SUITE_P(List, EveryAlgorithm, testing::ValuesIn(algorithms().begin(), algorithms().end()),
                         [](const auto& info) { return words(info.param.name); });

TEST_P(EveryAlgorithm, ItsRowSaysWhatItsMixerIs) {
  const auto topology = graph_for(GetParam(), 8);
  Network network(*topology, {.algorithm = std::string(GetParam().name), .dimension = 12});
  const Mixer& mixer = network.mixer(1);
  EXPECT_EQ(mixer.name(), GetParam().name);
  EXPECT_EQ(mixer.traits().exchanges, GetParam().exchanges);
  EXPECT_EQ(mixer.traits().asynchronous, GetParam().asynchronous);
  EXPECT_FALSE(GetParam().summary.empty());
  EXPECT_FALSE(GetParam().source.empty());
}

TEST_P(EveryAlgorithm, RefusesCodecsItHasNoMemoryFor) {
  const auto topology = graph_for(GetParam(), 8);
  const std::string name(GetParam().name);
  EXPECT_EQ(refusal(name, *topology), "");
  EXPECT_EQ(refusal(name, *topology, {.codec = CodecId::top_k, .ratio = 0.1}).empty(), GetParam().lossy_codecs);
  EXPECT_EQ(refusal(name, *topology, {.codec = CodecId::bf16}).empty(), !GetParam().plain_floats);
}

TEST_P(EveryAlgorithm, RefusesRoundsThatOverlapUnlessItKnowsHow) {
  const auto topology = graph_for(GetParam(), 8);
  const std::string said = refusal(std::string(GetParam().name), *topology, {}, [](MixerSetup& setup) { setup.rounds_open = 2; });
  EXPECT_EQ(said.empty(), GetParam().rounds_overlap) << said;
}

std::vector<Algorithm> those(bool (*which)(const Algorithm&)) {
  std::vector<Algorithm> some;
  std::copy_if(algorithms().begin(), algorithms().end(), std::back_inserter(some), which);
  return some;
}

// Exchanges of asynchronous peers are tested in async_test.cc, what replicas start from in mixers_test.cc.
class ExactInRounds : public testing::TestWithParam<Algorithm> {};
INSTANTIATE_TEST_SUITE_P(List, ExactInRounds, testing::ValuesIn(those([](const Algorithm& a) { return !a.asynchronous && !a.lossy_codecs; })),
                         [](const auto& info) { return words(info.param.name); });

// Equal models stay equal, and to the bit: mixing adds nothing of its own.  Push-sum divides, and stays within the rounding.
TEST_P(ExactInRounds, LeavesEqualModelsAlone) {
  const auto topology = graph_for(GetParam(), 8);
  Network network(*topology, {.algorithm = std::string(GetParam().name), .dimension = 12, .shape = {3, 4}});
  for (PeerId p = 0; p < 8; ++p)
    for (std::size_t i = 0; i < 12; ++i) network.model(p)[i] = 0.25f * static_cast<float>(i) - 1;
  const Matrix start = models(network);
  for (int t = 0; t < 5; ++t) ASSERT_TRUE(network.round());
  EXPECT_LE(largest_difference(models(network), start), GetParam().weights == Weights::columns ? 1e-6 : 0);
}

class KeepsMeans : public testing::TestWithParam<Algorithm> {};
INSTANTIATE_TEST_SUITE_P(List, KeepsMeans,
                         testing::ValuesIn(those([](const Algorithm& a) { return a.keeps_mean && !a.asynchronous; })),
                         [](const auto& info) { return words(info.param.name); });

// E12 for all that say so, which asynchronous ones show in async_test.cc.
TEST_P(KeepsMeans, InEveryRound) {
  for (const char* family : {"ring", "one-peer-hypercube"}) {
    if (GetParam().shape != Shape::any && std::string(family) != "ring") continue;
    const auto topology = std::string(family) == "ring" ? graph_for(GetParam(), 8) : graph(family, 8);
    Network network(*topology, {.algorithm = std::string(GetParam().name), .dimension = 60, .shape = {10, 6}});
    network.randomise(2);
    const auto mean = network.mean();
    const double start = network.spread(mean);
    for (int t = 0; t < 100; ++t) {
      const auto result = network.round();
      ASSERT_TRUE(result) << result.error().message;
    }
    for (std::size_t i = 0; i < 60; ++i) EXPECT_NEAR(network.mean()[i], mean[i], 1e-5) << family;
    EXPECT_LT(network.spread(mean), 0.05 * start) << family;
  }
}

// The norm comes out of whichever pass wrote the correction.
TEST_P(KeepsMeans, TellsHowFarItMovedEachModel) {
  const auto topology = graph_for(GetParam(), 8);
  Network network(*topology, {.algorithm = std::string(GetParam().name), .dimension = 60, .shape = {10, 6}});
  network.randomise(4);
  for (int t = 0; t < 3; ++t) {
    const Matrix before = models(network);
    ASSERT_TRUE(network.round());
    for (PeerId p = 0; p < 8; ++p) {
      double moved = 0;
      for (std::size_t i = 0; i < 60; ++i) moved += std::pow(static_cast<double>(network.model(p)[i]) - static_cast<double>(before[p][i]), 2);
      EXPECT_NEAR(network.engine(p).stats().correction_norm, std::sqrt(moved), 1e-5) << p;
      EXPECT_GT(moved, 0);
    }
  }
}

// E3: |x' - mean| <= beta |x - mean| for D-PSGD from any start.
TEST(Mixing, EveryRoundContractsByTheSpectralNorm) {
  for (const char* family : {"ring", "torus", "static-exponential", "hypercube", "random-regular"}) {
    const auto topology = graph(family, 16);
    const auto report = check_topology(*topology);
    ASSERT_TRUE(report) << report.error().message;
    Network network(*topology, {.algorithm = "d-psgd", .dimension = 50});
    network.randomise(3);
    for (int t = 0; t < 5; ++t) {
      const auto mean = network.mean();
      const double before = network.spread(mean);
      ASSERT_TRUE(network.round());
      EXPECT_LE(std::sqrt(network.spread(mean)), report->beta * std::sqrt(before) * (1 + 1e-5)) << family;
    }
  }
}

struct CodecCase {
  const char* name;
  CompressionOptions options;
  double step_size;
};

class DeepSqueezeCodecs : public testing::TestWithParam<CodecCase> {};
INSTANTIATE_TEST_SUITE_P(Codecs, DeepSqueezeCodecs,
                         testing::Values(CodecCase{"none", {}, 1}, CodecCase{"bf16", {.codec = CodecId::bf16}, 1},
                                         CodecCase{"top_k", {.codec = CodecId::top_k, .ratio = 0.2}, 0.05},
                                         CodecCase{"random_k", {.codec = CodecId::random_k, .ratio = 0.2}, 0.05},
                                         CodecCase{"sign", {.codec = CodecId::sign}, 0.1},
                                         CodecCase{"qsgd", {.codec = CodecId::qsgd, .levels = 127}, 0.5},
                                         CodecCase{"low_rank", {.codec = CodecId::low_rank, .rank = 2}, 0.1}),
                         [](const auto& info) { return info.param.name; });

TEST_P(DeepSqueezeCodecs, KeepsTheMeanAndBringsPeersTogether) {
  for (const char* family : {"ring", "one-peer-hypercube"}) {
    const auto topology = graph(family, 8);
    Network network(*topology, {.algorithm = "deep-squeeze", .compression = GetParam().options, .step_size = GetParam().step_size, .dimension = 200, .shape = {20, 10}});
    network.randomise(4);
    const auto mean = network.mean();
    const double start = network.spread(mean);
    for (int t = 0; t < 150; ++t) ASSERT_TRUE(network.round());
    for (std::size_t i = 0; i < 200; ++i) ASSERT_NEAR(network.mean()[i], mean[i], 2e-5) << family;
    EXPECT_LT(network.spread(mean), 0.5 * start) << family;
  }
}

// Gossip on Q(x_j) - x_i, which everybody writes first.
class Naive final : public Mixer {
 public:
  explicit Naive(const MixerSetup& setup) : setup_(setup), theirs_(setup.layout->size()), sum_(setup.layout->size()) {}
  std::string_view name() const override { return "naive"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }
  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    model_ = shadow;
    std::fill_n(sum_.data(), sum_.size(), 0.f);
    Plan plan;
    for (const Edge& edge : info.edges->out) plan.send.push_back({.id = edge.peer, .to = {edge.peer}});
    for (const Edge& edge : info.edges->in) plan.await.push_back({edge.peer, 0});
    return plan;
  }
  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing&, std::span<std::byte> out) override {
    GOSSAMER_TRY_ASSIGN(const std::size_t used, setup_.compressor->encode(stream, model_, *setup_.layout, mix_seed(info.round, info.self), out));
    return Encoded{used, setup_.compressor->codec(), setup_.layout->size()};
  }
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    auto edge = info.edges->in.begin();
    for (const Arrival& arrival : arrivals) {
      std::fill_n(theirs_.data(), theirs_.size(), 0.f);
      GOSSAMER_TRY(setup_.compressor->add_decoded(stream, arrival.bytes, *setup_.layout, 1, theirs_.span()));
      while (edge->peer != arrival.from) ++edge;
      for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += static_cast<float>(edge->weight) * (theirs_[i] - model_[i]);
    }
    return Plan{};
  }
  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    copy(sum_.span(), add);
    return Affine{};
  }

 private:
  MixerSetup setup_;
  std::span<const float> model_;
  AlignedBuffer<float> theirs_, sum_;
};

// E12's negative control: with the same codec, naive gossip loses the mean and stalls where CHOCO does neither.
TEST(NaiveQuantizedGossip, DriftsAndStallsWhereChocoDoesNot) {
  const auto ring = graph("ring", 8);
  const CompressionOptions compression{.codec = CodecId::qsgd, .levels = 63, .unbiased = true};
  Network naive(*ring, {.compression = compression, .dimension = 300, .make = [](const MixerSetup& setup) { return std::make_unique<Naive>(setup); }});
  Network choco(*ring, {.algorithm = "choco-sgd", .compression = compression, .step_size = 0.4, .dimension = 300});
  for (auto* network : {&naive, &choco}) network->randomise(5);
  const auto mean = naive.mean();
  for (int t = 0; t < 250; ++t)
    for (auto* network : {&naive, &choco}) ASSERT_TRUE(network->round());
  const auto drift = [&](const Network& network) {
    double sum = 0;
    for (std::size_t i = 0; i < 300; ++i) sum += (network.mean()[i] - mean[i]) * (network.mean()[i] - mean[i]);
    return std::sqrt(sum);
  };
  EXPECT_GT(drift(naive), 0.1);
  EXPECT_LT(drift(choco), 1e-4);
  EXPECT_GT(naive.spread(naive.mean()), 1e3 * choco.spread(choco.mean()));
}

struct LowRank {
  std::size_t rank, iterations;
};

class PowerGossipRanks : public testing::TestWithParam<LowRank> {};
INSTANTIATE_TEST_SUITE_P(Ranks, PowerGossipRanks, testing::Values(LowRank{1, 1}, LowRank{2, 1}, LowRank{1, 2}, LowRank{3, 4}),
                         [](const auto& info) { return std::to_string(info.param.rank) + "_in_" + std::to_string(info.param.iterations); });

struct Bases {
  std::uint64_t iterations = 0;
  std::vector<float> basis;
  friend bool operator==(const Bases&, const Bases&) = default;
};

std::map<PeerId, Bases> bases_of(const Mixer& mixer) {
  Writer writer;
  mixer.save(writer);
  Reader reader(writer.view());
  std::map<PeerId, Bases> all;
  for (auto left = reader.get<std::uint64_t>(); left > 0 && reader.ok(); --left) {
    Bases& bases = all[reader.get<PeerId>()];
    bases.iterations = reader.get<std::uint64_t>();
    bases.basis.resize(reader.get<std::uint64_t>());
    for (float& value : bases.basis) value = reader.get<float>();
  }
  EXPECT_TRUE(reader.ok());
  return all;
}

// E12 and E10 for low rank, on a ring and on a schedule: the mean stays, both ends of every edge hold the same bases to the bit.
TEST_P(PowerGossipRanks, KeepsTheMeanAndBothEndsHoldTheSameBases) {
  for (const char* family : {"ring", "one-peer-hypercube"}) {
    const auto topology = graph(family, 8);
    Network network(*topology, {.algorithm = "power-gossip", .dimension = 12 * 9, .shape = {12, 9}, .adjust = [](MixerSetup& setup) {
                                  setup.rank = GetParam().rank;
                                  setup.power_iterations = GetParam().iterations;
                                }});
    network.randomise(6);
    const auto mean = network.mean();
    const double start = network.spread(mean);
    for (int t = 0; t < 90; ++t) {
      const auto result = network.round();
      ASSERT_TRUE(result) << result.error().message;
    }
    for (std::size_t i = 0; i < mean.size(); ++i) ASSERT_NEAR(network.mean()[i], mean[i], 1e-5);
    EXPECT_LT(network.spread(mean), (GetParam().rank * GetParam().iterations == 1 ? 0.2 : 0.01) * start) << family;
    for (PeerId p = 0; p < 8; ++p)
      for (const auto& [other, bases] : bases_of(network.mixer(p))) {
        EXPECT_GT(bases.iterations, 0u);
        EXPECT_EQ(bases, bases_of(network.mixer(other)).at(p)) << "edge " << p << " - " << other;
        double length = 0;
        for (std::size_t i = 0; i < bases.basis.size() / GetParam().rank; ++i) length += bases.basis[i] * bases.basis[i];
        EXPECT_NEAR(length, 1, 1e-5) << "columns have length 1";
      }
  }
}

// A difference of rank 1 is gone after its basis has met it from both sides, up to the weight: an edge of weight 1/2 and two
// peers agree at once.
TEST(PowerGossip, ADifferenceOfRankOneIsFoundByTheSecondIteration) {
  const auto pair = graph("complete", 2);
  Network network(*pair, {.algorithm = "power-gossip", .dimension = 30, .shape = {6, 5}});
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t k = 0; k < 5; ++k) network.model(1)[5 * i + k] = static_cast<float>((i + 1.) * (2. - k));
  const double start = network.spread(network.mean());
  ASSERT_TRUE(network.round());
  EXPECT_GT(network.spread(network.mean()), 1e-3 * start) << "a random direction sees a part only";
  ASSERT_TRUE(network.round());
  EXPECT_LT(network.spread(network.mean()), 1e-9 * start);
}

TEST(PowerGossip, SendsOneSideOfTheMatrixInTurn) {
  const auto pair = graph("complete", 2);
  Network network(*pair, {.algorithm = "power-gossip", .dimension = 300 * 20, .shape = {300, 20}, .adjust = [](MixerSetup& setup) { setup.rank = 2; }});
  network.randomise(7);
  ASSERT_TRUE(network.round());
  std::uint64_t before = network.fabric(0).traffic().bytes_sent;
  ASSERT_TRUE(network.round());
  const double right = static_cast<double>(network.fabric(0).traffic().bytes_sent - before);
  before = network.fabric(0).traffic().bytes_sent;
  ASSERT_TRUE(network.round());
  const double left = static_cast<double>(network.fabric(0).traffic().bytes_sent - before);
  EXPECT_NEAR(right, 4 * 2 * 300, 300) << "payload plus notices";
  EXPECT_NEAR(left, 4 * 2 * 20, 300);
}

TEST(PowerGossip, WhatItCannotRunOnIsRefused) {
  const auto ring = graph("ring", 4);
  EXPECT_NE(refusal("power-gossip", *ring, {.codec = CodecId::bf16}), "");
  EXPECT_NE(refusal("power-gossip", *ring, {}, [](MixerSetup& setup) { setup.rank = 0; }), "");
  EXPECT_NE(refusal("power-gossip", *ring, {}, [](MixerSetup& setup) { setup.power_iterations = 65; }), "");
  EXPECT_NE(refusal("power-gossip", *graph("one-peer-exponential", 8)).find("both directions"), std::string::npos);
}

}  // namespace
}  // namespace gossamer
