#include "transports/waiter.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace gossamer {
namespace {

bool add(const FileDescriptor& to, int descriptor, std::uint64_t name = 0) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = name;
  return ::epoll_ctl(to.number(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

}  // namespace

Result<Waiter> Waiter::make() {
  Waiter waiter;
  waiter.all_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  waiter.processes_ = FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  waiter.timer_ = FileDescriptor(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!waiter.all_ || !waiter.processes_ || !waiter.timer_ || !add(waiter.all_, waiter.timer_.number()) ||
      !add(waiter.all_, waiter.processes_.number()))
    return fail(Errc::io, std::string("cannot make a fabric's descriptor for waiting: ") + std::strerror(errno) +
                              " (the limit that matters: ulimit -n)");
  return waiter;
}

Result<> Waiter::watch(int descriptor) {
  if (add(all_, descriptor)) return {};
  return fail(Errc::io, std::string("cannot wait for a fabric's descriptor: ") + std::strerror(errno));
}

void Waiter::unwatch(int descriptor) { (void)::epoll_ctl(all_.number(), EPOLL_CTL_DEL, descriptor, nullptr); }

void Waiter::wake_after(long nanoseconds) {
  if (timer_set_) {
    std::uint64_t expirations = 0;
    while (::read(timer_.number(), &expirations, sizeof expirations) < 0 && errno == EINTR) {
    }
  }
  itimerspec wake{};
  wake.it_value.tv_nsec = nanoseconds;
  if (nanoseconds > 0 || timer_set_) ::timerfd_settime(timer_.number(), 0, &wake, nullptr);  // zero disarms
  timer_set_ = nanoseconds > 0;
}

bool Waiter::watch(const wire::Process& process, std::uint64_t name) {
  if (process == wire::this_process()) return true;
  bool gone = false;
  FileDescriptor descriptor = wire::watch_process(process, &gone);
  if (gone) return false;
  if (descriptor && add(processes_, descriptor.number(), name)) watched_[name] = std::move(descriptor);
  return true;
}

void Waiter::forget(std::uint64_t name) { watched_.erase(name); }

std::vector<std::uint64_t> Waiter::ended() {
  std::vector<std::uint64_t> names;
  if (watched_.empty()) return names;
  std::array<epoll_event, 16> events{};
  const int count = ::epoll_wait(processes_.number(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i)
    if (watched_.erase(events[static_cast<std::size_t>(i)].data.u64) != 0)
      names.push_back(events[static_cast<std::size_t>(i)].data.u64);
  return names;
}

}  // namespace gossamer
