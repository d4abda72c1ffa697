// One descriptor to sleep on, for a fabric: readable when any of its own descriptors is, when a sleep was to end, or when
// a process of this machine that it talks to has ended.  Belongs to the fabric's thread.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "transports/wire.h"

namespace gossamer {

class Waiter {
 public:
  static Result<Waiter> make();

  int fd() const { return all_.number(); }

  // Stays watched until it is closed, or until then.
  Result<> watch(int descriptor);
  void unwatch(int descriptor);

  // From now on, or never if 0.  Cheap where nothing changes.
  void wake_after(long nanoseconds);

  // Names a process by a number of the caller's.  False: it has ended already.  A process that cannot be watched is
  // taken to live.
  bool watch(const wire::Process& process, std::uint64_t name);
  void forget(std::uint64_t name);
  // Those that have ended; each is named once.  A call of the kernel if any are watched.
  std::vector<std::uint64_t> ended();

 private:
  FileDescriptor all_, timer_, processes_;
  bool timer_set_ = false;
  std::unordered_map<std::uint64_t, FileDescriptor> watched_;
};

}  // namespace gossamer
