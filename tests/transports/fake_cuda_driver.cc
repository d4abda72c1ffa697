// A CUDA driver without a GPU: as much of libcuda.so.1 as transports/cuda_memory.cc uses.
//
// Its device memory is mapped twice.  The addresses that it hands out may not be touched: whoever reads or writes there is killed
// by the kernel, as he would be with a GPU's.  Copies go through the second mapping.  It is as strict as a driver: calls need a
// current context, copies stay inside of allocations, and contexts are given back as often as they were taken.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#if __has_include(<cuda.h>)
#include <cuda.h>  // then the compiler compares what is said here and in cuda_driver.h with the real thing
static_assert(CU_POINTER_ATTRIBUTE_SYNC_MEMOPS == 6 && CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING == 118);
static_assert(CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER == 100 && CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER == 100);
static_assert(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX == 0 && sizeof(CUdeviceptr) == sizeof(unsigned long long));
static_assert(CUDA_ERROR_INVALID_VALUE == 1 && CUDA_ERROR_OUT_OF_MEMORY == 2 && CUDA_ERROR_INVALID_CONTEXT == 201 && CUDA_ERROR_LAUNCH_FAILED == 719);
#else
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = void*;
using CUstream = void*;
using CUdevice_attribute = int;
using CUpointer_attribute = int;
using CUflushGPUDirectRDMAWritesTarget = int;
using CUflushGPUDirectRDMAWritesScope = int;
#endif

namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidContext = 201, kLaunchFailed = 719;
constexpr std::size_t kDeviceSize = std::size_t{1} << 30;

CUresult result(int code) { return static_cast<CUresult>(code); }

struct Allocation {
  std::size_t size = 0, mapped = 0;
  std::byte* shadow = nullptr;
};

struct Gpu {
  std::mutex mutex;
  std::map<CUdeviceptr, Allocation> allocations;
  std::size_t in_use = 0;
  int retained = 0;
  std::atomic<int> copies_until_failure{-1};
  std::atomic<int> flushes{0};

  // Where the CPU may touch what lies at this address; null if an allocation is left.
  std::byte* touchable(CUdeviceptr address, std::size_t size) {
    const std::lock_guard lock(mutex);
    const auto above = allocations.upper_bound(address);
    if (above == allocations.begin()) return reinterpret_cast<std::byte*>(address);
    const auto& [start, allocation] = *std::prev(above);
    const std::size_t offset = address - start;
    if (offset >= allocation.mapped) return reinterpret_cast<std::byte*>(address);  // the host's
    return offset <= allocation.size && size <= allocation.size - offset ? allocation.shadow + offset : nullptr;
  }
};

Gpu gpu;
int context_is_here;
thread_local std::vector<CUcontext> contexts;

bool has_context() { return !contexts.empty() && contexts.back() == reinterpret_cast<CUcontext>(&context_is_here); }

}  // namespace

extern "C" {

// For tests.  The copy after `copies` good ones fails, and all that follow; -1: none.
void fake_cuda_fail_after(int copies) { gpu.copies_until_failure = copies; }
int fake_cuda_flushes() { return gpu.flushes; }
std::size_t fake_cuda_bytes_in_use() {
  const std::lock_guard lock(gpu.mutex);
  return gpu.in_use;
}
int fake_cuda_contexts() { return static_cast<int>(contexts.size()); }

CUresult cuInit(unsigned) { return result(kSuccess); }

CUresult cuGetErrorString(CUresult error, const char** text) {
  switch (static_cast<int>(error)) {
    case kInvalidValue: *text = "invalid argument"; break;
    case kOutOfMemory: *text = "out of memory"; break;
    case kInvalidContext: *text = "invalid device context"; break;
    case kLaunchFailed: *text = "unspecified launch failure"; break;
    default: return result(kInvalidValue);
  }
  return result(kSuccess);
}

CUresult cuDeviceGetCount(int* count) {
  *count = 1;
  return result(kSuccess);
}
CUresult cuDeviceGet(CUdevice* device, int number) {
  *device = number;
  return result(number == 0 ? kSuccess : kInvalidValue);
}
CUresult cuDeviceGetName(char* name, int size, CUdevice) {
  std::strncpy(name, "no GPU at all", static_cast<std::size_t>(size));
  return result(kSuccess);
}
// Adapters' writes have to be flushed here.
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute, CUdevice) {
  *value = 0;
  return result(kSuccess);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  const std::lock_guard lock(gpu.mutex);
  ++gpu.retained;
  *context = reinterpret_cast<CUcontext>(&context_is_here);
  return result(kSuccess);
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
  const std::lock_guard lock(gpu.mutex);
  return result(gpu.retained-- > 0 ? kSuccess : kInvalidContext);
}
CUresult cuCtxPushCurrent_v2(CUcontext context) {
  contexts.push_back(context);
  return result(kSuccess);
}
CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (contexts.empty()) return result(kInvalidContext);
  *context = contexts.back();
  contexts.pop_back();
  return result(kSuccess);
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, std::size_t size) {
  if (!has_context()) return result(kInvalidContext);
  if (size == 0) return result(kInvalidValue);
  const std::lock_guard lock(gpu.mutex);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t mapped = (size + page - 1) / page * page;
  if (gpu.in_use + mapped > kDeviceSize) return result(kOutOfMemory);
  const int file = ::memfd_create("fake_cuda", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(mapped)) != 0) return result(kOutOfMemory);
  void* const shadow = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  void* const handed_out = ::mmap(nullptr, mapped, PROT_NONE, MAP_SHARED, file, 0);
  ::close(file);
  if (shadow == MAP_FAILED || handed_out == MAP_FAILED) return result(kOutOfMemory);
  std::memset(shadow, 0xCD, size);  // as it comes
  *address = reinterpret_cast<CUdeviceptr>(handed_out);
  gpu.allocations[*address] = {size, mapped, static_cast<std::byte*>(shadow)};
  gpu.in_use += mapped;
  return result(kSuccess);
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  if (!has_context()) return result(kInvalidContext);
  const std::lock_guard lock(gpu.mutex);
  const auto found = gpu.allocations.find(address);
  if (found == gpu.allocations.end()) return result(kInvalidValue);
  ::munmap(reinterpret_cast<void*>(address), found->second.mapped);
  ::munmap(found->second.shadow, found->second.mapped);
  gpu.in_use -= found->second.mapped;
  gpu.allocations.erase(found);
  return result(kSuccess);
}

CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value, std::size_t count, CUstream) {
  if (!has_context()) return result(kInvalidContext);
  std::byte* const to = gpu.touchable(address, count);
  if (to == nullptr) return result(kInvalidValue);
  std::memset(to, value, count);
  return result(kSuccess);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t size, CUstream) {
  if (!has_context()) return result(kInvalidContext);
  int left = gpu.copies_until_failure;
  while (left > 0 && !gpu.copies_until_failure.compare_exchange_weak(left, left - 1)) {
  }
  if (left == 0) return result(kLaunchFailed);
  std::byte* const target = gpu.touchable(to, size);
  const std::byte* const source = gpu.touchable(from, size);
  if (target == nullptr || source == nullptr) return result(kInvalidValue);
  std::memmove(target, source, size);
  return result(kSuccess);
}

CUresult cuStreamSynchronize(CUstream) { return result(has_context() ? kSuccess : kInvalidContext); }

CUresult cuPointerSetAttribute(const void*, CUpointer_attribute attribute, CUdeviceptr address) {
  return result(static_cast<int>(attribute) == 6 && gpu.touchable(address, 1) != nullptr ? kSuccess : kInvalidValue);
}

CUresult cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget target, CUflushGPUDirectRDMAWritesScope scope) {
  if (!has_context()) return result(kInvalidContext);
  ++gpu.flushes;
  return result(static_cast<int>(target) == 0 && static_cast<int>(scope) == 100 ? kSuccess : kInvalidValue);
}

}  // extern "C"
