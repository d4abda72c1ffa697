// Clipped gossip against peers that lie.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

NetworkOptions clipped(double tau, std::size_t d) {
  return {.algorithm = "clipped-gossip", .dimension = d, .adjust = [tau](MixerSetup& setup) { setup.clip = tau; }};
}

// E24
TEST(ClippedGossip, WithoutABoundItIsDpsgdAndWithABoundOfZeroNobodyListens) {
  const auto ring = graph("ring", 6);
  Network free(*ring, clipped(std::numeric_limits<double>::infinity(), 10)), plain(*ring, {.algorithm = "d-psgd", .dimension = 10}), deaf(*ring, clipped(0, 10));
  for (auto* network : {&free, &plain, &deaf}) network->randomise(1);
  const Matrix start = models(deaf);
  for (int t = 0; t < 20; ++t)
    for (auto* network : {&free, &plain, &deaf}) ASSERT_TRUE(network->round());
  for (PeerId p = 0; p < 6; ++p) EXPECT_EQ(free.model(p), plain.model(p));
  EXPECT_EQ(models(deaf), start);
}

TEST(ClippedGossip, NobodyMovesAPeerByMoreThanItsWeightTimesTheBound) {
  const auto ring = graph("ring", 3);
  Network network(*ring, clipped(0.5, 4));
  network.model(1) = {1e6f, 0, 0, 0};
  ASSERT_TRUE(network.round());
  EXPECT_NEAR(network.model(0)[0], 0.5 / 3, 1e-6);
}

// Two of ten peers answer with ten times the opposite of what they should hold.  Honest peers start apart, agree on where
// they started, and stay there; with plain gossip they are dragged away.
double honest_error(NetworkOptions options) {
  const std::size_t n = 10, liars = 2, d = 20;
  const auto complete = graph("complete", n);
  options.dimension = d;
  Network network(*complete, std::move(options));
  network.randomise(2);
  for (PeerId p = 0; p < n; ++p)
    for (float& value : network.model(p)) value = 3 + 0.1f * value;
  std::vector<double> honest(d);
  for (PeerId p = liars; p < n; ++p)
    for (std::size_t i = 0; i < d; ++i) honest[i] += network.model(p)[i] / static_cast<double>(n - liars);
  for (int t = 0; t < 30; ++t) {
    for (PeerId p = 0; p < liars; ++p)
      for (std::size_t i = 0; i < d; ++i) network.model(p)[i] = static_cast<float>(-10 * honest[i]);
    EXPECT_TRUE(network.round());
  }
  double most = 0;
  for (PeerId p = liars; p < n; ++p)
    for (std::size_t i = 0; i < d; ++i) most = std::max(most, std::abs(network.model(p)[i] - honest[i]));
  return most;
}

TEST(ClippedGossip, PeersThatFlipSignsMoveTheHonestLittle) {
  EXPECT_GT(honest_error({.algorithm = "d-psgd"}), 3) << "the attack must work where nothing is clipped";
  EXPECT_LT(honest_error(clipped(0.05, 0)), 0.15);
}

TEST(ClippedGossip, ABoundBelowZeroIsRefused) {
  for (const double tau : {-1., std::nan("")})
    EXPECT_NE(refusal("clipped-gossip", *graph("ring", 4), {}, [&](MixerSetup& setup) { setup.clip = tau; }), "");
}

// A liar that sends what no codec would: its payload is made by hand.
class SendsNoNumber final : public Mixer {
 public:
  explicit SendsNoNumber(const MixerSetup& setup) : inner_(make_mixer("clipped-gossip", setup).value()) {}
  std::string_view name() const override { return "liar"; }
  MixerTraits traits() const override { return inner_->traits(); }
  std::size_t payload_capacity() const override { return inner_->payload_capacity(); }
  Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) override { return inner_->begin(stream, info, shadow); }
  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    auto encoded = inner_->encode(stream, info, what, out);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(out.data(), &nan, sizeof nan);
    return encoded;
  }
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override { return inner_->arrived(stream, info, arrivals); }
  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override { return inner_->result(stream, info, add); }

 private:
  std::unique_ptr<Mixer> inner_;
};

TEST(ClippedGossip, WhatIsNotANumberMovesNobody) {
  const auto complete = graph("complete", 3);
  Network network(*complete, {.dimension = 2, .adjust = [](MixerSetup& setup) { setup.clip = 1; }, .make = [](const MixerSetup& setup) -> std::unique_ptr<Mixer> {
                                if (setup.self == 0) return std::make_unique<SendsNoNumber>(setup);
                                return make_mixer("clipped-gossip", setup).value();
                              }});
  network.model(1) = {0, 0};
  network.model(2) = {0.5f, 0};
  ASSERT_TRUE(network.round());
  EXPECT_NEAR(network.model(1)[0], 0.5 / 3, 1e-6);
  EXPECT_TRUE(all_finite(network.model(2)));
}

}  // namespace
}  // namespace gossamer
