#include "runtime/check_run.h"

#include <algorithm>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

Result<> check_synchrony(const RunFile& run, const MixerTraits& traits) {
  const auto refuse = [&](std::string_view key, std::string_view why, std::string_view remedy) {
    return fail(Errc::invalid_argument, fmt::format("{}: {} with algorithm {}: {}; {}", run.name, key, run.algorithm, why, remedy));
  };
  const bool gradients = traits.exchanges == Exchanges::gradient;
  if (run.overlap == Overlap::layerwise)
    return fail(Errc::unsupported, "overlap: layerwise is not in this release; use overlap: delayed");
  if (traits.asynchronous != (run.synchrony.mode == Synchrony::async)) {
    if (traits.asynchronous)
      return refuse("synchrony.mode: " + std::string(name(run.synchrony.mode)), "its pairs exchange whenever they like, and there are no rounds to wait for",
                    "use synchrony: {mode: async}");
    return refuse("synchrony.mode: async", "its rounds need this round's neighbours", "use ad-psgd, or synchrony: {mode: bulk} or {mode: stale}");
  }
  if (run.synchrony.mode == Synchrony::stale && gradients)
    return refuse("synchrony.mode: stale", "the optimizer needs the average gradient of this very step", "use overlap: delayed, which is one step late");
  if (gradients && run.synchrony.local_steps > 1)
    return refuse("synchrony.local_steps", "gradients are exchanged at every step", "use d-psgd on a complete graph for local SGD");
  if (run.overlap == Overlap::delayed && run.synchrony.mode != Synchrony::bulk)
    return refuse("overlap: delayed", fmt::format("synchrony.mode: {} never waits for the exchange as it is", name(run.synchrony.mode)), "drop one of the two");
  if (run.mixing.order == MixingOrder::combine_then_adapt && (gradients || run.synchrony.mode != Synchrony::bulk))
    return refuse("mixing.order: combine-then-adapt", "it orders a model's step and its bulk exchange", "use adapt-then-combine");
  return {};
}

Result<> check_optimizer(const RunFile& run) {
  const Algorithm* algorithm = find_algorithm(run.algorithm);
  const OptimizerOptions& optimizer = run.trainer.optimizer;
  if (algorithm == nullptr || !algorithm->own_momentum || (optimizer.name == "sgd" && optimizer.momentum == 0)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{}: algorithm {} says itself how gradients become steps; use trainer.optimizer: {{name: sgd, momentum: 0}}", run.name,
                          run.algorithm));
}

}  // namespace

Result<> check_run(const RunFile& run) {
  GOSSAMER_TRY(check_optimizer(run));
  GOSSAMER_TRY_ASSIGN(const auto topology, make_topology(run.topology));
  GOSSAMER_TRY_ASSIGN(const auto compressor, make_compressor(run.compression));
  // Every peer's mixer for a model of one element: cheap, and each peer's own edges are checked.
  const Layout layout = Layout::flat(1);
  constexpr std::size_t kCheckedPeersMax = 4096;
  for (PeerId self = 0; self < std::min(topology->peer_count(), kCheckedPeersMax); ++self) {
    GOSSAMER_TRY_ASSIGN(const auto mixer,
                        make_mixer(run.algorithm, mixer_setup(run, self, *topology, *compressor, layout)));
    if (self == 0) GOSSAMER_TRY(check_synchrony(run, mixer->traits()));
  }
  return {};
}

MixerSetup mixer_setup(const RunFile& run, PeerId self, const Topology& topology, const Compressor& compressor, const Layout& layout) {
  return {.self = self,
          .peers = topology.peer_count(),
          .layout = &layout,
          .topology = &topology,
          .compressor = &compressor,
          .step_size = run.mixing.step_size,
          .replicas = run.mixing.replicas == "per-edge"    ? ReplicaForm::per_edge
                      : run.mixing.replicas == "aggregate" ? ReplicaForm::aggregate
                                                           : ReplicaForm::automatic,
          .rounds_open = run.synchrony.mode == Synchrony::stale ? run.synchrony.stale + std::size_t{1} : 1,
          .momentum = run.mixing.momentum,
          .clip = run.mixing.clip,
          .rank = run.mixing.rank,
          .power_iterations = run.mixing.power_iterations,
          .seed = run.seed};
}

}  // namespace gossamer
