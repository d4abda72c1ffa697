// In place of cuda_stream.cc in a build without CUDA.
#include "kernels/cuda/cuda.h"

namespace gossamer {

Result<std::vector<CudaDevice>> cuda_devices() {
  return fail(Errc::unsupported, "this build has no CUDA: install the toolkit (nvcc) and configure with -Dcuda=enabled");
}

Result<std::unique_ptr<DeviceStream>> make_cuda_stream(int) { return Failure(cuda_devices().error()); }

}  // namespace gossamer
