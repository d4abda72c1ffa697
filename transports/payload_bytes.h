// Bytes of a payload, and whose memory they lie in: the host's, or a device's.
//
// In the host's they are a range like a std::span, and become one.  A device's are not for the CPU: whoever asks for them in a way
// that lets him look (data(), begin(), a std::span) is stopped there, in words, before he does.  address() and device() are for
// kernels and for DeviceMemory::copy().
#pragma once

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>

#include "base/check.h"

namespace gossamer {

class DeviceMemory;

template <class Byte>  // std::byte, or const std::byte
class PayloadBytes {
 public:
  PayloadBytes() = default;
  // `device` outlives this; null: the host's.
  PayloadBytes(Byte* address, std::size_t size, DeviceMemory* device) : address_(address), size_(size), device_(device) {}
  // The host's.
  template <class Range>
    requires(!requires(Range of) { of.device(); } && std::convertible_to<Range, std::span<Byte>>)
  PayloadBytes(Range&& host) : PayloadBytes(std::span<Byte>(host)) {}
  PayloadBytes(std::span<Byte> host) : PayloadBytes(host.data(), host.size(), nullptr) {}
  template <class Other>
    requires std::same_as<const Other, Byte>
  PayloadBytes(const PayloadBytes<Other>& other) : PayloadBytes(other.address(), other.size(), other.device()) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  DeviceMemory* device() const { return device_; }
  Byte* address() const { return address_; }  // in whosever memory it is
  PayloadBytes first(std::size_t count) const { return {address_, count, device_}; }
  PayloadBytes subspan(std::size_t offset) const { return {address_ + offset, size_ - offset, device_}; }
  PayloadBytes subspan(std::size_t offset, std::size_t count) const { return {address_ + offset, count, device_}; }

  // REQUIRES: the host's.
  Byte* data() const {
    GOSSAMER_CHECK(device_ == nullptr, "a payload in memory of a device is not for the CPU: copy it by its DeviceMemory");
    return address_;
  }
  Byte* begin() const { return data(); }
  Byte* end() const { return data() + size_; }
  Byte& operator[](std::size_t i) const { return data()[i]; }

 private:
  Byte* address_ = nullptr;
  std::size_t size_ = 0;
  DeviceMemory* device_ = nullptr;
};

}  // namespace gossamer

// A view: what it points to outlives it.
template <class Byte>
inline constexpr bool std::ranges::enable_borrowed_range<gossamer::PayloadBytes<Byte>> = true;
