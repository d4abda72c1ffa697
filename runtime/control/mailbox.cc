#include "runtime/control/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

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
  const bool wanted = !messages_.empty() || !deaths_.empty() || broken_.has_value();
  if (wanted == signalled_) return;
  std::uint64_t value = 1;
  const ssize_t moved = wanted ? ::write(wake_fd_, &value, sizeof value) : ::read(wake_fd_, &value, sizeof value);
  GOSSAMER_CHECK(moved == sizeof value, "the wake descriptor follows the mailbox");
  signalled_ = wanted;
}

void Mailbox::add(Message message) {
  {
    const std::lock_guard lock(mutex_);
    bytes_ += cost_of(message.bytes.size());
    messages_.push_back(std::move(message));
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
  std::deque<Message> kept;
  for (Message& message : messages_) {
    if (topic && message.topic != *topic) {
      kept.push_back(std::move(message));
      continue;
    }
    bytes_ -= cost_of(message.bytes.size());
    taken.push_back(std::move(message));
  }
  messages_ = std::move(kept);
  return taken;
}

std::vector<Message> Mailbox::receive(std::optional<std::string_view> topic, Duration deadline, bool& drained) {
  std::unique_lock lock(mutex_);
  std::vector<Message> taken = take(topic);
  if (taken.empty() && deadline > Duration::zero()) {
    const auto until = std::chrono::steady_clock::now() + deadline;
    while (taken.empty() && deaths_.empty() && !broken_) {
      const bool late = changed_.wait_until(lock, until) == std::cv_status::timeout;
      taken = take(topic);
      if (late) break;
    }
  }
  drained = held_back_ && bytes_ < limit_;
  if (drained) held_back_ = false;
  signal();
  return taken;
}

std::vector<Death> Mailbox::deaths() {
  const std::lock_guard lock(mutex_);
  std::vector<Death> taken;
  taken.swap(deaths_);
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
