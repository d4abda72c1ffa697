#include "runtime/combinations.h"

#include <fmt/format.h>
#include <utility>

#include "runtime/check_run.h"

namespace gossamer {

std::vector<Choice> choices() {
  // A directed graph in which not everybody has as many receivers as senders: its columns sum to 1, its rows do not.
  constexpr std::string_view kUneven = "[[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 0], [0, 4]]";
  std::vector<Choice> all = {
      {"synchrony", "bulk", {{"synchrony.mode", "bulk"}}},
      {"synchrony", "stale", {{"synchrony.mode", "stale"}, {"synchrony.stale", "2"}}},
      {"synchrony", "async", {{"synchrony.mode", "async"}}},
      {"local steps", "several", {{"synchrony.local_steps", "4"}}},
      {"overlap", "none", {{"overlap", "none"}}},
      {"overlap", "delayed", {{"overlap", "delayed"}}},
      {"overlap", "layerwise", {{"overlap", "layerwise"}}},
      {"membership", "fixed", {{"membership.mode", "fixed"}}},
      {"membership", "elastic", {{"membership.mode", "elastic"}}},
  };
  for (const CodecId codec : {CodecId::none, CodecId::fp16, CodecId::bf16, CodecId::top_k, CodecId::random_k, CodecId::sign, CodecId::qsgd,
                              CodecId::fp8, CodecId::int8, CodecId::int4, CodecId::terngrad, CodecId::natural, CodecId::threshold, CodecId::low_rank})
    all.push_back({"codec", name(codec), {{"compression.codec", name(codec)}}});
  const std::vector<Choice> graphs = {
      {"topology", "ring", {{"topology.family", "ring"}}},
      {"topology", "complete", {{"topology.family", "complete"}}},
      {"topology", "star", {{"topology.family", "star"}}},
      {"topology", "tree", {{"topology.family", "binary-tree"}}},
      {"topology", "directed", {{"topology.family", "static-exponential"}}},
      {"topology", "directed, uneven", {{"topology.edges", kUneven}, {"topology.directed", "true"}}},
      {"topology", "schedule", {{"topology.family", "one-peer-hypercube"}}},
      {"topology", "directed schedule", {{"topology.family", "one-peer-exponential"}}},
  };
  all.insert(all.end(), graphs.begin(), graphs.end());
  return all;
}

std::string written(const Choice& choice) {
  std::string text;
  for (const Choice::Setting& setting : choice.settings)
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", setting.key, setting.value);
  return text;
}

Result<RunFile> run_of(const Algorithm& algorithm, std::span<const Choice> over) {
  Overrides overrides{.sets = {}, .peers = kCombinedPeers, .environment = Environment{}};
  for (const Choice& choice : over)
    for (const Choice::Setting& setting : choice.settings) overrides.sets.emplace_back(setting.key, setting.value);
  return parse_run_file(fmt::format("algorithm: {}\ntrainer: {{task: quadratic}}\n", algorithm.name), std::string(algorithm.name), overrides);
}

Result<> combine(const Algorithm& algorithm, std::span<const Choice> over) {
  GOSSAMER_TRY_ASSIGN(const RunFile run, run_of(algorithm, over));
  return check_parts(run);
}

}  // namespace gossamer
