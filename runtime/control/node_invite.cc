// Where one address was given to all peers, as launchers do, a peer that returns comes there, too.  When the
// peer that listened there is gone itself, nobody answers; and when it is started again, it would collect
// another run.  So the lowest living rank calls there from time to time, and whoever has begun to collect
// learns that the run is under way.
#include <algorithm>

#include "runtime/control/node.h"

namespace gossamer::control {
namespace {

using boost::system::error_code;

// How long one attempt to connect may take.
constexpr Duration kPatience = std::chrono::seconds(3);

}  // namespace

void Node::invite() {
  if (!options_.elastic || state_ != State::member || admitter() != self_ || rendezvous_addresses_.empty())
    return;
  // As far as a port tells, a peer that lives listens there.
  for (const Peer& peer : peers_)
    if (peer.life == Life::alive && peer.entry.control_port == rendezvous_.port) return;
  const Instant now = std::chrono::steady_clock::now();
  if (inviting_) {
    error_code ignored;
    if (now - invited_ > kPatience) inviting_->close(ignored);
    return;
  }
  invited_ = now;
  invite_at({rendezvous_addresses_.front(), rendezvous_.port});
}

void Node::invite_at(const Tcp::endpoint& endpoint) {
  inviting_ = std::make_shared<Tcp::socket>(io_);
  inviting_->async_connect(endpoint, [this](error_code error) {
    const auto socket = std::exchange(inviting_, nullptr);
    if (error || state_ != State::member) return;
    error_code gone;
    // On one machine a connection to a port that nobody listens on can meet itself.
    if (socket->local_endpoint(gone) == socket->remote_endpoint(gone) || gone) return;
    const LinkPtr link = adopt(std::move(*socket), kBodyLimit, Link::Role::former);  // no answer is expected
    wire::Frame frame;
    wire::Invitation& invitation = *frame.mutable_invitation();
    invitation.set_protocol(kProtocol);
    invitation.set_run_hash(options_.run_hash);
    invitation.set_address(format_host_port(address_for(*link, peers_[self_]), port_));
    for (std::string& address : living_for(*link, self_)) invitation.add_living(std::move(address));
    link->start();
    link->send(frame);
    link->finish(kFarewellPatience);
  });
}

void Node::on_invitation(Link& link, const wire::Invitation& invitation) {
  link.finish(kFarewellPatience);
  auto target = parse_host_port(invitation.address());
  const bool fits = options_.elastic && target && invitation.protocol() == kProtocol &&
                    invitation.run_hash() == options_.run_hash;
  const bool waits = state_ == State::collecting || (state_ == State::idle && collector_);
  if (!fits || !waits) return;
  log_.info("control: the run is under way; asking {} to be let in", invitation.address());
  hear_of(invitation.living(), living_);
  rendezvous_ = *target;
  error_code not_literal;
  const IpAddress address = boost::asio::ip::make_address(target->host, not_literal);
  rendezvous_on_loopback_ = !not_literal && is_loopback(address);
  collector_ = false;
  if (state_ == State::idle) return unpark();  // sends them on; join() will ask there
  wire::Frame frame;
  frame.mutable_redirect()->set_instance(instance_);
  frame.mutable_redirect()->set_address(invitation.address());
  *frame.mutable_redirect()->mutable_living() = invitation.living();
  std::map<std::uint64_t, LinkPtr> joiners;
  joiners.swap(joiners_);
  for (const auto& [instance, joiner] : joiners) {
    joiner->send(frame);
    joiner->finish(kFarewellPatience);
  }
  gathering_.reset();
  state_ = State::seeking;
  seek();
}

}  // namespace gossamer::control
