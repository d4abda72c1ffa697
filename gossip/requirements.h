// Whether an algorithm, a topology, a codec and a synchrony go together.
#pragma once

#include "base/result.h"

namespace gossamer {

struct Algorithm;
struct MixerSetup;

// Looks at the edges of setup.self, over one period (at most 64 rounds).  What is true of the whole graph or of none (that it is
// a tree, a star) is the same from everywhere, and peer 0 looks.  Errors: invalid_argument with the reason and the nearest choice that works.
Result<> check_requirements(const Algorithm& algorithm, const MixerSetup& setup);

}  // namespace gossamer
