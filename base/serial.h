// Little-endian bytes for messages and checkpoints.
//
// A Writer appends.  A Reader is bounded: after the first read past the end every further read gives
// zeros, and ok() is false; check ok() once, after the last read, before the values are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace gossamer {

class Writer {
 public:
  template <class T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }
  void bytes(std::span<const std::byte> from) { bytes_.insert(bytes_.end(), from.begin(), from.end()); }
  // A length (u64) and then the elements.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void array(std::span<const T> from) {
    put<std::uint64_t>(from.size());
    bytes(std::as_bytes(from));
  }
  void text(std::string_view from) { array(std::span(from.data(), from.size())); }

  std::span<const std::byte> view() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> from) : rest_(from) {}

  template <class T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  T get() {
    T value{};
    if (const auto from = bytes(sizeof value); from.size() == sizeof value) std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  // The next `size` bytes, or none at all if fewer are left.
  std::span<const std::byte> bytes(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto head = rest_.first(size);
    rest_ = rest_.subspan(size);
    return head;
  }
  // An array written by Writer::array whose length must be that of `to`.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void array(std::span<T> to) {
    if (get<std::uint64_t>() != to.size()) {
      ok_ = false;
      rest_ = {};
      return;
    }
    if (const auto from = bytes(to.size_bytes()); from.size() == to.size_bytes() && !from.empty())
      std::memcpy(to.data(), from.data(), from.size());
  }
  std::string text() {
    const auto size = get<std::uint64_t>();
    const auto from = bytes(size);
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }

  bool ok() const { return ok_; }
  std::size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace gossamer
