// The worked example of docs/algorithms.md, compiled: an algorithm of one's own, from its equation to its tests.
//
// "Bubble": each peer moves a share of the way towards the neighbour who is furthest away,
//
//     x_i <- x_i + w (x_k - x_i),     k = the neighbour with the largest |x_j - x_i|
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

// docs/algorithms.md quotes from here
class Bubble final : public Mixer {
 public:
  explicit Bubble(const MixerSetup& setup) : setup_(setup), theirs_(setup.layout->size()), furthest_(setup.layout->size()) {}

  std::string_view name() const override { return "bubble"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  // Who gets what, and who is awaited.
  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    model_ = shadow;
    std::fill_n(furthest_.data(), furthest_.size(), 0.f);
    Plan plan;
    for (const Edge& edge : info.edges->out) plan.send.push_back({.id = edge.peer, .to = {edge.peer}});
    for (const Edge& edge : info.edges->in) plan.await.push_back({edge.peer, 0});
    return plan;
  }

  // A vector becomes bytes.
  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    GOSSAMER_TRY_ASSIGN(const std::size_t used, setup_.compressor->encode(stream, model_, *setup_.layout, 0, out));
    return Encoded{used, setup_.compressor->codec(), setup_.layout->size()};
  }

  // All of this round's arrivals, in ascending order of peer.
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    double far = 0;
    for (const Arrival& arrival : arrivals) {
      std::fill_n(theirs_.data(), theirs_.size(), 0.f);
      GOSSAMER_TRY(setup_.compressor->add_decoded(stream, arrival.bytes, *setup_.layout, 1, theirs_.span()));
      const double distance = squared_distance(theirs_.span(), model_);
      if (distance <= far) continue;
      far = distance;
      const auto edge = std::find_if(info.edges->in.begin(), info.edges->in.end(), [&](const Edge& e) { return e.peer == arrival.from; });
      for (std::size_t i = 0; i < furthest_.size(); ++i) furthest_[i] = static_cast<float>(edge->weight) * (theirs_[i] - model_[i]);
    }
    return Plan{};  // awaits nothing more: the round ends
  }

  // model = 1 * model + add: what the trainer did meanwhile stays.
  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    copy(furthest_.span(), add);
    return Affine{.a = 1};
  }

 private:
  MixerSetup setup_;
  std::span<const float> model_;
  AlignedBuffer<float> theirs_, furthest_;
};
// end of quotation

NetworkOptions bubble(std::size_t dimension) {
  return {.dimension = dimension, .make = [](const MixerSetup& setup) { return std::make_unique<Bubble>(setup); }};
}

TEST(Bubble, OneRoundIsItsEquation) {
  const auto ring = graph("ring", 4);
  Network network(*ring, bubble(1));
  const float start[] = {0, 3, 9, -6};
  for (PeerId p = 0; p < 4; ++p) network.model(p) = {start[p]};
  ASSERT_TRUE(network.round());
  // Weights of a ring are 1/3; the furthest neighbours are 3, 2, 3, 2.
  EXPECT_NEAR(network.model(0)[0], 0 + (-6. - 0) / 3, 1e-6);
  EXPECT_NEAR(network.model(1)[0], 3 + (9. - 3) / 3, 1e-6);
  EXPECT_NEAR(network.model(2)[0], 9 + (-6. - 9) / 3, 1e-6);
  EXPECT_NEAR(network.model(3)[0], -6 + (9. + 6) / 3, 1e-6);
}

std::string between(const std::string& file, const std::string& first, const std::string& last) {
  std::ifstream from(file);
  EXPECT_TRUE(from) << file;
  std::stringstream text;
  text << from.rdbuf();
  const std::string all = text.str();
  const std::size_t begin = all.find(first) + first.size();
  return all.substr(begin, all.find(last, begin) - begin);
}

TEST(Bubble, ThePageQuotesWhatIsCompiled) {
  const char* root = std::getenv("SOURCE_ROOT");
  if (root == nullptr) GTEST_SKIP() << "SOURCE_ROOT is not set; meson test sets it";
  const std::string folder = std::string(root) + "/";
  const std::string here = between(folder + "tests/gossip/toy_mixer_test.cc", "// docs/algorithms.md quotes from here\n", "// end of quotation");
  EXPECT_GT(here.size(), 1000u);
  EXPECT_EQ(between(folder + "docs/algorithms.md", "```cpp\n", "```"), here);
}

TEST(Bubble, AgreesButNotOnTheMean) {
  const auto ring = graph("ring", 6);
  Network network(*ring, bubble(10));
  network.randomise(1);
  const auto before = network.mean();
  for (int t = 0; t < 200; ++t) ASSERT_TRUE(network.round());
  EXPECT_LT(network.spread(network.mean()), 1e-6);
  double moved = 0;
  for (std::size_t i = 0; i < 10; ++i) moved = std::max(moved, std::abs(network.mean()[i] - before[i]));
  EXPECT_GT(moved, 1e-3) << "who listens to whom is not symmetric, so the mean is not kept; the text says so";
}

}  // namespace
}  // namespace gossamer
