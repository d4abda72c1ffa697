// Wakes a process of this machine that sleeps although memory that it shares has changed: writes into memory wake nobody.
//
// The owner says that it is going to sleep, looks once more whether something came, and sleeps on the descriptor.  Whoever
// has written rings afterwards: that costs a look at one shared word, and a call of the kernel only when the owner sleeps.
// When the owner takes its memory away, it says so first.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "transports/shared_memory.h"

namespace gossamer {

struct DoorbellHandle {
  SharedHandle word;
  std::uint64_t descriptor = 0;  // of a pipe of the same process
  std::uint64_t device = 0, inode = 0;
};
static_assert(std::has_unique_object_representations_v<DoorbellHandle>, "no padding: it is sent as it is");

class Doorbell {
 public:
  enum State : std::uint32_t { kAwake, kSleeping, kClosed };

  static Result<Doorbell> make();

  void will_sleep() { word().store(kSleeping); }
  void awake();
  void close() { word().store(kClosed); }
  int fd() const { return read_.number(); }
  DoorbellHandle handle() const;

 private:
  std::atomic<std::uint32_t>& word() const { return *reinterpret_cast<std::atomic<std::uint32_t>*>(memory_.bytes().data()); }

  SharedMemory memory_;
  FileDescriptor read_, write_;
  bool owed_ = false;  // somebody has said that he rings, and had not yet rung when that was looked for
};

// Another process's.
class RemoteDoorbell {
 public:
  // Errors as SharedMemory::open.
  static Result<RemoteDoorbell> open(const DoorbellHandle& handle);

  void ring();
  bool closed() const { return word().load() == Doorbell::kClosed; }

 private:
  std::atomic<std::uint32_t>& word() const { return *reinterpret_cast<std::atomic<std::uint32_t>*>(memory_.bytes().data()); }

  SharedMemory memory_;
  FileDescriptor pipe_;
};

}  // namespace gossamer
