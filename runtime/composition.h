// What a run file asks of the parts that a peer is made of.  Processes (runtime/peer.h) and the simulator
// (runtime/simulator/simulation.h) put their peers together from it.
//
// Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/layout.h"
#include "gossip/algorithms.h"
#include "runtime/run_file.h"
#include "runtime/worker.h"

namespace gossamer {

// How long a run is.  The same at every peer, whatever its share of the data: an epoch is one pass over all samples
// by all peers.
struct RunLength {
  std::uint64_t steps = 0;     // of each peer
  double steps_per_epoch = 1;  // seldom whole
  double epochs = 0;
};

// `samples` is the size of the training set, 0 for a task without data; then an epoch is what the task calls one.
RunLength run_length(const TrainerOptions& options, std::size_t peers, std::uint64_t samples, std::uint64_t task_steps_per_epoch);

// Rounds that a peer may have under way at once.
inline std::size_t rounds_open(const RunFile& run) {
  return run.synchrony.mode == Synchrony::stale ? run.synchrony.stale + std::size_t{1} : 1;
}

// The parts in which a vector of this layout is exchanged: one, or under `overlap: layerwise` several.
std::vector<LayoutPart> cut_into_parts(const RunFile& run, const Layout& layout);

// A peer's mixer, of the whole vector or of one part of it.  The references outlive the mixer made from it.
MixerSetup mixer_setup(const RunFile& run, PeerId self, const Topology& topology, const Compressor& compressor, const Layout& layout,
                       std::size_t part = 0);

// Slots of a channel that carries so many parts: of each the payload that is waited for and the next one, or parts would wait for
// each other's slots in a circle.
std::uint32_t window_for(std::size_t parts);

// How much of a step has passed when the gradients of so many of all elements are final, where nothing says better: a backward pass takes
// twice as long as the forward pass, and as long for each parameter.
inline double backward_share(std::size_t ready, std::size_t all) {
  return (1 + 2 * static_cast<double>(ready) / static_cast<double>(all)) / 3;
}

// What the gradient of a peer with so many of all samples is multiplied by.
double gradient_scale(const RunFile& run, std::uint64_t own_samples, std::uint64_t all_samples, std::size_t peers);

WorkerSetup worker_setup(const RunFile& run, const MixerTraits& traits, std::uint64_t steps, double gradient_scale);

// The trainer leaves what it has published alone until the exchange is over.
inline bool waits_for_exchange(const WorkerSetup& setup) {
  return !setup.delayed && !setup.layerwise && !setup.free_running && !setup.combine_then_adapt;
}

// Communication runs beside computation, on a thread of the engine's own.
inline bool overlaps(const WorkerSetup& setup) { return setup.delayed || setup.layerwise || setup.free_running; }

}  // namespace gossamer
