#include "runtime/control/ledger.h"

#include <string>

#include "base/check.h"

namespace gossamer::control {

void Ledger::open(std::size_t peers) {
  const std::lock_guard lock(mutex_);
  accounts_.resize(peers);
}

void Ledger::close(PeerId peer, Error why) {
  const std::lock_guard lock(mutex_);
  if (auto& closed = accounts_[peer].closed; !closed) closed = std::move(why);
}

void Ledger::close_all(Error why) {
  const std::lock_guard lock(mutex_);
  if (!closed_) closed_ = std::move(why);
}

Result<> Ledger::take(PeerId peer, std::size_t cost) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Failure(*closed_);
  if (accounts_.empty()) return fail(Errc::invalid_argument, "cannot send before the run is joined");
  if (peer >= accounts_.size())
    return fail(Errc::invalid_argument, "cannot send to rank " + std::to_string(peer) + ": the run has " +
                                            std::to_string(accounts_.size()) + " peers");
  Account& account = accounts_[peer];
  if (account.closed) return Failure(*account.closed);
  if (account.waiting > 0 && account.waiting + cost > limit_)
    return fail(Errc::would_block, std::to_string(account.waiting) + " bytes wait for rank " + std::to_string(peer) + " already");
  account.waiting += cost;
  return {};
}

void Ledger::give(PeerId peer, std::size_t cost) {
  const std::lock_guard lock(mutex_);
  GOSSAMER_CHECK(accounts_[peer].waiting >= cost, "no more is given back than was taken");
  accounts_[peer].waiting -= cost;
}

}  // namespace gossamer::control
