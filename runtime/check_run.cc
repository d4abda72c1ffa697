#include "runtime/check_run.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <vector>

#include "gossip/algorithms.h"
#include "runtime/composition.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

Result<> check_synchrony(const RunFile& run, const MixerTraits& traits) {
  const auto refuse = [&](std::string_view key, std::string_view why, std::string_view remedy) {
    return fail(Errc::invalid_argument, fmt::format("{} with algorithm {}: {}; {}", key, run.algorithm, why, remedy));
  };
  const bool gradients = traits.exchanges == Exchanges::gradient;
  if (traits.asynchronous != (run.synchrony.mode == Synchrony::async)) {
    if (traits.asynchronous)
      return refuse("synchrony.mode: " + std::string(name(run.synchrony.mode)), "its peers exchange whenever they like, and there are no rounds to wait for",
                    "use synchrony: {mode: async}");
    return refuse("synchrony.mode: async", "its rounds need this round's neighbours", "use algorithm: ad-psgd, or parameter-server-async on a star, or synchrony: {mode: bulk} or {mode: stale}");
  }
  if (run.synchrony.mode == Synchrony::stale && gradients)
    return refuse("synchrony.mode: stale", "the optimizer needs the average gradient of this very step", "use overlap: delayed, which is one step late");
  if (gradients && run.synchrony.local_steps > 1)
    return refuse("synchrony.local_steps", "gradients are exchanged at every step", "use d-psgd on a complete graph for local SGD");
  const std::string overlap = fmt::format("overlap: {}", name(run.overlap));
  if (run.overlap != Overlap::none && run.synchrony.mode != Synchrony::bulk)
    return refuse(overlap, fmt::format("synchrony.mode: {} never waits for the exchange as it is", name(run.synchrony.mode)), "drop one of the two");
  const Algorithm* algorithm = find_algorithm(run.algorithm);
  if (run.overlap == Overlap::delayed && algorithm && algorithm->own_momentum)
    return refuse(overlap, "its next step needs the exchange of the last one, which would have come or not as the network likes",
                  "use overlap: none or layerwise");
  if (run.overlap == Overlap::layerwise && algorithm && algorithm->whole_vectors)
    return refuse(overlap, "it compares whole models, which it does not have part by part", "use overlap: delayed");
  if (run.overlap == Overlap::layerwise && run.mixing.order == MixingOrder::combine_then_adapt)
    return refuse(overlap + " and mixing.order: combine-then-adapt", "the model leaves before its gradient is computed", "use overlap: delayed");
  if (run.mixing.order == MixingOrder::combine_then_adapt && (gradients || run.synchrony.mode != Synchrony::bulk))
    return refuse("mixing.order: combine-then-adapt", "it orders a model's step and its bulk exchange", "use adapt-then-combine");
  return {};
}

Result<> check_optimizer(const RunFile& run) {
  const Algorithm* algorithm = find_algorithm(run.algorithm);
  const OptimizerOptions& optimizer = run.trainer.optimizer;
  if (algorithm == nullptr || !algorithm->own_momentum || (optimizer.name == "sgd" && optimizer.momentum == 0)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("algorithm {} says itself how gradients become steps; use trainer.optimizer: {{name: sgd, momentum: 0}}",
                          run.algorithm));
}

// Averaging reaches everybody.  (That it keeps the mean is each algorithm's own condition.)
Result<> check_connected(const Topology& topology) {
  constexpr std::size_t kWorkMax = 4'000'000;  // neighbourhoods looked at
  const std::size_t peers = topology.peer_count(), period = topology.period();
  // A schedule that never repeats is connected over time by its family's rule; one that is too large to look at here
  // is left to `gossamer topology check`.
  if (topology.facts().connected.value_or(false) || period == 0 || period > kWorkMax / peers) return {};
  std::vector<PeerId> root(peers);
  std::iota(root.begin(), root.end(), PeerId{0});
  const auto find = [&](PeerId peer) {
    while (root[peer] != peer) peer = root[peer] = root[root[peer]];
    return peer;
  };
  for (Round round = 0; round < period; ++round)
    for (PeerId self = 0; self < peers; ++self)
      for (const Edge& edge : topology.at(round, self).out) root[find(edge.peer)] = find(self);
  for (PeerId peer = 1; peer < peers; ++peer)
    if (find(peer) != find(0))
      return fail(Errc::invalid_argument,
                  fmt::format("topology {} is not connected: no path leads from peer 0 to peer {}, so they would train "
                              "two models; add an edge between the parts",
                              topology.name(), peer));
  return {};
}

}  // namespace

Result<> check_run(const RunFile& run) {
  if (const auto fits = check_parts(run); !fits) return fail(run.name, fits.error());
  return {};
}

Result<> check_parts(const RunFile& run) {
  GOSSAMER_TRY(check_optimizer(run));
  GOSSAMER_TRY_ASSIGN(const auto topology, make_topology(run.topology));
  GOSSAMER_TRY_ASSIGN(const auto compressor, make_compressor(run.compression));
  // Every peer's mixer for a model of one element: cheap, and each peer's own edges are checked.
  const Layout layout = Layout::flat(1);
  constexpr std::size_t kCheckedPeersMax = 4096;
  for (PeerId self = 0; self < std::min(topology->peer_count(), kCheckedPeersMax); ++self) {
    GOSSAMER_TRY_ASSIGN(const auto mixer,
                        make_mixer(run.algorithm, mixer_setup(run, self, *topology, *compressor, layout)));
    if (self > 0) continue;
    GOSSAMER_TRY(check_synchrony(run, mixer->traits()));
    if (mixer->traits().uses_graph) GOSSAMER_TRY(check_connected(*topology));
  }
  return {};
}

}  // namespace gossamer
