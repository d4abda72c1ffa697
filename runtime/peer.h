// One peer of a run: the composition root.
//
// run_peer() builds clock, control plane, fabric, topology, mixer, transport, engine, trainer and worker,
// hands each what it needs, and drives them to the end of the run.
#pragma once

#include "base/result.h"
#include "runtime/run_command.h"

namespace gossamer {

// Returns when the run has ended for this peer; rank 0 (in an elastic run perhaps its successor) has then written the run's
// folder.  Errors: peer_gone naming who died (elastic: the run cannot go on), timed_out naming who is missing or that this peer was
// taken for dead, diverged, interrupted, ...; the other peers are told why before this one leaves.
Result<> run_peer(const PeerProcess& process);

}  // namespace gossamer
