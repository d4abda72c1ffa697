// CUDA devices, and streams of work on them for the codecs and passes of kernels/device/.
//
//     auto stream = make_cuda_stream(0);
//     if (!stream) return Failure(stream.error());                       // says why there is none
//     auto codec = make_device_compressor({.codec = CodecId::qsgd});
//     auto used = (*codec)->encode(**stream, x, layout, seed, payload);  // x and payload: device memory
//
// Always there: in a build without CUDA both functions say so.  Functions are thread safe; a stream belongs to one caller.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/device/stream.h"

namespace gossamer {

struct CudaDevice {
  std::string name;
  std::size_t memory = 0;  // bytes
  int major = 0, minor = 0;  // compute capability
};

// At least one.  Errors: unsupported, and what is missing: the toolkit at build time, the driver, a device.
Result<std::vector<CudaDevice>> cuda_devices();

// Errors: unsupported, invalid_argument when there is no such device.
Result<std::unique_ptr<DeviceStream>> make_cuda_stream(int device);

}  // namespace gossamer
