// AD-PSGD: peers that wait for nobody, in random order, over the real engine.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/gossip/free_running.h"
#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

struct Case {
  const char* family;
  std::size_t peers;
};

class AdPsgd : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Graphs, AdPsgd,
                         testing::Values(Case{"ring", 8}, Case{"ring", 5}, Case{"complete", 6}, Case{"one-peer-hypercube", 8}, Case{"path", 3}),
                         [](const auto& info) {
                           std::string name = std::string(info.param.family) + std::to_string(info.param.peers);
                           std::erase(name, '-');
                           return name;
                         });

// E18: bipartite graphs and others, tens of thousands of exchanges in all.
TEST_P(AdPsgd, TheMeanMovesByGradientsAloneAndNobodyStops) {
  const auto topology = graph(GetParam().family, GetParam().peers);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 3});
  network.randomise(2);
  const Outcome outcome = run_free(network, 4000, 1e-3, std::vector<unsigned>(GetParam().peers, 1), 5);
  EXPECT_GT(std::abs(outcome.expected[0]), 1) << "the gradients must have moved it, or nothing is shown";
  EXPECT_LT(drift(network, outcome), 1e-4 * std::abs(outcome.expected[0]));
}

TEST_P(AdPsgd, WithoutGradientsAllAgreeOnTheMean) {
  const auto topology = graph(GetParam().family, GetParam().peers);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 3});
  network.randomise(3);
  const Outcome outcome = run_free(network, 1500, 0, std::vector<unsigned>(GetParam().peers, 1), 6);
  EXPECT_LT(network.spread(outcome.expected), 1e-9);
}

// One exchange after the other: each is the average of a pair, which takes nobody further from the mean than it was.
TEST_P(AdPsgd, WithoutGradientsNoExchangeTakesPeersApart) {
  const auto topology = graph(GetParam().family, GetParam().peers);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 20});
  network.randomise(8);
  const std::vector<double> mean = network.mean();
  for (PeerId p = 0; p < network.size(); ++p) network.engine(p).publish(network.model(p), 0);
  ASSERT_TRUE(network.finish());
  Random random(9, Purpose::test);
  double last = network.spread(mean);
  std::size_t closer = 0;
  for (int turn = 0; turn < 300; ++turn) {
    const auto p = static_cast<PeerId>(random.below(network.size()));
    network.engine(p).publish(network.model(p), 0);
    const auto finished = network.finish();
    ASSERT_TRUE(finished) << finished.error().message;
    const double now = network.spread(mean);
    ASSERT_LE(now, last * (1 + 1e-5) + 1e-9) << "exchange " << turn;
    closer += now < 0.999 * last;
    last = now;
  }
  EXPECT_GT(closer, 15u);
  EXPECT_LT(last, 1e-3 * static_cast<double>(network.size()));
}

// Several exchanges per publication of a slow peer: its shadow moves with each of them.
TEST(AdPsgdPace, ASlowPeerTakesPartInManyExchangesBetweenItsSteps) {
  const auto topology = graph("complete", 6);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 3});
  network.randomise(4);
  const Outcome outcome = run_free(network, 3000, 0, {100, 1, 1, 1, 1, 1}, 7);
  EXPECT_LT(network.spread(outcome.expected), 1e-9);
  const EngineStats& slow = network.engine(0).stats();
  EXPECT_GT(slow.payloads_received, 10 * (slow.rounds + slow.skipped)) << "the slow peer should be asked far more often than it steps";
}

TEST(AdPsgdPace, RoundingCodecsKeepTheMean) {
  const auto topology = graph("ring", 6);
  Network network(*topology, {.algorithm = "ad-psgd", .compression = {.codec = CodecId::bf16}, .dimension = 20});
  network.randomise(5);
  const Outcome outcome = run_free(network, 2000, 0, std::vector<unsigned>(6, 1), 8);
  EXPECT_LT(drift(network, outcome), 1e-5);
}

TEST(AdPsgdPace, WhoOutrunsItsExchangesByFarWaitsForThem) {
  const auto topology = graph("complete", 2);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 1});
  Engine& fast = network.engine(0);
  network.engine(1).publish(network.model(1), 0);
  int published = 0;
  for (; fast.can_publish() && published < 100; ++published) fast.publish(network.model(0), 0);
  EXPECT_EQ(published, 9) << "the one that asks, and eight beside it";
  for (int i = 0; i < 200 && !fast.can_publish(); ++i)
    for (PeerId p = 0; p < 2; ++p) ASSERT_TRUE(network.engine(p).step());
  EXPECT_TRUE(fast.can_publish());
  EXPECT_EQ(fast.stats().rounds, 1u);
}

TEST(AdPsgdPace, WhoHasNothingPublishedYetIsNotAsked) {
  const auto topology = graph("complete", 2);
  Network network(*topology, {.algorithm = "ad-psgd", .dimension = 1});
  network.model(0) = {0};
  network.model(1) = {8};
  network.engine(0).publish(network.model(0), 0);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(network.engine(0).step());
    ASSERT_TRUE(network.engine(1).step());
  }
  EXPECT_EQ(network.engine(0).stats().rounds, 0u);
  network.engine(1).publish(network.model(1), 0);
  ASSERT_TRUE(network.finish());
  for (int i = 0; i < 200; ++i)
    for (PeerId p = 0; p < 2; ++p) {
      ASSERT_TRUE(network.engine(p).step());
      network.engine(p).apply(network.model(p));
    }
  EXPECT_EQ(network.model(0)[0] + network.model(1)[0], 8.f);
}

// The form that several implementations have: the average replaces the model as it is when the answer has come.
class Overwriting final : public Mixer {
 public:
  explicit Overwriting(const MixerSetup& setup) : inner_(make_mixer("ad-psgd", setup).value()), d_(setup.layout->size()) {}
  std::string_view name() const override { return "overwriting"; }
  MixerTraits traits() const override { return inner_->traits(); }
  std::size_t payload_capacity() const override { return inner_->payload_capacity(); }
  Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) override { return inner_->begin(stream, info, shadow); }
  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    if (what.kind == 1) theirs_ = asked_[what.to.front()];
    return inner_->encode(stream, info, what, out);
  }
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    std::vector<float> came(d_);
    std::memcpy(came.data(), arrivals[0].bytes.data(), d_ * sizeof(float));
    (arrivals[0].header.kind == 1 ? theirs_ : asked_[arrivals[0].from]) = came;
    return inner_->arrived(stream, info, arrivals);
  }
  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    if (!inner_->result(stream, info, add)) return std::nullopt;
    for (std::size_t i = 0; i < d_; ++i) add[i] = 0.5f * theirs_[i];
    return Affine{.a = 0.5};
  }

 private:
  std::unique_ptr<Mixer> inner_;
  std::size_t d_;
  std::vector<float> theirs_;
  std::map<PeerId, std::vector<float>> asked_;
};

// E18's negative control: the test above can fail.
TEST(AdPsgdPace, OverwritingWithTheAverageLosesGradients) {
  const auto topology = graph("ring", 8);
  Network network(*topology, {.dimension = 3, .make = [](const MixerSetup& setup) { return std::make_unique<Overwriting>(setup); }});
  network.randomise(2);
  const Outcome outcome = run_free(network, 2000, 1e-3, std::vector<unsigned>(8, 1), 5);
  EXPECT_GT(drift(network, outcome), 0.1 * std::abs(outcome.expected[0]));
}

}  // namespace
}  // namespace gossamer
