#include "transports/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "base/memory.h"

namespace gossamer {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Failure cannot(const std::string& what, int error) {
  const std::string text = what + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ESRCH:
      return fail(Errc::peer_gone, text + " (its owner has died or closed it)");
    case EACCES:
    case EPERM:
      return fail(Errc::unsupported, text + " (the owner is another user's process, or /proc hides it: hidepid)");
    default:
      return fail(Errc::io, text + " (limits that matter: free memory, the memory limit of this container, ulimit -n)");
  }
}

bool same_file(const struct stat& file, const SharedHandle& handle) {
  return S_ISREG(file.st_mode) && file.st_dev == handle.device && file.st_ino == handle.inode &&
         file.st_size >= 0 && static_cast<std::uint64_t>(file.st_size) == handle.size;
}

std::string path_of(std::uint64_t process, std::uint64_t descriptor) {
  return "/proc/" + std::to_string(process) + "/fd/" + std::to_string(descriptor);
}

}  // namespace

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void SharedMemory::stop_sharing() {
  if (data_ == nullptr) return;
  // In place, so that the range is never anybody else's.
  (void)::mmap(data_, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  descriptor_.close();
}

Result<SharedMemory> SharedMemory::create(std::size_t size) {
  if (size == 0 || size > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()))
    return fail(Errc::invalid_argument, "cannot share " + std::to_string(size) + " bytes of memory");
  const std::string what = "cannot create " + std::to_string(size) + " bytes of shared memory";
  FileDescriptor file(::memfd_create("gossamer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (file.number() < 0) return cannot(what, errno);
  // Not fallocate(): it takes page after page until the kernel kills somebody, where this is refused at once.
  struct stat about {};
  if (::ftruncate(file.number(), static_cast<off_t>(size)) != 0 || ::fcntl(file.number(), F_ADD_SEALS, kSeals) != 0 || ::fstat(file.number(), &about) != 0)
    return cannot(what, errno);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.number(), 0);
  if (data == MAP_FAILED) return cannot(what, errno);
  prefer_large_pages(data, size);
  SharedMemory memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size;
  memory.descriptor_ = std::move(file);
  memory.handle_ = {static_cast<std::uint64_t>(::getpid()), static_cast<std::uint64_t>(memory.descriptor_.number()),
                    about.st_dev, about.st_ino, size};
  return memory;
}

Result<SharedMemory> SharedMemory::create_unshared(std::size_t size) {
  if (size == 0) return fail(Errc::invalid_argument, "cannot allocate 0 bytes of memory");
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return cannot("cannot allocate " + std::to_string(size) + " bytes of memory", errno);
  prefer_large_pages(data, size);
  SharedMemory memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size;
  return memory;
}

Result<SharedHandle> SharedMemory::find(std::uint64_t process, std::uint64_t descriptor) {
  const std::string path = path_of(process, descriptor);
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return cannot("cannot find the shared memory " + path, errno);
  if (!S_ISREG(about.st_mode) || about.st_size < 0) return fail(Errc::corrupt, path + " is no shared memory");
  return SharedHandle{process, descriptor, about.st_dev, about.st_ino, static_cast<std::uint64_t>(about.st_size)};
}

Result<SharedMemory> SharedMemory::open(const SharedHandle& handle, Access access) {
  const bool writes = access == Access::read_write;
  const std::string path = path_of(handle.process, handle.descriptor);
  const std::string what = "cannot map the shared memory " + path;
  const auto corrupt = [&] { return fail(Errc::corrupt, what + ": it is not the memory that was meant"); };
  if (handle.size == 0 || handle.size > std::numeric_limits<std::size_t>::max()) return corrupt();
  // Looked at before it is opened: opening a device or a pipe can do things.
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return cannot(what, errno);
  if (!same_file(about, handle)) return corrupt();
  FileDescriptor file(::open(path.c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.number() < 0) return cannot(what, errno);
  if (::fstat(file.number(), &about) != 0) return cannot(what, errno);
  const int seals = ::fcntl(file.number(), F_GET_SEALS);
  if (!same_file(about, handle) || seals < 0 || (seals & F_SEAL_SHRINK) == 0) return corrupt();
  const auto size = static_cast<std::size_t>(handle.size);
  void* data = ::mmap(nullptr, size, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file.number(), 0);
  if (data == MAP_FAILED) return cannot(what, errno);
  prefer_large_pages(data, size);
  SharedMemory memory;
  memory.data_ = static_cast<std::byte*>(data);
  memory.size_ = size;
  memory.handle_ = handle;
  return memory;
}

}  // namespace gossamer
