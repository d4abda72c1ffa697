#include "runtime/control/ledger.h"

#include <string>

#include "base/check.h"

namespace gossamer::control {

void Ledger::open(const std::vector<Incarnation>& lives) {
  const std::lock_guard lock(mutex_);
  for (const Incarnation life : lives) accounts_.push_back({life, 0, 0, {}});
}

void Ledger::close(PeerId peer, Incarnation life, Error why) {
  const std::lock_guard lock(mutex_);
  Account& account = accounts_[peer];
  if (life <= account.ended) return;
  account.ended = life;
  account.why = std::move(why);
}

void Ledger::close_all(Error why) {
  const std::lock_guard lock(mutex_);
  if (!closed_) closed_ = std::move(why);
}

void Ledger::reopen(PeerId peer, Incarnation life) {
  const std::lock_guard lock(mutex_);
  Account& account = accounts_[peer];
  GOSSAMER_CHECK(life > account.life, "a return begins a later life");
  account.life = life;
  account.waiting = 0;
}

Result<Incarnation> Ledger::take(PeerId peer, std::size_t cost) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Failure(*closed_);
  if (accounts_.empty()) return fail(Errc::invalid_argument, "cannot send before the run is joined");
  if (peer >= accounts_.size())
    return fail(Errc::invalid_argument, "cannot send to rank " + std::to_string(peer) + ": the run has " +
                                            std::to_string(accounts_.size()) + " peers");
  Account& account = accounts_[peer];
  if (account.life <= account.ended) return Failure(account.why);
  if (account.waiting > 0 && account.waiting + cost > limit_)
    return fail(Errc::would_block, std::to_string(account.waiting) + " bytes wait for rank " +
                                       std::to_string(peer) + " already");
  account.waiting += cost;
  return account.life;
}

void Ledger::give(PeerId peer, Incarnation life, std::size_t cost) {
  const std::lock_guard lock(mutex_);
  Account& account = accounts_[peer];
  if (account.life != life) return;
  GOSSAMER_CHECK(account.waiting >= cost, "no more is given back than was taken");
  account.waiting -= cost;
}

}  // namespace gossamer::control
