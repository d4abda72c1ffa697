// The one list of gossip algorithms: what each is called, what it needs, how it is made.
//
// To add one: write a file in gossip/mixers/ and a row in the table of algorithms.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/layout.h"
#include "base/result.h"
#include "gossip/mixer.h"
#include "kernels/compressor.h"
#include "topologies/topology.h"

namespace gossamer {

// CHOCO-SGD's two forms; see mixers/choco.cc.
enum class ReplicaForm : std::uint8_t { automatic, per_edge, aggregate };

struct MixerSetup {
  PeerId self = 0;
  std::size_t peers = 0;
  const Layout* layout = nullptr;          // of the vector exchanged; outlives the mixer
  const Topology* topology = nullptr;      // outlives the mixer
  const Compressor* compressor = nullptr;  // outlives the mixer
  double step_size = 1;                    // CHOCO's gamma
  ReplicaForm replicas = ReplicaForm::automatic;
  bool verify_replicas = false;            // send a hash of each replica along, and compare
  std::size_t rounds_open = 1;             // rounds that may be under way at once: 1 + synchrony.stale
  std::uint64_t seed = 1;
};

struct Algorithm {
  std::string_view name;     // as run files write it
  std::string_view summary;  // one sentence
  std::string_view source;   // the paper
  Exchanges exchanges = Exchanges::model;
  bool needs_doubly_stochastic = false;  // rows and columns of W sum to 1
  bool lossy_codecs = false;           // compression other than none, fp16, bf16 makes sense
  Result<std::unique_ptr<Mixer>> (*make)(const MixerSetup&) = nullptr;
};

std::span<const Algorithm> algorithms();

// Errors: not_found, with the nearest known name left to the caller.
const Algorithm* find_algorithm(std::string_view name);

// Checks that the algorithm, the topology and the codec go together, then makes the mixer.
// Errors: invalid_argument with the reason and the nearest choice that works.
Result<std::unique_ptr<Mixer>> make_mixer(std::string_view algorithm, const MixerSetup& setup);

}  // namespace gossamer
