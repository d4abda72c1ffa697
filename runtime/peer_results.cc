// How the results of a run come together at one peer, and what the others do when that one dies.
//
// Whoever gathers has the others' rows while they train, and at the end their summaries and models.  In an elastic run each peer keeps
// what it has said, and says it again to whoever comes next; nobody goes before somebody has written the results.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "runtime/messages.h"
#include "runtime/peer_life.h"
#include "runtime/report/table.h"

namespace gossamer {

// Another peer gathers now, perhaps this one.
Result<> Peer::follow_gatherer() {
  if (stack_.elastic->head() == gatherer_) return {};
  const bool told = !gatherer_;  // a newcomer
  gatherer_ = stack_.elastic->head();
  if (!gatherer_) return {};
  if (gatherer_ == self()) {
    if (results_sent_) {  // they are written; not everybody may have heard of it
      for (PeerId peer = 0; peer < peers(); ++peer)
        if (peer != self()) GOSSAMER_TRY(tell(peer, messages::kOver, ""));
      return {};
    }
    coordinator_ = std::make_unique<Coordinator>(run_, *topology_, stack_.task->layout(), log_, process_.out, peers());
    GOSSAMER_TRY(coordinator_->resume());
    event(LogLevel::warn, fmt::format("peer {} gathers the results from here on, in {}", self(), process_.out));
    for (PeerId peer = 0; peer < peers(); ++peer) {
      if (!stack_.elastic->view().has(peer)) coordinator_->left(peer);
      if (peer != self()) GOSSAMER_TRY(tell(peer, messages::kGathers, ""));
    }
  }
  if (!told) log_.debug("peer {} gathers the results from here on", *gatherer_);
  for (const std::string& row : rows_) GOSSAMER_TRY(tell(*gatherer_, messages::kRecord, row));
  if (own_trained_) GOSSAMER_TRY(tell(*gatherer_, messages::kTrained, ""));
  return hand_in();
}

// This peer's last words, once they are there.
Result<> Peer::hand_in() {
  if (!gatherer_ || summary_.empty()) return {};
  GOSSAMER_TRY(tell(*gatherer_, messages::kSummary, summary_));
  return tell(*gatherer_, messages::kModel, last_model_);
}

// Until everybody's results are written, here or, in an elastic run, wherever they are gathered.
Result<> Peer::gather(Round rounds) {
  if (!coordinator_ && !stack_.elastic) return {};
  const auto patience = [&] { return clock_.now() + run_.deadlines.round + (coordinator_ ? Duration{} : run_.deadlines.join); };
  Time deadline = patience();
  for (bool mine = coordinator_ != nullptr; !coordinator_ || !coordinator_->complete();) {
    GOSSAMER_TRY(check_control());
    if (!coordinator_ && !control_->receive(messages::kOver, {}).empty()) return {};
    if (!mine && coordinator_) {
      mine = true;
      deadline = patience();
    }
    GOSSAMER_TRY(driver_->pause(std::chrono::milliseconds(20)));
    if (clock_.now() <= deadline) continue;
    if (!coordinator_) return fail(Errc::timed_out, "nobody has written the results in time (deadlines.round and join)");
    return fail(Errc::timed_out, fmt::format("no final model came from peer {}", fmt::join(coordinator_->missing(), ", ")));
  }
  if (status_) status_->finish(shown_);
  const auto samples = static_cast<double>(stack_.length.steps * coordinator_->present() * stack_.task->batch_size());
  GOSSAMER_TRY_ASSIGN(const RunSummary summary, coordinator_->finish(*stack_.task, stream_, stack_.engine->traits().hub, wall_s_, samples, rounds));
  if (process_.status_line) fmt::print("{}", comparison_text({{run_.name, summary}}));
  // A newcomer that is no member yet need not become one.
  for (PeerId peer = 0; stack_.elastic && peer < peers(); ++peer)
    if (peer != self()) GOSSAMER_TRY(tell(peer, messages::kOver, ""));
  return {};
}

}  // namespace gossamer
