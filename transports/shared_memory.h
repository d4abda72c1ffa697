// Memory that the processes of one machine share: an anonymous file of its owner, found by the others through
// /proc.  It has no name that could be left behind, and it lives until the last mapping of it is gone, so a
// mapping stays good when its owner dies.
//
// The handle is plain data and travels in messages.  Whoever opens it believes nothing in it: the file must be
// the very one that is meant, of the size that is said, and sealed against shrinking, since a read past the end
// of a mapped file kills the reader (SIGBUS).
//
// Not thread-safe.  Two objects may map the same memory, in one process too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace gossamer {

struct SharedHandle {
  std::uint64_t process = 0;  // of the owner, in its PID namespace
  std::uint64_t descriptor = 0;
  std::uint64_t device = 0, inode = 0;
  std::uint64_t size = 0;  // 0: no memory
};
static_assert(std::has_unique_object_representations_v<SharedHandle>, "no padding: it is sent as it is");

class SharedMemory {
 public:
  SharedMemory() = default;
  ~SharedMemory();
  SharedMemory(SharedMemory&& other) noexcept { swap(other); }
  SharedMemory& operator=(SharedMemory&& other) noexcept {
    SharedMemory gone(std::move(*this));
    swap(other);
    return *this;
  }

  // Zeroed.  Pages come when they are first written, as with any memory.  Errors: invalid_argument for no bytes;
  // io where the machine has not that much (the message says which limits matter).
  static Result<SharedMemory> create(std::size_t size);

  // The same for this process alone: handle() names no memory.  A kernel gives it large pages as a rule, and to memory that is shared
  // only where /sys/kernel/mm/transparent_hugepage/shmem_enabled says so.
  static Result<SharedMemory> create_unshared(std::size_t size);

  enum class Access { read_write, read };

  // Maps what another process (or this one) created; with Access::read whoever writes to bytes() dies of it.  Errors: peer_gone when the owner has died or closed it;
  // unsupported when this process may not look into the owner's /proc (another user, hidepid, another PID
  // namespace); corrupt when the handle does not name such memory; io.
  static Result<SharedMemory> open(const SharedHandle& handle, Access access = Access::read_write);

  // The memory behind a descriptor of a process, by that alone: what it is has to be found out from its contents.  Errors as open().
  static Result<SharedHandle> find(std::uint64_t process, std::uint64_t descriptor);

  // From now on nobody can open it any more; who has mapped it keeps it, the creator too.
  void withdraw() { descriptor_.close(); }

  // From now on bytes() is memory of this process alone, for writes that come late; what was shared is left as it is to whoever
  // else maps it, and can be opened no more.
  void stop_sharing();

  std::span<std::byte> bytes() const { return {data_, size_}; }
  // For open() elsewhere; good while the creator lives and keeps this object.
  const SharedHandle& handle() const { return handle_; }

 private:
  void swap(SharedMemory& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(handle_, other.handle_);
  }

  FileDescriptor descriptor_;  // kept open by the creator only
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  SharedHandle handle_;
};

}  // namespace gossamer
