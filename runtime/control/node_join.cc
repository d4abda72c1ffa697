// Until the roster is there: the collector gathers, everybody else looks for the collector.
//
// A joiner calls the rendezvous.  A peer that is not the collector answers with its own rendezvous, and so on, until the
// collector is found.  When peers name each other in a circle the joiner comes back to itself; then the peer of the
// circle with the smallest instance number collects, and each member of the circle comes to the same result.
#include <unistd.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <random>

#include "base/check.h"
#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr Duration kFarewellPatience = std::chrono::seconds(2);
constexpr auto kAttemptPatience = std::chrono::seconds(3);
constexpr auto kFirstBackoff = std::chrono::milliseconds(20);
constexpr auto kLastBackoff = std::chrono::milliseconds(500);

Errc code_of(wire::Refusal::Code code) {
  switch (code) {
    case wire::Refusal::VERSION:
    case wire::Refusal::RUN: return Errc::version;
    case wire::Refusal::RANK:
    case wire::Refusal::DUPLICATE: return Errc::invalid_argument;
    case wire::Refusal::STARTED:
    case wire::Refusal::UNREACHABLE: return Errc::unsupported;
    case wire::Refusal::INCOMPLETE: return Errc::timed_out;
    case wire::Refusal::EXPELLED: return Errc::peer_gone;
    default: return Errc::corrupt;
  }
}

std::string seconds_text(Duration d) {
  std::string text = std::to_string(seconds(d));
  text.resize(std::min(text.size(), text.find('.') + 2));
  return text + " s";
}

}  // namespace

wire::Join Node::own_join() const {
  wire::Join join;
  join.set_protocol(kProtocol);
  join.set_software_version(options_.software_version);
  join.set_run_hash(options_.run_hash);
  join.set_peers(static_cast<std::uint32_t>(options_.peers));
  if (options_.rank) join.set_rank(*options_.rank);
  join.set_incarnation(options_.incarnation);
  join.set_pid(::getpid());
  join.set_host(machine_);
  join.set_address(listening_.advertise);
  join.set_control_port(port_);
  join.set_loopback_only(listening_.loopback_only);
  join.set_transport_address(transport_address_);
  join.set_instance(instance_);
  return join;
}

void Node::join(std::string transport_address, Joined done) {
  if (state_ != State::idle) return done(fail(Errc::invalid_argument, "join() can be called once only"));
  if (transport_address.size() > kTransportAddressLimit)
    return done(fail(Errc::invalid_argument, "a transport address of " + std::to_string(transport_address.size()) +
                                                 " bytes; at most " + std::to_string(kTransportAddressLimit) + " can be told"));
  transport_address_ = std::move(transport_address);
  joined_ = std::move(done);
  join_timer_.expires_after(std::chrono::duration_cast<Timer::duration>(options_.join_deadline));
  join_timer_.async_wait([this](error_code error) {
    if (!error) join_deadline();
  });
  if (collector_) return collect();
  state_ = State::seeking;
  seek();
}

// ---- The collector

void Node::collect() {
  state_ = State::collecting;
  collector_ = true;
  gathering_ = std::make_unique<Gathering>(own_join());
  // Between machines, which address the others are told is the first thing to look at where they do not come.
  if (rendezvous_on_loopback_ || listening_.loopback_only)
    log_.debug("control: collecting {} peers at {}", options_.peers, address());
  else
    log_.info("control: collecting {} peers at {}", options_.peers, address());
  unpark();
  if (state_ == State::collecting && gathering_->complete()) gather_complete();
}

void Node::on_join(Link& link, const wire::Join& join) {
  if (join.instance() == instance_) {  // we called ourselves by another name
    wire::Frame frame;
    frame.mutable_redirect()->set_instance(instance_);
    link.send(frame);
    return link.finish(kFarewellPatience);
  }
  if (state_ == State::collecting) {
    if (auto refusal = gathering_->add(join, {link.remote().address(), link.local().address()})) {
      log_.warn("control: refused {}: {}", describe(join), refusal->reason());
      wire::Frame frame;
      *frame.mutable_refusal() = std::move(*refusal);
      link.send(frame);
      return link.finish(kFarewellPatience);
    }
    link.role = Link::Role::joiner;
    joiners_[join.instance()] = link.shared_from_this();
    log_.debug("control: {} joined from {}{}", describe(join), remote_name(link),
              gathering_->complete() ? "; all peers are here" : "; missing: " + gathering_->missing());
    if (gathering_->complete()) return gather_complete();
    wire::Frame frame;
    frame.mutable_waiting()->set_missing(gathering_->missing());
    return link.send(frame);
  }
  if (state_ == State::idle || state_ == State::seeking) {
    // On loopback the collector is on this machine, which the asker has just reached.
    const std::string host =
        rendezvous_on_loopback_ ? plain(link.local().address()).to_string() : rendezvous_.host;
    wire::Frame frame;
    frame.mutable_redirect()->set_instance(instance_);
    frame.mutable_redirect()->set_address(format_host_port(host, rendezvous_.port));
    link.send(frame);
    return link.finish(kFarewellPatience);
  }
  refuse(link, wire::Refusal::STARTED, member() ? "the run has started already, with " + std::to_string(options_.peers) + " peers"
                                                : "this peer's run is over");
}

void Node::tell_waiting() {
  wire::Frame frame;
  frame.mutable_waiting()->set_missing(gathering_->missing());
  for (const auto& [instance, link] : joiners_) link->send(frame);
}

void Node::gather_complete() {
  const std::uint64_t run = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  auto roster = gathering_->roster(run);
  if (!roster) return gather_failed(wire::Refusal::UNREACHABLE, roster.error());
  wire::Frame frame;
  *frame.mutable_roster() = *roster;
  for (const auto& [instance, link] : joiners_) link->send(frame);
  // What a joiner called us by becomes its way to us.
  std::map<std::uint64_t, LinkPtr> joiners;
  joiners.swap(joiners_);
  auto entered = become_member(*roster, nullptr);
  GOSSAMER_CHECK(entered.has_value(), "the collector believes its own roster");
  for (const wire::Member& member : roster->members()) {
    const auto found = joiners.find(member.instance());
    if (found == joiners.end()) continue;
    found->second->role = Link::Role::inbound;
    found->second->peer = member.rank();
    peers_[member.rank()].in = found->second;
  }
}

void Node::gather_failed(wire::Refusal::Code code, const Error& error) {
  wire::Frame frame;
  frame.mutable_refusal()->set_code(code);
  frame.mutable_refusal()->set_reason(error.message);
  std::map<std::uint64_t, LinkPtr> joiners;
  joiners.swap(joiners_);
  for (const auto& [instance, link] : joiners) {
    link->send(frame);
    link->finish(kFarewellPatience);
  }
  join_failed(error);
}

// ---- Everybody else

void Node::seek() {
  asked_.clear();
  accepted_ = false;
  seek_at(rendezvous_);
}

void Node::seek_at(HostPort target) {
  const std::uint64_t attempt = ++attempt_;
  asking_ = target;
  attempt_timer_.expires_after(kAttemptPatience);
  attempt_timer_.async_wait([this, attempt](error_code error) {
    if (error || attempt != attempt_ || state_ != State::seeking) return;
    if (seeking_) {
      links_.erase(seeking_);
      seeking_->abandon();
      seeking_.reset();
    }
    resolver_.cancel();
    seek_again("no answer from " + format_host_port(asking_.host, asking_.port) + " within " +
               std::to_string(kAttemptPatience.count()) + " s");
  });
  const auto connect = [this, attempt, target](const std::vector<Tcp::endpoint>& endpoints) {
    auto socket = std::make_shared<Tcp::socket>(io_);
    asio::async_connect(*socket, endpoints, [this, attempt, target, socket](error_code error, const Tcp::endpoint&) {
      if (attempt != attempt_ || state_ != State::seeking) return;
      if (error)
        return seek_again("cannot connect to " + format_host_port(target.host, target.port) + ": " + error.message());
      seek_connected(target, std::move(*socket));
    });
  };
  error_code not_literal;
  const IpAddress literal = asio::ip::make_address(target.host, not_literal);
  if (!not_literal) return connect({Tcp::endpoint(literal, target.port)});
  resolver_.async_resolve(target.host, std::to_string(target.port),
                          [this, attempt, target, connect](error_code error, const Tcp::resolver::results_type& found) {
                            if (attempt != attempt_ || state_ != State::seeking) return;
                            if (error) return seek_again("the name '" + target.host + "' does not resolve: " + error.message());
                            std::vector<Tcp::endpoint> endpoints;
                            for (const auto& entry : found) endpoints.push_back(entry.endpoint());
                            connect(endpoints);
                          });
}

void Node::seek_connected(const HostPort&, Tcp::socket socket) {
  seeking_ = adopt(std::move(socket), kRosterBodyLimit, Link::Role::collector);
  wire::Frame frame;
  *frame.mutable_join() = own_join();
  seeking_->send(frame);
  seeking_->start();
}

void Node::seek_again(const std::string& why) {
  if (state_ != State::seeking) return;
  ++attempt_;  // whatever was under way is over
  attempt_timer_.cancel();
  if (why != last_failure_) {
    // On one machine the others come a moment later; from afar it may be a wrong address.
    if (rendezvous_on_loopback_)
      log_.debug("control: {}; trying again until the join deadline", why);
    else
      log_.info("control: {}; trying again until the join deadline", why);
  }
  last_failure_ = why;
  const auto backoff = std::min<std::chrono::milliseconds>(kLastBackoff, kFirstBackoff * (1 << std::min<std::size_t>(failures_, 5)));
  ++failures_;
  backoff_timer_.expires_after(backoff);
  backoff_timer_.async_wait([this](error_code error) {
    if (!error && state_ == State::seeking) seek();
  });
}

void Node::frame_from_collector(Link& link, wire::Frame& frame) {
  if (seeking_.get() != &link) return;
  switch (frame.message_case()) {
    case wire::Frame::kRedirect: {
      link.finish(kFarewellPatience);
      seeking_.reset();
      return on_redirect(frame.redirect());
    }
    case wire::Frame::kRefusal: {
      const std::string where = remote_name(link);
      link.finish(kFarewellPatience);
      seeking_.reset();
      const wire::Refusal& refusal = frame.refusal();
      const bool incomplete = refusal.code() == wire::Refusal::INCOMPLETE || refusal.code() == wire::Refusal::UNREACHABLE;
      return join_failed({code_of(refusal.code()),
                          incomplete ? refusal.reason() : "the peer at " + where + " refused this one: " + refusal.reason()});
    }
    case wire::Frame::kWaiting:
      if (!accepted_) {
        log_.debug("control: joined at {}; missing: {}", remote_name(link), frame.waiting().missing());
        attempt_timer_.cancel();
      }
      accepted_ = true;
      failures_ = 0;
      missing_ = frame.waiting().missing();
      return;
    case wire::Frame::kRoster: {
      attempt_timer_.cancel();
      const LinkPtr keep = seeking_;
      if (auto entered = become_member(frame.roster(), keep); !entered) {
        seeking_.reset();
        keep->finish(kFarewellPatience);
        join_failed(entered.error());
      }
      return;
    }
    default: return malformed(link, "a message that does not answer a Join");
  }
}

void Node::on_redirect(const wire::Redirect& redirect) {
  ++attempt_;
  attempt_timer_.cancel();
  if (redirect.instance() == instance_) {
    // A circle, of ourselves alone or with those that sent us round.
    if (asked_.empty() || instance_ < *asked_.begin()) return collect();
    return seek_again("the peers name each other as rendezvous; another one of them will collect");
  }
  if (!asked_.insert(redirect.instance()).second)
    return seek_again("the peers at " + options_.rendezvous + " name each other as rendezvous");
  auto target = parse_host_port(redirect.address());
  if (!target) return seek_again("was sent on to nowhere: " + target.error().message);
  log_.debug("control: {} sends us on to {}", format_host_port(asking_.host, asking_.port), redirect.address());
  seek_at(std::move(*target));
}

void Node::join_deadline() {
  const std::string within = " within " + seconds_text(options_.join_deadline);
  if (state_ == State::collecting)
    return gather_failed(wire::Refusal::INCOMPLETE, {Errc::timed_out, "not all peers came" + within + ": " + gathering_->report()});
  if (state_ != State::seeking) return;
  if (seeking_) {
    seeking_->finish(kFarewellPatience);
    seeking_.reset();
  }
  if (accepted_)
    return join_failed({Errc::timed_out, "not all peers came" + within + "; missing: " + missing_});
  if (rendezvous_taken_)
    return join_failed({Errc::address_in_use, "port " + std::to_string(rendezvous_.port) + " is in use on this machine, and what uses it (" +
                                                  options_.rendezvous + ") did not answer as a peer of this run" + within +
                                                  ": end it, or choose another rendezvous"});
  const std::string why = last_failure_.empty() ? "nobody answered" : last_failure_;
  join_failed({Errc::timed_out, "found no run at " + options_.rendezvous + within + " (" + why +
                                    "): is the first peer running, and is this its address?"});
}

void Node::join_failed(Error error) {
  if (!joined_) return;
  if (state_ != State::closed) state_ = State::over;
  ++attempt_;
  join_timer_.cancel();
  attempt_timer_.cancel();
  backoff_timer_.cancel();
  unpark();  // they are refused, in words
  const Joined done = std::exchange(joined_, nullptr);
  log_.error("control: cannot join: {}", error.message);
  done(Failure(std::move(error)));
}

// ---- Both

Result<> Node::become_member(const wire::Roster& roster, LinkPtr collector) {
  const auto wrong = [](std::string_view why) { return fail(Errc::corrupt, "the collector's roster is wrong: " + std::string(why)); };
  if (static_cast<std::size_t>(roster.members_size()) != options_.peers) return wrong("another number of peers");
  if (roster.collector() >= options_.peers) return wrong("no such collector");
  std::vector<Peer> peers(options_.peers);
  bool found = false;
  const Instant now = std::chrono::steady_clock::now();
  for (PeerId rank = 0; rank < options_.peers; ++rank) {
    const wire::Member& member = roster.members(static_cast<int>(rank));
    if (member.rank() != rank || member.control_port() == 0 || member.control_port() > 65535) return wrong("a member that cannot be");
    peers[rank].entry = {rank, member.host(), member.address(), static_cast<std::uint16_t>(member.control_port()),
                         member.pid(), member.incarnation(), member.transport_address()};
    peers[rank].heard = now;
    if (member.instance() != instance_) continue;
    if (found || (options_.rank && *options_.rank != rank)) return wrong("it gives this peer another rank");
    self_ = rank;
    found = true;
  }
  if (!found) return wrong("this peer is not in it");
  if (collector && roster.collector() == self_) return wrong("it calls this peer the collector");

  peers_ = std::move(peers);
  run_ = roster.run();
  state_ = State::member;
  join_timer_.cancel();
  gathering_.reset();
  seeking_.reset();
  ledger_.open(peers_.size());
  if (collector) {
    Peer& peer = peers_[roster.collector()];
    collector->role = Link::Role::outbound;
    collector->peer = roster.collector();
    peer.out = std::move(collector);
    peer.wanted = peer.ready = true;
  }
  Roster told;
  told.self = self_;
  for (const Peer& peer : peers_) told.peers.push_back(peer.entry);
  log_.debug("control: rank {} of {} peers; the others reach it at {}", self_, peers_.size(),
            format_host_port(told.peers[self_].address, port_));
  const Joined done = std::exchange(joined_, nullptr);
  // The collector's links get their ranks behind this call, so the rest waits for the next turn.
  boost::asio::post(io_, [this] {
    if (!member()) return;
    unpark();
    watch();
  });
  done(std::move(told));
  return {};
}

}  // namespace gossamer::control
