// Lends an engine time: on the caller's thread, or on a thread of its own where communication overlaps
// computation.
//
// Between the two modes nothing changes for the engine: its calls are serialised by the driver's mutex.
// Inline, a peer that waits sleeps on the fabric's descriptor; threaded, the driver's thread does, and the
// trainer's thread sleeps until a round has closed.
//
// Inline, a peer may look for a while whether something comes after all before it sleeps, since to fall asleep and to be woken
// takes longer than a message does: for `spin`, from the last arrival on, and no longer than it may wait.  That is for peers with a core each; on a shared one
// whoever spins keeps those away for whom it waits.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "gossip/engine.h"
#include "transports/fabric.h"

namespace gossamer {

class EngineDriver {
 public:
  // `wake_fd` (or -1) also ends a wait: the control plane has something to say.
  EngineDriver(Engine& engine, Fabric& fabric, const Clock& clock, int wake_fd, bool threaded, Duration spin = {});
  ~EngineDriver();
  EngineDriver(const EngineDriver&) = delete;
  EngineDriver& operator=(const EngineDriver&) = delete;

  // Hold it while touching the engine or anything that does.
  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // Lends time without waiting.  Threaded: tells the thread that something was published.
  Result<> nudge();

  // For a caller whose rounds are open: lends time until one may have closed, `wake_fd` is readable or `at_most` has passed.
  // `wake_fd` is looked at when it sleeps, not while it spins.
  Result<> wait(Duration at_most);

  // For a caller that waits for the control plane alone: keeps the engine alive until `wake_fd` is readable or
  // `at_most` has passed.
  Result<> pause(Duration at_most);

 private:
  Result<> spin(std::size_t open_rounds, Time last);
  void sleep(Time deadline, Duration at_most, int wake_fd);
  void run();

  Engine& engine_;
  Fabric& fabric_;
  const Clock& clock_;
  int wake_fd_;
  Duration spin_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t changes_ = 0;
  std::optional<Error> error_;
  int nudge_fd_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace gossamer
