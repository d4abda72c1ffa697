#include "runtime/simulator/simulation.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <utility>
#include <xxhash.h>

#include "base/check.h"
#include "gossip/algorithms.h"
#include "gossip/engine.h"
#include "runtime/check_run.h"
#include "runtime/composition.h"
#include "runtime/elastic.h"
#include "runtime/simulator/control.h"
#include "runtime/worker.h"
#include "topologies/topology_spec.h"
#include "trainer/partition.h"
#include "trainer/trainer.h"
#include "transports/channel.h"

namespace gossamer::sim {
namespace {

constexpr Time kNever{std::numeric_limits<std::int64_t>::max()};
// How soon a peer whose deadline is past or near is run again: it sleeps for at least so long (runtime/engine_driver.cc).
constexpr Duration kSleepLeast = std::chrono::milliseconds(1);
// How soon the connections of a process that ends break at the others.
constexpr Duration kEndNoticed = std::chrono::milliseconds(10);
// How soon a peer that is not let in yet asks again.
constexpr Duration kJoinAgain = std::chrono::milliseconds(5);

// One life of a peer.
struct Peer {
  PeerId id = 0;
  Incarnation life = 1;
  std::unique_ptr<PeerClock> clock;
  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<Task> task;
  std::vector<LayoutPart> parts;
  std::vector<std::unique_ptr<Mixer>> mixers;  // one for each part
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Engine> engine;
  AlignedBuffer<float> model;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<Elastic> elastic;  // where members may change

  Random compute;
  double factor = 1;
  bool computing = false;
  Result<> computed;  // of a gradient that leaves in parts, and is computed when its first part is due
  bool done = false;
  bool ended = false;  // failed or crashed
  bool member = true;
  std::size_t links_most = 0;
  Time frozen_until;
  Time since;  // of the present computation or wait
  Time wake_at = kNever;
  std::uint64_t wake_number = 0;
  PeerOutcome outcome;

  Peer(PeerId self, Incarnation one, std::uint64_t seed)
      : id(self), life(one), compute(one == 1 ? seed : mix_seed(seed, one), Purpose::link, self, 0xC0) {}
};

class Simulation {
 public:
  explicit Simulation(const SimulationSetup& setup) : setup_(setup), run_(setup.run) {}
  ~Simulation() {
    if (network_) network_->close();
  }

  Result<> compose();
  void play();
  Result<SimulationOutcome> conclude();

 private:
  Result<> compose(Peer& peer);
  std::unique_ptr<Checkers> make_checkers(std::size_t vector_size, const MixerTraits& traits) const;
  void started(const Peer& peer);
  static std::span<const float> range(const Peer& peer, std::size_t part) {
    return peer.model.span().subspan(peer.parts[part].offset, peer.parts[part].layout.size());
  }
  std::size_t count() const { return peers_.size(); }

  void wake(PeerId id) { schedule(*peers_[id], queue_.now()); }
  void schedule(Peer& peer, Time when);
  void run(Peer& peer);
  bool follow(Peer& peer, bool at_rest);
  bool step(Peer& peer);
  void go_on(Peer& peer);
  void begin_computing(Peer& peer, Duration needed);
  void leave(Peer& peer, std::size_t part);
  void computed(Peer& peer);
  void arm(Peer& peer);
  void end(Peer& peer, std::optional<Error> error);
  void crash(PeerId id, std::optional<Duration> noticed_after, std::optional<Duration> restart_after);
  void pause(const PauseOptions& pause);
  void restart(PeerId id);
  // Ended, or taken for dead.
  bool gone(const Peer& peer) const { return peer.ended || (control_ && !control_->alive(peer.id)); }
  std::vector<const Peer*> present() const;
  void sample(std::uint64_t step);
  void watch_over();
  bool at_rest() const;

  const SimulationSetup& setup_;
  const RunFile& run_;
  Stream stream_;
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Compressor> compressor_;
  EventQueue queue_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<ControlPlane> control_;  // where members may change
  std::vector<std::unique_ptr<Checkers>> checkers_;  // one for each part of the vector; none where nothing is checked
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<Peer>> past_;  // earlier lives, which events still name
  std::map<std::pair<PeerId, Incarnation>, std::string> addresses_;
  Split data_;
  std::vector<std::vector<std::uint32_t>> shards_;
  bool threaded_ = false;
  std::size_t rounds_open_ = 1;
  std::size_t slot_bytes_ = 0;
  std::uint32_t window_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t sample_every_ = 1;
  std::uint64_t sampled_ = 0;  // steps at the last point of the curve
  std::size_t busy_ = 0;              // peers neither done nor ended
  Time all_done_ = kNever;
  std::optional<Error> error_;
  std::vector<CurvePoint> curve_;
};

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
                                                      .rounds_open = rounds_open_, .round_deadline = run_.deadlines.round,
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
  peer.elastic = std::make_unique<Elastic>(ElasticSetup{.self = peer.id, .life = peer.life, .alive = control_->roster(peer.id), .newcomer = newcomer,
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

// At most one wake-up is pending per peer; one that is no longer meant finds another number.
void Simulation::schedule(Peer& peer, Time when) {
  if (peer.ended || when >= kNever || peer.wake_at <= when) return;
  peer.wake_at = when;
  queue_.at(when, [this, &peer, number = ++peer.wake_number] {
    if (peer.wake_number != number) return;
    peer.wake_at = kNever;
    run(peer);
  });
}

void Simulation::run(Peer& peer) {
  if (peer.ended) return;
  if (queue_.now() < peer.frozen_until) return schedule(peer, peer.frozen_until);
  if (peer.computing && !threaded_) return;  // its only thread is busy; it looks when it has computed
  if (!peer.computing && !follow(peer, peer.done)) return;
  if (!step(peer)) return;
  if (!peer.computing && !peer.done && peer.member) go_on(peer);
  arm(peer);
}

// What the control plane has to say, in the order in which a peer's process takes it (runtime/peer.cc).  False when that ended
// the peer.
bool Simulation::follow(Peer& peer, bool at_rest) {
  if (!peer.elastic) return true;
  Elastic& elastic = *peer.elastic;
  const auto before = elastic.view().number;
  for (const auto& [who, life] : control_->take_deaths(peer.id)) elastic.died(who, life);
  for (const auto& [who, life] : control_->take_returns(peer.id)) elastic.returned(who, life);
  const auto messages = control_->take_messages(peer.id);
  for (const std::string_view topic : {Elastic::kViews, Elastic::kStatePlease, Elastic::kState})
    for (const auto& message : messages) {
      if (message.topic != topic) continue;
      if (const auto heard = elastic.heard(message.from, topic, message.bytes); !heard) {
        end(peer, heard.error());
        return false;
      }
    }
  if (at_rest) elastic.at_rest();
  for (auto& message : elastic.take_messages()) control_->send(peer.id, message.to, std::string(message.topic), std::move(message.bytes));
  for (const auto& [who, life] : elastic.take_newcomers()) {
    if (control_->known(peer.id, who) < life) {
      end(peer, Error{Errc::internal, fmt::format("nobody has told it where life {} of peer {} is", life, who)});
      return false;
    }
    if (const auto known = peer.transport->set_peer(who, addresses_.at({who, life}), life); !known) {
      end(peer, known.error());
      return false;
    }
  }
  if (elastic.error()) {
    end(peer, *elastic.error());
    return false;
  }
  if (elastic.member() && (elastic.view().number != before || !peer.member))
    for (auto& checkers : checkers_) checkers->installed(peer.id, elastic.view());
  if (elastic.member() && !peer.member) {
    peer.member = true;
    started(peer);
  }
  if (control_->waits(peer.id)) schedule(peer, queue_.now() + kSleepLeast);
  return true;
}

// Lends the engine time.  False when that ended the peer.
bool Simulation::step(Peer& peer) {
  const auto stepped = peer.engine->step();
  if (!stepped) {
    end(peer, stepped.error());
    return false;
  }
  if (setup_.check) {
    // Buffers stay when neighbours leave.
    const std::size_t links = peer.links_most = std::max(peer.links_most, network_->links(peer.id));
    const std::size_t payloads = 2 * window_ * links + rounds_open_ * links * checkers_.size() + 8;
    checkers_.front()->memory(peer.id, network_->memory(peer.id), slot_bytes_ * payloads);
  }
  return true;
}

// Lets the worker do what can be done now.
void Simulation::go_on(Peer& peer) {
  Wants wants = peer.worker->advance();
  while (wants == Wants::exchange) {
    const Round closed = peer.engine->rounds_closed();
    if (!step(peer)) return;
    if (peer.engine->rounds_closed() == closed) return;
    wants = peer.worker->advance();
  }
  const Time now = queue_.now();
  peer.outcome.wait_s += seconds(now - peer.since);
  peer.since = now;
  if (wants == Wants::compute) {
    if (!follow(peer, true) || !peer.worker->may_compute()) return;
    const Duration drawn = setup_.network.compute.draw(peer.compute);
    const Duration needed(std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(drawn.count()) * peer.factor)));
    begin_computing(peer, needed);
    if (threaded_) step(peer);  // what was published leaves meanwhile
    return;
  }
  peer.done = true;
  peer.outcome.finished_s = seconds(now - EventQueue::kStart);
  for (auto& checkers : checkers_) checkers->left(peer.id);
  if (--busy_ == 0) all_done_ = now;
  if (follow(peer, true)) step(peer);
}

// A gradient is computed when its time has passed.  One that leaves in parts is computed at once, and its parts leave at the times at
// which a backward pass that takes twice as long as the forward pass, and as long for each parameter, would have come to them.
void Simulation::begin_computing(Peer& peer, Duration needed) {
  peer.computing = true;
  const Time now = queue_.now();
  if (peer.worker->in_parts()) {
    std::size_t elements = 0;
    peer.computed = peer.worker->compute([&](std::size_t part) -> Result<> {
      elements += peer.parts[part].layout.size();
      const double passed = (1 + 2 * static_cast<double>(elements) / static_cast<double>(peer.model.size())) / 3;
      queue_.at(now + Duration(static_cast<std::int64_t>(passed * static_cast<double>(needed.count()))), [this, &peer, part] { leave(peer, part); });
      return {};
    });
  }
  queue_.at(now + needed, [this, &peer] { computed(peer); });
}

void Simulation::leave(Peer& peer, std::size_t part) {
  if (peer.ended) return;
  if (queue_.now() < peer.frozen_until) return queue_.at(peer.frozen_until, [this, &peer, part] { leave(peer, part); });
  peer.worker->publish(part);
  if (step(peer)) arm(peer);
}

void Simulation::computed(Peer& peer) {
  if (peer.ended) return;
  const Time now = queue_.now();
  if (now < peer.frozen_until) {
    queue_.at(peer.frozen_until, [this, &peer] { computed(peer); });
    return;
  }
  peer.computing = false;
  peer.outcome.compute_s += seconds(now - peer.since);
  peer.since = now;
  queue_.trace().record({3, static_cast<std::uint64_t>(now.ns), peer.id, peer.worker->steps()});
  if (!peer.worker->in_parts()) peer.computed = peer.worker->compute();
  if (!peer.computed) return end(peer, peer.computed.error());
  if (!step(peer) || !follow(peer, false)) return;
  go_on(peer);
  if (const std::uint64_t step = peer.worker->steps(); step > 0 && step % sample_every_ == 0) sample(step);
  arm(peer);
}

void Simulation::arm(Peer& peer) {
  if (peer.ended || (peer.computing && !threaded_)) return;
  const Time due = peer.clock->when(peer.engine->next_deadline());
  schedule(peer, due < queue_.now() + kSleepLeast ? queue_.now() + kSleepLeast : due);
}

// A peer that fails leaves, as its process would: the others see their links to it break.
void Simulation::end(Peer& peer, std::optional<Error> error) {
  if (peer.ended) return;
  peer.ended = true;
  // Whatever goes wrong at a peer that the others have given up is no news.
  const bool given_up = error && control_ && !control_->alive(peer.id);
  if (given_up) {
    error.reset();
    network_->crash(peer.id, kEndNoticed);
  }
  peer.outcome.crashed = !error;
  peer.outcome.error = error;
  if (error && !error_) error_ = Error{error->code, fmt::format("peer {}: {}", peer.id, error->message)};
  const Time now = queue_.now();
  if (!peer.done) {
    peer.outcome.finished_s = seconds(now - EventQueue::kStart);
    if (--busy_ == 0) all_done_ = now;
  }
  for (auto& checkers : checkers_) checkers->died(peer.id);
  queue_.trace().record({4, static_cast<std::uint64_t>(now.ns), peer.id, error ? static_cast<std::uint64_t>(error->code) : 0});
  if (!error) return;
  network_->crash(peer.id, kEndNoticed);
  if (control_ && control_->alive(peer.id)) control_->died(peer.id, kEndNoticed);
}

void Simulation::crash(PeerId id, std::optional<Duration> noticed_after, std::optional<Duration> restart_after) {
  Peer& peer = *peers_[id];
  if (peer.ended) return;
  end(peer, std::nullopt);
  network_->crash(id, noticed_after);
  if (!control_) return;
  // What no connection tells, silence does.
  if (control_->alive(id)) control_->died(id, noticed_after.value_or(run_.deadlines.silence));
  if (restart_after) queue_.at(queue_.now() + *restart_after, [this, id] { restart(id); });
}

// A peer that is silent for too long is taken for dead.  It wakes, does what it was about to do, and finds out.
void Simulation::pause(const PauseOptions& pause) {
  Peer& peer = *peers_[pause.peer];
  peer.frozen_until = std::max(peer.frozen_until, queue_.now() + pause.length);
  if (!control_ || pause.length <= run_.deadlines.silence) return;
  queue_.at(queue_.now() + run_.deadlines.silence, [this, &peer, &pause] {
    if (peer.ended || !control_->alive(peer.id)) return;
    control_->died(peer.id, {});
    for (auto& checkers : checkers_) checkers->died(peer.id);
    queue_.at(peer.frozen_until + kEndNoticed, [this, &peer, &pause] {
      // It may have stumbled over what the others dropped before it found out.
      if (!peer.ended) return crash(peer.id, kEndNoticed, pause.restart_after);
      if (pause.restart_after) queue_.at(queue_.now() + *pause.restart_after, [this, &peer] { restart(peer.id); });
    });
  });
}

// As a process that is started again: nothing is left of the earlier life.
void Simulation::restart(PeerId id) {
  if (busy_ == 0 || !peers_[id]->ended) return;
  if (!control_->admits(id)) return queue_.at(queue_.now() + kJoinAgain, [this, id] { restart(id); });
  const Incarnation life = control_->returned(id);
  auto peer = std::make_unique<Peer>(id, life, setup_.seed);
  peer->outcome.bytes_sent = peers_[id]->outcome.bytes_sent + peers_[id]->fabric->traffic().bytes_sent;
  peer->outcome.bytes_received = peers_[id]->outcome.bytes_received + peers_[id]->fabric->traffic().bytes_received;
  peer->outcome.lives = life;
  past_.push_back(std::exchange(peers_[id], std::move(peer)));
  Peer& now = *peers_[id];
  now.since = queue_.now();
  now.fabric = network_->make_fabric(id);
  addresses_[{id, life}] = now.fabric->address();
  ++busy_;
  for (auto& checkers : checkers_) checkers->returned(id, life);
  if (const auto composed = compose(now); !composed) return end(now, composed.error());
  queue_.trace().record({7, static_cast<std::uint64_t>(queue_.now().ns), id, life});
  wake(id);
  queue_.at(queue_.now() + run_.deadlines.join, [this, &now] {
    if (!now.ended && !now.member)
      end(now, Error{Errc::timed_out, fmt::format("the members did not take it in within {:g} s (deadlines.join)", seconds(run_.deadlines.join))});
  });
}

// Whose models count.
std::vector<const Peer*> Simulation::present() const {
  std::vector<const Peer*> peers;
  for (const auto& peer : peers_)
    if (!control_ || (!gone(*peer) && peer->member)) peers.push_back(peer.get());
  return peers;
}

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

void Simulation::watch_over() {
  if (checkers_.empty() || busy_ == 0) return;
  for (auto& checkers : checkers_) checkers->look_for_progress();
  const Duration bound = setup_.progress_bound > Duration{} ? setup_.progress_bound : 2 * run_.deadlines.round;
  queue_.at(queue_.now() + bound / 4, [this] { watch_over(); });
}

bool Simulation::at_rest() const {
  if (control_ && !control_->quiet()) return false;
  return std::all_of(peers_.begin(), peers_.end(), [this](const auto& peer) {
    return gone(*peer) || (peer->engine->drained() && !peer->engine->held());
  });
}

void Simulation::play() {
  for (const PauseOptions& one : setup_.faults.pauses)
    queue_.at(EventQueue::kStart + one.at, [this, &one] { pause(one); });
  for (const CrashOptions& one : setup_.faults.crashes)
    queue_.at(EventQueue::kStart + one.at, [this, &one] { crash(one.peer, one.noticed_after, one.restart_after); });
  for (auto& peer : peers_) {
    peer->since = queue_.now();
    wake(peer->id);
  }
  watch_over();
  while (!queue_.empty() && !(busy_ == 0 && at_rest())) {
    if (busy_ == 0 && queue_.now() - all_done_ > run_.deadlines.round) {
      if (!error_) error_ = Error{Errc::timed_out, control_ && !control_->quiet() ? "the members did not agree on a view in time"
                                                                                      : "the last payloads were not acknowledged in time"};
      return;
    }
    if (setup_.events_max && queue_.executed() >= setup_.events_max) {
      if (!error_) error_ = Error{Errc::timed_out, fmt::format("{} events were not enough to end the run", setup_.events_max)};
      return;
    }
    queue_.step();
  }
}

Result<SimulationOutcome> Simulation::conclude() {
  SimulationOutcome outcome;
  outcome.seconds = seconds((all_done_ < kNever ? all_done_ : queue_.now()) - EventQueue::kStart);
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
  const std::vector<float> mean_model(mean.begin(), mean.end());
  const Evaluation evaluation = peers_.front()->task->evaluate(stream_, mean_model);
  outcome.loss = evaluation.loss;
  outcome.accuracy = evaluation.accuracy;
  return outcome;
}

}  // namespace

Result<SimulationOutcome> simulate(const SimulationSetup& setup) {
  Simulation simulation(setup);
  GOSSAMER_TRY(simulation.compose());
  simulation.play();
  return simulation.conclude();
}

}  // namespace gossamer::sim
