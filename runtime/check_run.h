// Whether the parts of a run go together, before any process is started: algorithm, topology, codec, synchrony
// and overlap.  What does not is refused with the reason and the nearest choice that works.
#pragma once

#include "base/result.h"
#include "gossip/algorithms.h"
#include "runtime/run_file.h"

namespace gossamer {

// Touches no data file.  Errors: invalid_argument, unsupported; they begin with the run's name.
Result<> check_run(const RunFile& run);
// The same without that name: the sentence alone.
Result<> check_parts(const RunFile& run);

// What a run asks of a peer's mixer.  The references outlive the mixer made from it.
MixerSetup mixer_setup(const RunFile& run, PeerId self, const Topology& topology, const Compressor& compressor, const Layout& layout);

// How long a run is.  The same at every peer, whatever its share of the data: an epoch is one pass over all samples
// by all peers.
struct RunLength {
  std::uint64_t steps = 0;     // of each peer
  double steps_per_epoch = 1;  // seldom whole
  double epochs = 0;
};

// `samples` is the size of the training set, 0 for a task without data; then an epoch is what the task calls one.
RunLength run_length(const TrainerOptions& options, std::size_t peers, std::uint64_t samples, std::uint64_t task_steps_per_epoch);

}  // namespace gossamer
