// The one list of gossip algorithms: what each is called, what it needs, how it is made.
//
// To add one: write a file in gossip/mixers/, which ends with what it is (Algorithm), and name it in the list of
// gossip/mixers/meson.build.
#pragma once

#include <limits>
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
  bool elastic = false;                    // members may leave and come
  std::size_t rounds_open = 1;             // rounds that may be under way at once: 1 + synchrony.stale
  double momentum = 0.9;                   // qg-dsgdm's beta and mu
  double clip = std::numeric_limits<double>::infinity();  // clipped-gossip's tau: a distance between models
  std::size_t rank = 1;                    // power-gossip: columns of each basis
  std::size_t power_iterations = 1;        // power-gossip: phases of a round
  std::uint64_t seed = 1;
};

// What an algorithm needs of W, from nothing to everything.
enum class Weights : std::uint8_t {
  any,        // it does not use them
  columns,    // what each peer keeps and gives away sums to 1
  doubly,     // rows and columns sum to 1
  symmetric,  // that, and the same weight in both directions of every edge
};

// What an algorithm needs of the graph.
enum class Shape : std::uint8_t {
  any,
  fixed,         // the same in every round
  tree,          // fixed, undirected, no cycle
  star,          // a tree with a hub
  power_of_two,  // any graph, of 2^k peers
};

struct Algorithm {
  std::string_view name;     // as run files write it
  std::string_view summary;  // one sentence
  std::string_view source;   // the paper
  Exchanges exchanges = Exchanges::model;
  Weights weights = Weights::any;
  Shape shape = Shape::any;
  bool keeps_mean = false;      // the corrections of a round sum to zero over all peers
  bool asynchronous = false;    // peers wait for nobody: synchrony: async
  bool rounds_overlap = false;  // synchrony: stale makes sense
  bool lossy_codecs = false;    // compression other than none, fp16, bf16 makes sense
  bool plain_floats = false;    // compression other than none makes no sense
  bool elastic = false;         // peers may leave and come while it runs
  bool whole_vectors = false;   // looks at whole vectors at once: overlap: layerwise has none
  bool own_momentum = false;    // says itself how gradients become steps: needs optimizer: sgd without momentum
  Result<std::unique_ptr<Mixer>> (*make)(const MixerSetup&) = nullptr;
};

std::span<const Algorithm> algorithms();

// Errors: not_found, with the nearest known name left to the caller.
const Algorithm* find_algorithm(std::string_view name);

// Checks that the algorithm, the topology and the codec go together, then makes the mixer.
// Errors: invalid_argument with the reason and the nearest choice that works.
Result<std::unique_ptr<Mixer>> make_mixer(std::string_view algorithm, const MixerSetup& setup);

}  // namespace gossamer
