// Strings over a pipe between a test and the processes that it starts.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>

namespace gossamer::testing {

inline bool write_all(int fd, const void* data, std::size_t size) {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, from, size);
    if (written <= 0) return false;
    from += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

inline bool read_all(int fd, void* data, std::size_t size) {
  char* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::read(fd, to, size);
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

inline bool write_message(int fd, const std::string& text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  return write_all(fd, &size, sizeof size) && write_all(fd, text.data(), text.size());
}

inline bool read_message(int fd, std::string* text) {
  std::uint32_t size = 0;
  if (!read_all(fd, &size, sizeof size) || size > (1u << 20)) return false;
  text->resize(size);
  return read_all(fd, text->data(), size);
}

}  // namespace gossamer::testing
