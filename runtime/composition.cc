#include "runtime/composition.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace gossamer {

MixerSetup mixer_setup(const RunFile& run, PeerId self, const Topology& topology, const Compressor& compressor, const Layout& layout, std::size_t part) {
  return {.self = self,
          .peers = topology.peer_count(),
          .layout = &layout,
          .topology = &topology,
          .compressor = &compressor,
          .step_size = run.mixing.step_size,
          .replicas = run.mixing.replicas == "per-edge"    ? ReplicaForm::per_edge
                      : run.mixing.replicas == "aggregate" ? ReplicaForm::aggregate
                                                           : ReplicaForm::automatic,
          .verify_replicas = run.mixing.verify_replicas,
          .elastic = run.membership.mode == MembershipMode::elastic,
          .rounds_open = gossamer::rounds_open(run),
          .momentum = run.mixing.momentum,
          .clip = run.mixing.clip,
          .rank = run.mixing.rank,
          .power_iterations = run.mixing.power_iterations,
          .seed = part == 0 ? run.seed : mix_seed(run.seed, part)};
}

RunLength run_length(const TrainerOptions& options, std::size_t peers, std::uint64_t samples, std::uint64_t task_steps_per_epoch) {
  RunLength length;
  length.steps_per_epoch = samples ? static_cast<double>(samples) / static_cast<double>(peers * options.batch_size)
                                   : static_cast<double>(task_steps_per_epoch);
  length.steps = options.steps ? options.steps
                               : static_cast<std::uint64_t>(std::max(1LL, std::llround(options.epochs * length.steps_per_epoch)));
  length.epochs = static_cast<double>(length.steps) / length.steps_per_epoch;
  return length;
}

std::vector<LayoutPart> cut_into_parts(const RunFile& run, const Layout& layout) {
  constexpr std::size_t kPartsMax = 32;  // a channel has at most 64 slots, and a part may need two
  if (run.overlap != Overlap::layerwise) return cut(layout, layout.size(), 1);
  return cut(layout, static_cast<std::size_t>(run.bucket_mib * (1 << 20) / sizeof(float)), kPartsMax);
}

std::uint32_t window_for(std::size_t parts) { return static_cast<std::uint32_t>(std::clamp<std::size_t>(2 * parts, 2, 64)); }

WorkerSetup worker_setup(const RunFile& run, const MixerTraits& traits, std::uint64_t steps, double gradient_scale) {
  return {.steps = steps,
          .local_steps = run.synchrony.local_steps,
          .combine_then_adapt = run.mixing.order == MixingOrder::combine_then_adapt,
          .delayed = run.overlap == Overlap::delayed,
          .layerwise = run.overlap == Overlap::layerwise,
          .free_running = run.synchrony.mode == Synchrony::stale || traits.asynchronous,
          .gradient_scale = gradient_scale};
}

double gradient_scale(const RunFile& run, std::uint64_t own_samples, std::uint64_t all_samples, std::size_t peers) {
  if (!run.mixing.weigh_by_samples || all_samples == 0) return 1;
  return static_cast<double>(own_samples * peers) / static_cast<double>(all_samples);
}

}  // namespace gossamer
