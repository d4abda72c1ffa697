#include "runtime/simulator/playing.h"

#include <algorithm>
#include <fmt/format.h>

#include "runtime/composition.h"

namespace gossamer::sim {
namespace {

// How soon a peer whose deadline is past or near is run again: it sleeps for at least so long (runtime/engine_driver.cc).
constexpr Duration kSleepLeast = std::chrono::milliseconds(1);
// How soon the connections of a process that ends break at the others.
constexpr Duration kEndNoticed = std::chrono::milliseconds(10);
// How soon a peer that is not let in yet asks again.
constexpr Duration kJoinAgain = std::chrono::milliseconds(5);

}  // namespace

// At most one wake-up is pending per peer; one that is no longer meant finds another number.
void Simulation::schedule(Peer& peer, Time when) {
  if (peer.ended || when >= EventQueue::kNever || peer.wake_at <= when) return;
  peer.wake_at = when;
  queue_.at(when, [this, &peer, number = ++peer.wake_number] {
    if (peer.wake_number != number) return;
    peer.wake_at = EventQueue::kNever;
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
  if (!peer.stack.elastic) return true;
  Elastic& elastic = *peer.stack.elastic;
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
    if (const auto known = peer.stack.transport->set_peer(who, addresses_.at({who, life}), life); !known) {
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
  const auto stepped = peer.stack.engine->step();
  if (!stepped) {
    end(peer, stepped.error());
    return false;
  }
  if (setup_.check) {
    // Buffers stay when neighbours leave.
    const std::size_t links = peer.links_most = std::max(peer.links_most, network_->links(peer.id));
    const TransportSetup& channel = peer.stack.channel;
    const std::size_t payloads = 2 * channel.window * links + rounds_open_ * links * checkers_.size() + 8;
    checkers_.front()->memory(peer.id, network_->memory(peer.id), (channel.payload_size_max + 63) / 64 * 64 * payloads);
  }
  return true;
}

// Lets the worker do what can be done now.
void Simulation::go_on(Peer& peer) {
  Wants wants = peer.stack.worker->advance();
  while (wants == Wants::exchange) {
    const Round closed = peer.stack.engine->rounds_closed();
    if (!step(peer)) return;
    if (peer.stack.engine->rounds_closed() == closed) return;
    wants = peer.stack.worker->advance();
  }
  const Time now = queue_.now();
  peer.outcome.wait_s += seconds(now - peer.since);
  peer.since = now;
  if (wants == Wants::compute) {
    if (!follow(peer, true) || !peer.stack.worker->may_compute()) return;
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

// A gradient is computed when its time has passed.  One that leaves in parts is computed at once, and its parts leave when a backward
// pass would have come to them.
void Simulation::begin_computing(Peer& peer, Duration needed) {
  peer.computing = true;
  const Time now = queue_.now();
  if (peer.stack.worker->in_parts()) {
    std::size_t elements = 0;
    peer.computed = peer.stack.worker->compute([&](std::size_t part) -> Result<> {
      elements += peer.stack.parts[part].layout.size();
      const double passed = backward_share(elements, peer.stack.model().size());
      queue_.at(now + Duration(static_cast<std::int64_t>(passed * static_cast<double>(needed.count()))), [this, &peer, part] { leave(peer, part); });
      return {};
    });
  }
  queue_.at(now + needed, [this, &peer] { computed(peer); });
}

void Simulation::leave(Peer& peer, std::size_t part) {
  if (peer.ended) return;
  if (queue_.now() < peer.frozen_until) return queue_.at(peer.frozen_until, [this, &peer, part] { leave(peer, part); });
  peer.stack.worker->publish(part);
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
  queue_.trace().record({3, static_cast<std::uint64_t>(now.ns), peer.id, peer.stack.worker->steps()});
  if (!peer.stack.worker->in_parts()) peer.computed = peer.stack.worker->compute();
  if (!peer.computed) return end(peer, peer.computed.error());
  if (!step(peer) || !follow(peer, false)) return;
  go_on(peer);
  if (const std::uint64_t step = peer.stack.worker->steps(); step > 0 && step % sample_every_ == 0) sample(step);
  arm(peer);
}

void Simulation::arm(Peer& peer) {
  if (peer.ended || (peer.computing && !threaded_)) return;
  const Time due = peer.clock->when(peer.stack.engine->next_deadline());
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

void Simulation::watch_over() {
  if (checkers_.empty() || busy_ == 0) return;
  for (auto& checkers : checkers_) checkers->look_for_progress();
  const Duration bound = setup_.progress_bound > Duration{} ? setup_.progress_bound : 2 * run_.deadlines.round;
  queue_.at(queue_.now() + bound / 4, [this] { watch_over(); });
}

bool Simulation::at_rest() const {
  if (control_ && !control_->quiet()) return false;
  return std::all_of(peers_.begin(), peers_.end(), [this](const auto& peer) {
    return gone(*peer) || (peer->stack.engine->drained() && !peer->stack.engine->held());
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

}  // namespace gossamer::sim
