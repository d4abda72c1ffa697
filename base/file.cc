#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/file_descriptor.h"

namespace gossamer {
namespace {

std::string_view remedy(int error) {
  switch (error) {
    case ENOSPC:
      return "the disk is full; free some space or write elsewhere";
    case EDQUOT:
      return "the disk quota is used up; free some space or write elsewhere";
    case EACCES:
    case EPERM:
      return "permission denied; check the owner and mode of the file and of its folders";
    case EROFS:
      return "the file system is read-only; write elsewhere";
    case ENOENT:
      return "no such file or folder; check the path";
    case ENOTDIR:
      return "a part of the path is a file and not a folder; check the path";
    case EISDIR:
      return "this is a folder; name a file";
    case EMFILE:
    case ENFILE:
      return "too many open files; raise the limit (ulimit -n)";
    case EIO:
      return "the device reports an error; check the disk";
    case EFBIG:
      return "the file is too large for this file system or for ulimit -f";
    default:
      return {};
  }
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Unique among the threads and processes of this machine that are alive.
std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> next{0};
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return fmt::format("{}.{}.{}.{}.tmp", folder, name, ::getpid(),
                     next.fetch_add(1, std::memory_order_relaxed));
}

Result<> write_and_flush(const std::string& temporary, std::span<const std::string_view> pieces,
                         const std::string& path) {
  FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.number() < 0) return system_failure("cannot write", path, errno);
  for (const std::string_view bytes : pieces) GOSSAMER_TRY(write_all(file.number(), bytes, path));
  if (::fsync(file.number()) != 0) return system_failure("cannot write", path, errno);
  if (const int error = file.close(); error != 0) return system_failure("cannot write", path, error);
  return {};
}

}  // namespace

Failure system_failure(std::string_view doing, const std::string& path, int error) {
  const std::string_view words = remedy(error);
  const Errc code = error == ENOENT || error == ENOTDIR ? Errc::not_found
                    : error == EISDIR                   ? Errc::invalid_argument
                                                        : Errc::io;
  return fail(code, fmt::format("{} {}: {}", doing, path,
                                words.empty() ? std::generic_category().message(error) : std::string(words)));
}

Result<> write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_failure("cannot write", path, errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::string> read_file(const std::string& path, std::size_t size_max) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0) return system_failure("cannot read", path, errno);
  std::string bytes;
  struct stat about {};
  if (::fstat(file.number(), &about) == 0) {
    if (S_ISDIR(about.st_mode)) return system_failure("cannot read", path, EISDIR);
    if (about.st_size > 0 && static_cast<std::size_t>(about.st_size) <= size_max)
      bytes.reserve(static_cast<std::size_t>(about.st_size) + 1);
  }
  // The size is only a hint: the file may be a pipe, or grow.
  constexpr std::size_t kPiece = std::size_t{1} << 16;
  for (;;) {
    const std::size_t had = bytes.size();
    bytes.resize(had + kPiece);
    const ssize_t got = ::read(file.number(), bytes.data() + had, kPiece);
    const int error = errno;
    bytes.resize(had + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return bytes;
    if (got < 0 && error != EINTR) return system_failure("cannot read", path, error);
    if (bytes.size() > size_max)
      return fail(
          Errc::invalid_argument,
          fmt::format("cannot read {}: it is larger than the {} bytes permitted here", path, size_max));
  }
}

Result<> write_file_atomically(const std::string& path, std::span<const std::string_view> pieces) {
  struct stat about {};
  if (::stat(path.c_str(), &about) == 0 && !S_ISREG(about.st_mode)) {
    return fail(
        Errc::invalid_argument,
        fmt::format("cannot write {}: this is a {}; name a plain file", path,
                    S_ISDIR(about.st_mode) ? "folder" : "device or pipe, which a new file would replace"));
  }
  const std::string temporary = temporary_name(path);
  if (auto written = write_and_flush(temporary, pieces, path); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    return system_failure("cannot write", path, error);
  }
  // The name is part of the folder, which has its own place on the disk.  File systems that cannot flush a
  // folder (EINVAL) keep it in order by themselves.
  FileDescriptor folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() >= 0 && ::fsync(folder.number()) != 0 && errno != EINVAL)
    return system_failure("cannot flush the folder of", path, errno);
  return {};
}

Result<> write_file_atomically(const std::string& path, std::string_view bytes) {
  return write_file_atomically(path, std::span(&bytes, 1));
}

Result<> write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  return write_file_atomically(path,
                               std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace gossamer
