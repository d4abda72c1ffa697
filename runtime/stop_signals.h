// Ctrl-C and kill as a flag that a peer's loop looks at.
#pragma once

#include <atomic>
#include <thread>

#include "base/file_descriptor.h"

namespace gossamer {

// While this lives, SIGINT, SIGTERM and SIGHUP do not end the process but set the flag; a second one ends it
// at once with the exit code of an interruption.  Create it before any other thread: threads inherit which
// signals they leave alone.  One per process, and near its end: afterwards these signals are ignored, since how the
// process ends is decided by then and handlers of libraries (libinfinipath's exits with 1) must not decide otherwise.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  const std::atomic<bool>& stop() const { return stop_; }

 private:
  void watch();

  std::atomic<bool> stop_{false};
  FileDescriptor signals_, end_;
  std::thread watcher_;
};

}  // namespace gossamer
