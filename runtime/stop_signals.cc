#include "runtime/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "base/check.h"
#include "runtime/exit_code.h"

namespace gossamer {
namespace {

constexpr int kStopping[] = {SIGINT, SIGTERM, SIGHUP};

sigset_t stopping_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kStopping) sigaddset(&set, signal);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = stopping_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = FileDescriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  end_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  GOSSAMER_CHECK(signals_ && end_, "a new process can open two descriptors");
  watcher_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(end_.number(), &one, sizeof one);
  watcher_.join();
  for (const int signal : kStopping) ::signal(signal, SIG_IGN);
  const sigset_t set = stopping_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopSignals::watch() {
  pollfd watched[2] = {{signals_.number(), POLLIN, 0}, {end_.number(), POLLIN, 0}};
  // Waits without a deadline: it ends with the object.
  for (;;) {
    if (::poll(watched, 2, -1) < 0) continue;
    signalfd_siginfo info;
    while (::read(signals_.number(), &info, sizeof info) == sizeof info)
      if (stop_.exchange(true)) ::_exit(exit_code(Errc::interrupted));
    if (watched[1].revents != 0) return;
  }
}

}  // namespace gossamer
