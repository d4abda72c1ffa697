// Whole runs of two algorithms that must be one: where a setting takes away what tells them apart, their models are the same.
// And how a straggler is felt.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "runtime/simulator/simulation.h"
#include "tests/simulator/runs.h"

namespace gossamer {
namespace {

using testing_support::must_simulate;
using testing_support::small_run;
using testing_support::told;
using Models = std::vector<std::vector<float>>;

constexpr std::size_t kPeers = 8;

RunFile run_of(const std::string& algorithm, const std::string& family = "ring", std::uint64_t steps = 20) {
  return small_run(algorithm, family, kPeers, steps);
}

Models models(const RunFile& run) {
  const auto outcome = must_simulate({.run = run});
  EXPECT_TRUE(outcome.good()) << run.algorithm << ": " << told(outcome);
  return outcome.models;
}

double apart(const Models& a, const Models& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t p = 0; p < std::min(a.size(), b.size()); ++p)
    for (std::size_t i = 0; i < a[p].size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[p][i]) - b[p][i]));
  return most;
}

// Each peer by itself.
Models alone(const RunFile& run) {
  Models all;
  Stream stream;
  for (PeerId id = 0; id < kPeers; ++id) {
    const auto task = make_task(run.trainer.task, {}, {}, run.trainer.batch_size, id, kPeers, run.seed).value();
    AlignedBuffer<float> model(task->layout().size());
    task->initialise(run.seed, model.span());
    const auto optimizer = make_optimizer(run.trainer.optimizer, model.size()).value();
    Trainer trainer(*task, *optimizer, run.trainer.optimizer, run.trainer.schedule,
                    static_cast<double>(run.trainer.steps) / static_cast<double>(task->steps_per_epoch()), stream, model.span());
    while (trainer.steps() < run.trainer.steps) {
      trainer.compute_gradient();
      trainer.apply_gradient();
    }
    all.emplace_back(model.span().begin(), model.span().end());
  }
  return all;
}

// E8: on a complete graph neighbours' averages are everybody's, whatever the architecture that takes them.
TEST(Identities, EveryExactAverageOfStepsIsOneBigBatch) {
  const Models big = models(run_of("all-reduce", "complete"));
  EXPECT_GT(apart(big, alone(run_of("all-reduce"))), 0.1) << "or nothing is shown";
  for (PeerId p = 1; p < kPeers; ++p) EXPECT_EQ(big[p], big[0]);
  EXPECT_LT(apart(models(run_of("d-psgd", "complete")), big), 1e-5);
  EXPECT_LT(apart(models(run_of("parameter-server", "star")), big), 1e-5);
  EXPECT_LT(apart(models(run_of("parameter-server-models", "star")), big), 1e-5);
  EXPECT_LT(apart(models(run_of("all-reduce-halving-doubling", "complete")), big), 1e-5);
  EXPECT_LT(apart(models(run_of("sgp", "complete")), big), 1e-5);
}

TEST(Identities, OfDpsgd) {
  const Models plain = models(run_of("d-psgd"));
  EXPECT_GT(apart(plain, alone(run_of("d-psgd"))), 0.1);

  RunFile choco = run_of("choco-sgd");  // E9, up to the rounding of x - h
  EXPECT_LT(apart(models(choco), plain), 1e-5);
  for (const char* replicas : {"per-edge", "aggregate"}) {
    choco.mixing.replicas = replicas;
    EXPECT_LT(apart(models(choco), plain), 1e-5) << replicas;
  }

  RunFile global = run_of("qg-dsgdm");  // E21
  global.mixing.momentum = 0;
  EXPECT_LT(apart(models(global), plain), 1e-5);

  RunFile clipped = run_of("clipped-gossip");  // E24
  clipped.mixing.clip = 1e30;
  EXPECT_LT(apart(models(clipped), plain), 1e-5);

  RunFile squeezed = run_of("deep-squeeze");  // nothing is dropped, so nothing is remembered
  EXPECT_LT(apart(models(squeezed), plain), 1e-5);

  RunFile push = run_of("sgp", "one-peer-exponential");  // B6: the weights stay 1
  EXPECT_LT(apart(models(push), models(run_of("d-psgd", "one-peer-exponential"))), 1e-5);
}

TEST(Identities, TheFirstStepOfD2IsThatOfDpsgd) {
  RunFile d2 = run_of("d2", "ring", 1), plain = run_of("d-psgd", "ring", 1);
  d2.topology.weights = plain.topology.weights = WeightRule::lazy;
  EXPECT_LT(apart(models(d2), models(plain)), 1e-6);
  d2.trainer.steps = plain.trainer.steps = 3;
  EXPECT_GT(apart(models(d2), models(plain)), 1e-3) << "and no later one";
}

TEST(Identities, WhoeverHearsNobodyTrainsAlone) {
  RunFile choco = run_of("choco-sgd");
  choco.mixing.step_size = 1e-30;
  EXPECT_LT(apart(models(choco), alone(choco)), 1e-6);
  RunFile clipped = run_of("clipped-gossip");
  clipped.mixing.clip = 0;
  EXPECT_LT(apart(models(clipped), alone(clipped)), 1e-6);
}

sim::SimulationOutcome with_straggler(const std::string& algorithm, double factor, std::uint64_t steps) {
  sim::SimulationSetup setup{.run = run_of(algorithm, "ring", steps)};
  if (algorithm == "ad-psgd") setup.run.synchrony.mode = Synchrony::async;
  setup.network.latency = {.base = std::chrono::microseconds(100)};
  setup.network.compute = {.base = std::chrono::milliseconds(10)};
  setup.network.stragglers = {{.peer = 3, .factor = factor}};
  auto outcome = must_simulate(setup);
  EXPECT_TRUE(outcome.good()) << algorithm << ": " << told(outcome);
  return outcome;
}

// On a network whose round trip takes as long as forty steps, a peer takes one step with each exchange and as many beside it as it may.
TEST(Straggler, HowFarAPeerOutrunsItsExchangesIsTheRunFilesChoice) {
  for (const std::uint32_t skips : {1u, 8u, 100u}) {
    sim::SimulationSetup setup{.run = run_of("ad-psgd", "ring", 180)};
    setup.run.synchrony = {.mode = Synchrony::async, .skips_max = skips};
    setup.network.latency = {.base = std::chrono::milliseconds(200)};
    setup.network.compute = {.base = std::chrono::milliseconds(10)};
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << told(outcome);
    const double exchanges = 180.0 / (skips + 1), floor = std::max(180 * 0.01, exchanges * 0.4);
    for (const auto& peer : outcome.peers) EXPECT_NEAR(peer.finished_s, floor, 0.2 * floor + 0.9) << "skips_max " << skips;
  }
}

// E19.  (Until its own first step, which takes a second here, nobody can be answered by the straggler.)
TEST(Straggler, AHundredTimesAsSlowSlowsNobodyElseUnderAdPsgd) {
  const auto even = with_straggler("ad-psgd", 1, 1500), uneven = with_straggler("ad-psgd", 100, 1500), in_step = with_straggler("d-psgd", 100, 10);
  EXPECT_GT(uneven.peers[3].finished_s, 1500);
  for (PeerId peer = 0; peer < kPeers; ++peer) {
    if (peer == 3) continue;
    EXPECT_LT(uneven.peers[peer].finished_s, even.peers[peer].finished_s / 0.9) << "peer " << peer;
    EXPECT_GT(in_step.peers[peer].finished_s, 0.7 * 10) << "peer " << peer << ", which may be a few steps ahead, bound by its neighbours";
  }
}

}  // namespace
}  // namespace gossamer
