// Servers with a slow peer: a synchronous one is as slow as its slowest leaf, an asynchronous one as each peer by itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "runtime/simulator/simulation.h"
#include "tests/simulator/runs.h"
#include "tests/simulator/wrong_mixer.h"

namespace gossamer {
namespace {

using testing_support::must_simulate;
using testing_support::small_run;
using testing_support::told;

sim::SimulationOutcome serve(const char* algorithm, double factor, PeerId slow) {
  sim::SimulationSetup setup{.run = small_run(algorithm, "star", 8, 60)};
  if (std::string(algorithm) == "parameter-server-async") setup.run.synchrony.mode = Synchrony::async;
  setup.network.latency = {.base = std::chrono::milliseconds(1)};
  setup.network.compute = {.base = std::chrono::milliseconds(10)};
  setup.network.stragglers = {{.peer = slow, .factor = factor}};
  auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << algorithm << ": " << told(outcome);
  return outcome;
}

TEST(Servers, ASlowLeafHoldsUpNobodyElseOfAnAsynchronousOne) {
  EXPECT_GT(serve("parameter-server", 10, 3).peers[1].finished_s, 60 * 0.1) << "of a synchronous one it does";
  const auto even = serve("parameter-server-async", 1, 3), uneven = serve("parameter-server-async", 10, 3);
  EXPECT_GT(uneven.peers[3].finished_s, 60 * 0.1);
  for (PeerId peer = 0; peer < 8; ++peer) {
    if (peer == 3) continue;
    EXPECT_NEAR(uneven.peers[peer].finished_s, even.peers[peer].finished_s, 1e-9) << "peer " << peer;
    EXPECT_LT(uneven.peers[peer].finished_s, 60 * 0.010 + 0.02) << "peer " << peer;
    EXPECT_LT(uneven.peers[peer].wait_s, 0.02) << "peer " << peer;
  }
  EXPECT_LT(uneven.loss, uneven.curve.front().loss);
}

// At the hub: how many pushes of others came between the answer that a leaf took and its next push.
class Staleness final : public testing_support::Wrong {
 public:
  Staleness(std::unique_ptr<Mixer> inner, std::map<PeerId, std::vector<std::uint64_t>>* seen) : Wrong(std::move(inner)), seen_(*seen) {}
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    const PeerId from = arrivals.front().from;
    if (const auto last = answered_.find(from); last != answered_.end()) seen_[from].push_back(pushes_ - last->second);
    answered_[from] = ++pushes_;
    return inner_->arrived(stream, info, arrivals);
  }

 private:
  std::map<PeerId, std::vector<std::uint64_t>>& seen_;
  std::map<PeerId, std::uint64_t> answered_;
  std::uint64_t pushes_ = 0;
};

// A step is as stale as what the others push while it is taken: once each where all are equally fast, and ten times as much at
// a leaf that needs ten times as long.
TEST(Servers, APushIsAsStaleAsItsLeafIsSlow) {
  sim::SimulationSetup setup{.run = small_run("parameter-server-async", "star", 8, 100)};
  setup.run.synchrony.mode = Synchrony::async;
  setup.network.latency = {.base = std::chrono::microseconds(100)};
  setup.network.compute = {.kind = sim::Delay::Kind::uniform, .base = std::chrono::milliseconds(9), .spread = std::chrono::milliseconds(11)};
  setup.network.stragglers = {{.peer = 3, .factor = 10}};
  std::map<PeerId, std::vector<std::uint64_t>> seen;
  setup.wrap = [&](PeerId peer, std::unique_ptr<Mixer> mixer) -> std::unique_ptr<Mixer> {
    if (peer != 0) return mixer;
    return std::make_unique<Staleness>(std::move(mixer), &seen);
  };
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  for (auto& [leaf, pushes] : seen) {
    ASSERT_GE(pushes.size(), 9u) << "leaf " << leaf;
    // Of the straggler what it pushed while the others still did: they are done by its tenth step.
    if (leaf == 3) pushes.resize(8);
    std::sort(pushes.begin(), pushes.end());
    const auto median = pushes[pushes.size() / 2];
    if (leaf == 3) {
      EXPECT_NEAR(median, 60, 8) << "ten pushes of each of the six others";
    } else {
      EXPECT_NEAR(median, 5, 2) << "leaf " << leaf << ": one push of each of the five others that are as fast, and seldom the straggler's";
      EXPECT_LE(pushes.back(), 20u) << "leaf " << leaf;
    }
  }
  EXPECT_EQ(seen.size(), 7u);
}

// Nobody but the hub has the model of all; whoever leaves else may come back.
TEST(Servers, AreNothingWithoutTheirHub) {
  sim::SimulationSetup setup{.run = small_run("parameter-server-async", "star", 6, 60)};
  setup.run.synchrony.mode = Synchrony::async;
  setup.run.membership.mode = MembershipMode::elastic;
  setup.network.compute = {.base = std::chrono::milliseconds(10)};
  setup.faults.crashes = {{.peer = 3, .at = std::chrono::milliseconds(103), .restart_after = std::chrono::milliseconds(50)}};
  const auto without_a_leaf = must_simulate(setup);
  EXPECT_TRUE(without_a_leaf.good()) << told(without_a_leaf);
  setup.faults.crashes = {{.peer = 0, .at = std::chrono::milliseconds(103)}};
  const auto outcome = must_simulate(setup);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, Errc::peer_gone);
  EXPECT_NE(outcome.error->message.find("peer 0 is gone, the hub"), std::string::npos) << outcome.error->message;
  for (PeerId leaf = 1; leaf < 6; ++leaf) EXPECT_LT(outcome.peers[leaf].finished_s, 0.2) << "at once, not at a deadline";
}

// A slow hub answers while it computes.
TEST(Servers, NorDoesASlowHub) {
  const auto outcome = serve("parameter-server-async", 10, 0);
  EXPECT_GT(outcome.peers[0].finished_s, 59 * 0.1);
  // It hears nobody before its own first step, and leaves do not outrun their exchanges for ever.
  for (PeerId peer = 1; peer < 8; ++peer) EXPECT_LT(outcome.peers[peer].finished_s, 0.1 + 60 * 0.010 + 0.02) << "peer " << peer;
}

}  // namespace
}  // namespace gossamer
