// Every checker fires when its promise is broken, and the fabric's own accounting.
#include "runtime/simulator/checkers.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/simulator/consensus.h"
#include "tests/gossip/network.h"
#include "tests/simulator/runs.h"
#include "tests/simulator/wrong_mixer.h"

namespace gossamer {
namespace {

using sim::Checkers;
using sim::SimulationSetup;
using testing_support::at_peer;
using testing_support::must_simulate;
using testing_support::small_run;
using testing_support::told;
using testing_support::Biased;
using testing_support::Wrong;

const sim::Violation* find(const sim::SimulationOutcome& outcome, std::string_view checker) {
  const auto found = std::find_if(outcome.violations.begin(), outcome.violations.end(), [&](const auto& v) { return v.checker == checker; });
  return found == outcome.violations.end() ? nullptr : &*found;
}

RunFile choco_per_edge(std::size_t peers) {
  RunFile run = small_run("choco-sgd", "ring", peers);
  run.compression = {.codec = CodecId::qsgd, .levels = 15};
  run.mixing.step_size = 0.3;
  run.mixing.replicas = "per-edge";
  return run;
}

// Loss with repair off, as a mixer would see it if the channel skipped what is missing: one difference is not applied.
class Forgetful final : public Wrong {
 public:
  using Wrong::Wrong;
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    std::vector<Arrival> left(arrivals.begin(), arrivals.end());
    if (info.round == 4) left.erase(left.begin());
    return inner_->arrived(stream, info, left);
  }
};

// One difference applied twice.
class Repeating final : public Wrong {
 public:
  using Wrong::Wrong;
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    if (info.round == 4) GOSSAMER_TRY(inner_->arrived(stream, info, arrivals.first(1)));
    return inner_->arrived(stream, info, arrivals);
  }
};

class BiasedOnce final : public Biased {
 public:
  using Biased::Biased;

 private:
  float bias(const RoundInfo& info) const override { return info.round == 4 ? 1e-3f : 0; }
};

TEST(Checkers, ADifferenceThatIsNotAppliedPartsTheReplicasInThatVeryRound) {
  const auto outcome = must_simulate({.run = choco_per_edge(5), .wrap = at_peer<Forgetful>(2)});
  const auto* replica = find(outcome, "replica");
  ASSERT_TRUE(replica) << told(outcome);
  EXPECT_EQ(replica->round, 4u);
  EXPECT_EQ(replica->peer, 2u);
  EXPECT_TRUE(find(outcome, "mean")) << told(outcome);
}

TEST(Checkers, ADifferenceThatIsAppliedTwicePartsTheReplicasInThatVeryRound) {
  const auto outcome = must_simulate({.run = choco_per_edge(5), .wrap = at_peer<Repeating>(2)});
  const auto* replica = find(outcome, "replica");
  ASSERT_TRUE(replica) << told(outcome);
  EXPECT_EQ(replica->round, 4u);
}

// E14 at the network: bytes that are lost although their notice comes, with nobody to notice.
TEST(Checkers, LossWithoutRepairIsSeenWithinARound) {
  SimulationSetup setup{.run = choco_per_edge(5)};
  setup.faults.broken_puts = 0.02;
  const auto outcome = must_simulate(setup);
  const auto* once = find(outcome, "once");
  ASSERT_TRUE(once) << told(outcome);
  EXPECT_NE(once->what.find("not what was sent"), std::string::npos) << once->what;
  // Damaged bytes may not even parse; where they do, the replicas part in the same round.
  const auto* replica = find(outcome, "replica");
  EXPECT_TRUE(outcome.error || (replica && replica->round <= once->round + 1)) << told(outcome);
  setup.run.transport.checksum = true;
  const auto refused = must_simulate(setup);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code, Errc::corrupt) << refused.error->message;
  EXPECT_EQ(refused.violations_found, 0u) << told(refused);
}

// The same loss on a channel that was told that the network is reliable: the round never closes, and that is said.
TEST(Checkers, LossThatNobodyRepairsEndsAtTheDeadlineAndStopsProgress) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 5, 100)};
  setup.run.deadlines.round = std::chrono::seconds(20);
  setup.progress_bound = std::chrono::seconds(4);
  setup.faults.loss = 0.05;
  setup.faults.repair = false;
  const auto outcome = must_simulate(setup);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, Errc::timed_out) << outcome.error->message;
  EXPECT_TRUE(find(outcome, "progress")) << told(outcome);
}

TEST(Checkers, AnAlgorithmThatMovesTheMeanIsSeen) {
  const auto outcome = must_simulate({.run = small_run("d-psgd", "ring", 5), .wrap = at_peer<BiasedOnce>(3)});
  const auto* mean = find(outcome, "mean");
  ASSERT_TRUE(mean) << told(outcome);
  EXPECT_EQ(mean->round, 4u);
  EXPECT_EQ(outcome.violations_found, 1u) << told(outcome);
}

// The checkers by themselves, told of what never happens over a working engine.
class Told : public testing::Test {
 protected:
  bool violated(const Checkers& checkers, std::string_view checker) {
    return std::any_of(checkers.violations().begin(), checkers.violations().end(), [&](const auto& v) { return v.checker == checker; });
  }
  std::unique_ptr<Topology> ring_ = make_topology(family_spec("ring", 3)).value();
  sim::EventQueue queue_;
  Checkers checkers_{{.peers = 3, .vector_size = 2, .topology = ring_.get(), .progress_bound = std::chrono::seconds(1)}, queue_};
  Stream stream_;
};

TEST_F(Told, APeerThatRunsAheadIsSeen) {
  for (const PeerId peer : {0u, 1u, 2u}) checkers_.begun(peer, 0);
  checkers_.begun(0, 1);
  EXPECT_FALSE(violated(checkers_, "staleness"));
  checkers_.begun(0, 2);  // its neighbours have not begun round 1
  EXPECT_TRUE(violated(checkers_, "staleness"));
}

TEST_F(Told, ARoundThatIsLeftOutIsSeen) {
  checkers_.begun(0, 0);
  checkers_.begun(0, 2);
  EXPECT_TRUE(violated(checkers_, "staleness"));
}

TEST_F(Told, APayloadThatIsHandedOverTwiceIsSeen) {
  const std::array<std::byte, 4> bytes{};
  checkers_.encoded(0, 7, {.to = {1}}, bytes);
  Arrival arrival{.from = 0, .header = {.incarnation = 1, .round = 7}, .bytes = bytes};
  checkers_.handed_over(1, arrival);
  EXPECT_FALSE(violated(checkers_, "once"));
  checkers_.handed_over(1, arrival);
  EXPECT_TRUE(violated(checkers_, "once"));
}

TEST_F(Told, APayloadThatIsNeverHandedOverIsSeen) {
  const std::array<std::byte, 4> bytes{};
  checkers_.encoded(0, 7, {.to = {1, 2}}, bytes);
  checkers_.handed_over(1, {.from = 0, .header = {.incarnation = 1, .round = 7}, .bytes = bytes});
  EXPECT_FALSE(violated(checkers_, "once"));
  checkers_.ended();
  EXPECT_TRUE(violated(checkers_, "once"));
}

TEST_F(Told, ACorrectionThatIsAppliedTwiceIsSeen) {
  const std::array<float, 2> start{1, 2}, add{0.5f, 0}, once{1.5f, 2}, twice{2, 2};
  for (const auto* end : {&once, &twice}) {
    Checkers checkers({.peers = 1, .vector_size = 2, .topology = ring_.get(), .keeps_mean = false}, queue_);
    checkers.started(0, start);
    checkers.corrected(0, 0, 1, start, add);
    checkers.at_rest(0, *end, std::nullopt);
    EXPECT_EQ(violated(checkers, "ledger"), end == &twice);
  }
}

TEST_F(Told, MassThatIsLostIsSeen) {
  const std::array<float, 2> start{1, 2}, less{0.9f, 2};
  for (const bool weight_lost : {false, true})
    for (const bool share_lost : {false, true}) {
      Checkers checkers({.peers = 1, .vector_size = 2, .topology = ring_.get(), .keeps_mean = false}, queue_);
      checkers.started(0, start);
      checkers.at_rest(0, start, Mass{weight_lost ? 0.99 : 1, share_lost ? less : start, start});
      checkers.ended();
      EXPECT_EQ(violated(checkers, "mass"), weight_lost || share_lost);
    }
}

TEST_F(Told, TwoViewsOfOneNumberAreSeenUnlessOneIsOfTheDead) {
  checkers_.installed(0, {1, 5, {1, 1, 0}});
  checkers_.installed(1, {1, 5, {1, 1, 0}});
  EXPECT_FALSE(violated(checkers_, "view"));
  checkers_.installed(2, {2, 5, {0, 0, 1}});
  checkers_.died(2);
  checkers_.installed(0, {2, 7, {1, 1, 0}});
  EXPECT_FALSE(violated(checkers_, "view"));
  checkers_.installed(1, {2, 8, {1, 1, 0}});
  EXPECT_TRUE(violated(checkers_, "view"));
}

TEST_F(Told, AViewThatKeepsTheDeadIsSeenAtTheEnd) {
  checkers_.died(2);
  for (const PeerId peer : {0u, 1u}) checkers_.installed(peer, {1, 5, {1, 1, 1}});
  EXPECT_FALSE(violated(checkers_, "view"));
  checkers_.ended();
  EXPECT_TRUE(violated(checkers_, "view"));
}

TEST_F(Told, AViewThatBeginsInAnotherRoundIsSeen) {
  checkers_.begun(0, 0);
  checkers_.entered(0, {1, 1, {1, 1, 0}});
  EXPECT_FALSE(violated(checkers_, "view"));
  checkers_.begun(0, 1);
  checkers_.entered(0, {2, 1, {1, 1, 1}});
  EXPECT_TRUE(violated(checkers_, "view"));
}

// Two members' corrections in the view without the third, and nothing is asked of the round that it died in.
TEST_F(Told, TheMeanIsKeptByTheMembersOfAView) {
  const std::array<float, 2> shadow{1, 2}, up{0.5f, 0}, down{-0.5f, 0}, wrong{-0.25f, 0};
  checkers_.corrected(0, 0, 1, shadow, up);
  checkers_.corrected(2, 0, 1, shadow, up);
  checkers_.died(2);
  checkers_.corrected(1, 0, 1, shadow, up);
  for (const PeerId peer : {0u, 1u}) {
    checkers_.begun(peer, 0);
    checkers_.entered(peer, {1, 1, {1, 1, 0}});
  }
  checkers_.corrected(0, 1, 1, shadow, up);
  EXPECT_EQ(checkers_.sums_checked(), 0u);
  checkers_.corrected(1, 1, 1, shadow, down);
  EXPECT_EQ(checkers_.sums_checked(), 1u);
  EXPECT_EQ(checkers_.found(), 0u);
  checkers_.corrected(0, 2, 1, shadow, up);
  checkers_.corrected(1, 2, 1, shadow, wrong);
  EXPECT_TRUE(violated(checkers_, "mean"));
}

TEST_F(Told, MemoryBeyondItsBoundIsSeen) {
  checkers_.memory(1, 100, 100);
  EXPECT_FALSE(violated(checkers_, "memory"));
  checkers_.memory(1, 101, 100);
  EXPECT_TRUE(violated(checkers_, "memory"));
}

TEST_F(Told, APeerWithoutProgressIsSeenUnlessItHasLeft) {
  queue_.at(queue_.now() + std::chrono::milliseconds(1500), [&] {
    checkers_.progressed(0);
    checkers_.left(1);
    checkers_.look_for_progress();
  });
  queue_.step();
  ASSERT_EQ(checkers_.violations().size(), 1u);
  EXPECT_EQ(checkers_.violations()[0].peer, 2u);
}

TEST(Clocks, ADeadlineIsReachedWhenTheClockShowsIt) {
  sim::EventQueue queue;
  for (const double drift : {-1e-3, 0.0, 2e-5, 0.1}) {
    const sim::PeerClock clock(queue, std::chrono::seconds(77), drift);
    for (const std::int64_t ns : {80'000'000'001, 123'456'789'012}) {
      const Time when = clock.when({ns});
      EXPECT_GE(clock.shown(when).ns, ns);
      EXPECT_LT(clock.shown(when).ns, ns + 4);
    }
  }
}

// The rows of the vectorised path are the engines' models, bit for bit.
TEST(Consensus, RowsAreTheModelsOfTheEngine) {
  for (const auto& [family, peers] : {std::pair{"ring", 5}, {"one-peer-exponential", 8}, {"static-exponential", 16}}) {
    const auto topology = make_topology(family_spec(family, static_cast<std::size_t>(peers))).value();
    constexpr std::size_t kDimension = 7;
    testing_support::Network network(*topology, {.algorithm = "d-psgd", .dimension = kDimension});
    for (PeerId id = 0; id < network.size(); ++id) sim::consensus_start(3, id, network.model(id));
    for (int round = 0; round < 9; ++round) ASSERT_TRUE(network.round());
    const auto outcome = sim::run_consensus({.topology = topology.get(), .dimension = kDimension, .rounds = 9, .seed = 3});
    ASSERT_TRUE(outcome);
    for (PeerId id = 0; id < network.size(); ++id)
      for (std::size_t i = 0; i < kDimension; ++i) EXPECT_EQ(outcome->models[id * kDimension + i], network.model(id)[i]) << family;
  }
}

TEST(Consensus, OnePeerExponentialIsExactAfterLogN) {
  const auto topology = make_topology(family_spec("one-peer-exponential", 1 << 12)).value();
  const auto outcome = sim::run_consensus({.topology = topology.get(), .dimension = 1, .rounds = 12});
  ASSERT_TRUE(outcome);
  EXPECT_NEAR(outcome->distance.front(), 1, 0.1);
  EXPECT_GT(outcome->distance[11], 1e-3);
  EXPECT_LT(outcome->distance[12], 1e-6);
  EXPECT_LT(outcome->mean_drift, 1e-6);
}

}  // namespace
}  // namespace gossamer
