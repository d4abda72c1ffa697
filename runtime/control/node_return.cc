// Peers that come to a run under way, and the news of who is gone and who came.
//
// The lowest living rank alone lets peers in, so that two processes cannot come as one and the same life;
// everybody else sends them there.  Who comes waits until the earlier life of its rank is known to be gone,
// gets the roster, and is from then on a peer like any other; that it came is passed on like a death.
//
// When the lowest rank dies, or is thought dead, its news of whom it let in may come later than the next one
// lets somebody in.  The same process coming twice as the same life is no harm.  Two processes are: whoever
// hears of both declares that life ended, both learn it, and the next one is a life of its own.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

// Of so many living peers a joiner is told.
constexpr std::size_t kLivingTold = 8;

std::string describe(const Roster::Entry& entry) {
  return "peer " + std::to_string(entry.rank) + " (host " + entry.host + ", pid " +
         std::to_string(entry.pid) + ")";
}

bool on_loopback(const std::string& address) {
  boost::system::error_code not_literal;
  const IpAddress literal = boost::asio::ip::make_address(address, not_literal);
  return !not_literal && is_loopback(literal);
}

bool here(const std::string& address) {
  boost::system::error_code not_literal;
  const IpAddress literal = boost::asio::ip::make_address(address, not_literal);
  return !not_literal && is_local(literal);
}

wire::Member member_of(const Roster::Entry& entry, std::uint64_t instance, bool loopback_only) {
  wire::Member member;
  member.set_rank(entry.rank);
  member.set_host(entry.host);
  member.set_address(entry.address);
  member.set_control_port(entry.control_port);
  member.set_pid(entry.pid);
  member.set_incarnation(entry.incarnation);
  member.set_transport_address(entry.transport_address);
  member.set_instance(instance);
  member.set_loopback_only(loopback_only);
  return member;
}

}  // namespace

Roster::Entry entry_of(const wire::Member& member) {
  return {member.rank(),
          member.host(),
          member.address(),
          static_cast<std::uint16_t>(member.control_port()),
          member.pid(),
          member.incarnation(),
          member.transport_address()};
}

bool plausible(const wire::Member& member, std::size_t peers) {
  return member.rank() < peers && member.control_port() > 0 && member.control_port() <= 65535 &&
         member.incarnation() > 0;
}

// ---- Letting in

// Who lets in: the lowest living rank that stays.
std::optional<PeerId> Node::admitter() const {
  for (PeerId rank = 0; rank < peers_.size(); ++rank)
    if (rank == self_ ? state_ == State::member : peers_[rank].life == Life::alive) return rank;
  return std::nullopt;
}

void Node::on_return(Link& link, const wire::Join& join) {
  if (!member()) return say_no(link, wire::Refusal::OVER, "it is out of the run");
  if (auto refusal = misfit(own_join(), join, "the run")) {
    log_.warn("control: refused {}: {}", describe(join), refusal->reason());
    return say_no(link, refusal->code(), refusal->reason());
  }
  if (admitter() != self_) return send_on(link);
  // Where it had come before, over a connection that did not hold.
  for (const Returner& returner : returners_)
    if (returner.join.instance() == join.instance()) returner.link->finish(kFarewellPatience);
  std::erase_if(returners_, [&](const Returner& r) { return r.join.instance() == join.instance(); });
  link.role = Link::Role::joiner;
  const Returner returner{link.shared_from_this(), join};
  returners_.push_back(returner);
  admit_waiting();
  if (link.role != Link::Role::joiner || link.finishing()) return;
  log_.debug("control: {} wants to return; {}", describe(join), obstacle(join));
  tell_returner(returner);
}

// Lets in whoever can be, in the order in which they came.
void Node::admit_waiting() {
  if (!member()) return;
  std::vector<Returner> waiting;
  waiting.swap(returners_);
  for (Returner& returner : waiting) {
    if (returner.link->finishing() || links_.count(returner.link) == 0) continue;
    if (admitter() != self_)
      send_on(*returner.link);
    else if (!admit(returner))
      returners_.push_back(std::move(returner));
  }
}

// Whether this one waits no longer.
bool Node::admit(const Returner& returner) {
  const wire::Join& join = returner.join;
  std::optional<PeerId> rank;
  for (PeerId r = 0; r < peers_.size() && !rank; ++r) {
    const Peer& peer = peers_[r];
    // Another peer has let this process in, but could not tell it any more.
    if (peer.life == Life::alive && peer.instance == join.instance() && r != self_) {
      if (peer.in) return false;
      let_in(r, returner.link);
      return true;
    }
    if (peer.life != Life::alive && (!join.has_rank() || join.rank() == r)) rank = r;
  }
  if (!rank) return false;
  auto address = address_of(join, *returner.link);
  if (!address) {
    refuse(*returner.link, wire::Refusal::UNREACHABLE, address.error().message);
    return true;
  }
  const Roster::Entry entry{*rank,
                            join.host(),
                            *address,
                            static_cast<std::uint16_t>(join.control_port()),
                            join.pid(),
                            peers_[*rank].entry.incarnation + 1,
                            join.transport_address()};
  wire::Arrival arrival;
  *arrival.mutable_member() = member_of(entry, join.instance(), join.loopback_only());
  if (const wire::Departure* previous = news_.departure(*rank)) *arrival.mutable_previous() = *previous;
  arrive(arrival, returner.link);
  return true;
}

// By which address the others reach it.
Result<std::string> Node::address_of(const wire::Join& join, const Link& link) const {
  const std::string address =
      join.address().empty() ? plain(link.remote().address()).to_string() : join.address();
  const bool far = !is_local(link.remote().address());
  for (const Peer& peer : peers_) {
    if (peer.life != Life::alive) continue;
    if (far && peer.loopback_only)
      return fail(Errc::unsupported, describe(peer.entry) + " listens on " + peer.entry.address +
                                         " only, which " + describe(join) + " on another host cannot reach");
    if (!on_loopback(address) || here(peer.entry.address)) continue;
    if (join.loopback_only())
      return fail(Errc::unsupported,
                  describe(join) + " listens on " + address + " only, which " + describe(peer.entry) +
                      " on another host cannot reach: start it with an address or interface of its "
                      "network");
    const std::string& own = peers_[self_].entry.address;
    return on_loopback(own) ? primary_address().to_string() : own;
  }
  return address;
}

// By which address who asks over this link reaches that peer.
std::string Node::address_for(const Link& asker, const Peer& peer) const {
  // On loopback the peer is on this machine, of which the asker knows this address.
  const bool far = on_loopback(peer.entry.address) && !is_local(asker.remote().address());
  return far ? plain(asker.local().address()).to_string() : peer.entry.address;
}

// Whom else it may ask, should `head` not answer.
std::vector<std::string> Node::living_for(const Link& asker, PeerId head) const {
  std::vector<std::string> living;
  for (std::size_t step = 1; step < peers_.size() && living.size() < kLivingTold; ++step) {
    const Peer& peer = peers_[(self_ + step) % peers_.size()];
    if (peer.life == Life::alive && peer.entry.rank != head)
      living.push_back(format_host_port(address_for(asker, peer), peer.entry.control_port));
  }
  return living;
}

// Why it is not let in yet.
std::string Node::obstacle(const wire::Join& join) const {
  if (!join.has_rank()) return "no peer of the run is known to be dead yet";
  return "the earlier " + describe(peers_[join.rank()].entry) + " is not known to be dead yet";
}

void Node::tell_returner(const Returner& returner) {
  wire::Frame frame;
  wire::Waiting& waiting = *frame.mutable_waiting();
  waiting.set_missing(obstacle(returner.join));
  waiting.set_started(true);
  for (std::string& address : living_for(*returner.link, self_)) waiting.add_living(std::move(address));
  returner.link->send(frame);
}

void Node::send_on(Link& link) {
  const auto to = admitter();
  if (!to) return say_no(link, wire::Refusal::OVER, "it is the last one, and leaves");
  const Peer& peer = peers_[*to];
  wire::Frame frame;
  wire::Redirect& redirect = *frame.mutable_redirect();
  redirect.set_instance(instance_);
  redirect.set_address(format_host_port(address_for(link, peer), peer.entry.control_port));
  for (std::string& address : living_for(link, *to)) redirect.add_living(std::move(address));
  link.send(frame);
  link.finish(kFarewellPatience);
}

// Gives the roster to a peer that lives, as all know or will.  What it called us by becomes its way to us.
void Node::let_in(PeerId rank, const LinkPtr& link) {
  wire::Frame frame;
  wire::Roster& roster = *frame.mutable_roster();
  roster.set_run(run_);
  roster.set_collector(self_);
  roster.set_started(true);
  for (const Peer& member : peers_) {
    Roster::Entry entry = member.entry;
    entry.address = address_for(*link, member);
    *roster.add_members() = member_of(entry, member.instance, member.loopback_only);
  }
  news_.since(0, [&](const wire::Change& change) { *roster.add_changes() = change; });
  for (const auto& [name, opened] : barrier_opened_) {
    wire::BarrierUses& uses = *roster.add_uses();
    uses.set_name(name);
    uses.set_opened(opened);
  }
  link->send(frame);
  link->role = Link::Role::inbound;
  link->peer = rank;
  Peer& peer = peers_[rank];
  peer.in = link;
  peer.told = news_.last();
}

// ---- News

void Node::on_changes(const wire::Changes& changes) {
  for (const wire::Change& change : changes.changes()) {
    if (!member()) return;
    if (change.has_departure()) on_departure(change.departure());
    if (change.has_arrival() && options_.elastic) on_arrival(change.arrival());
  }
}

void Node::on_departure(const wire::Departure& departure) {
  if (departure.rank() >= peers_.size()) return;
  Peer& peer = peers_[departure.rank()];
  const Incarnation known = peer.entry.incarnation;
  if (departure.incarnation() < known) return;
  if (departure.rank() == self_) {
    if (departure.kind() == wire::Departure::LEFT && departure.incarnation() == known) return;
    return expel("rank " + std::to_string(departure.witness()) +
                 " took this peer for dead: " + std::string(word(departure.kind())) + ", after " +
                 std::to_string(departure.silent_ns() / 1'000'000) + " ms");
  }
  if (peer.life == Life::alive) {
    wire::Departure ended = departure;
    ended.set_incarnation(known);
    depart(ended);
  }
  if (departure.incarnation() == known || !member()) return;
  // The end of a life of whose beginning nothing was heard here.  Others may have heard of it, and counted on it.
  mailbox_.add_unheard(Death{departure.rank(), peer.entry.host, 0, Duration(departure.silent_ns()), how_of(departure.kind()), departure.witness(),
                             departure.incarnation()});
  peer.entry.incarnation = departure.incarnation();
  peer.instance = 0;
  peer.life = Life::dead;
  news_.add(departure);
  spread_news();
}

void Node::on_arrival(const wire::Arrival& arrival) {
  const wire::Member& member = arrival.member();
  if (!plausible(member, peers_.size())) return;
  const PeerId rank = member.rank();
  Peer& peer = peers_[rank];
  const Incarnation known = peer.entry.incarnation;
  if (member.incarnation() < known) return;
  if (member.incarnation() == known) {
    if (peer.life != Life::alive || peer.instance == member.instance()) return;
    if (rank == self_)
      return expel("another process (host " + member.host() + ", pid " + std::to_string(member.pid()) +
                   ") came as this peer at the same time");
    return notice(rank, wire::Departure::TWICE);
  }
  if (rank == self_)
    return expel("this peer was taken for dead, and lives on as another process (host " + member.host() +
                 ", pid " + std::to_string(member.pid()) + ")");
  if (peer.life == Life::alive) {
    wire::Departure ended = arrival.previous();
    ended.set_rank(rank);
    ended.set_incarnation(known);
    depart(ended);
    if (!this->member()) return;
  }
  arrive(arrival, nullptr);
}

// A new life of a rank that is gone; `link` where it has just asked us to be let in.
void Node::arrive(const wire::Arrival& arrival, const LinkPtr& link) {
  const wire::Member& member = arrival.member();
  const PeerId rank = member.rank();
  const PeerId coordinator_before = coordinator();
  Peer& peer = peers_[rank];
  detach(peer.in);
  detach(peer.out);
  peer = Peer{};
  peer.entry = entry_of(member);
  peer.instance = member.instance();
  peer.loopback_only = member.loopback_only();
  peer.heard = std::chrono::steady_clock::now();
  told_farewell_.erase(rank);
  news_.add(arrival);
  log_.debug("control: rank {} returned (host {}, pid {}), as incarnation {}", rank, member.host(),
            member.pid(), member.incarnation());
  mailbox_.add(peer.entry);
  if (link) let_in(rank, link);
  spread_news();
  watch();
  barriers_changed(rank, coordinator_before);
  check_leave();
  if (!returners_.empty()) boost::asio::post(io_, [this] { admit_waiting(); });
}

// It belongs to a life that is over.
void Node::detach(LinkPtr& link) {
  if (!link) return;
  link->role = Link::Role::former;
  link->finish(kFarewellPatience);
  link.reset();
}

}  // namespace gossamer::control
