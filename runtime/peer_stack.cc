#include "runtime/peer_stack.h"

#include <algorithm>
#include <utility>

#include "base/random.h"

namespace gossamer {

Result<> PeerStack::compose(const RunFile& run, const Topology& topology, const Compressor& compressor, Fabric& fabric, const Clock& clock,
                            Stream& engine_stream, Stream& trainer_stream, PeerStackSetup setup) {
  const TrainerOptions& training = run.trainer;
  const std::size_t peers = topology.peer_count(), size = task->layout().size();
  const bool is_elastic = run.membership.mode == MembershipMode::elastic;
  length = run_length(training, peers, setup.samples, task->steps_per_epoch());

  parts = cut_into_parts(run, task->layout());
  std::vector<EnginePart> exchanged;
  channel = {.self = setup.self,
             .peers = peers,
             .incarnation = setup.life,
             .run = mix_seed(run.seed, size),
             .window = window_for(parts.size()),
             .lend_size_min = run.transport.lend ? TransportSetup{}.lend_size_min : kNeverLend,
             .resend_after = setup.resend_after,
             .checksum = run.transport.checksum};
  for (const LayoutPart& part : parts) {
    const std::size_t number = mixers.size();
    MixerSetup mixing = mixer_setup(run, setup.self, topology, compressor, part.layout, number);
    mixing.verify_replicas = mixing.verify_replicas || setup.verify_replicas;
    GOSSAMER_TRY_ASSIGN(auto mixer, make_mixer(run.algorithm, mixing));
    if (setup.around_mixer) mixer = setup.around_mixer(std::move(mixer), part, number);
    channel.payload_size_max = std::max(channel.payload_size_max, mixer->payload_capacity());
    exchanged.push_back({part.offset, part.layout.size(), mixer.get()});
    mixers.push_back(std::move(mixer));
  }
  transport = std::make_unique<Transport>(channel, fabric, clock);
  working = worker_setup(run, mixers.front()->traits(), length.steps, gradient_scale(run, task->samples(), setup.samples, peers));
  engine = std::make_unique<Engine>(EngineSetup{.self = setup.self,
                                                .peers = peers,
                                                .vector_size = size,
                                                .rounds_open = rounds_open(run),
                                                .skips_max = run.synchrony.skips_max,
                                                .trainer_waits = waits_for_exchange(working),
                                                .round_deadline = run.deadlines.round,
                                                .elastic = is_elastic},
                                    clock, topology, exchanged, *transport, engine_stream);

  first_model = AlignedBuffer<float>(size);
  task->initialise(run.seed, first_model.span());
  GOSSAMER_TRY_ASSIGN(optimizer, make_optimizer(training.optimizer, size));
  if (setup.around_optimizer) optimizer = setup.around_optimizer(std::move(optimizer));
  trainer = std::make_unique<Trainer>(*task, *optimizer, training.optimizer, training.schedule, length.epochs, trainer_stream, first_model.span(),
                                      length.steps_per_epoch);
  worker = std::make_unique<Worker>(working, *trainer, *engine);
  if (!is_elastic) return {};
  const MixerTraits& traits = engine->traits();
  elastic = std::make_unique<Elastic>(ElasticSetup{.self = setup.self,
                                                   .life = setup.life,
                                                   .alive = std::move(setup.alive),
                                                   .ended = std::move(setup.ended),
                                                   .hub = traits.hub,
                                                   .newcomer = setup.newcomer,
                                                   .rounds_shared = !traits.asynchronous,
                                                   .local_steps = run.synchrony.local_steps},
                                      topology, *engine, *trainer);
  return {};
}

}  // namespace gossamer
