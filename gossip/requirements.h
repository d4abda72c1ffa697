// Whether an algorithm, a topology, a codec and a synchrony go together.
#pragma once

#include "base/result.h"

namespace gossamer {

struct Algorithm;
struct MixerSetup;

// Looks at the edges of setup.self only, over one period (at most 64 rounds), except for `tree` and `star`, which are
// properties of the whole graph.  Errors: invalid_argument with the reason and the nearest choice that works.
Result<> check_requirements(const Algorithm& algorithm, const MixerSetup& setup);

}  // namespace gossamer
