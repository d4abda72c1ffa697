#include "runtime/simulator/simulation.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <xxhash.h>

#include "base/check.h"
#include "gossip/algorithms.h"
#include "runtime/check_run.h"
#include "runtime/composition.h"
#include "runtime/simulator/playing.h"
#include "topologies/topology_spec.h"
#include "trainer/partition.h"

namespace gossamer::sim {
namespace {

double consensus(const std::vector<const Peer*>& peers, std::vector<double>* mean) {
  if (peers.empty()) return 0;
  const std::size_t size = peers.front()->model.size();
  mean->assign(size, 0);
  for (const Peer* peer : peers)
    for (std::size_t i = 0; i < size; ++i) (*mean)[i] += peer->model[i];
  for (double& value : *mean) value /= static_cast<double>(peers.size());
  double sum = 0;
  for (const Peer* peer : peers)
    for (std::size_t i = 0; i < size; ++i) sum += (peer->model[i] - (*mean)[i]) * (peer->model[i] - (*mean)[i]);
  return std::sqrt(sum / static_cast<double>(peers.size()));
}

}  // namespace

Result<> Simulation::compose() {
  GOSSAMER_TRY(check_run(run_));
  GOSSAMER_TRY_ASSIGN(topology_, make_topology(run_.topology));
  const std::size_t n = topology_->peer_count();
  GOSSAMER_TRY(validate(setup_.network, setup_.faults, n));
  const auto restarts = [](const auto& one) { return one.restart_after.has_value(); };
  if (run_.membership.mode == MembershipMode::fixed &&
      (std::any_of(setup_.faults.crashes.begin(), setup_.faults.crashes.end(), restarts) ||
       std::any_of(setup_.faults.pauses.begin(), setup_.faults.pauses.end(), restarts)))
    return fail(Errc::invalid_argument, "faults: restart_after needs a run whose members may change; set membership.mode: elastic, or leave it out");
  GOSSAMER_TRY_ASSIGN(compressor_, make_compressor(run_.compression));
  network_ = std::make_unique<Network>(queue_, setup_.network, setup_.faults, n, setup_.seed, [this](PeerId id) { wake(id); });
  rounds_open_ = rounds_open(run_);

  if (run_.membership.mode == MembershipMode::elastic)
    control_ = std::make_unique<ControlPlane>(queue_, setup_.network.control.value_or(setup_.network.latency), n, setup_.seed,
                                              [this](PeerId id) { wake(id); });

  shards_.resize(n);
  if (needs_data(run_.trainer.task)) {
    GOSSAMER_TRY_ASSIGN(data_, load_data(run_.trainer.data, run_.seed));
    GOSSAMER_TRY_ASSIGN(shards_, partition(*data_.train, run_.trainer.partition, n, run_.seed));
  }
  for (PeerId id = 0; id < n; ++id) {
    peers_.push_back(std::make_unique<Peer>(id, 1, setup_.seed));
    peers_.back()->fabric = network_->make_fabric(id);
    addresses_[{id, 1}] = peers_.back()->fabric->address();
  }
  for (auto& peer : peers_) GOSSAMER_TRY(compose(*peer));
  sample_every_ = std::max<std::uint64_t>(1, steps_ / std::max<std::size_t>(1, setup_.curve_points));
  busy_ = n;
  return {};
}

// As a peer's process composes itself (runtime/peer.cc), with the checkers in between.
Result<> Simulation::compose(Peer& peer) {
  const std::size_t n = count();
  const bool newcomer = peer.life > 1;
  for (const StragglerOptions& one : setup_.network.stragglers)
    if (one.peer == peer.id) peer.factor = one.factor;
  const TrainerOptions& training = run_.trainer;
  Random clock(setup_.seed, Purpose::link, peer.id, 0xC1);
  const double offset = seconds(setup_.network.clock_offset) * clock.uniform();
  peer.clock = std::make_unique<PeerClock>(queue_, from_seconds(offset), setup_.network.clock_drift * (2 * clock.uniform() - 1));

  GOSSAMER_TRY_ASSIGN(peer.task, make_task(training.task, data_, shards_[peer.id], training.batch_size, peer.id, n, run_.seed));
  const std::uint64_t samples = data_.train ? data_.train->samples : 0;
  const RunLength length = run_length(training, n, samples, peer.task->steps_per_epoch());
  steps_ = length.steps;
  const std::size_t size = peer.task->layout().size();

  peer.parts = cut_into_parts(run_, peer.task->layout());
  std::vector<EnginePart> exchanged;
  std::vector<WatchedPart> watched;
  std::size_t payload_size_max = 0;
  for (const LayoutPart& part : peer.parts) {
    const std::size_t number = peer.mixers.size(), count = part.layout.size();
    MixerSetup mixing = mixer_setup(run_, peer.id, *topology_, *compressor_, part.layout, number);
    mixing.verify_replicas = mixing.verify_replicas || setup_.verify_replicas;
    GOSSAMER_TRY_ASSIGN(auto mixer, make_mixer(run_.algorithm, mixing));
    if (setup_.wrap) mixer = setup_.wrap(peer.id, std::move(mixer));
    if (setup_.check) {
      if (checkers_.size() <= number) checkers_.push_back(make_checkers(count, mixer->traits()));
      mixer = watch(std::move(mixer), peer.id, *checkers_[number]);
      watched.push_back({part.offset, count, checkers_[number].get()});
    }
    payload_size_max = std::max(payload_size_max, mixer->payload_capacity());
    exchanged.push_back({part.offset, count, mixer.get()});
    peer.mixers.push_back(std::move(mixer));
  }
  const MixerTraits traits = peer.mixers.front()->traits();
  const TransportSetup transport{.self = peer.id,
                                 .peers = n,
                                 .incarnation = peer.life,
                                 .run = mix_seed(run_.seed, size),
                                 .payload_size_max = payload_size_max,
                                 .window = window_for(peer.parts.size()),
                                 .resend_after = setup_.network.resend_after,
                                 .checksum = run_.transport.checksum};
  window_ = transport.window;
  slot_bytes_ = (transport.payload_size_max + 63) / 64 * 64;
  peer.transport = std::make_unique<Transport>(transport, *peer.fabric, *peer.clock);
  // Only those it may ever talk to: a thousand peers that all know each other cost a million entries.
  std::vector<PeerId> known;
  if (traits.uses_graph && !control_) {
    known = potential_neighbours(*topology_, peer.id);
  } else {
    for (PeerId other = 0; other < n; ++other)
      if (other != peer.id) known.push_back(other);
  }
  // A newcomer is introduced to the others when it is one of them.
  for (const PeerId other : known)
    if (!newcomer) GOSSAMER_TRY(peer.transport->set_peer(other, addresses_[{other, 1}], 1));
  peer.engine = std::make_unique<Engine>(EngineSetup{.self = peer.id, .peers = n, .vector_size = size,
                                                      .rounds_open = rounds_open_, .skips_max = run_.synchrony.skips_max, .round_deadline = run_.deadlines.round,
                                                      .elastic = control_ != nullptr},
                                         *peer.clock, *topology_, exchanged, *peer.transport, stream_);
  peer.model = AlignedBuffer<float>(size);
  peer.task->initialise(run_.seed, peer.model.span());
  if (!newcomer) peer.engine->start(peer.model.span());
  GOSSAMER_TRY_ASSIGN(peer.optimizer, make_optimizer(training.optimizer, size));
  if (setup_.check) peer.optimizer = watch(std::move(peer.optimizer), peer.id, std::move(watched));
  if (!newcomer) started(peer);
  peer.trainer = std::make_unique<Trainer>(*peer.task, *peer.optimizer, training.optimizer, training.schedule,
                                           length.epochs, stream_, peer.model.span(), length.steps_per_epoch);
  const WorkerSetup working = worker_setup(run_, traits, steps_, gradient_scale(run_, peer.task->samples(), samples, n));
  threaded_ = overlaps(working);
  peer.worker = std::make_unique<Worker>(working, *peer.trainer, *peer.engine);
  if (!control_) return {};
  peer.member = !newcomer;
  peer.elastic = std::make_unique<Elastic>(ElasticSetup{.self = peer.id, .life = peer.life, .alive = control_->roster(peer.id), .ended = control_->ended(peer.id),
                                                        .hub = traits.hub, .newcomer = newcomer,
                                                        .rounds_shared = !traits.asynchronous, .local_steps = run_.synchrony.local_steps},
                                           *topology_, *peer.engine, *peer.trainer);
  return {};
}

std::unique_ptr<Checkers> Simulation::make_checkers(std::size_t vector_size, const MixerTraits& traits) const {
  const Duration bound = setup_.progress_bound > Duration{} ? setup_.progress_bound : 2 * run_.deadlines.round;
  return std::make_unique<Checkers>(CheckSetup{.peers = count(),
                                               .vector_size = vector_size,
                                               .rounds_open = rounds_open_,
                                               .topology = topology_.get(),
                                               .traits = traits,
                                               .keeps_mean = keeps_mean(*find_algorithm(run_.algorithm), run_.compression.codec),
                                               .progress_bound = bound},
                                    queue_);
}

void Simulation::started(const Peer& peer) {
  for (std::size_t part = 0; part < checkers_.size(); ++part) checkers_[part]->started(peer.id, range(peer, part));
}

// Whose models count.
std::vector<const Peer*> Simulation::present() const {
  std::vector<const Peer*> peers;
  for (const auto& peer : peers_)
    if (!control_ || (!gone(*peer) && peer->member)) peers.push_back(peer.get());
  return peers;
}

// One point of the curve whenever the last peer has done so many steps.
void Simulation::sample(std::uint64_t step) {
  const std::vector<const Peer*> peers = present();
  for (const Peer* peer : peers) step = std::min(step, peer->worker->steps());
  if (step < sampled_ + sample_every_) return;
  sampled_ = step - step % sample_every_;
  CurvePoint point{.step = sampled_, .seconds = seconds(queue_.now() - EventQueue::kStart)};
  for (const Peer* peer : peers) point.loss += peer->worker->last_loss() / static_cast<double>(peers.size());
  std::vector<double> mean;
  point.consensus_distance = consensus(peers, &mean);
  curve_.push_back(point);
}

Result<SimulationOutcome> Simulation::conclude() {
  SimulationOutcome outcome;
  outcome.seconds = seconds((all_done_ < EventQueue::kNever ? all_done_ : queue_.now()) - EventQueue::kStart);
  outcome.events = queue_.executed();
  outcome.trace_hash = queue_.trace().hash();
  outcome.network = network_->counts();
  outcome.error = error_;
  outcome.curve = std::move(curve_);
  const bool whole = !error_ && (control_ || setup_.faults.crashes.empty());
  Round rounds = 0;
  for (auto& peer : peers_) {
    // What others' exchanges brought after the last step.
    const bool here = whole && !gone(*peer);
    if (here && peer->engine->traits().asynchronous) peer->worker->settle();
    for (std::size_t part = 0; here && part < checkers_.size(); ++part)
      checkers_[part]->at_rest(peer->id, range(*peer, part), peer->mixers[part]->mass());
    PeerOutcome& one = peer->outcome;
    one.steps = peer->worker->steps();
    one.rounds = peer->engine->rounds_closed();
    rounds = std::max(rounds, one.rounds);
    const Evaluation evaluation = peer->task->evaluate(stream_, peer->model.span());
    one.loss = evaluation.loss;
    one.accuracy = evaluation.accuracy;
    one.cut_short = peer->engine->stats().cut_short;
    if (peer->elastic) outcome.view = std::max(outcome.view, peer->elastic->view().number);
    one.bytes_sent += peer->fabric->traffic().bytes_sent;
    one.bytes_received += peer->fabric->traffic().bytes_received;
    one.memory_most = network_->memory_most(peer->id);
    outcome.models_hash = mix_seed(outcome.models_hash, XXH3_64bits(peer->model.data(), peer->model.size() * sizeof(float)));
    outcome.models.emplace_back(peer->model.span().begin(), peer->model.span().end());
    outcome.peers.push_back(one);
  }
  GOSSAMER_CHECK(network_->sources_disturbed() == 0, "a transport wrote a buffer while a put of it was under way");
  for (auto& checkers : checkers_) {
    if (whole) checkers->ended();
    outcome.sums_checked += checkers->sums_checked();
    outcome.violations.insert(outcome.violations.end(), checkers->violations().begin(), checkers->violations().end());
    outcome.violations_found += checkers->found();
  }
  outcome.seconds_per_round = rounds ? outcome.seconds / static_cast<double>(rounds) : 0;
  std::vector<double> mean;
  const std::vector<const Peer*> peers = present();
  if (peers.empty()) return outcome;
  outcome.consensus_distance = consensus(peers, &mean);
  std::vector<float> result(mean.begin(), mean.end());
  if (const auto hub = peers_.front()->engine->traits().hub) result.assign(peers_[*hub]->model.span().begin(), peers_[*hub]->model.span().end());
  const Evaluation evaluation = peers_.front()->task->evaluate(stream_, result);
  outcome.loss = evaluation.loss;
  outcome.accuracy = evaluation.accuracy;
  return outcome;
}

Result<SimulationOutcome> simulate(const SimulationSetup& setup) {
  Simulation simulation(setup);
  GOSSAMER_TRY(simulation.compose());
  simulation.play();
  return simulation.conclude();
}

}  // namespace gossamer::sim
