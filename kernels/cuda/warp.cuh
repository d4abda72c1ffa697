// The warp of a GPU: kernels/device/warp.h says what it has to do.
#pragma once

#include <cstdint>

#include "kernels/device/warp.h"

namespace gossamer::cuda {

class Warp {
 public:
  template <class T>
  struct PerLane {
    T own;
    __device__ T& operator[](unsigned) { return own; }
  };

  template <class F>
  __device__ void each(F f) {
    f(lane());
    __syncwarp();
  }
  template <class F>
  __device__ void once(F f) {
    if (lane() == 0) f();
    __syncwarp();
  }
  template <class F>
  __device__ std::uint32_t max(F f) {
    std::uint32_t most = f(lane());
#if __CUDA_ARCH__ >= 800
    return __reduce_max_sync(kAll, most);
#else
    for (unsigned width = 16; width > 0; width /= 2) {
      const std::uint32_t other = __shfl_xor_sync(kAll, most, width);
      most = other > most ? other : most;
    }
    return most;
#endif
  }
  // Lanes add in both directions, which changes no bit: a + b is b + a.
  template <class F>
  __device__ auto sum(F f) -> decltype(f(0u)) {
    auto total = f(lane());
    for (unsigned width = 16; width > 0; width /= 2) total += __shfl_xor_sync(kAll, total, width);
    return total;
  }
  template <class F>
  __device__ std::uint32_t ballot(F f) {
    return __ballot_sync(kAll, f(lane()));
  }
  template <class T>
  __device__ PerLane<T> exchange(PerLane<T> values, unsigned mask) {
    return {static_cast<T>(__shfl_xor_sync(kAll, values.own, mask))};
  }
  template <class T>
  __device__ T pick(PerLane<T> values, unsigned lane) {
    return __shfl_sync(kAll, values.own, lane);
  }
  template <class F>
  __device__ PerLane<std::uint32_t> before(F f, std::uint32_t* total) {
    const std::uint32_t own = f(lane());
    std::uint32_t through = own;
    for (unsigned width = 1; width < device::kLanes; width *= 2) {
      const std::uint32_t lower = __shfl_up_sync(kAll, through, width);
      if (lane() >= width) through += lower;
    }
    *total = __shfl_sync(kAll, through, device::kLanes - 1);
    return {through - own};
  }

  __device__ static std::uint32_t add(std::uint32_t* p, std::uint32_t n) { return atomicAdd(p, n); }
  __device__ static std::uint64_t add(std::uint64_t* p, std::uint64_t n) { return atomicAdd(wide(p), static_cast<unsigned long long>(n)); }
  __device__ static void raise(std::uint32_t* p, std::uint32_t n) { atomicMax(p, n); }
  __device__ static void raise(std::uint64_t* p, std::uint64_t n) { atomicMax(wide(p), static_cast<unsigned long long>(n)); }
  __device__ static void set_bits(std::uint32_t* p, std::uint32_t bits) { atomicOr(p, bits); }

 private:
  static constexpr unsigned kAll = 0xffffffffu;
  __device__ static unsigned lane() { return threadIdx.x % device::kLanes; }
  __device__ static unsigned long long* wide(std::uint64_t* p) { return reinterpret_cast<unsigned long long*>(p); }
};

}  // namespace gossamer::cuda
