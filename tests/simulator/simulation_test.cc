// Whole runs in virtual time: the same bits as production code over loopback, faults that change nothing, errors by
// their deadlines.
#include "runtime/simulator/simulation.h"

#include <gtest/gtest.h>

#include "tests/simulator/runs.h"

namespace gossamer {
namespace {

using sim::SimulationOutcome;
using sim::SimulationSetup;
using testing_support::must_simulate;
using testing_support::rough_weather;
using testing_support::small_run;
using testing_support::told;
using testing_support::train_over_loopback;

// Layerwise, in as many parts as x has tensors.
RunFile in_parts(RunFile run, std::size_t tensors = 5) {
  run.overlap = Overlap::layerwise;
  run.trainer.task.tensors = tensors;
  run.bucket_mib = 1e-6;
  return run;
}

RunFile choco(const std::string& family, std::size_t peers) {
  RunFile run = small_run("choco-sgd", family, peers);
  run.compression = {.codec = CodecId::top_k, .ratio = 0.25};
  run.mixing.step_size = 0.3;
  return run;
}

std::vector<RunFile> bulk_runs() {
  std::vector<RunFile> runs = {small_run("d-psgd", "ring", 5), small_run("d-psgd", "one-peer-exponential", 8),
                               small_run("all-reduce", "ring", 4), choco("ring", 5), choco("one-peer-hypercube", 8)};
  runs.push_back(small_run("d-psgd", "ring", 5));
  runs.back().overlap = Overlap::delayed;
  runs.push_back(small_run("d-psgd", "ring", 5));
  runs.back().synchrony.local_steps = 3;
  runs.push_back(small_run("d-psgd", "ring", 5));
  runs.back().mixing.order = MixingOrder::combine_then_adapt;
  runs.push_back(small_run("d-psgd", "ring", 1));
  runs.push_back(in_parts(small_run("d-psgd", "ring", 5)));
  runs.push_back(in_parts(small_run("all-reduce", "ring", 4)));
  runs.push_back(in_parts(choco("one-peer-hypercube", 8)));
  runs.back().synchrony.local_steps = 2;
  return runs;
}

// The strongest proof that it is the same code: not one bit differs.
TEST(Simulation, BulkRunsGiveTheBitsOfLoopback) {
  for (const RunFile& run : bulk_runs()) {
    const SimulationOutcome outcome = must_simulate({.run = run});
    EXPECT_TRUE(outcome.good()) << run.algorithm << ": " << told(outcome);
    EXPECT_EQ(outcome.models, train_over_loopback(run)) << run.algorithm;
  }
}

TEST(Simulation, FaultsThatAreRepairedChangeNoBit) {
  for (const RunFile& run : bulk_runs()) {
    SimulationSetup setup{.run = run};
    const auto wanted = must_simulate(setup);
    setup.faults = rough_weather();
    setup.network.in_order = false;
    setup.network.latency = {.kind = sim::Delay::Kind::lognormal, .base = std::chrono::milliseconds(1), .sigma = 1};
    setup.network.compute = {.kind = sim::Delay::Kind::exponential, .spread = std::chrono::milliseconds(5)};
    setup.network.clock_drift = 1e-3;
    setup.network.clock_offset = std::chrono::seconds(100);
    for (setup.seed = 1; setup.seed <= 3; ++setup.seed) {
      const auto outcome = must_simulate(setup);
      EXPECT_TRUE(outcome.good()) << run.algorithm << " seed " << setup.seed << ": " << told(outcome);
      EXPECT_EQ(outcome.models, wanted.models) << run.algorithm << " seed " << setup.seed;
      if (run.topology.peers == 1) continue;
      EXPECT_GT(outcome.network.lost, 0u);
      EXPECT_GT(outcome.network.duplicated, 0u);
      EXPECT_GT(outcome.network.reordered, 0u);
      EXPECT_GT(outcome.network.refused, 0u);
    }
  }
}

// Once every acknowledgement that frees a slot was lost while those of arrival came through, nothing asked for them again.
TEST(Simulation, ALostCreditIsAskedForAgain) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 2, 100)};
  setup.faults.loss = 0.5;
  for (setup.seed = 1; setup.seed <= 5; ++setup.seed) {
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << "seed " << setup.seed << ": " << told(outcome);
  }
}

// Hellos repeated at a fixed pace alone were more than this card could carry, and nothing else ever got through.
TEST(Simulation, QuestionsDoNotFillASlowNetwork) {
  SimulationSetup setup{.run = small_run("parameter-server", "star", 12, 3)};
  setup.run.deadlines.round = std::chrono::seconds(600);
  setup.network.card_bandwidth = 10000;
  setup.network.resend_after = std::chrono::milliseconds(1);
  setup.faults.loss = 0.2;
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_LT(outcome.seconds, 60);
}

TEST(Simulation, TheSameSeedGivesTheSameEvents) {
  SimulationSetup setup{.run = choco("ring", 6), .faults = rough_weather()};
  const auto first = must_simulate(setup), second = must_simulate(setup);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.models_hash, second.models_hash);
  EXPECT_EQ(first.events, second.events);
  setup.seed = 2;
  EXPECT_NE(must_simulate(setup).trace_hash, first.trace_hash);
}

TEST(Simulation, CheckersDoNotChangeTheRun) {
  SimulationSetup setup{.run = choco("one-peer-hypercube", 8), .faults = rough_weather()};
  const auto watched = must_simulate(setup);
  setup.check = false;
  EXPECT_EQ(must_simulate(setup).models_hash, watched.models_hash);
}

// Latency and computation alone.  The straggler finds the others' payloads there already and never waits for them, so the
// run takes its steps, the hellos at the start and the last payload's way.
TEST(Simulation, TimeIsWhatTheNetworkFileSays) {
  SimulationSetup setup{.run = small_run("d-psgd", "complete", 3, 10)};
  setup.network.compute = {.base = std::chrono::milliseconds(10)};
  setup.network.latency = {.base = std::chrono::milliseconds(1)};
  setup.network.stragglers = {{.peer = 1, .factor = 3}};
  const auto outcome = must_simulate(setup);
  EXPECT_NEAR(outcome.seconds, 10 * 0.030 + 0.003, 1e-6);
  EXPECT_NEAR(outcome.peers[1].compute_s, 0.3, 1e-9);
  EXPECT_NEAR(outcome.peers[0].compute_s, 0.1, 1e-9);
}

// A payload of 4064 bytes at 1 MB/s is 4 ms on the wire.  Two of them share the sender's card and not the links; and where two
// senders speak to one receiver at once, they share its card too.
TEST(Simulation, BandwidthIsServedOneAfterAnother) {
  SimulationSetup setup{.run = small_run("d-psgd", "complete", 3, 20)};
  setup.run.trainer.task.dimension = 1000;
  setup.network.compute = {.base = std::chrono::milliseconds(1)};
  setup.network.latency = {};
  setup.network.bandwidth = 1e6;
  const double links = must_simulate(setup).seconds;
  EXPECT_NEAR(links, 20 * 0.005, 0.01);
  setup.network.bandwidth = 0;
  setup.network.card_bandwidth = 1e6;
  const double cards = must_simulate(setup).seconds;
  EXPECT_GT(cards, 20 * 0.009);
  EXPECT_LT(cards, 20 * 0.0135);
}

TEST(Simulation, BytesAreCountedAtBothEnds) {
  const auto outcome = must_simulate({.run = small_run("d-psgd", "ring", 4, 10)});
  std::uint64_t sent = 0, received = 0;
  for (const auto& peer : outcome.peers) {
    EXPECT_GE(peer.bytes_sent, 10u * 2 * (12 * 4 + 64));
    sent += peer.bytes_sent;
    received += peer.bytes_received;
  }
  EXPECT_EQ(sent, received);
}

TEST(Simulation, ACrashEndsTheSurvivorsWithAClearError) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 4, 200)};
  setup.faults.crashes = {{.peer = 2, .at = std::chrono::milliseconds(500)}};
  const auto outcome = must_simulate(setup);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, Errc::peer_gone) << outcome.error->message;
  EXPECT_NE(outcome.error->message.find("peer 2"), std::string::npos) << outcome.error->message;
  EXPECT_TRUE(outcome.peers[2].crashed);
  for (const PeerId survivor : {0u, 1u, 3u}) EXPECT_TRUE(outcome.peers[survivor].error) << survivor;
  EXPECT_LT(outcome.seconds, 1);
}

TEST(Simulation, ACrashThatNobodyNoticesEndsAtTheDeadline) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 4, 200)};
  setup.run.deadlines.round = std::chrono::seconds(3);
  setup.faults.crashes = {{.peer = 2, .at = std::chrono::milliseconds(500), .noticed_after = std::nullopt}};
  const auto outcome = must_simulate(setup);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, Errc::timed_out) << outcome.error->message;
  EXPECT_NE(outcome.error->message.find("peer 2"), std::string::npos) << outcome.error->message;
  EXPECT_GE(outcome.seconds, 3.4);
  EXPECT_LT(outcome.seconds, 7);
}

TEST(Simulation, APartitionThatHealsCostsOnlyTime) {
  SimulationSetup setup{.run = choco("ring", 6)};
  const auto wanted = must_simulate(setup);
  for (const bool one_way : {false, true}) {
    setup.faults.partitions = {{.from = std::chrono::milliseconds(50), .until = std::chrono::milliseconds(1050), .peers = {0, 1, 2}, .one_way = one_way}};
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << told(outcome);
    EXPECT_EQ(outcome.models, wanted.models);
    EXPECT_GT(outcome.seconds, 1);
    EXPECT_LT(wanted.seconds, 0.5);
  }
}

TEST(Simulation, APausedPeerHoldsUpItsNeighboursAndNothingElse) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 4)};
  const auto wanted = must_simulate(setup);
  setup.faults.pauses = {{.peer = 1, .at = std::chrono::milliseconds(45), .length = std::chrono::seconds(1)}};
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_EQ(outcome.models, wanted.models);
  EXPECT_NEAR(outcome.seconds - wanted.seconds, 1, 0.02);
}

TEST(Simulation, TheCurveShowsConsensusAndLossFalling) {
  SimulationSetup setup{.run = small_run("d-psgd", "complete", 4, 100)};
  setup.run.trainer.task.heterogeneity = 0;
  const auto outcome = must_simulate(setup);
  ASSERT_EQ(outcome.curve.size(), 20u);
  EXPECT_LT(outcome.curve.back().loss, outcome.curve.front().loss);
  EXPECT_EQ(outcome.curve.back().step, 100u);
}

// On a schedule of graphs later rounds may close while an old one waits for a slow peer; the bound counts from the oldest.
TEST(Simulation, StalenessIsBoundedOnASchedule) {
  SimulationSetup setup{.run = small_run("d-psgd", "base", 11, 40)};
  setup.run.synchrony = {.mode = Synchrony::stale, .stale = 2};
  setup.network.stragglers = {{.peer = 5, .factor = 100}};
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
}

// A slow peer makes every correction as late as the bound allows.  Undamped ones make the models of a ring oscillate without bound.
TEST(Simulation, ModelsComeTogetherHoweverLateTheCorrectionsAre) {
  for (const char* algorithm : {"d-psgd", "sgp"})
    for (const char* family : {"ring", "complete", "star", "one-peer-hypercube"})
      for (const std::uint32_t stale : {1u, 3u, 7u}) {
        if (std::string(algorithm) == "d-psgd" && std::string(family) == "star" && stale == 7) continue;  // slower than 200 steps show
        SimulationSetup setup{.run = small_run(algorithm, family, 8, 200)};
        setup.run.trainer.task.heterogeneity = 0.3;
        setup.run.trainer.optimizer.learning_rate = 0.05;
        setup.run.synchrony = {.mode = Synchrony::stale, .stale = stale};
        setup.network.compute = {.base = std::chrono::milliseconds(10)};
        setup.network.stragglers = {{.peer = 2, .factor = 5}};
        const auto outcome = must_simulate(setup);
        EXPECT_TRUE(outcome.good()) << told(outcome);
        EXPECT_LT(outcome.consensus_distance, 0.6) << algorithm << " on " << family << ", stale " << stale;
        EXPECT_LT(outcome.loss, 0.05) << algorithm << " on " << family << ", stale " << stale;
      }
}

// Gradient tracking with an exchange that nobody waits for would use whichever tracker the network has brought by then.
TEST(Simulation, AStepThatNeedsTheLastExchangeDoesNotOverlapIt) {
  for (const char* algorithm : {"gradient-tracking", "qg-dsgdm"}) {
    SimulationSetup setup{.run = small_run(algorithm, "ring", 4)};
    EXPECT_TRUE(must_simulate(setup).good()) << algorithm;
    setup.run.overlap = Overlap::delayed;
    const auto refused = sim::simulate(setup);
    ASSERT_FALSE(refused) << algorithm;
    EXPECT_NE(refused.error().message.find("overlap: none"), std::string::npos) << refused.error().message;
  }
}

// Parts that mix element by element, or tensor by tensor, come out as the whole does: they only leave earlier.
TEST(Simulation, PartsThatLeaveEarlyChangeNoBit) {
  for (const char* algorithm : {"d-psgd", "choco-sgd", "gradient-tracking", "qg-dsgdm", "relay-sgd", "parameter-server", "d2"}) {
    const std::string_view name = algorithm;
    RunFile run = small_run(algorithm, name == "parameter-server" ? "star" : name == "relay-sgd" ? "binary-tree" : "ring", 5);
    if (name == "choco-sgd") run.compression = {.codec = CodecId::top_k, .ratio = 0.25};
    const RunFile parted = in_parts(run);
    run.trainer.task = parted.trainer.task;
    const auto whole = must_simulate({.run = run}), parts = must_simulate({.run = parted});
    EXPECT_TRUE(whole.good() && parts.good()) << algorithm << ": " << told(whole) << told(parts);
    EXPECT_EQ(whole.models, parts.models) << algorithm;
    EXPECT_GE(parts.sums_checked, whole.sums_checked) << algorithm;
  }
}

// All-reduce cuts each part into slices of its own, which are summed in another order; adding up is all that differs.
TEST(Simulation, AnAllReduceInPartsIsTheSameAverage) {
  for (const char* algorithm : {"all-reduce", "all-reduce-halving-doubling"}) {
    RunFile run = small_run(algorithm, "ring", 4);
    const RunFile parted = in_parts(run);
    run.trainer.task = parted.trainer.task;
    const auto whole = must_simulate({.run = run}), parts = must_simulate({.run = parted});
    EXPECT_TRUE(whole.good() && parts.good()) << algorithm << ": " << told(whole) << told(parts);
    ASSERT_EQ(whole.models.size(), parts.models.size());
    for (std::size_t peer = 0; peer < whole.models.size(); ++peer) {
      EXPECT_EQ(parts.models[peer], parts.models[0]) << algorithm << ", peer " << peer;
      for (std::size_t i = 0; i < whole.models[peer].size(); ++i) EXPECT_NEAR(whole.models[peer][i], parts.models[peer][i], 1e-5) << algorithm;
    }
  }
}

// Where sending takes as long as the backward pass, nearly all of it but the last part's hides behind that.
TEST(Simulation, PartsThatLeaveEarlyHideBehindTheBackwardPass) {
  RunFile run = in_parts(small_run("d-psgd", "ring", 4), 10);
  run.trainer.task.dimension = 10000;
  SimulationSetup setup{.run = run};
  setup.network.latency = {.base = std::chrono::microseconds(100)};
  setup.network.compute = {.base = std::chrono::milliseconds(30)};
  setup.network.card_bandwidth = 80e3 / 20e-3;  // both neighbours' models in 20 ms, as long as the backward pass
  const auto parts = must_simulate(setup);
  setup.run.overlap = Overlap::none;
  const auto whole = must_simulate(setup);
  EXPECT_TRUE(whole.good() && parts.good()) << told(whole) << told(parts);
  // 30 + 20 ms, and 30 + 2 ms, and what the channel adds.
  EXPECT_NEAR(whole.seconds_per_round, 50e-3, 2e-3);
  EXPECT_NEAR(parts.seconds_per_round, 32e-3, 3e-3);
  EXPECT_EQ(whole.models, parts.models);
}

// A thousand peers with engines of their own, in seconds.
TEST(Simulation, AThousandPeersTrain) {
  SimulationSetup setup{.run = small_run("d-psgd", "one-peer-exponential", 1024, 20)};
  setup.run.trainer.task.dimension = 4;
  const auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << told(outcome);
  EXPECT_LT(outcome.consensus_distance, 0.5);
}

TEST(Simulation, WhatTheFilesGetWrongIsSaid) {
  SimulationSetup setup{.run = small_run("d-psgd", "ring", 4)};
  setup.network.stragglers = {{.peer = 4, .factor = 2}};
  const auto refused = sim::simulate(setup);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_NE(refused.error().message.find("peers 0 to 3"), std::string::npos) << refused.error().message;
}

}  // namespace
}  // namespace gossamer
