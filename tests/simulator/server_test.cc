// Servers with a slow peer: a synchronous one is as slow as its slowest leaf, an asynchronous one as each peer by itself.
#include <gtest/gtest.h>

#include "runtime/simulator/simulation.h"
#include "tests/simulator/runs.h"

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

// A slow hub answers while it computes.
TEST(Servers, NorDoesASlowHub) {
  const auto outcome = serve("parameter-server-async", 10, 0);
  EXPECT_GT(outcome.peers[0].finished_s, 59 * 0.1);
  // It hears nobody before its own first step, and leaves do not outrun their exchanges for ever.
  for (PeerId peer = 1; peer < 8; ++peer) EXPECT_LT(outcome.peers[peer].finished_s, 0.1 + 60 * 0.010 + 0.02) << "peer " << peer;
}

}  // namespace
}  // namespace gossamer
