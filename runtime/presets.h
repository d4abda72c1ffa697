// What an algorithm's name alone stands for: a complete, sensible choice of topology, synchrony, compression,
// mixing and overlap.  A run file overrides any part of it.  docs/run-file.md explains each choice.
#pragma once

#include <span>
#include <string_view>

namespace gossamer {

struct Algorithm;
struct RunFile;

struct Preset {
  std::string_view algorithm;
  std::string_view why;         // one sentence, for people
  void (*apply)(RunFile& run);  // onto defaults
};

// Of the algorithms for which more is to be said than what they need.
std::span<const Preset> presets();
const Preset* find_preset(std::string_view algorithm);

// Onto defaults: the algorithm's preset, or without one the simplest that it can work with, by what it needs.
void apply_preset(const Algorithm& algorithm, RunFile& run);

}  // namespace gossamer
