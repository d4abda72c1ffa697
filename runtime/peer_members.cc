// What a peer hears of the others while it trains, and what it tells them.
#include <algorithm>
#include <fmt/format.h>
#include <future>
#include <thread>

#include "runtime/messages.h"
#include "runtime/peer_life.h"

namespace gossamer {

// What the control plane has to say: a stop, a death, a peer that gives up, and for rank 0 the others' records.
Result<> Peer::check_control() {
  if (coordinator_) {
    for (const std::string_view topic : {messages::kRecord, messages::kSummary, messages::kModel})
      for (const Message& message : control_->receive(topic, {})) GOSSAMER_TRY(coordinator_->take(message.from, topic, message.bytes));
    show();
  }
  for (const Death& death : control_->deaths()) {
    if (results_sent_ && !stack_.elastic && death.rank != 0) continue;  // the control plane has told it; rank 0 decides what is missing
    GOSSAMER_TRY(gone(death));
  }
  // Behind the deaths: a launcher stops everybody when one has died, and who is asked to stop still says why.
  if (process_.stop && *process_.stop) return fail(Errc::interrupted, "asked to stop");
  // Before the farewells, which say less.
  for (const Message& message : control_->receive(messages::kAbort, {})) {
    if (stack_.elastic && (begun_ || message.from != 0)) {
      event(LogLevel::warn, fmt::format("peer {} gives up: {}", message.from, message.bytes));
      continue;
    }
    told_ = true;
    return fail(Errc::peer_gone, fmt::format("peer {} on {} gave up: {}", message.from, roster_.peers[message.from].host, message.bytes));
  }
  if (stack_.elastic) GOSSAMER_TRY(follow_members());
  return control_->standing();
}

// What happens to the members is everybody's news: one line of it is enough for people, that of whoever gathers.
void Peer::event(LogLevel level, const std::string& text) {
  if (!coordinator_ || level == LogLevel::debug) {
    log_.debug("{}", text);
  } else if (level == LogLevel::info) {
    log_.info("{}", text);
  } else {
    log_.warn("{}", text);
  }
}

// A death ends the run, unless its members may change.  That of rank 0 does until all have begun: it tells them where from.
Result<> Peer::gone(const Death& death) {
  std::string text = fmt::format("peer {} on {} (pid {}) is gone: {}, silent for {:.1f} s", death.rank, death.host, death.pid, name(death.how),
                                 seconds(death.silent));
  if (death.pid == 0) text = fmt::format("peer {} is gone: {}, in its life {}, of which nobody had told", death.rank, name(death.how), death.incarnation);
  if (!stack_.elastic || (death.rank == 0 && !begun_)) {
    told_ = true;
    return fail(Errc::peer_gone, std::move(text));
  }
  event(LogLevel::warn, text + "; the others go on");
  if (coordinator_) coordinator_->left(death.rank);
  const auto guard = driver_->lock();
  stack_.elastic->died(death.rank, death.incarnation);
  return {};
}

// Deaths are known; this takes returns, what the others say of views, and those who left.
Result<> Peer::follow_members() {
  const auto guard = driver_->lock();
  for (const Roster::Entry& entry : control_->returned()) {
    event(LogLevel::info, fmt::format("peer {} is back: pid {} on {}, life {}", entry.rank, entry.pid, entry.host, entry.incarnation));
    roster_.peers[entry.rank] = entry;
    departed_.erase(entry.rank);
    stack_.elastic->returned(entry.rank, entry.incarnation);
    if (coordinator_ && results_sent_) GOSSAMER_TRY(tell(entry.rank, messages::kOver, ""));
  }
  if (!results_sent_)
    for (const PeerId peer : control_->departed()) {
      if (!departed_.insert(peer).second) continue;
      if (peer == 0 && !begun_) return fail(Errc::peer_gone, "peer 0 has left the run before all had begun");
      event(LogLevel::warn, fmt::format("peer {} has left; the others go on", peer));
      if (coordinator_) coordinator_->left(peer);
      stack_.elastic->died(peer, roster_.peers[peer].incarnation);
    }
  for (const std::string_view topic : {Elastic::kViews, Elastic::kStatePlease, Elastic::kState})
    for (const Message& message : control_->receive(topic, {})) GOSSAMER_TRY(stack_.elastic->heard(message.from, topic, message.bytes));
  for (const Message& message : control_->receive(messages::kGathers, {})) stack_.elastic->told_head(message.from);
  if (at_rest_) stack_.elastic->at_rest();
  for (auto& message : stack_.elastic->take_messages())
    if (const auto sent = control_->send(message.to, message.topic, std::move(message.bytes)); !sent)
      log_.debug("{} to peer {} was not sent: {}", message.topic, message.to, sent.error().message);
  for (const auto& [peer, life] : stack_.elastic->take_newcomers()) {
    GOSSAMER_TRY(stack_.transport->set_peer(peer, roster_.peers[peer].transport_address, life));
    if (!coordinator_) continue;
    coordinator_->came(peer, since_start());
    trained_.erase(peer);
    GOSSAMER_TRY(tell(peer, messages::kGathers, ""));
    if (all_trained_) GOSSAMER_TRY(tell(peer, messages::kAllTrained, ""));
  }
  if (results_sent_) return follow_gatherer();  // whatever becomes of the members then
  if (stack_.elastic->error()) return Failure(*stack_.elastic->error());
  return follow_gatherer();
}

// In an elastic run the receiver may be gone, which its death or farewell tells in its own time.
Result<> Peer::tell(PeerId to, std::string_view topic, std::string bytes) {
  const auto sent = control_->send(to, topic, std::move(bytes));
  if (!sent && stack_.elastic && sent.error().code == Errc::peer_gone) {
    log_.debug("{} to peer {} was not sent: {}", topic, to, sent.error().message);
    return {};
  }
  return sent;
}

// A barrier of the control plane that keeps the engine alive meanwhile: others may still need acknowledgements.
// A problem ends the wait, however long the deadline: this peer leaves at once.
Result<> Peer::barrier(std::string_view name, Duration deadline) {
  auto reached = std::async(std::launch::async, [&] { return control_->barrier(name, deadline); });
  while (reached.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    auto problem = driver_->pause(std::chrono::milliseconds(2));
    if (problem) problem = check_control();
    if (problem) continue;
    // The others may have passed it, gone on and ended: after the last one that is their affair.
    if (results_sent_ && reached.wait_for(std::chrono::seconds(0)) == std::future_status::ready) break;
    abort(problem.error());
    reached.wait();
    return problem;
  }
  return reached.get();
}

// The transport may notice a lost peer before the control plane does, which knows more: who, where, silent how long.
Result<> Peer::explain(Error error) {
  const Time until = clock_.now() + std::min<Duration>(run_.deadlines.silence, std::chrono::seconds(1));
  while (clock_.now() < until) {
    if (const auto news = check_control(); !news && news.error().code == Errc::peer_gone) return news;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Failure(std::move(error));
}

// Tells the others why before this peer goes, so that they can say more than that it went.
void Peer::abort(const Error& error) {
  if (status_) status_->clear();
  if (error.code != Errc::peer_gone)
    for (PeerId peer = 0; peer < peers(); ++peer)
      if (peer != self()) (void)control_->send(peer, messages::kAbort, error.message).has_value();
  if (const auto left = control_->leave(std::chrono::seconds(2)); !left) log_.debug("{}", left.error().message);
}

}  // namespace gossamer
