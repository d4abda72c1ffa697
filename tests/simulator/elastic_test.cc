// Members that leave and come, in virtual time: the very Elastic, Membership and Engine of a real run, under deaths and returns
// at any moment.  Every run must complete, keep all promises of the checkers, and end about where one without faults ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "runtime/check_run.h"
#include "runtime/simulator/simulation.h"
#include "tests/simulator/runs.h"
#include "tests/simulator/wrong_mixer.h"

namespace gossamer {
namespace {

using sim::SimulationOutcome;
using sim::SimulationSetup;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing_support::at_peer;
using testing_support::must_simulate;
using testing_support::rough_weather;
using testing_support::small_run;
using testing_support::told;
using testing_support::Biased;
using testing_support::Wrong;

struct Case {
  std::string name;
  RunFile run;
};

RunFile elastic(const std::string& algorithm, const std::string& family, std::size_t peers, std::uint64_t steps = 60) {
  RunFile run = small_run(algorithm, family, peers, steps);
  run.membership.mode = MembershipMode::elastic;
  run.topology.seed = 3;
  run.trainer.task.heterogeneity = 0.2;
  run.trainer.optimizer.learning_rate = 0.05;
  const Algorithm* found = find_algorithm(algorithm);
  if (found->asynchronous) run.synchrony.mode = Synchrony::async;
  if (found->lossy_codecs) {
    run.compression = {.codec = CodecId::qsgd, .levels = 31};
    run.mixing.step_size = 0.3;
  }
  return run;
}

RunFile choco_top_k(const std::string& family, std::size_t peers) {
  RunFile run = elastic("choco-sgd", family, peers);
  run.compression = {.codec = CodecId::top_k, .ratio = 0.25};
  return run;
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Algorithm& algorithm : algorithms()) {
    if (!algorithm.elastic) continue;
    const std::string name(algorithm.name);
    if (algorithm.shape == Shape::tree) {
      for (const char* family : {"binary-tree", "path", "star"}) all.push_back({name + " on " + family, elastic(name, family, 7)});
      continue;
    }
    for (const char* family : {"ring", "torus", "one-peer-exponential", "random-regular"}) {
      RunFile run = elastic(name, family, 8);
      if (check_run(run)) all.push_back({name + " on " + family, run});
    }
  }
  all.push_back({"choco-sgd, top-k, on ring", choco_top_k("ring", 8)});
  all.push_back({"choco-sgd, top-k, on torus", choco_top_k("torus", 8)});
  for (const char* name : {"d-psgd", "sgp"}) {
    Case delayed{std::string(name) + ", delayed", elastic(name, "ring", 8)};
    delayed.run.overlap = Overlap::delayed;
    Case local{std::string(name) + ", local steps", elastic(name, "ring", 8)};
    local.run.synchrony.local_steps = 3;
    Case stale{std::string(name) + ", stale", elastic(name, "one-peer-exponential", 8)};
    stale.run.synchrony = {.mode = Synchrony::stale, .stale = 2};
    Case first{std::string(name) + ", combine then adapt", elastic(name, "ring", 8)};
    first.run.mixing.order = MixingOrder::combine_then_adapt;
    for (const Case& one : {delayed, local, stale, first}) all.push_back(one);
  }
  return all;
}

struct Storm {
  std::string name;
  std::vector<sim::CrashOptions> crashes;
};

std::vector<Storm> storms() {
  const auto crash = [](PeerId peer, int at, std::optional<int> back = std::nullopt) {
    sim::CrashOptions one{.peer = peer, .at = milliseconds(at)};
    if (back) one.restart_after = milliseconds(*back);
    return one;
  };
  return {{"one leaves", {crash(2, 103)}},
          {"one leaves and comes", {crash(2, 103, 150)}},
          {"several at once", {crash(2, 103, 150), crash(5, 103, 120), crash(6, 104)}},
          {"the coordinator in the middle of it", {crash(3, 103, 200), crash(0, 114, 200)}},
          {"one coordinator after the other", {crash(3, 103, 200), crash(0, 114, 200), crash(1, 126, 200)}},
          {"a sponsor while a newcomer loads", {crash(2, 103, 60), crash(1, 164, 100), crash(0, 175, 150)}},
          {"again and again", {crash(2, 60, 40), crash(2, 160, 40), crash(2, 260, 40), crash(4, 165, 40), crash(4, 330, 60)}}};
}

SimulationSetup weather(const RunFile& run, std::uint64_t seed) {
  SimulationSetup setup{.run = run, .seed = seed, .events_max = 3'000'000};
  setup.network.latency = {.kind = sim::Delay::Kind::lognormal, .base = std::chrono::microseconds(500), .sigma = 1};
  setup.network.control = sim::Delay{.kind = sim::Delay::Kind::exponential, .base = std::chrono::microseconds(100), .spread = milliseconds(4)};
  setup.network.compute = {.kind = sim::Delay::Kind::lognormal, .base = milliseconds(8), .sigma = 0.3};
  setup.network.clock_drift = 1e-4;
  setup.network.clock_offset = seconds(100);
  setup.progress_bound = seconds(2);
  return setup;
}

TEST(ElasticSimulation, EveryAlgorithmGoesOnThroughDeathsAndReturns) {
  for (const auto& [name, run] : cases()) {
    const auto calm = must_simulate(weather(run, 1));
    EXPECT_TRUE(calm.good()) << name << ": " << told(calm);
    EXPECT_EQ(calm.view, 0u) << name;
    for (const Storm& storm : storms())
      for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        SimulationSetup setup = weather(run, seed);
        setup.faults.crashes = storm.crashes;
        const auto outcome = must_simulate(setup);
        const std::string what = name + ", " + storm.name + ", seed " + std::to_string(seed);
        EXPECT_TRUE(outcome.good()) << what << ": " << told(outcome);
        EXPECT_GT(outcome.view, 0u) << what;
        EXPECT_LT(outcome.loss, calm.loss + 0.1 * (1 + std::abs(calm.loss))) << what;
        EXPECT_LT(outcome.consensus_distance, 2 * calm.consensus_distance + 0.05) << what;
        if (sim::keeps_mean(*find_algorithm(run.algorithm), run.compression.codec)) {
          EXPECT_GT(outcome.sums_checked, 4u) << what;
        }
      }
  }
}

TEST(ElasticSimulation, ANetworkThatLosesIsNoHindrance) {
  for (const auto& run : {elastic("d-psgd", "ring", 8), choco_top_k("ring", 8), elastic("sgp", "one-peer-exponential", 8), elastic("ad-psgd", "ring", 8)})
    for (const Storm& storm : storms()) {
      SimulationSetup setup = weather(run, 5);
      setup.faults = rough_weather();
      setup.network.resend_after = milliseconds(20);
      setup.network.in_order = false;
      setup.faults.crashes = storm.crashes;
      const auto outcome = must_simulate(setup);
      EXPECT_TRUE(outcome.good()) << run.algorithm << ", " << storm.name << ": " << told(outcome);
    }
}

TEST(ElasticSimulation, TheSameSeedGivesTheSameEvents) {
  SimulationSetup setup = weather(elastic("d-psgd", "ring", 8), 1);
  setup.faults.crashes = storms().back().crashes;
  const auto first = must_simulate(setup), second = must_simulate(setup);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.models_hash, second.models_hash);
  setup.check = false;
  EXPECT_EQ(must_simulate(setup).trace_hash, first.trace_hash);
}

TEST(ElasticSimulation, ANewLifeIsAMemberAndTrainsToTheEnd) {
  SimulationSetup setup = weather(elastic("d-psgd", "ring", 6), 1);
  setup.faults.crashes = {{.peer = 2, .at = milliseconds(103), .restart_after = milliseconds(100)}};
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_EQ(outcome.view, 2u);
  EXPECT_EQ(outcome.peers[2].lives, 2u);
  EXPECT_EQ(outcome.peers[2].steps, 60u);
  EXPECT_GT(outcome.peers[2].rounds, 10u);
  EXPECT_LT(outcome.peers[2].rounds, 50u);
  EXPECT_FALSE(outcome.peers[2].crashed);
}

// A stopped process is silent, and finds when it goes on that the others did, too.
TEST(ElasticSimulation, WhoeverIsSilentForTooLongIsOutAndMayReturn) {
  for (const bool returns : {false, true}) {
    SimulationSetup setup = weather(elastic("d-psgd", "ring", 6, 150), 1);
    setup.run.deadlines.silence = milliseconds(200);
    setup.faults.pauses = {{.peer = 2, .at = milliseconds(103), .length = milliseconds(500)}};
    if (returns) setup.faults.pauses[0].restart_after = milliseconds(10);
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << told(outcome);
    EXPECT_EQ(outcome.view, returns ? 2u : 1u);
    EXPECT_EQ(outcome.peers[2].crashed, !returns);
    setup.faults.pauses[0].length = milliseconds(150);
    EXPECT_EQ(must_simulate(setup).view, 0u);
  }
}

TEST(ElasticSimulation, TheSmallerPartEndsWithAClearError) {
  SimulationSetup setup = weather(elastic("d-psgd", "ring", 8), 1);
  for (const PeerId peer : {0u, 2u, 3u, 5u, 7u}) setup.faults.crashes.push_back({.peer = peer, .at = milliseconds(103)});
  const auto outcome = must_simulate(setup);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, Errc::peer_gone) << outcome.error->message;
  EXPECT_NE(outcome.error->message.find("members are left"), std::string::npos) << outcome.error->message;
}

TEST(ElasticSimulation, ReturnsNeedARunWhoseMembersMayChange) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 6)};
  setup.faults.crashes = {{.peer = 2, .at = milliseconds(103), .restart_after = milliseconds(100)}};
  const auto refused = sim::simulate(setup);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("membership.mode: elastic"), std::string::npos) << refused.error().message;
}

// Once such a newcomer, whose sponsor had finished, never published and so answered nobody: the slow peer waited for it until its
// deadline.
TEST(ElasticSimulation, ANewcomerWithNothingLeftToTrainStillAnswers) {
  SimulationSetup setup = weather(elastic("ad-psgd", "complete", 4, 20), 1);
  setup.network.stragglers = {{.peer = 3, .factor = 4}};
  setup.faults.crashes = {{.peer = 1, .at = milliseconds(200), .restart_after = milliseconds(30)}};
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_EQ(outcome.peers[1].lives, 2u);
  EXPECT_EQ(outcome.peers[1].steps, 20u);
  EXPECT_EQ(outcome.peers[1].compute_s, 0);
  EXPECT_EQ(outcome.peers[1].rounds, 1u);
  EXPECT_GT(outcome.peers[3].finished_s, outcome.peers[1].finished_s + 0.2);
}

// A view may name a new life before the control plane tells where to find it.  Once the invitation went to the life before and
// the newcomer waited for ever, or its transport was looked for at that one's address.
TEST(ElasticSimulation, NewsOfAReturnMayComeAfterTheViewThatHasIt) {
  for (const char* algorithm : {"d-psgd", "ad-psgd"})
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      SimulationSetup setup = weather(elastic(algorithm, "complete", 4), seed);
      setup.network.control = sim::Delay{.kind = sim::Delay::Kind::lognormal, .base = milliseconds(3), .sigma = 2};
      setup.faults.crashes = {{.peer = 2, .at = milliseconds(103), .restart_after = milliseconds(5)}};
      const auto outcome = must_simulate(setup);
      EXPECT_TRUE(outcome.good()) << algorithm << ", seed " << seed << ": " << told(outcome);
    }
}

// Leaves are neighbours while the hub is away.  Once the slow one, which had not published when the hub was back, no longer listened to
// the other, which still waited for its answer.
TEST(ElasticSimulation, AnswersAreOwedToNeighboursOfTheViewBefore) {
  SimulationSetup setup = weather(elastic("ad-psgd", "star", 7), 1);
  setup.run.synchrony.local_steps = 6;
  setup.network.control = sim::Delay{.base = std::chrono::microseconds(200)};
  setup.network.compute = {.base = milliseconds(8)};
  setup.network.stragglers = {{.peer = 5, .factor = 4}};
  setup.faults.crashes = {{.peer = 0, .at = milliseconds(15), .restart_after = milliseconds(90)}};
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_EQ(outcome.view, 2u);
}

// Keeps what it had with a peer that is in another life now.
class Nostalgic final : public Wrong {
 public:
  using Wrong::Wrong;
  void view(const View& view, const Topology& graph, std::span<const PeerId>) override { inner_->view(view, graph, {}); }
};

TEST(ElasticSimulation, AReplicaThatIsNotResetWithANewLifeIsSeen) {
  SimulationSetup setup = weather(choco_top_k("ring", 6), 1);
  setup.faults.crashes = {{.peer = 2, .at = milliseconds(103), .restart_after = milliseconds(100)}};
  setup.wrap = at_peer<Wrong>(1);
  const auto right = must_simulate(setup);
  EXPECT_TRUE(right.good()) << told(right);
  setup.wrap = at_peer<Nostalgic>(1);
  const auto outcome = must_simulate(setup);
  const auto replica = std::find_if(outcome.violations.begin(), outcome.violations.end(), [](const auto& one) { return one.checker == "replica"; });
  ASSERT_NE(replica, outcome.violations.end()) << told(outcome);
  EXPECT_TRUE(replica->peer == 1 || replica->peer == 2) << told(outcome);
}

class BiasedInTheSecondView final : public Biased {
 public:
  using Biased::Biased;

 private:
  float bias(const RoundInfo& info) const override { return info.view == 1 ? 1e-3f : 0; }
};

TEST(ElasticSimulation, AMeanThatIsMovedInALaterViewIsSeen) {
  SimulationSetup setup = weather(elastic("d-psgd", "ring", 6), 1);
  setup.faults.crashes = {{.peer = 2, .at = milliseconds(103)}};
  setup.wrap = at_peer<BiasedInTheSecondView>(4);
  const auto outcome = must_simulate(setup);
  EXPECT_FALSE(outcome.error);
  EXPECT_GT(outcome.violations_found, 20u);
  for (const auto& one : outcome.violations) EXPECT_EQ(one.checker, "mean") << told(outcome);
}

// Once the hello of a neighbour that had just died named a mailbox that could not be opened any more, and that ended the run.
TEST(ElasticSimulation, TheLastWordsOfADyingPeerHarmNobody) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SimulationSetup setup = weather(elastic("d-psgd", "random-regular", 8), seed);
    setup.faults.crashes = storms().back().crashes;
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << "seed " << seed << ": " << told(outcome);
  }
}

}  // namespace
}  // namespace gossamer
