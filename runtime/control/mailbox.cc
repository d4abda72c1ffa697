#include "runtime/control/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace gossamer::control {

Mailbox::~Mailbox() {
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

Result<> Mailbox::open() {
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return fail(Errc::io, std::string("cannot open an event descriptor: ") + std::strerror(errno));
  return {};
}

void Mailbox::signal() {
  const bool wanted = letters_.size() > early_ || !deaths_.empty() || !unheard_.empty() || !returned_.empty() || broken_.has_value();
  if (wanted == signalled_) return;
  std::uint64_t value = 1;
  const ssize_t moved = wanted ? ::write(wake_fd_, &value, sizeof value) : ::read(wake_fd_, &value, sizeof value);
  GOSSAMER_CHECK(moved == sizeof value, "the wake descriptor follows the mailbox");
  signalled_ = wanted;
}

void Mailbox::begin(std::vector<Incarnation> lives, std::vector<PeerId> departed) {
  const std::lock_guard lock(mutex_);
  lives_ = std::move(lives);
  departed_ = std::move(departed);
}

void Mailbox::add(Message message, Incarnation life) {
  {
    const std::lock_guard lock(mutex_);
    const Incarnation told = lives_[message.from];
    if (life < told) return;
    if (life > told) ++early_;
    bytes_ += cost_of(message.bytes.size());
    letters_.push_back({std::move(message), life});
    signal();
  }
  changed_.notify_all();
}

void Mailbox::add(Death death) {
  {
    const std::lock_guard lock(mutex_);
    deaths_.push_back(std::move(death));
    signal();
  }
  changed_.notify_all();
}

void Mailbox::add_unheard(Death death) {
  {
    const std::lock_guard lock(mutex_);
    unheard_.push_back(std::move(death));
    signal();
  }
  changed_.notify_all();
}

void Mailbox::add(Roster::Entry returned) {
  {
    const std::lock_guard lock(mutex_);
    std::erase(departed_, returned.rank);
    returned_.push_back(std::move(returned));
    signal();
  }
  changed_.notify_all();
}

void Mailbox::add_departed(PeerId rank) {
  const std::lock_guard lock(mutex_);
  departed_.push_back(rank);
}

void Mailbox::fail_standing(Error why) {
  {
    const std::lock_guard lock(mutex_);
    if (!broken_) broken_ = std::move(why);
    signal();
  }
  changed_.notify_all();
}

bool Mailbox::hold_back() {
  const std::lock_guard lock(mutex_);
  if (bytes_ < limit_) return false;
  held_back_ = true;
  return true;
}

std::vector<Message> Mailbox::take(std::optional<std::string_view> topic) {
  std::vector<Message> taken;
  std::deque<Letter> kept;
  for (Letter& letter : letters_) {
    if ((topic && letter.message.topic != *topic) || letter.life > lives_[letter.message.from]) {
      kept.push_back(std::move(letter));
      continue;
    }
    bytes_ -= cost_of(letter.message.bytes.size());
    taken.push_back(std::move(letter.message));
  }
  letters_ = std::move(kept);
  return taken;
}

bool Mailbox::drain() {
  const bool drained = held_back_ && bytes_ < limit_;
  if (drained) held_back_ = false;
  return drained;
}

std::vector<Message> Mailbox::receive(std::optional<std::string_view> topic, Duration deadline, bool& drained) {
  std::unique_lock lock(mutex_);
  std::vector<Message> taken = take(topic);
  if (taken.empty() && deadline > Duration::zero()) {
    const auto until = std::chrono::steady_clock::now() + deadline;
    while (taken.empty() && deaths_.empty() && unheard_.empty() && returned_.empty() && !broken_) {
      const bool late = changed_.wait_until(lock, until) == std::cv_status::timeout;
      taken = take(topic);
      if (late) break;
    }
  }
  drained = drain();
  signal();
  return taken;
}

std::vector<Death> Mailbox::deaths() {
  const std::lock_guard lock(mutex_);
  std::vector<Death> taken;
  std::vector<Death> kept;
  for (Death& death : deaths_)
    (death.incarnation > lives_[death.rank] ? kept : taken).push_back(std::move(death));
  deaths_ = std::exchange(kept, {});
  for (Death& death : unheard_) {
    const bool waits = std::any_of(returned_.begin(), returned_.end(), [&](const Roster::Entry& entry) {
      return entry.rank == death.rank && entry.incarnation < death.incarnation;
    });
    (waits ? kept : taken).push_back(std::move(death));
  }
  unheard_ = std::move(kept);
  signal();
  return taken;
}

std::vector<Roster::Entry> Mailbox::returned(const std::function<void(const Roster::Entry&)>& told, bool& drained) {
  const std::lock_guard lock(mutex_);
  std::vector<Roster::Entry> taken;
  std::vector<Roster::Entry> kept;
  for (Roster::Entry& entry : returned_) {
    const auto before = [&](const Death& death) { return death.rank == entry.rank && death.incarnation < entry.incarnation; };
    const bool waits = std::any_of(deaths_.begin(), deaths_.end(), before) || std::any_of(unheard_.begin(), unheard_.end(), before);
    (waits ? kept : taken).push_back(std::move(entry));
  }
  returned_ = std::move(kept);
  for (const Roster::Entry& entry : taken) {
    lives_[entry.rank] = entry.incarnation;
    told(entry);
  }
  if (!taken.empty()) {
    early_ = 0;
    std::erase_if(letters_, [&](const Letter& letter) {
      const Incarnation life = lives_[letter.message.from];
      if (letter.life > life) ++early_;
      if (letter.life >= life) return false;
      bytes_ -= cost_of(letter.message.bytes.size());
      return true;
    });
  }
  drained = drain();
  signal();
  return taken;
}

std::vector<PeerId> Mailbox::departed() const {
  const std::lock_guard lock(mutex_);
  return departed_;
}

Result<> Mailbox::standing() const {
  const std::lock_guard lock(mutex_);
  if (broken_) return Failure(*broken_);
  return {};
}

}  // namespace gossamer::control
