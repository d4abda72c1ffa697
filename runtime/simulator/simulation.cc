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
  const std::size_t size = peers.front()->stack.model().size();
  mean->assign(size, 0);
  for (const Peer* peer : peers)
    for (std::size_t i = 0; i < size; ++i) (*mean)[i] += peer->stack.model()[i];
  for (double& value : *mean) value /= static_cast<double>(peers.size());
  double sum = 0;
  for (const Peer* peer : peers)
    for (std::size_t i = 0; i < size; ++i) sum += (peer->stack.model()[i] - (*mean)[i]) * (peer->stack.model()[i] - (*mean)[i]);
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

Result<> Simulation::compose(Peer& peer) {
  const std::size_t n = count();
  const bool newcomer = peer.life > 1;
  for (const StragglerOptions& one : setup_.network.stragglers)
    if (one.peer == peer.id) peer.factor = one.factor;
  const TrainerOptions& training = run_.trainer;
  Random clock(setup_.seed, Purpose::link, peer.id, 0xC1);
  const double offset = seconds(setup_.network.clock_offset) * clock.uniform();
  peer.clock = std::make_unique<PeerClock>(queue_, from_seconds(offset), setup_.network.clock_drift * (2 * clock.uniform() - 1));

  PeerStack& stack = peer.stack;
  GOSSAMER_TRY_ASSIGN(stack.task, make_task(training.task, data_, shards_[peer.id], training.batch_size, peer.id, n, run_.seed));
  PeerStackSetup setup{.self = peer.id,
                       .life = peer.life,
                       .newcomer = newcomer,
                       .samples = data_.train ? data_.train->samples : 0,
                       .verify_replicas = setup_.verify_replicas,
                       .resend_after = setup_.network.resend_after};
  if (control_) {
    setup.alive = control_->roster(peer.id);
    setup.ended = control_->ended(peer.id);
  }
  std::vector<WatchedPart> watched;
  setup.around_mixer = [&](std::unique_ptr<Mixer> mixer, const LayoutPart& part, std::size_t number) {
    if (setup_.wrap) mixer = setup_.wrap(peer.id, std::move(mixer));
    if (!setup_.check) return mixer;
    if (checkers_.size() <= number) checkers_.push_back(make_checkers(part.layout.size(), mixer->traits()));
    watched.push_back({part.offset, part.layout.size(), checkers_[number].get()});
    return watch(std::move(mixer), peer.id, *checkers_[number]);
  };
  setup.around_optimizer = [&](std::unique_ptr<Optimizer> optimizer) {
    return setup_.check ? watch(std::move(optimizer), peer.id, std::move(watched)) : std::move(optimizer);
  };
  GOSSAMER_TRY(stack.compose(run_, *topology_, *compressor_, *peer.fabric, *peer.clock, stream_, stream_, std::move(setup)));
  steps_ = stack.length.steps;
  threaded_ = overlaps(stack.working);
  peer.member = !newcomer;
  if (newcomer) return {};  // it is introduced to the others when it is one of them

  // Only those it may ever talk to: a thousand peers that all know each other cost a million entries.
  std::vector<PeerId> known;
  if (stack.engine->traits().uses_graph && !control_) {
    known = potential_neighbours(*topology_, peer.id);
  } else {
    for (PeerId other = 0; other < n; ++other)
      if (other != peer.id) known.push_back(other);
  }
  for (const PeerId other : known) GOSSAMER_TRY(stack.transport->set_peer(other, addresses_[{other, 1}], 1));
  stack.engine->start(stack.model());
  started(peer);
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
  for (const Peer* peer : peers) step = std::min(step, peer->stack.worker->steps());
  if (step < sampled_ + sample_every_) return;
  sampled_ = step - step % sample_every_;
  CurvePoint point{.step = sampled_, .seconds = seconds(queue_.now() - EventQueue::kStart)};
  for (const Peer* peer : peers) point.loss += peer->stack.worker->last_loss() / static_cast<double>(peers.size());
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
    if (here && peer->stack.engine->traits().asynchronous) peer->stack.worker->settle();
    for (std::size_t part = 0; here && part < checkers_.size(); ++part)
      checkers_[part]->at_rest(peer->id, range(*peer, part), peer->stack.mixers[part]->mass());
    PeerOutcome& one = peer->outcome;
    one.steps = peer->stack.worker->steps();
    one.rounds = peer->stack.engine->rounds_closed();
    rounds = std::max(rounds, one.rounds);
    const Evaluation evaluation = peer->stack.task->evaluate(stream_, peer->stack.model());
    one.loss = evaluation.loss;
    one.accuracy = evaluation.accuracy;
    one.cut_short = peer->stack.engine->stats().cut_short;
    if (peer->stack.elastic) outcome.view = std::max(outcome.view, peer->stack.elastic->view().number);
    one.bytes_sent += peer->fabric->traffic().bytes_sent;
    one.bytes_received += peer->fabric->traffic().bytes_received;
    one.memory_most = network_->memory_most(peer->id);
    outcome.models_hash = mix_seed(outcome.models_hash, XXH3_64bits(peer->stack.model().data(), peer->stack.model().size() * sizeof(float)));
    outcome.models.emplace_back(peer->stack.model().begin(), peer->stack.model().end());
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
  if (const auto hub = peers_.front()->stack.engine->traits().hub) result.assign(peers_[*hub]->stack.model().begin(), peers_[*hub]->stack.model().end());
  const Evaluation evaluation = peers_.front()->stack.task->evaluate(stream_, result);
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
