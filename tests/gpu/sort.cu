#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <vector>

#include "tests/gpu/sort.h"

namespace gossamer {
namespace {

__global__ void fill(unsigned* x, std::size_t count) {
  const std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  if (i >= count) return;
  unsigned z = static_cast<unsigned>(i) * 0x9E3779B9u;  // magnitudes from 2^-31 to 2, by their bits
  z = (z ^ z >> 16) * 0x21F0AAADu;
  x[i] = 0x30000000u + (z ^ z >> 15) % 0x10000000u;
}

}  // namespace

double cub_sort_seconds(std::size_t elements) {
  unsigned *in = nullptr, *out = nullptr;
  void* scratch = nullptr;
  std::size_t size = 0;
  cudaEvent_t begin = nullptr, end = nullptr;
  std::vector<float> times;
  bool good = cudaMalloc(&in, 4 * elements) == cudaSuccess && cudaMalloc(&out, 4 * elements) == cudaSuccess &&
              cub::DeviceRadixSort::SortKeysDescending(nullptr, size, in, out, elements, 0, 31) == cudaSuccess &&
              cudaMalloc(&scratch, size) == cudaSuccess && cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess;
  if (good) fill<<<static_cast<unsigned>((elements + 255) / 256), 256>>>(in, elements);
  for (int r = 0; good && r < 6; ++r) {
    cudaEventRecord(begin);
    good = cub::DeviceRadixSort::SortKeysDescending(scratch, size, in, out, elements, 0, 31) == cudaSuccess;
    cudaEventRecord(end);
    float milliseconds = 0;
    good = good && cudaEventSynchronize(end) == cudaSuccess && cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess;
    if (r > 0) times.push_back(milliseconds);
  }
  for (void* memory : {static_cast<void*>(in), static_cast<void*>(out), scratch}) cudaFree(memory);
  if (!good) return -1;
  std::sort(times.begin(), times.end());
  return 1e-3 * static_cast<double>(times[2]);
}

}  // namespace gossamer
