// Until the roster is there: the collector gathers, and what everybody makes of the roster.  How the others find the
// collector is in node_seek.cc.
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <random>

#include "base/check.h"
#include "runtime/control/node.h"

namespace gossamer::control {

using boost::system::error_code;

wire::Join Node::own_join() const {
  wire::Join join;
  join.set_protocol(kProtocol);
  join.set_software_version(options_.software_version);
  join.set_run_hash(options_.run_hash);
  join.set_peers(static_cast<std::uint32_t>(options_.peers));
  if (options_.rank) join.set_rank(*options_.rank);
  join.set_pid(::getpid());
  join.set_host(machine_);
  join.set_address(listening_.advertise);
  join.set_control_port(port_);
  join.set_loopback_only(listening_.loopback_only);
  join.set_transport_address(transport_address_);
  join.set_instance(instance_);
  join.set_elastic(options_.elastic);
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
  if (options_.elastic) return on_return(link, join);
  refuse(link, wire::Refusal::STARTED, member() ? "the run has started already, with " + std::to_string(options_.peers) +
                                                      " peers, and is not elastic: nobody can join it now"
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

// ---- The roster

Result<> Node::become_member(const wire::Roster& roster, LinkPtr collector) {
  const auto wrong = [](std::string_view why) { return fail(Errc::corrupt, "the collector's roster is wrong: " + std::string(why)); };
  if (static_cast<std::size_t>(roster.members_size()) != options_.peers) return wrong("another number of peers");
  if (roster.collector() >= options_.peers) return wrong("no such collector");
  if (roster.started() && !options_.elastic) return wrong("it is of a run under way");
  std::vector<Peer> peers(options_.peers);
  bool found = false;
  const Instant now = std::chrono::steady_clock::now();
  for (PeerId rank = 0; rank < options_.peers; ++rank) {
    const wire::Member& member = roster.members(static_cast<int>(rank));
    if (member.rank() != rank || !plausible(member, options_.peers)) return wrong("a member that cannot be");
    peers[rank].entry = entry_of(member);
    peers[rank].instance = member.instance();
    peers[rank].loopback_only = member.loopback_only();
    peers[rank].heard = now;
    if (member.instance() != instance_) continue;
    if (found || (options_.rank && *options_.rank != rank)) return wrong("it gives this peer another rank");
    self_ = rank;
    found = true;
  }
  if (!found) return wrong("this peer is not in it");
  if (collector && roster.collector() == self_) return wrong("it calls this peer the collector");
  for (const wire::Change& change : roster.changes()) {
    const PeerId rank = change.has_departure() ? change.departure().rank() : change.arrival().member().rank();
    if (rank >= options_.peers || (rank == self_ && change.has_departure())) return wrong("a change that cannot be");
    if (change.has_departure()) peers[rank].life = change.departure().kind() == wire::Departure::LEFT ? Life::left : Life::dead;
  }

  peers_ = std::move(peers);
  run_ = roster.run();
  state_ = State::member;
  join_timer_.cancel();
  gathering_.reset();
  seeking_.reset();
  for (const wire::Change& change : roster.changes()) {
    if (change.has_departure()) news_.add(change.departure());
    else news_.add(change.arrival());
    if (change.arrival().member().instance() == instance_) arrival_ = change.arrival();
  }
  for (const wire::BarrierUses& uses : roster.uses()) {
    barrier_uses_[uses.name()] = uses.opened();
    barrier_opened_[uses.name()] = uses.opened();
  }
  std::vector<Incarnation> lives;
  std::vector<PeerId> departed;
  for (Peer& peer : peers_) {
    lives.push_back(peer.entry.incarnation);
    peer.entry.alive = peer.life == Life::alive;
    if (peer.life == Life::left) departed.push_back(peer.entry.rank);
  }
  mailbox_.begin(lives, std::move(departed));
  ledger_.open(lives);
  for (const Peer& peer : peers_) {
    if (peer.life == Life::alive) continue;
    const std::string fate = peer.life == Life::left ? " had left" : " was dead";
    ledger_.close(peer.entry.rank, peer.entry.incarnation,
                  {Errc::peer_gone, "rank " + std::to_string(peer.entry.rank) + fate + " before this peer came"});
  }
  if (collector) {
    Peer& peer = peers_[roster.collector()];
    peer.told = news_.last();
    collector->role = Link::Role::outbound;
    collector->peer = roster.collector();
    peer.out = std::move(collector);
    peer.wanted = peer.ready = true;
  }
  Roster told;
  told.self = self_;
  told.started = roster.started();
  for (const Peer& peer : peers_) told.peers.push_back(peer.entry);
  if (told.started)
    log_.info("control: returned to the running run as rank {}, incarnation {}", self_, life());
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
