// The table of what goes with what: whatever it allows runs, under the checkers; whatever it refuses says what to do instead.
#include "runtime/combinations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "runtime/simulator/simulation.h"
#include "tests/simulator/runs.h"

namespace gossamer {
namespace {

using testing_support::must_simulate;
using testing_support::told;

std::string label(const Algorithm& algorithm, std::span<const Choice> over) {
  std::string text(algorithm.name);
  for (const Choice& choice : over) text += ", " + written(choice);
  return text;
}

constexpr const char* kRemedies[] = {"use ", "Use ", "drop ", "remove "};

// Each choice alone, and with each choice of another knob.
std::vector<std::vector<Choice>> singles_and_pairs() {
  const std::vector<Choice> all = choices();
  std::vector<std::vector<Choice>> sets;
  for (const Choice& one : all) sets.push_back({one});
  for (auto a = all.begin(); a != all.end(); ++a)
    for (auto b = a + 1; b != all.end(); ++b)
      if (a->knob != b->knob) sets.push_back({*a, *b});
  return sets;
}

struct Allowed {
  std::string label;
  RunFile run;
};

// What the table allows, each run once: many a choice is what the preset says anyway.
std::vector<Allowed> allowed(const Algorithm& algorithm) {
  std::vector<Allowed> all;
  std::set<std::string> known;
  for (const std::vector<Choice>& over : singles_and_pairs()) {
    if (!combine(algorithm, over)) continue;
    RunFile run = run_of(algorithm, over).value();
    if (known.insert(to_yaml(run)).second) all.push_back({label(algorithm, over), std::move(run)});
  }
  return all;
}

// A small problem for a run whose parts go together; the task, not the combination.
sim::SimulationSetup small(RunFile run) {
  run.trainer.task = {.kind = "quadratic", .dimension = 12, .condition = 4, .heterogeneity = 0.2, .noise = 0.05};
  // Several parts where it makes any.
  run.trainer.task.tensors = 3;
  run.bucket_mib = 1e-6;
  run.trainer.batch_size = 1;
  run.trainer.steps = 24;
  run.trainer.optimizer.learning_rate = 0.1;
  // Codecs that drop almost everything need a small gamma, which is the user's to choose (docs/run-file.md).
  run.compression.ratio = 0.25;
  if (run.compression.codec != CodecId::none) run.mixing.step_size = std::min(run.mixing.step_size, 0.05);
  sim::SimulationSetup setup{.run = std::move(run)};
  setup.network.compute = {.kind = sim::Delay::Kind::uniform, .base = std::chrono::milliseconds(5), .spread = std::chrono::milliseconds(15)};
  setup.curve_points = 24;
  return setup;
}

class Combinations : public testing::TestWithParam<Algorithm> {};
INSTANTIATE_TEST_SUITE_P(, Combinations, testing::ValuesIn(algorithms().begin(), algorithms().end()), [](const auto& info) {
  std::string text(info.param.name);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
});

TEST_P(Combinations, WhatIsAllowedRunsAndTrains) {
  const std::vector<Allowed> all = allowed(GetParam());
  EXPECT_GE(all.size(), 4u) << "nearly everything is refused";
  for (const auto& [what, run] : all) {
    const auto outcome = must_simulate(small(run));
    EXPECT_TRUE(outcome.good()) << what << "\n" << told(outcome);
    ASSERT_FALSE(outcome.curve.empty()) << what;
    EXPECT_LT(outcome.curve.back().loss, 0.7 * outcome.curve.front().loss) << what;
    EXPECT_LT(outcome.consensus_distance, 1.5) << what;
    for (const auto& peer : outcome.peers) EXPECT_GT(peer.rounds, 0u) << what;
  }
}

// A death and a return in every combination whose members may change.  (What is more to be said of those is in elastic_test.cc.)
TEST_P(Combinations, WhatIsElasticGoesOnThroughADeathAndAReturn) {
  for (const auto& [what, run] : allowed(GetParam())) {
    if (run.membership.mode != MembershipMode::elastic) continue;
    sim::SimulationSetup setup = small(run);
    setup.run.trainer.steps = 48;
    setup.faults.crashes = {{.peer = 2, .at = std::chrono::milliseconds(103), .restart_after = std::chrono::milliseconds(60)}};
    const auto outcome = must_simulate(setup);
    EXPECT_TRUE(outcome.good()) << what << "\n" << told(outcome);
    ASSERT_EQ(outcome.peers.size(), kCombinedPeers);
    EXPECT_EQ(outcome.peers[2].lives, 2u) << what;
    EXPECT_EQ(outcome.view, 2u) << what;
    for (const auto& peer : outcome.peers) EXPECT_EQ(peer.steps, 48u) << what;
  }
}

TEST_P(Combinations, WhatIsRefusedNamesARemedy) {
  for (const std::vector<Choice>& over : singles_and_pairs()) {
    const auto fits = combine(GetParam(), over);
    if (fits) continue;
    const std::string& why = fits.error().message;
    EXPECT_TRUE(fits.error().code == Errc::invalid_argument || fits.error().code == Errc::unsupported) << why;
    const bool remedy = std::any_of(std::begin(kRemedies), std::end(kRemedies), [&](const char* word) { return why.find(word) != std::string::npos; });
    EXPECT_TRUE(remedy) << label(GetParam(), over) << ": " << why;
    // And the run is refused as such, before anything of it is there.
    const auto run = run_of(GetParam(), over);
    EXPECT_TRUE(!run || !sim::simulate({.run = *run})) << label(GetParam(), over);
  }
}

}  // namespace
}  // namespace gossamer
