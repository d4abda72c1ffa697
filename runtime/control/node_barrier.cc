// Barriers.  The lowest living rank coordinates: everybody tells it of its arrival, and it opens the barrier when
// all living peers are there.  When the coordinator is gone, or a lower rank returned, everybody tells the next one again,
// also of the barriers that are passed already: so nobody waits for an opening that went out halfway.
//
// Uses of a name are numbered.  A peer that comes to a run under way gets from the coordinator how often each name was
// opened, and goes on from there: a use that was not open yet when it came waits for it.
#include <algorithm>
#include <charconv>

#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

constexpr std::size_t kPassedRemembered = 64;

}  // namespace

PeerId Node::coordinator() const {
  for (PeerId rank = 0; rank < peers_.size(); ++rank)
    if (rank == self_ || peers_[rank].life == Life::alive) return rank;
  return self_;
}

void Node::barrier(const std::string& name, Duration deadline, Done done) {
  if (state_ != State::member) {
    const auto standing = mailbox_.standing();
    return done(standing ? fail(Errc::invalid_argument, "no barrier before the run is joined") : standing);
  }
  const std::string key = name + "#" + std::to_string(++barrier_uses_[name]);
  Barrier& barrier = barriers_[key];
  barrier.done = std::move(done);
  barrier.timer = std::make_unique<Timer>(io_);
  barrier.timer->expires_after(std::chrono::duration_cast<Timer::duration>(deadline));
  barrier.timer->async_wait([this, key, name, deadline](boost::system::error_code error) {
    if (error) return;
    const auto found = barriers_.find(key);
    if (found == barriers_.end() || !found->second.done) return;
    const PeerId head = coordinator();
    const std::string missing = head == self_                  ? missing_at(found->second)
                                : found->second.missing.empty() ? "unknown, rank " + std::to_string(head) + " does not say"
                                                                : found->second.missing;
    const Done late = std::exchange(found->second.done, nullptr);
    late(fail(Errc::timed_out, "not all peers came to barrier '" + name + "' within " + std::to_string(seconds(deadline)) +
                                   " s; missing: " + missing));
  });
  arrive(key);
}

void Node::arrive(const std::string& key) {
  wire::Arrive arrive;
  arrive.set_barrier(key);
  arrive.set_passed(std::find(passed_.begin(), passed_.end(), key) != passed_.end());
  const PeerId head = coordinator();
  if (head == self_) return on_arrive(self_, arrive);
  wire::Frame frame;
  *frame.mutable_arrive() = arrive;
  tell(head, frame);
}

void Node::on_arrive(PeerId from, const wire::Arrive& arrive) {
  const std::string& key = arrive.barrier();
  const bool passed = std::find(passed_.begin(), passed_.end(), key) != passed_.end();
  if (passed) {
    if (from == self_ || arrive.passed()) return;
    wire::Frame frame;
    frame.mutable_open()->set_barrier(key);
    return tell(from, frame);
  }
  Barrier& barrier = barriers_[key];
  barrier.arrived.insert(from);
  if (arrive.passed()) return barrier_open(key);
  open_if_all_arrived(key);
  const auto still = barriers_.find(key);
  if (from == self_ || still == barriers_.end()) return;
  wire::Frame frame;
  frame.mutable_closed()->set_barrier(key);
  frame.mutable_closed()->set_missing(missing_at(still->second));
  tell(from, frame);
}

std::string Node::missing_at(const Barrier& barrier) const {
  std::vector<PeerId> missing;
  for (PeerId rank = 0; rank < peers_.size(); ++rank)
    if (peers_[rank].life == Life::alive && barrier.arrived.count(rank) == 0) missing.push_back(rank);
  std::string text = (missing.size() == 1 ? "rank " : "ranks ") + list_ranks(missing);
  if (missing.size() == 1) text += " (host " + peers_[missing.front()].entry.host + ")";
  return text;
}

void Node::open_if_all_arrived(const std::string& key) {
  if (coordinator() != self_) return;
  const Barrier& barrier = barriers_[key];
  for (PeerId rank = 0; rank < peers_.size(); ++rank)
    if (peers_[rank].life == Life::alive && barrier.arrived.count(rank) == 0) return;
  barrier_open(key);
}

// Also where a coordinator told us: those that told us of their arrival meanwhile must hear it, too.
void Node::barrier_open(const std::string& key) {
  if (std::find(passed_.begin(), passed_.end(), key) != passed_.end()) return;
  passed_.push_back(key);
  if (passed_.size() > kPassedRemembered) passed_.pop_front();
  if (const std::size_t mark = key.rfind('#'); mark != std::string::npos) {
    std::uint64_t use = 0;
    std::from_chars(key.data() + mark + 1, key.data() + key.size(), use);
    std::uint64_t& opened = barrier_opened_[key.substr(0, mark)];
    opened = std::max(opened, use);
  }
  const auto found = barriers_.find(key);
  if (found == barriers_.end()) return;
  const Barrier barrier = std::move(found->second);
  barriers_.erase(found);
  wire::Frame frame;
  frame.mutable_open()->set_barrier(key);
  for (const PeerId rank : barrier.arrived) tell(rank, frame);
  if (barrier.timer) barrier.timer->cancel();
  if (barrier.done) barrier.done({});
}

// A life of `rank` ended or began: where an earlier one had arrived counts no more.
void Node::barriers_changed(PeerId rank, PeerId coordinator_before) {
  std::vector<std::string> keys;
  for (auto& [key, barrier] : barriers_) {
    barrier.arrived.erase(rank);
    keys.push_back(key);
  }
  if (coordinator() != coordinator_before) {
    for (const std::string& key : std::deque<std::string>(passed_)) arrive(key);
    for (const std::string& key : keys) {
      const auto found = barriers_.find(key);
      if (found != barriers_.end() && found->second.timer) arrive(key);
    }
  }
  for (const std::string& key : keys)
    if (barriers_.count(key) != 0) open_if_all_arrived(key);
}

// Keeps those that wait informed about whom they wait for.
void Node::tell_barriers() {
  if (coordinator() != self_) return;
  for (const auto& [key, barrier] : barriers_) {
    wire::Frame frame;
    frame.mutable_closed()->set_barrier(key);
    frame.mutable_closed()->set_missing(missing_at(barrier));
    for (const PeerId rank : barrier.arrived) tell(rank, frame);
  }
}

void Node::fail_barriers(const Error& error) {
  std::map<std::string, Barrier> barriers;
  barriers.swap(barriers_);
  for (auto& [key, barrier] : barriers) {
    if (barrier.timer) barrier.timer->cancel();
    if (barrier.done) barrier.done(Failure(error));
  }
}

}  // namespace gossamer::control
