// What an algorithm's name alone stands for: a complete, sensible choice of topology, synchrony, compression,
// mixing and overlap.  A run file overrides any part of it.  docs/run-file.md explains each choice.
#pragma once

#include <span>
#include <string_view>

namespace gossamer {

struct RunFile;

struct Preset {
  std::string_view algorithm;
  std::string_view why;         // one sentence, for people
  void (*apply)(RunFile& run);  // onto defaults
};

// The one table; to add an algorithm, add a row.
std::span<const Preset> presets();
const Preset* find_preset(std::string_view algorithm);

}  // namespace gossamer
