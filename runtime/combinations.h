// What goes with what: every algorithm with every value of the settings that are independent of it.
//
// There is no second list.  A combination is a run file (the algorithm's preset with one or more choices written over
// it), and what is said of it is what check_parts() says of that run.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gossip/algorithms.h"
#include "runtime/run_file.h"

namespace gossamer {

// One value of one knob, as a run file writes it.
struct Choice {
  struct Setting {
    std::string_view key;  // "synchrony.mode"
    std::string_view value;
  };
  std::string_view knob;   // "synchrony"
  std::string_view value;  // "bulk": the head of its column
  std::vector<Setting> settings;
};

// Graphs are of this many peers, which every algorithm takes.
constexpr std::size_t kCombinedPeers = 8;

// In the order of the table, all values of a knob one after another.
std::vector<Choice> choices();

// "synchrony.mode: bulk", joined by commas.
std::string written(const Choice& choice);

// The preset of `algorithm`, of kCombinedPeers peers, with `over` written over it; where two set the same key the later one wins.
// Reads neither files nor environment.
Result<RunFile> run_of(const Algorithm& algorithm, std::span<const Choice> over);

// Whether that run makes sense.  Errors: why it does not, and the nearest choice that does.
Result<> combine(const Algorithm& algorithm, std::span<const Choice> over);

}  // namespace gossamer
