#include "transports/doorbell.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace gossamer {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "the word is shared between processes");

Result<Doorbell> Doorbell::make() {
  Doorbell bell;
  GOSSAMER_TRY_ASSIGN(bell.memory_, SharedMemory::create(sizeof(std::uint32_t)));
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return fail(Errc::io, std::string("cannot make a doorbell: ") + std::strerror(errno) +
                              " (the limit that matters: ulimit -n)");
  bell.read_ = FileDescriptor(ends[0]);
  bell.write_ = FileDescriptor(ends[1]);
  return bell;
}

void Doorbell::awake() {
  const bool rung = word().exchange(kAwake) == kAwake;
  if (!rung && !owed_) return;
  std::array<char, 64> rings;
  bool any = false;
  while (::read(read_.number(), rings.data(), rings.size()) > 0) any = true;
  // A ring that comes late would wake every sleep from now on.
  owed_ = !any;
}

DoorbellHandle Doorbell::handle() const {
  struct stat about {};
  if (::fstat(write_.number(), &about) != 0) return {};
  return {memory_.handle(), static_cast<std::uint64_t>(write_.number()), about.st_dev, about.st_ino};
}

Result<RemoteDoorbell> RemoteDoorbell::open(const DoorbellHandle& handle) {
  RemoteDoorbell bell;
  GOSSAMER_TRY_ASSIGN(bell.memory_, SharedMemory::open(handle.word));
  if (bell.memory_.bytes().size() < sizeof(std::uint32_t)) return fail(Errc::corrupt, "the doorbell of a neighbour has no word");
  const std::string path = "/proc/" + std::to_string(handle.word.process) + "/fd/" + std::to_string(handle.descriptor);
  struct stat about {};
  // Looked at before it is opened: opening a device can do things.
  const auto is_meant = [&] { return S_ISFIFO(about.st_mode) && about.st_dev == handle.device && about.st_ino == handle.inode; };
  if (::stat(path.c_str(), &about) != 0 || !is_meant())
    return fail(Errc::peer_gone, "cannot open the doorbell " + path + " of a neighbour: it has died or closed it");
  // For reading too, so that ringing at the dead is no broken pipe.
  bell.pipe_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!bell.pipe_ || ::fstat(bell.pipe_.number(), &about) != 0 || !is_meant())
    return fail(Errc::io, "cannot open the doorbell " + path + " of a neighbour: " + std::strerror(errno));
  return bell;
}

void RemoteDoorbell::ring() {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // what was written, before the look at the word
  std::uint32_t sleeping = Doorbell::kSleeping;
  if (word().load(std::memory_order_relaxed) != sleeping || !word().compare_exchange_strong(sleeping, Doorbell::kAwake)) return;
  const char ring = 1;
  [[maybe_unused]] const auto written = ::write(pipe_.number(), &ring, 1);  // a full pipe is readable, which is all that counts
}

}  // namespace gossamer
