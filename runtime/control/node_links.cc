// Connections between the peers of a run, and what they tell about life and death.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/check.h"
#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

using boost::system::error_code;

constexpr Duration kFarewellPatience = std::chrono::seconds(2);
constexpr std::size_t kDeparturesPerFrame = 500;
// Between two attempts to connect.
constexpr auto kRetry = std::chrono::milliseconds(50);
// How long nobody may listen on a peer's port until it counts as ended: the news that it left may be on its way.
constexpr Duration kRefusedPatience = std::chrono::milliseconds(300);

Death::How how_of(wire::Departure::Kind kind) {
  switch (kind) {
    case wire::Departure::SILENCE: return Death::How::silence;
    case wire::Departure::ENDED: return Death::How::process_ended;
    case wire::Departure::BROKE_PROTOCOL: return Death::How::broke_protocol;
    default: return Death::How::connection_reset;
  }
}

}  // namespace

// ---- Opening

void Node::open(PeerId rank) {
  Peer& peer = peers_[rank];
  if (peer.wanted || peer.life != Life::alive || rank == self_) return;
  peer.wanted = true;
  peer.heard = std::chrono::steady_clock::now();  // from here on silence counts
  connect(rank);
}

void Node::connect(PeerId rank) {
  const Peer& peer = peers_[rank];
  error_code error;
  const IpAddress address = boost::asio::ip::make_address(peer.entry.address, error);
  if (error) return open_again(rank, "'" + peer.entry.address + "' is no address", false);
  auto socket = std::make_shared<Tcp::socket>(io_);
  socket->async_connect({address, peer.entry.control_port}, [this, rank, socket](error_code failed) {
    if (!member()) return;
    Peer& to = peers_[rank];
    if (to.life != Life::alive) {
      to.wanted = false;
      return check_leave();
    }
    if (failed) return open_again(rank, failed.message(), failed == boost::asio::error::connection_refused);
    to.out = adopt(std::move(*socket), kBodyLimit, Link::Role::outbound);
    to.out->peer = rank;
    wire::Frame frame;
    wire::Hello& hello = *frame.mutable_hello();
    hello.set_protocol(kProtocol);
    hello.set_run(run_);
    hello.set_rank(self_);
    hello.set_incarnation(options_.incarnation);
    to.out->send(frame);
    send_departures(*to.out, 0);
    to.told = departures_.size();
    to.out->start();
  });
}

void Node::open_again(PeerId rank, const std::string& why, bool refused) {
  Peer& peer = peers_[rank];
  if (peer.life != Life::alive) {
    peer.wanted = false;
    return check_leave();
  }
  if (refused && farewell_said_) {  // we only came to say goodbye, and it was gone before
    peer.wanted = false;
    return check_leave();
  }
  const Instant now = std::chrono::steady_clock::now();
  if (!refused) peer.refused.reset();
  if (refused && !peer.refused) peer.refused = now;
  if (refused && now - *peer.refused > kRefusedPatience) {
    peer.wanted = false;
    return notice(rank, wire::Departure::ENDED);
  }
  log_.debug("control: cannot connect to rank {}: {}", rank, why);
  if (!peer.retry) peer.retry = std::make_unique<Timer>(io_);
  peer.retry->expires_after(kRetry);
  peer.retry->async_wait([this, rank](error_code error) {
    if (error || !member() || peers_[rank].life != Life::alive) return;
    connect(rank);
  });
}

void Node::on_hello(Link& link, const wire::Hello& hello) {
  if (!member()) return refuse(link, wire::Refusal::STARTED, "this peer is in no run");
  if (hello.protocol() != kProtocol)
    return refuse(link, wire::Refusal::VERSION, "it speaks another version of the control protocol");
  if (hello.run() != run_) return refuse(link, wire::Refusal::RUN, "it belongs to another run");
  if (hello.rank() >= peers_.size() || hello.rank() == self_)
    return refuse(link, wire::Refusal::RANK, "it calls itself rank " + std::to_string(hello.rank()));
  Peer& peer = peers_[hello.rank()];
  if (hello.incarnation() != peer.entry.incarnation)
    return refuse(link, wire::Refusal::RANK, "it is another incarnation of rank " + std::to_string(hello.rank()));
  if (peer.life == Life::dead)
    return refuse(link, wire::Refusal::EXPELLED, "rank " + std::to_string(hello.rank()) + " was taken for dead");
  // First of all, as this peer may be gone before anything else is written.
  if (farewell_said_) send_departures(link, farewell_);
  if (peer.life == Life::left) {  // it came to say so, and somebody else was faster
    wire::Frame frame;
    frame.mutable_refusal()->set_code(wire::Refusal::STARTED);
    frame.mutable_refusal()->set_reason("rank " + std::to_string(hello.rank()) + " has left");
    link.send(frame);
    return link.finish(kFarewellPatience);
  }
  if (peer.in) return refuse(link, wire::Refusal::DUPLICATE, "rank " + std::to_string(hello.rank()) + " is connected already");
  link.role = Link::Role::inbound;
  link.peer = hello.rank();
  peer.in = link.shared_from_this();
  peer.heard = std::chrono::steady_clock::now();
  wire::Frame frame;
  frame.mutable_welcome();
  link.send(frame);
  send_departures(link, 0);
  peer.told = departures_.size();
  if (farewell_said_ && !link.finishing()) link.finish(leave_until_ - std::chrono::steady_clock::now(), Link::Rest::delivered);
}

void Node::on_welcome(Link& link) {
  Peer& peer = peers_[link.peer];
  if (peer.out.get() != &link || peer.life != Life::alive) return;
  if (peer.ready) return malformed(link, "a second Welcome");
  peer.refused.reset();
  peer.ready = true;
  out_ready(link.peer);
}

void Node::out_ready(PeerId rank) {
  Peer& peer = peers_[rank];
  tell_departures(rank);
  for (const wire::Frame& frame : peer.early) peer.out->send(frame);
  peer.early.clear();
  if (farewell_said_) {
    // Also where it was said on the other connection: that one may be read later than the end of this one, which would
    // look like a death.
    send_departures(*peer.out, farewell_);
    return peer.out->finish(leave_until_ - std::chrono::steady_clock::now(), Link::Rest::delivered);
  }
  pump(rank);
}

// A connection over which something can be said now.
Link* Node::usable(const Peer& peer) const {
  if (peer.ready && !peer.out->finishing()) return peer.out.get();
  if (peer.in && !peer.in->finishing()) return peer.in.get();
  return nullptr;
}

// Says something small to a peer, over a connection that is there or a new one.
void Node::tell(PeerId rank, const wire::Frame& frame) {
  Peer& peer = peers_[rank];
  if (peer.life != Life::alive || rank == self_) return;
  if (Link* link = usable(peer)) return link->send(frame);
  if (farewell_said_) return;
  peer.early.push_back(frame);
  open(rank);
}

void Node::send_departures(Link& link, std::size_t from) {
  while (from < departures_.size()) {
    wire::Frame frame;
    const std::size_t to = std::min(departures_.size(), from + kDeparturesPerFrame);
    for (; from < to; ++from) *frame.mutable_departures()->add_departures() = departures_[from];
    link.send(frame);
  }
}

// Of each peer that is gone a neighbour hears once from us, however it became a neighbour.
void Node::tell_departures(PeerId rank) {
  Peer& peer = peers_[rank];
  if (peer.life != Life::alive || peer.told == departures_.size()) return;
  Link* link = usable(peer);
  if (link == nullptr) return open(rank);  // begins with all of them
  send_departures(*link, peer.told);
  peer.told = departures_.size();
}

// ---- Watching

// The next living peers in rank order, upwards (+1) or downwards (-1), nearest first.
std::vector<PeerId> Node::next_living(int direction) const {
  std::vector<PeerId> found;
  const std::size_t n = peers_.size();
  for (std::size_t step = 1; step < n && found.size() < kWatched; ++step) {
    const auto rank = static_cast<PeerId>((self_ + (direction > 0 ? step : n - step)) % n);
    if (peers_[rank].life == Life::alive) found.push_back(rank);
  }
  return found;
}

std::set<PeerId> Node::neighbours() const {
  std::set<PeerId> found;
  for (const int direction : {+1, -1})
    for (const PeerId rank : next_living(direction)) found.insert(rank);
  return found;
}

void Node::watch() {
  if (state_ != State::member) return;
  const std::vector<PeerId> wanted = next_living(+1);
  for (PeerId rank = 0; rank < peers_.size(); ++rank) {
    Peer& peer = peers_[rank];
    const bool watched = std::find(wanted.begin(), wanted.end(), rank) != wanted.end();
    if (watched && !peer.watched) {
      peer.heard = std::chrono::steady_clock::now();
      open(rank);
    }
    peer.watched = watched;
  }
}

void Node::check_silence() {
  const Instant now = std::chrono::steady_clock::now();
  for (PeerId rank = 0; rank < peers_.size(); ++rank) {
    const Peer& peer = peers_[rank];
    const bool connecting = peer.wanted && !peer.ready;
    if (peer.life != Life::alive || !(peer.watched || connecting)) continue;
    if (now - peer.heard > options_.silence_deadline) notice(rank, wire::Departure::SILENCE);
  }
}

// ---- Death and leaving

void Node::notice(PeerId rank, wire::Departure::Kind kind) {
  if (!member() || peers_[rank].life != Life::alive) return;
  wire::Departure departure;
  departure.set_rank(rank);
  departure.set_incarnation(peers_[rank].entry.incarnation);
  departure.set_kind(kind);
  departure.set_silent_ns(Duration(std::chrono::steady_clock::now() - peers_[rank].heard).count());
  departure.set_witness(self_);
  depart(departure);
}

void Node::on_departures(const wire::Departures& departures) {
  for (const wire::Departure& departure : departures.departures()) {
    if (!member()) return;
    if (departure.rank() >= peers_.size()) continue;
    const Peer& peer = peers_[departure.rank()];
    if (departure.incarnation() != peer.entry.incarnation) continue;
    if (departure.rank() != self_) {
      if (peer.life == Life::alive) depart(departure);
      continue;
    }
    if (departure.kind() == wire::Departure::LEFT) continue;
    expel("rank " + std::to_string(departure.witness()) + " took this peer for dead: " + std::string(word(departure.kind())) +
          ", after " + std::to_string(departure.silent_ns() / 1'000'000) + " ms");
  }
}

void Node::depart(const wire::Departure& departure) {
  const PeerId rank = departure.rank();
  Peer& peer = peers_[rank];
  const PeerId coordinator_before = coordinator();
  const bool dead = departure.kind() != wire::Departure::LEFT;
  peer.life = dead ? Life::dead : Life::left;
  peer.watched = false;
  departures_.push_back(departure);

  const Duration silent(departure.silent_ns());
  const std::string name = "rank " + std::to_string(rank);
  if (dead) {
    log_.warn("control: {} (host {}, pid {}) is dead: {}; silent for {:.3f} s; noticed by {}", name, peer.entry.host,
              peer.entry.pid, word(departure.kind()), seconds(silent),
              departure.witness() == self_ ? "this peer" : "rank " + std::to_string(departure.witness()));
    ledger_.close(rank, {Errc::peer_gone, name + " (host " + peer.entry.host + ") is dead: " + std::string(word(departure.kind()))});
    mailbox_.add(Death{rank, peer.entry.host, peer.entry.pid, silent, how_of(departure.kind()), departure.witness()});
  } else {
    log_.debug("control: {} (host {}) left", name, peer.entry.host);
    ledger_.close(rank, {Errc::peer_gone, name + " (host " + peer.entry.host + ") has left"});
    mailbox_.add_departed(rank);
  }
  // One that left may have acknowledged what it took in on the connection that is still being read: see closed().
  const std::size_t open_questions = dead || !peer.out ? peer.unacked.size() : 0;
  if (peer.outbox.size() + open_questions > 0)
    log_.warn("control: {} messages for {} were not delivered", peer.outbox.size() + open_questions, name);
  peer.outbox.clear();
  if (dead || !peer.out) peer.unacked.clear();
  peer.early.clear();
  peer.assembly = {};
  if (peer.retry) {
    peer.retry->cancel();
    peer.wanted = peer.out != nullptr;
  }

  // Should it live after all, it learns from this what has become of it.  One that leaves has sent
  // news of others before its farewell, perhaps on the other connection: that is still read.
  wire::Frame frame;
  *frame.mutable_departures()->add_departures() = departure;
  for (const LinkPtr& link : {peer.in, peer.out}) {
    if (!link) continue;
    if (dead) link->send(frame);
    link->finish(kFarewellPatience, dead ? Link::Rest::ignored : Link::Rest::delivered);
  }
  // Whoever is a neighbour now, perhaps since a moment ago, gets what it has not heard from us.
  // (Who has said farewell itself says no more; check_leave() looks after new neighbours.)
  if (!farewell_said_)
    for (const PeerId near : neighbours()) tell_departures(near);
  watch();
  barriers_departed(rank, coordinator_before);
  check_leave();
}

void Node::expel(const std::string& why) {
  if (!member()) return;
  state_ = State::over;
  log_.error("control: {}; this peer is out of the run", why);
  const Error error{Errc::peer_gone, why};
  ledger_.close_all(error);
  mailbox_.fail_standing(error);
  for (Peer& peer : peers_) {
    peer.watched = false;
    if (peer.retry) peer.retry->cancel();
    for (const LinkPtr& link : {peer.in, peer.out})
      if (link) link->finish(kFarewellPatience);
  }
  fail_barriers(error);
  if (leave_done_) left(Failure(error));
}

// ---- Leaving
//
// First everything that was sent arrives.  Then the farewell goes out on all connections, and to the nearest living peers
// on both sides, which pass it on.  A peer is gone only when each of those has closed its side, and so has
// read it; where one of them leaves at the same time, the next one takes its place.  Otherwise
// whoever watches this rank next could find its port closed and take it for dead.

void Node::leave(Duration deadline, Done done) {
  if (state_ != State::member) {
    const bool over = state_ == State::over;
    done(over ? mailbox_.standing() : Result<>());
    return;
  }
  state_ = State::leaving;
  leave_done_ = std::move(done);
  leave_until_ = std::chrono::steady_clock::now() + deadline;
  fail_barriers({Errc::peer_gone, "this peer is leaving"});
  ledger_.close_all({Errc::peer_gone, "this peer is leaving"});
  leave_timer_.expires_at(std::chrono::time_point_cast<Timer::duration>(leave_until_));
  leave_timer_.async_wait([this](error_code error) {
    if (error || !leave_done_) return;
    std::vector<PeerId> unread;
    std::vector<PeerId> silent;
    for (PeerId rank = 0; rank < peers_.size(); ++rank) {
      const Peer& peer = peers_[rank];
      if (!peer.outbox.empty() || !peer.unacked.empty()) unread.push_back(rank);
      else if (peer.in || peer.wanted) silent.push_back(rank);
    }
    if (!farewell_said_) say_farewell();
    std::string text = "left before everything was settled:";
    if (!unread.empty()) text += " messages for ranks " + list_ranks(unread) + " were not taken in;";
    if (!silent.empty()) text += " ranks " + list_ranks(silent) + " did not confirm;";
    text.back() = '.';
    left(fail(Errc::timed_out, text));
  });
  check_leave();
}

void Node::check_leave() {
  if (state_ != State::leaving || !leave_done_) return;
  if (!farewell_said_) {
    for (const Peer& peer : peers_)
      if (!peer.outbox.empty() || !peer.unacked.empty()) return;
  }
  say_farewell();
  for (const Peer& peer : peers_)
    if (peer.in || peer.wanted) return;
  left({});
}

void Node::say_farewell() {
  if (!farewell_said_) {
    farewell_said_ = true;
    wire::Departure farewell;
    farewell.set_rank(self_);
    farewell.set_incarnation(options_.incarnation);
    farewell.set_kind(wire::Departure::LEFT);
    farewell.set_witness(self_);
    farewell_ = departures_.size();
    departures_.push_back(farewell);  // also for those that connect from now on
    for (PeerId rank = 0; rank < peers_.size(); ++rank) {
      Peer& peer = peers_[rank];
      if (peer.life != Life::alive) continue;
      const LinkPtr out = peer.ready ? peer.out : nullptr;
      for (const LinkPtr& link : {peer.in, out}) {
        if (!link || link->finishing()) continue;
        send_departures(*link, peer.told);
        link->finish(leave_until_ - std::chrono::steady_clock::now(), Link::Rest::delivered);
        told_farewell_.insert(rank);
      }
    }
  }
  for (const PeerId rank : neighbours())
    if (told_farewell_.insert(rank).second) tell_departures(rank);
}

void Node::left(Result<> result) {
  const Done done = std::exchange(leave_done_, nullptr);
  leave_timer_.cancel();
  if (result) log_.debug("control: left the run");
  else log_.warn("control: {}", result.error().message);
  mailbox_.fail_standing({Errc::peer_gone, "this peer has left"});
  // Behind what is being delivered; and the last words of an unsettled farewell get their way out first.
  boost::asio::post(io_, [this] { stop(); });
  done(std::move(result));
}

}  // namespace gossamer::control
