#include "runtime/control/node.h"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/socket_base.hpp>
#include <random>

namespace gossamer::control {
namespace {

using boost::system::error_code;

// How long a connection may stay without a first message.
constexpr auto kHandshakePatience = std::chrono::seconds(10);
// How long a refused stranger may take to read why.
constexpr Duration kRefusalPatience = std::chrono::seconds(1);

std::uint64_t draw_instance() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device() | 1;
}

bool of_another(wire::Refusal::Code code) {
  return code == wire::Refusal::MOVED || code == wire::Refusal::RUN || code == wire::Refusal::STARTED;
}

bool holds(const std::vector<IpAddress>& addresses, const IpAddress& wanted) {
  return std::any_of(addresses.begin(), addresses.end(), [&](const IpAddress& a) { return plain(a) == plain(wanted); });
}

}  // namespace

std::string_view word(wire::Departure::Kind kind) {
  switch (kind) {
    case wire::Departure::LEFT: return "it left";
    case wire::Departure::RESET: return "its connection was reset";
    case wire::Departure::SILENCE: return "it fell silent";
    case wire::Departure::ENDED: return "nobody listens on its port any more";
    case wire::Departure::BROKE_PROTOCOL: return "it broke the protocol";
    case wire::Departure::TWICE: return "two processes came as this one peer";
    default: return "no reason was given";
  }
}

Node::Node(boost::asio::io_context& io, ControlOptions options, Log& log, Mailbox& mailbox, Ledger& ledger)
    : io_(io), options_(std::move(options)), log_(log), mailbox_(mailbox), ledger_(ledger), instance_(draw_instance()),
      machine_(machine_name()), acceptor_(io), accept_again_(io), ticker_(io), join_timer_(io), resolver_(io),
      attempt_timer_(io), backoff_timer_(io), leave_timer_(io) {}

Node::~Node() = default;

Result<> Node::bind(const Tcp::endpoint& endpoint, bool dual) {
  error_code error;
  const auto wrong = [&](std::string_view doing) -> Result<> {
    error_code ignored;
    acceptor_.close(ignored);
    const std::string where = format_host_port(endpoint.address().to_string(), endpoint.port());
    if (error == boost::asio::error::address_in_use)
      return fail(Errc::address_in_use, "port " + std::to_string(endpoint.port()) + " is in use on this machine (" + where +
                                            "): end what uses it, or choose another port; 0 takes any free one");
    if (error == boost::asio::error::access_denied)
      return fail(Errc::io, "this user may not listen on " + where + ": choose a port above 1023, or 0 for any free one");
    return fail(Errc::io, "cannot " + std::string(doing) + " " + where + ": " + error.message());
  };
  acceptor_.open(endpoint.protocol(), error);
  if (error) return wrong("open a socket for");
  acceptor_.set_option(boost::asio::socket_base::reuse_address(true), error);
  if (!error && dual) acceptor_.set_option(boost::asio::ip::v6_only(false), error);
  if (error) return wrong("set up the socket for");
  acceptor_.bind(endpoint, error);
  if (error) return wrong("bind");
  acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) return wrong("listen on");
  port_ = acceptor_.local_endpoint(error).port();
  if (error) return wrong("find the port of");
  return {};
}

Result<> Node::listen() {
  GOSSAMER_TRY_ASSIGN(listening_, resolve_listening(options_.host));
  const bool everywhere = listening_.bind.is_unspecified() && listening_.bind.is_v4();
  const auto bind_port = [&](std::uint16_t port) -> Result<> {
    // Both families through one socket, where this machine has both.
    if (everywhere && options_.host.empty()) {
      auto bound = bind({boost::asio::ip::address_v6::any(), port}, true);
      if (bound || bound.error().code == Errc::address_in_use) return bound;
    }
    return bind({listening_.bind, port}, false);
  };

  std::vector<IpAddress> addresses;
  if (options_.rendezvous.empty()) {
    collector_ = true;
  } else {
    GOSSAMER_TRY_ASSIGN(rendezvous_, parse_host_port(options_.rendezvous));
    if (auto found = resolve(rendezvous_.host)) addresses = std::move(*found);
    rendezvous_addresses_ = addresses;
    rendezvous_on_loopback_ = !addresses.empty() && std::all_of(addresses.begin(), addresses.end(), is_loopback);
  }
  const bool here = std::any_of(addresses.begin(), addresses.end(), is_local) &&
                    (listening_.bind.is_unspecified() || holds(addresses, listening_.bind));
  if (here && options_.port == rendezvous_.port) collector_ = true;
  if (here && options_.port == 0 && options_.rank == PeerId{0}) {
    auto bound = bind_port(rendezvous_.port);
    if (bound) {
      collector_ = true;
    } else if (bound.error().code != Errc::address_in_use) {
      return bound;
    } else {
      rendezvous_taken_ = true;
      log_.debug("control: {} is in use; taking that for another peer of the run", options_.rendezvous);
    }
  }
  if (!acceptor_.is_open()) GOSSAMER_TRY(bind_port(options_.port));
  error_code ignored;
  log_.debug("control: listening on {}, telling others {}",
            format_host_port(plain(acceptor_.local_endpoint(ignored).address()).to_string(), port_), address());
  return {};
}

std::string Node::address() const {
  if (!listening_.advertise.empty()) return format_host_port(listening_.advertise, port_);
  if (rendezvous_on_loopback_) return format_host_port("127.0.0.1", port_);
  return format_host_port(primary_address().to_string(), port_);
}

void Node::begin() {
  accept();
  last_tick_ = std::chrono::steady_clock::now();
  tick();
}

Node::LinkPtr Node::adopt(Tcp::socket socket, std::size_t body_limit, Link::Role role) {
  auto link = std::make_shared<Link>(std::move(socket), *this, body_limit);
  link->role = role;
  link->since = std::chrono::steady_clock::now();
  links_.insert(link);
  return link;
}

void Node::accept() {
  acceptor_.async_accept([this](error_code error, Tcp::socket socket) {
    if (state_ == State::closed || error == boost::asio::error::operation_aborted) return;
    if (error) {
      log_.warn("control: cannot accept a connection: {}", error.message());
      accept_again_.expires_after(std::chrono::milliseconds(100));
      accept_again_.async_wait([this](error_code stopped) {
        if (!stopped && state_ != State::closed) accept();
      });
      return;
    }
    const std::size_t limit = 64 + 4 * options_.peers;
    if (links_.size() < limit)
      adopt(std::move(socket), kBodyLimit, Link::Role::stranger)->start();
    else
      log_.warn("control: {} connections are open; refused one more", limit);
    accept();
  });
}

void Node::tick() {
  ticker_.expires_after(std::chrono::duration_cast<Timer::duration>(options_.heartbeat));
  ticker_.async_wait([this](error_code error) {
    if (error || state_ == State::closed) return;
    run_tick();
    tick();
  });
}

void Node::run_tick() {
  const Instant now = std::chrono::steady_clock::now();
  const Duration gap = now - last_tick_;
  last_tick_ = now;
  if (gap > std::max(options_.silence_deadline / 2, 3 * options_.heartbeat)) {
    // It is this process that was silent.  What the others said meanwhile is still to be read.
    log_.warn("control: this process was stopped or starved for {:.2f} s", seconds(gap));
    for (Peer& peer : peers_) peer.heard = now;
  }
  for (auto i = links_.begin(); i != links_.end();) {
    const LinkPtr link = *i++;
    if (link->role != Link::Role::stranger || link->finishing() || now - link->since < kHandshakePatience) continue;
    if (std::any_of(parked_.begin(), parked_.end(), [&](const Parked& p) { return p.link == link; })) continue;
    refuse(*link, wire::Refusal::MALFORMED, "no message came within " + std::to_string(kHandshakePatience.count()) + " s");
  }
  if (state_ == State::collecting) tell_waiting();
  if (!member()) return;
  for (const Returner& returner : returners_) tell_returner(returner);
  wire::Frame ping;
  ping.mutable_ping()->set_count(++pings_);
  for (Peer& peer : peers_)
    if (peer.watched && peer.ready) peer.out->send(ping);
  check_silence();
  tell_barriers();
  invite();
}

std::string Node::remote_name(const Link& link) const {
  const bool known = link.role == Link::Role::inbound || link.role == Link::Role::outbound;
  const std::string where = format_host_port(plain(link.remote().address()).to_string(), link.remote().port());
  return known ? "rank " + std::to_string(link.peer) + " (" + where + ")" : where;
}

void Node::frame(Link& link, wire::Frame& frame, std::string& payload) {
  switch (link.role) {
    case Link::Role::stranger: return frame_from_stranger(link, frame);
    case Link::Role::collector: return frame_from_collector(link, frame);
    case Link::Role::joiner: return malformed(link, "it has joined and has to wait for the others");
    case Link::Role::inbound:
      peers_[link.peer].heard = std::chrono::steady_clock::now();
      return frame_from_opener(link, frame, payload);
    case Link::Role::outbound:
      peers_[link.peer].heard = std::chrono::steady_clock::now();
      return frame_from_acceptor(link, frame);
    case Link::Role::former: return;
  }
}

void Node::frame_from_stranger(Link& link, wire::Frame& frame) {
  if (frame.has_join()) {
    // Until this peer joins it cannot tell whether another one fits its run.
    if (state_ == State::idle && collector_ && frame.join().instance() != instance_) return park(link, frame);
    return on_join(link, frame.join());
  }
  if (frame.has_hello()) {
    // The opener's roster, or its news of our return, may have been faster than our roster.
    if (state_ == State::seeking && frame.hello().to_instance() == instance_) return park(link, frame);
    return on_hello(link, frame.hello());
  }
  if (frame.has_invitation()) return on_invitation(link, frame.invitation());
  malformed(link, "its first message is neither Join nor Hello");
}

void Node::frame_from_opener(Link& link, wire::Frame& frame, std::string& payload) {
  switch (frame.message_case()) {
    case wire::Frame::kPing: {
      wire::Frame pong;
      pong.mutable_pong()->set_count(frame.ping().count());
      return link.send(pong);
    }
    case wire::Frame::kChunk: return on_chunk(link, frame.chunk(), payload);
    default: return frame_from_either(link, frame);
  }
}

void Node::frame_from_acceptor(Link& link, wire::Frame& frame) {
  switch (frame.message_case()) {
    case wire::Frame::kWelcome: return on_welcome(link, frame.welcome());
    case wire::Frame::kPong: return;
    case wire::Frame::kAck: return on_ack(link, frame.ack());
    case wire::Frame::kRefusal: {
      // Our farewell has arrived there by another way.
      if (farewell_said_ && frame.refusal().code() == wire::Refusal::STARTED) return link.finish(kRefusalPatience);
      if (frame.refusal().code() == wire::Refusal::EXPELLED) return expel(frame.refusal().reason());
      // Somebody else listens where it did.
      if (of_another(frame.refusal().code())) return notice(link.peer, wire::Departure::ENDED);
      log_.warn("control: {} refused this peer: {}", remote_name(link), frame.refusal().reason());
      return notice(link.peer, wire::Departure::BROKE_PROTOCOL);
    }
    default: return frame_from_either(link, frame);
  }
}

// What tell() says, over whichever connection is there.
void Node::frame_from_either(Link& link, wire::Frame& frame) {
  switch (frame.message_case()) {
    case wire::Frame::kChanges: return on_changes(frame.changes());
    case wire::Frame::kArrive: return on_arrive(link.peer, frame.arrive());
    case wire::Frame::kOpen: return barrier_open(frame.open().barrier());
    case wire::Frame::kClosed: {
      const auto found = barriers_.find(frame.closed().barrier());
      if (found != barriers_.end()) found->second.missing = frame.closed().missing();
      return;
    }
    default: return malformed(link, "a message that has no place here");
  }
}

void Node::refuse(Link& link, wire::Refusal::Code code, const std::string& why) {
  log_.warn("control: refused {}: {}", remote_name(link), why);
  say_no(link, code, why);
}

void Node::say_no(Link& link, wire::Refusal::Code code, const std::string& why) {
  wire::Frame frame;
  frame.mutable_refusal()->set_code(code);
  frame.mutable_refusal()->set_reason(why);
  link.send(frame);
  link.finish(kRefusalPatience);
}

void Node::malformed(Link& link, const std::string& why) {
  if (link.role == Link::Role::former) return;
  if (link.role == Link::Role::collector) {
    const std::string where = remote_name(link);
    link.finish(kRefusalPatience);
    seeking_.reset();
    return join_failed({Errc::corrupt, "whoever answers at " + where + " is no Gossamer peer of this version: " + why +
                                           "; check the rendezvous"});
  }
  const Link::Role role = link.role;
  refuse(link, wire::Refusal::MALFORMED, why);
  if (role == Link::Role::inbound || role == Link::Role::outbound) notice(link.peer, wire::Departure::BROKE_PROTOCOL);
}

void Node::park(Link& link, const wire::Frame& frame) {
  link.pause();
  parked_.push_back({link.shared_from_this(), frame});
}

void Node::unpark() {
  std::vector<Parked> parked;
  parked.swap(parked_);
  for (Parked& p : parked) {
    if (links_.count(p.link) == 0) continue;
    p.link->resume();
    frame_from_stranger(*p.link, p.frame);
  }
}

void Node::closed(Link& link, Link::Ending how) {
  const LinkPtr keep = link.shared_from_this();
  links_.erase(keep);
  std::erase_if(parked_, [&](const Parked& p) { return p.link == keep; });
  switch (link.role) {
    case Link::Role::stranger:
    case Link::Role::former: return;
    case Link::Role::joiner:
      std::erase_if(returners_, [&](const Returner& r) { return r.link == keep; });
      for (auto i = joiners_.begin(); i != joiners_.end(); ++i) {
        if (i->second != keep) continue;
        if (gathering_) gathering_->remove(i->first);
        joiners_.erase(i);
        if (state_ == State::collecting) {
          log_.info("control: {} gave up joining; missing: {}", remote_name(link), gathering_->missing());
          tell_waiting();
        }
        return;
      }
      return;
    case Link::Role::collector:
      if (seeking_ != keep) return;
      seeking_.reset();
      return seek_again("the connection to " + remote_name(link) + " ended " + (accepted_ ? "while waiting there" : "without an answer"));
    case Link::Role::inbound: {
      Peer& peer = peers_[link.peer];
      if (peer.in == keep) peer.in.reset();
      if (!link.finishing()) notice(link.peer, wire::Departure::RESET);
      return check_leave();
    }
    case Link::Role::outbound: {
      Peer& peer = peers_[link.peer];
      if (peer.out != keep) return check_leave();
      if (peer.life == Life::left && !peer.unacked.empty()) {
        log_.warn("control: {} messages for rank {} were not delivered", peer.unacked.size(), link.peer);
        peer.unacked.clear();
      }
      const bool was_ready = peer.ready;
      peer.out.reset();
      peer.ready = false;
      if (!was_ready && !link.finishing()) return open_again(link.peer, how == Link::Ending::reset ? "reset" : "closed", true);
      peer.wanted = false;
      if (!link.finishing()) notice(link.peer, wire::Departure::RESET);
      return check_leave();
    }
  }
}

void Node::idle(Link& link) {
  if (link.role == Link::Role::outbound) pump(link.peer);
}

void Node::stop() {
  state_ = State::closed;
  error_code ignored;
  acceptor_.close(ignored);
  resolver_.cancel();
  for (Timer* timer : {&accept_again_, &ticker_, &join_timer_, &attempt_timer_, &backoff_timer_, &leave_timer_}) timer->cancel();
  for (Peer& peer : peers_)
    if (peer.retry) peer.retry->cancel();
  for (const LinkPtr& link : links_) link->abandon();
  links_.clear();
  returners_.clear();
  if (inviting_) inviting_->close(ignored);
  fail_barriers({Errc::peer_gone, "this peer closed its control plane"});
  if (joined_) join_failed({Errc::interrupted, "this peer closed its control plane while it was joining"});
}

}  // namespace gossamer::control
