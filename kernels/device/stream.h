// A stream of work on a GPU, as the device codecs see it.
//
// Work is done in the order in which it is asked for, and is over when finish() returns.  Addresses are those of the device;
// only upload() and download() take host memory.  Nothing here fails by itself: a device's errors are kept, and told by the
// next finish().  kernels/cuda/cuda.h makes one of a CUDA device.
//
// Belongs to one caller at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/memory.h"
#include "base/result.h"
#include "kernels/device/work.h"

namespace gossamer {

class DeviceStream : public Stream {
 public:
  MemoryKind kind() const override { return MemoryKind::cuda; }
  void synchronize() override = 0;

  // Waits for all work.  Errors: unsupported or internal, what the device says; the stream is then of no more use.
  virtual Result<> finish() = 0;

  virtual void launch(const device::Work& work) = 0;
  virtual void upload(const void* host, void* device, std::size_t size) = 0;    // `host` may change after the call
  virtual void download(const void* device, void* host, std::size_t size) = 0;  // there after finish()
  virtual void copy(const void* from, void* to, std::size_t size) = 0;          // on the device; no overlap
  virtual void clear(void* device, std::size_t size) = 0;                       // zeros

  // Memory of the device, aligned to 256 bytes.  Errors: unsupported when there is not enough.
  virtual Result<std::byte*> allocate(std::size_t size) = 0;
  virtual void release(std::byte* memory) = 0;

  // At least `size` bytes that the next call for this slot gives again: a codec's own, for one call.  Errors: as allocate().
  static constexpr unsigned kSlots = 2;
  virtual Result<std::byte*> scratch(std::size_t size, unsigned slot = 0) = 0;

  // The seconds that the device takes for what `work` asks of it.
  virtual Result<double> seconds_of(const std::function<void()>& work) = 0;
};

// Owns device memory; outlives neither its stream nor work on it.
template <class T>
class DeviceBuffer {
 public:
  static Result<DeviceBuffer> make(DeviceStream& stream, std::size_t count) {
    GOSSAMER_TRY_ASSIGN(std::byte* const memory, stream.allocate(count * sizeof(T)));
    return DeviceBuffer(stream, reinterpret_cast<T*>(memory), count);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : stream_(other.stream_), data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(stream_, other.stream_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) stream_->release(reinterpret_cast<std::byte*>(data_));
  }

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::span<T> span() const { return {data_, count_}; }
  MemoryView view() const { return {reinterpret_cast<std::byte*>(data_), count_ * sizeof(T), MemoryKind::cuda}; }

 private:
  DeviceBuffer(DeviceStream& stream, T* data, std::size_t count) : stream_(&stream), data_(data), count_(count) {}
  DeviceStream* stream_;
  T* data_;
  std::size_t count_;
};

}  // namespace gossamer
