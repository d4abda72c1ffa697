// Connections between the peers of a run, and what they tell about life and death.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/check.h"
#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

using boost::system::error_code;

// Of one frame of news; a single change may be as long as the longest transport address.
constexpr std::size_t kNewsPerFrame = std::size_t{64} << 10;
// Between two attempts to connect.
constexpr auto kRetry = std::chrono::milliseconds(50);
// How long nobody may listen on a peer's port until it counts as ended: the news that it left may be on its way.
constexpr Duration kRefusedPatience = std::chrono::milliseconds(300);

}  // namespace

Death::How how_of(wire::Departure::Kind kind) {
  switch (kind) {
    case wire::Departure::SILENCE: return Death::How::silence;
    case wire::Departure::ENDED: return Death::How::process_ended;
    case wire::Departure::BROKE_PROTOCOL:
    case wire::Departure::TWICE: return Death::How::broke_protocol;
    default: return Death::How::connection_reset;
  }
}

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
  const std::uint64_t instance = peer.instance;
  error_code error;
  const IpAddress address = boost::asio::ip::make_address(peer.entry.address, error);
  if (error) return open_again(rank, "'" + peer.entry.address + "' is no address", false);
  auto socket = std::make_shared<Tcp::socket>(io_);
  socket->async_connect({address, peer.entry.control_port}, [this, rank, instance, socket](error_code failed) {
    if (!member() || peers_[rank].instance != instance) return;
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
    hello.set_incarnation(life());
    hello.set_to_instance(instance);
    hello.set_to_incarnation(to.entry.incarnation);
    if (arrival_) *hello.mutable_arrival() = *arrival_;
    to.out->send(frame);
    send_news(*to.out, 0);
    to.told = news_.last();
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
  peer.retry->async_wait([this, rank, instance = peer.instance](error_code error) {
    if (error || !member() || peers_[rank].life != Life::alive || peers_[rank].instance != instance) return;
    connect(rank);
  });
}

void Node::on_hello(Link& link, const wire::Hello& hello) {
  const std::string name = "rank " + std::to_string(hello.rank());
  const auto moved = [&] { say_no(link, wire::Refusal::MOVED, "whom it looks for does not listen here any more"); };
  if (!member()) {
    if (hello.to_instance() != instance_) return moved();
    return refuse(link, wire::Refusal::STARTED, "this peer is in no run");
  }
  if (hello.protocol() != kProtocol)
    return refuse(link, wire::Refusal::VERSION, "it speaks another version of the control protocol");
  if (hello.run() != run_) return refuse(link, wire::Refusal::RUN, "it belongs to another run");
  if (hello.to_instance() != instance_ || hello.to_incarnation() != life()) return moved();
  if (hello.rank() >= peers_.size() || hello.rank() == self_) return refuse(link, wire::Refusal::RANK, "it calls itself " + name);
  // Who returned may call before the news of it is here.
  if (hello.has_arrival() && options_.elastic) {
    const wire::Member& caller = hello.arrival().member();
    if (caller.rank() != hello.rank() || caller.incarnation() != hello.incarnation())
      return refuse(link, wire::Refusal::MALFORMED, "it introduces somebody else");
    on_arrival(hello.arrival());
    if (!member()) return say_no(link, wire::Refusal::OVER, "this peer is out of the run");
  }
  Peer& peer = peers_[hello.rank()];
  if (hello.incarnation() < peer.entry.incarnation)
    return refuse(link, wire::Refusal::EXPELLED, name + " was taken for dead, and lives on as another process (pid " +
                                                     std::to_string(peer.entry.pid) + ")");
  if (hello.incarnation() > peer.entry.incarnation) return refuse(link, wire::Refusal::RANK, name + " has had no such life");
  if (peer.life == Life::dead) return refuse(link, wire::Refusal::EXPELLED, name + " was taken for dead");
  // First of all, as this peer may be gone before anything else is written.
  if (farewell_said_) send_news(link, farewell_);
  // It came to say so, and somebody else was faster.
  if (peer.life == Life::left) return say_no(link, wire::Refusal::STARTED, name + " has left");
  if (peer.in) return refuse(link, wire::Refusal::DUPLICATE, name + " is connected already");
  link.role = Link::Role::inbound;
  link.peer = hello.rank();
  peer.in = link.shared_from_this();
  peer.heard = std::chrono::steady_clock::now();
  wire::Frame frame;
  frame.mutable_welcome()->set_incarnation(life());
  link.send(frame);
  send_news(link, 0);
  peer.told = news_.last();
  if (farewell_said_ && !link.finishing()) link.finish(leave_until_ - std::chrono::steady_clock::now(), Link::Rest::delivered);
}

void Node::on_welcome(Link& link, const wire::Welcome& welcome) {
  Peer& peer = peers_[link.peer];
  if (peer.out.get() != &link || peer.life != Life::alive) return;
  if (peer.ready) return malformed(link, "a second Welcome");
  if (welcome.incarnation() != peer.entry.incarnation) return notice(link.peer, wire::Departure::ENDED);
  peer.refused.reset();
  peer.ready = true;
  out_ready(link.peer);
}

void Node::out_ready(PeerId rank) {
  Peer& peer = peers_[rank];
  tell_news(rank);
  for (const wire::Frame& frame : peer.early) peer.out->send(frame);
  peer.early.clear();
  if (farewell_said_) {
    // Also where it was said on the other connection: that one may be read later than the end of this one, which would
    // look like a death.
    send_news(*peer.out, farewell_);
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

void Node::send_news(Link& link, std::uint64_t told) {
  wire::Frame frame;
  std::size_t size = 0;
  news_.since(told, [&](const wire::Change& change) {
    const std::size_t more = change.ByteSizeLong();
    if (size > 0 && size + more > kNewsPerFrame) {
      link.send(frame);
      frame.Clear();
      size = 0;
    }
    *frame.mutable_changes()->add_changes() = change;
    size += more;
  });
  if (size > 0) link.send(frame);
}

// Of each change a neighbour hears once from us, however it became a neighbour.
void Node::tell_news(PeerId rank) {
  Peer& peer = peers_[rank];
  if (peer.life != Life::alive || peer.told == news_.last()) return;
  Link* link = usable(peer);
  if (link == nullptr) return open(rank);  // begins with all of them
  send_news(*link, peer.told);
  peer.told = news_.last();
}

// Whoever is a neighbour now, perhaps since a moment ago, gets what it has not heard from us.
// (Who has said farewell itself says no more; check_leave() looks after new neighbours.)
void Node::spread_news() {
  if (farewell_said_) return;
  for (const PeerId near : neighbours()) tell_news(near);
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

// ---- Death

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

// Of departures: the last thing that a run of fixed members says, an everyday event of an elastic one.
void Node::say(const std::string& line) {
  if (options_.elastic) {
    log_.debug("{}", line);
  } else {
    log_.warn("{}", line);
  }
}

// Of a peer that lives.
void Node::depart(const wire::Departure& departure) {
  const PeerId rank = departure.rank();
  Peer& peer = peers_[rank];
  const PeerId coordinator_before = coordinator();
  const bool dead = departure.kind() != wire::Departure::LEFT;
  const Incarnation ended = peer.entry.incarnation;
  peer.life = dead ? Life::dead : Life::left;
  peer.watched = false;
  news_.add(departure);

  const Duration silent(departure.silent_ns());
  const std::string name = "rank " + std::to_string(rank);
  if (dead) {
    say(fmt::format("control: {} (host {}, pid {}) is dead: {}; silent for {:.3f} s; noticed by {}", name, peer.entry.host,
                    peer.entry.pid, word(departure.kind()), seconds(silent),
                    departure.witness() == self_ ? "this peer" : "rank " + std::to_string(departure.witness())));
    ledger_.close(rank, ended,
                  {Errc::peer_gone, name + " (host " + peer.entry.host + ") is dead: " + std::string(word(departure.kind()))});
    mailbox_.add(Death{rank, peer.entry.host, peer.entry.pid, silent, how_of(departure.kind()), departure.witness(), ended});
  } else {
    log_.debug("control: {} (host {}) left", name, peer.entry.host);
    ledger_.close(rank, ended, {Errc::peer_gone, name + " (host " + peer.entry.host + ") has left"});
    mailbox_.add_departed(rank);
  }
  // One that left may have acknowledged what it took in on the connection that is still being read: see closed().
  const std::size_t open_questions = dead || !peer.out ? peer.unacked.size() : 0;
  if (peer.outbox.size() + open_questions > 0)
    say(fmt::format("control: {} messages for {} were not delivered", peer.outbox.size() + open_questions, name));
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
  *frame.mutable_changes()->add_changes()->mutable_departure() = departure;
  for (const LinkPtr& link : {peer.in, peer.out}) {
    if (!link) continue;
    if (dead) link->send(frame);
    link->finish(kFarewellPatience, dead ? Link::Rest::ignored : Link::Rest::delivered);
  }
  spread_news();
  watch();
  barriers_changed(rank, coordinator_before);
  check_leave();
  // Behind what is being read: it may say that another peer has let in who waits here.
  if (!returners_.empty()) boost::asio::post(io_, [this] { admit_waiting(); });
}

void Node::expel(const std::string& why) {
  if (!member()) return;
  state_ = State::over;
  log_.error("control: {}; this peer is out of the run", why);
  const Error error{Errc::timed_out, why};  // it was silent for too long, or its connections broke
  ledger_.close_all(error);
  mailbox_.fail_standing(error);
  for (Peer& peer : peers_) {
    peer.watched = false;
    if (peer.retry) peer.retry->cancel();
    for (const LinkPtr& link : {peer.in, peer.out})
      if (link) link->finish(kFarewellPatience);
  }
  for (const Returner& returner : returners_) returner.link->finish(kFarewellPatience);
  returners_.clear();
  fail_barriers(error);
  if (leave_done_) left(Failure(error));
}

}  // namespace gossamer::control
