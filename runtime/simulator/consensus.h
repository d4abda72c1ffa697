// Averaging by gossip alone, for more peers than engines fit into memory.
//
// A peer with an engine, a transport and mailboxes takes tens of kilobytes; a million of them do not fit.  Here the
// peers are rows of one array: the same Topology objects, and element by element the arithmetic of
// gossip/mixers/dpsgd.cc over an exact network, so that the bits are those of the engine's run (a test compares
// them).  There is no time, no network and no training in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "topologies/topology.h"

namespace gossamer::sim {

struct ConsensusSetup {
  const Topology* topology = nullptr;
  std::size_t dimension = 1;
  std::uint64_t rounds = 20;
  std::uint64_t seed = 1;  // of the starting vectors: independent standard normals
};

struct ConsensusOutcome {
  std::vector<double> distance;  // sqrt of the mean over peers of |x_i - start's mean|^2, before and after each round
  double mean_drift = 0;         // |mean at the end - mean at the start|
  std::uint64_t payloads = 0;    // that would have been sent
  std::vector<float> models;     // peers * dimension, row by row
};

// The start of one peer.
void consensus_start(std::uint64_t seed, PeerId peer, std::span<float> model);

// Errors: invalid_argument when the weights of some round do not keep the mean.
Result<ConsensusOutcome> run_consensus(const ConsensusSetup& setup);

}  // namespace gossamer::sim
