// Memory of a GPU, as fabrics see it: somebody gives and takes it back, and moves bytes in and out.
//
// Nothing of transports/ follows an address in such memory; what the CPU has to move it moves by copy().  So whatever fulfils
// this interface can be a device, and tests have one that kills whoever touches its memory by himself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/memory.h"
#include "base/result.h"

namespace gossamer {

// One device.  Thread safe.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  // Its number among the devices of this process, and "NVIDIA H100 PCIe (device 0)".
  virtual int device() const = 0;
  virtual std::string name() const = 0;

  // Zeroed.  Errors: io where the device has not that much.
  virtual Result<std::byte*> allocate(std::size_t size) = 0;
  virtual void release(std::byte* memory) = 0;

  // Either side may be the host's or a device's.  The bytes are there when it returns, for the CPU and for work that the device
  // begins afterwards; work that writes `from` has to have ended before.  Errors: io, and what the device says.
  virtual Result<> copy(const std::byte* from, std::byte* to, std::size_t size) = 0;

  // Work that the device begins afterwards sees what an adapter has written into its memory before.  Errors: io.
  virtual Result<> settle() = 0;
};

// How bytes of a device get to the network and from it.
enum class DevicePath : std::uint8_t {
  direct,  // as they are: the fabric's library knows such memory; where it does not, the fabric is refused in words
  staged,  // through host memory at both ends: over every fabric, for two more copies
};

// What a fabric is made with to take memory of a device.
struct Device {
  std::shared_ptr<DeviceMemory> memory;  // null: host memory only
  DevicePath path = DevicePath::direct;

  bool is_direct() const { return memory && path == DevicePath::direct; }
};

// Copies bytes of a region in or out; `device` is null where it is host memory.  False, and `why_not` says why.
inline bool copy_bytes(DeviceMemory* device, const std::byte* from, std::byte* to, std::size_t size, std::string* why_not) {
  if (device == nullptr) {
    if (size > 0) std::memcpy(to, from, size);
    return true;
  }
  const auto copied = device->copy(from, to, size);
  if (!copied) *why_not = copied.error().message;
  return copied.has_value();
}

struct CudaMemoryOptions {
  int device = 0;
  // The driver, which is opened rather than linked: a program needs neither it nor the toolkit to be built or started.
  std::string driver = "libcuda.so.1";
};

// Memory of a CUDA device, in its primary context: the one of the CUDA runtime, and so of kernels/cuda.  Errors: unsupported
// where there is no driver or no device (and what to do), invalid_argument where there is no device of this number.
Result<std::shared_ptr<DeviceMemory>> make_cuda_memory(const CudaMemoryOptions& options = {});

}  // namespace gossamer
