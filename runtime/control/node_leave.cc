// Leaving.  First everything that was sent arrives.  Then the farewell goes out on all connections, and to the nearest
// living peers on both sides, which pass it on.  A peer is gone only when each of those has closed its side, and so has
// read it; where one of them leaves at the same time, the next one takes its place.  Otherwise
// whoever watches this rank next could find its port closed and take it for dead.
#include <boost/asio/post.hpp>

#include "runtime/control/node.h"

namespace gossamer::control {

using boost::system::error_code;

void Node::leave(Duration deadline, Done done) {
  if (state_ != State::member) {
    if (joined_) join_failed({Errc::interrupted, "this peer left while it was joining"});
    const bool over = state_ == State::over;
    done(over ? mailbox_.standing() : Result<>());
    return;
  }
  state_ = State::leaving;
  leave_done_ = std::move(done);
  leave_until_ = std::chrono::steady_clock::now() + deadline;
  fail_barriers({Errc::peer_gone, "this peer is leaving"});
  ledger_.close_all({Errc::peer_gone, "this peer is leaving"});
  admit_waiting();  // sends them on
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
    farewell.set_incarnation(life());
    farewell.set_kind(wire::Departure::LEFT);
    farewell.set_witness(self_);
    farewell_ = news_.last();
    news_.add(farewell);  // also for those that connect from now on
    for (PeerId rank = 0; rank < peers_.size(); ++rank) {
      Peer& peer = peers_[rank];
      if (peer.life != Life::alive) continue;
      const LinkPtr out = peer.ready ? peer.out : nullptr;
      for (const LinkPtr& link : {peer.in, out}) {
        if (!link || link->finishing()) continue;
        send_news(*link, peer.told);
        link->finish(leave_until_ - std::chrono::steady_clock::now(), Link::Rest::delivered);
        told_farewell_.insert(rank);
      }
    }
  }
  for (const PeerId rank : neighbours())
    if (told_farewell_.insert(rank).second) tell_news(rank);
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
