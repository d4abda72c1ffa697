// The table of what goes with what: whatever it allows runs, under the checkers; whatever it refuses says what to do instead.
#include "runtime/combinations.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// A small problem for a run whose parts go together; the task, not the combination.
sim::SimulationSetup small(RunFile run) {
  run.trainer.task = {.kind = "quadratic", .dimension = 12, .condition = 4, .heterogeneity = 0.2, .noise = 0.05};
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
  std::size_t ran = 0;
  for (const std::vector<Choice>& over : singles_and_pairs()) {
    if (!combine(GetParam(), over)) continue;
    ++ran;
    const auto outcome = must_simulate(small(run_of(GetParam(), over).value()));
    EXPECT_TRUE(outcome.good()) << label(GetParam(), over) << "\n" << told(outcome);
    ASSERT_FALSE(outcome.curve.empty()) << label(GetParam(), over);
    EXPECT_LT(outcome.curve.back().loss, 0.7 * outcome.curve.front().loss) << label(GetParam(), over);
    EXPECT_LT(outcome.consensus_distance, 1.5) << label(GetParam(), over);
    for (const auto& peer : outcome.peers) EXPECT_GT(peer.rounds, 0u) << label(GetParam(), over);
  }
  EXPECT_GT(ran, choices().size()) << "nearly everything is refused";
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
