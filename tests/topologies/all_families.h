// One topology of every family and size that a test goes through.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "topologies/family.h"
#include "topologies/topology_spec.h"

namespace gossamer {

struct Sample {
  std::string what;
  TopologySpec spec;
};

inline std::vector<Sample> all_families(std::size_t n, bool with_weights = true) {
  std::vector<Sample> samples;
  const auto add = [&](const std::string& family, FamilyOptions options = {}) {
    samples.push_back({family + " " + std::to_string(n), family_spec(family, n, std::move(options))});
    for (const auto& [key, values] : samples.back().spec.schedule[0].options) {
      samples.back().what += " " + key;
      for (const double v : values) samples.back().what += " " + std::to_string(v);
    }
  };
  add("ring");
  add("ring", {{"directed", {1}}});
  add("path");
  add("star");
  if (n < 5000) add("complete");
  add("static-exponential");
  add("static-exponential", {{"symmetric", {1}}});
  add("one-peer-exponential");
  add("base");
  if (n > 2) add("base", {{"k", {2}}});
  if (n > 4) add("base", {{"k", {4}}});
  add("binary-tree");
  if (n % 2 == 0) add("torus", {{"shape", {2, static_cast<double>(n / 2)}}});
  if (n > 4) add("circulant", {{"hops", {1, static_cast<double>(n / 2)}}});
  if (std::has_single_bit(n)) add("hypercube"), add("one-peer-hypercube");
  if (n >= 6) add("random-regular"), add("random-regular", {{"degree", {4}}});
  if (n >= 8)
    add("erdos-renyi", {{"probability", {std::min(1.0, 24.0 / static_cast<double>(n))}}}), add("small-world");
  if (!with_weights) return samples;
  const std::size_t plain = samples.size();
  for (std::size_t i = 0; i < plain; ++i) {
    const auto& family = samples[i].spec.schedule[0].family;
    if (family.starts_with("one-peer") || family == "base") continue;
    for (const auto rule :
         {WeightRule::lazy, WeightRule::uniform, WeightRule::max_degree, WeightRule::best_constant}) {
      auto sample = samples[i];
      sample.spec.weights = rule;
      sample.what += " " + std::string(name(rule));
      // The other rules need edges without direction.
      if ((rule == WeightRule::max_degree || rule == WeightRule::best_constant) &&
          !make_topology(sample.spec))
        continue;
      samples.push_back(std::move(sample));
    }
  }
  return samples;
}

}  // namespace gossamer
