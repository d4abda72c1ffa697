// A device without a device: runs the kernels of kernels/device/ on the host, a warp as a loop over its lanes.
//
// Memory comes from the host's heap, so that a sanitizer sees every access of every kernel.  It is as unhelpful as a device may be: scratch
// memory and what lanes have to themselves are full of garbage, and what is downloaded comes with finish() and not before.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/device/stream.h"

namespace gossamer {

class EmulatedWarp {
 public:
  template <class T>
  struct PerLane {
    static_assert(std::is_trivially_copyable_v<T>);
    PerLane() { std::memset(static_cast<void*>(&all), 0xa5, sizeof all); }
    std::array<T, device::kLanes> all;
    T& operator[](unsigned lane) { return all[lane]; }
  };

  template <class F>
  void each(F f) {
    const unsigned order = turn();
    for (unsigned i = 0; i < device::kLanes; ++i) f(i ^ order);
  }
  template <class F>
  void once(F f) {
    f();
  }
  template <class F>
  std::uint32_t max(F f) {
    std::uint32_t most = 0;
    each([&](unsigned lane) { most = std::max<std::uint32_t>(most, f(lane)); });
    return most;
  }
  template <class F>
  auto sum(F f) -> decltype(f(0u)) {
    decltype(f(0u)) lanes[device::kLanes];
    each([&](unsigned lane) { lanes[lane] = f(lane); });
    for (unsigned width = 16; width > 0; width /= 2)
      for (unsigned lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
    return lanes[0];
  }
  template <class F>
  std::uint32_t ballot(F f) {
    std::uint32_t bits = 0;
    each([&](unsigned lane) { bits |= std::uint32_t{f(lane)} << lane; });
    return bits;
  }
  template <class T>
  PerLane<T> exchange(PerLane<T> values, unsigned mask) {
    PerLane<T> others;
    for (unsigned lane = 0; lane < device::kLanes; ++lane) others[lane] = values[lane ^ mask];
    return others;
  }
  template <class T>
  T pick(PerLane<T> values, unsigned lane) {
    return values[lane];
  }
  template <class F>
  PerLane<std::uint32_t> before(F f, std::uint32_t* total) {
    PerLane<std::uint32_t> own, lower;
    each([&](unsigned lane) { own[lane] = f(lane); });
    *total = 0;
    for (unsigned lane = 0; lane < device::kLanes; ++lane) {
      lower[lane] = *total;
      *total += own[lane];
    }
    return lower;
  }

  template <class T>
  static T add(T* p, T n) {
    const T old = *p;
    *p += n;
    return old;
  }
  template <class T>
  static void raise(T* p, T n) {
    *p = std::max(*p, n);
  }
  static void set_bits(std::uint32_t* p, std::uint32_t bits) { *p |= bits; }

 private:
  // Lanes are in no order between two exchanges, so here they come in another one each time.
  unsigned turn() { return turn_ = (turn_ + 13) % device::kLanes; }
  unsigned turn_ = 0;
};

class EmulatedStream final : public DeviceStream {
 public:
  ~EmulatedStream() override {
    for (std::byte* one : scratch_) std::free(one);
  }

  void synchronize() override {
    for (const Download& one : downloads_) std::memcpy(one.to, one.bytes.data(), one.bytes.size());
    downloads_.clear();
  }
  Result<> finish() override {
    synchronize();
    return {};
  }
  void launch(const device::Work& work) override;
  void upload(const void* host, void* device, std::size_t size) override { copy(host, device, size); }
  void download(const void* device, void* host, std::size_t size) override {
    if (size == 0) return;
    const auto* const from = static_cast<const std::byte*>(device);
    downloads_.push_back({host, {from, from + size}});
    std::memset(host, 0xa5, size);
  }
  void copy(const void* from, void* to, std::size_t size) override {
    if (size > 0) std::memcpy(to, from, size);
  }
  void clear(void* device, std::size_t size) override {
    if (size > 0) std::memset(device, 0, size);
  }
  Result<std::byte*> allocate(std::size_t size) override {
    void* const memory = std::aligned_alloc(256, (size + 256) / 256 * 256);
    std::memset(memory, 0xa5, (size + 256) / 256 * 256);
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory) override { std::free(memory); }
  // A new piece each time, just as large as was asked for: who writes past it, or trusts what was in the last one, is found out.
  Result<std::byte*> scratch(std::size_t size, unsigned slot) override {
    std::free(scratch_[slot]);
    GOSSAMER_TRY_ASSIGN(scratch_[slot], allocate(size));
    return scratch_[slot];
  }
  Result<double> seconds_of(const std::function<void()>& work) override {
    const auto begin = std::chrono::steady_clock::now();
    work();
    synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  struct Download {
    void* to;
    std::vector<std::byte> bytes;
  };
  std::vector<Download> downloads_;
  std::byte* scratch_[kSlots] = {};
};

}  // namespace gossamer
