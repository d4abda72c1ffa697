#include "runtime/engine_driver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/relax.h"

namespace gossamer {
namespace {

constexpr Duration kSleepMax = std::chrono::milliseconds(100);

}  // namespace

EngineDriver::EngineDriver(Engine& engine, Fabric& fabric, const Clock& clock, int wake_fd, bool threaded,
                           Duration spin)
    : engine_(engine), fabric_(fabric), clock_(clock), wake_fd_(wake_fd), spin_(spin) {
  if (!threaded) return;
  nudge_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  GOSSAMER_CHECK(nudge_fd_ >= 0, "no descriptor left for an eventfd");
  thread_ = std::thread([this] { run(); });
}

EngineDriver::~EngineDriver() {
  if (!thread_.joinable()) return;
  stop_ = true;
  eventfd_write(nudge_fd_, 1);
  thread_.join();
  close(nudge_fd_);
}

Result<> EngineDriver::nudge() {
  if (thread_.joinable()) {
    eventfd_write(nudge_fd_, 1);
    const std::lock_guard guard(mutex_);
    if (error_) return Failure(*error_);
    return {};
  }
  const std::lock_guard guard(mutex_);
  return engine_.step();
}

Result<> EngineDriver::wait(Duration at_most) {
  std::unique_lock guard(mutex_);
  if (thread_.joinable()) {
    const std::uint64_t seen = changes_;
    changed_.wait_for(guard, std::min(at_most, kSleepMax), [&] { return changes_ != seen || error_ || engine_.open_rounds() == 0; });
    if (error_) return Failure(*error_);
    return {};
  }
  const std::size_t open_before = engine_.open_rounds();
  GOSSAMER_TRY(engine_.step());
  if (engine_.open_rounds() < open_before) return {};
  if (spin_ > Duration::zero()) {
    const Time last = clock_.now() + at_most;
    GOSSAMER_TRY(spin(open_before, last));
    at_most = last - clock_.now();
    if (engine_.open_rounds() < open_before || at_most <= Duration::zero()) return {};
  }
  if (fabric_.arm()) sleep(engine_.next_deadline(), at_most, wake_fd_);
  return engine_.step();
}

// Until there are fewer open rounds, nothing has come for a while, or `last`.
Result<> EngineDriver::spin(std::size_t open_rounds, Time last) {
  std::uint64_t received = fabric_.traffic().bytes_received;
  for (Time end = clock_.now() + spin_; engine_.open_rounds() >= open_rounds;) {
    const Time now = clock_.now();
    if (const std::uint64_t more = fabric_.traffic().bytes_received; more != received) {
      received = more;
      end = now + spin_;
    }
    if (now >= std::min(end, last)) break;
    relax();
    GOSSAMER_TRY(engine_.step());
  }
  return {};
}

Result<> EngineDriver::pause(Duration at_most) {
  if (thread_.joinable()) {
    pollfd control{wake_fd_, POLLIN, 0};
    ::poll(&control, 1, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(std::min(at_most, kSleepMax)).count()));
    return nudge();
  }
  const std::lock_guard guard(mutex_);
  GOSSAMER_TRY(engine_.step());
  if (fabric_.arm()) sleep(engine_.next_deadline(), at_most, wake_fd_);
  return engine_.step();
}

// The fabric is armed.  It is not touched here: the threaded driver sleeps without the lock.
void EngineDriver::sleep(Time deadline, Duration at_most, int wake_fd) {
  const Duration left = std::max<Duration>(deadline - clock_.now(), std::chrono::milliseconds(1));
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min({left, at_most, kSleepMax}));
  std::array<pollfd, 3> descriptors{{{fabric_.wait_fd(), POLLIN, 0}, {wake_fd, POLLIN, 0}, {nudge_fd_, POLLIN, 0}}};
  ::poll(descriptors.data(), descriptors.size(), static_cast<int>(ms.count()));
  if (nudge_fd_ >= 0) {
    eventfd_t count;
    eventfd_read(nudge_fd_, &count);
  }
}

void EngineDriver::run() {
  while (!stop_) {
    Time deadline;
    bool armed = false;
    {
      const std::lock_guard guard(mutex_);
      const std::size_t open_before = engine_.open_rounds();
      const auto result = engine_.step();
      if (!result) error_ = result.error();
      if (!result || engine_.open_rounds() < open_before) {
        ++changes_;
        changed_.notify_all();
      }
      if (error_) return;
      deadline = engine_.next_deadline();
      // The trainer's thread publishes into the same fabric, which is one thread's at a time.
      armed = fabric_.arm();
    }
    // The control plane is the other thread's business.
    if (armed) sleep(deadline, kSleepMax, -1);
  }
}

}  // namespace gossamer
