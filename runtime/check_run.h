// Whether the parts of a run go together, before any process is started: algorithm, topology, codec, synchrony
// and overlap.  What does not is refused with the reason and the nearest choice that works.
#pragma once

#include "base/result.h"
#include "gossip/algorithms.h"
#include "runtime/run_file.h"

namespace gossamer {

// Touches no data file.  Errors: invalid_argument, unsupported.
Result<> check_run(const RunFile& run);

// What a run asks of a peer's mixer.  The references outlive the mixer made from it.
MixerSetup mixer_setup(const RunFile& run, PeerId self, const Topology& topology, const Compressor& compressor, const Layout& layout);

}  // namespace gossamer
