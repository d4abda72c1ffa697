// What is used of CUDA's driver, without its header.  Private to cuda_memory.cc and to the tests of it.
#pragma once

#include <cstddef>
#include <string>

namespace gossamer::cuda_driver {

using Status = int;                  // CUresult
using Handle = int;                  // CUdevice
using Address = unsigned long long;  // CUdeviceptr
using Context = void*;               // CUcontext
using Stream = void*;                // CUstream

inline constexpr Status kSuccess = 0;
inline constexpr int kSyncMemops = 6;          // CU_POINTER_ATTRIBUTE_SYNC_MEMOPS
inline constexpr int kWritesOrdering = 118;    // CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING
inline constexpr int kOrderedForOwner = 100;   // CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER
inline constexpr int kFlushCurrentContext = 0; // CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX
inline constexpr int kFlushToOwner = 100;      // CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER
inline const Stream kStreamPerThread = reinterpret_cast<Stream>(2);  // CU_STREAM_PER_THREAD

// The names of the API, and the symbols behind them (cuda.h renames those that have a second version).
#define GOSSAMER_CUDA_FUNCTIONS(FUNCTION)                           \
  FUNCTION(cuInit, "cuInit");                                       \
  FUNCTION(cuGetErrorString, "cuGetErrorString");                   \
  FUNCTION(cuDeviceGetCount, "cuDeviceGetCount");                   \
  FUNCTION(cuDeviceGet, "cuDeviceGet");                             \
  FUNCTION(cuDeviceGetName, "cuDeviceGetName");                     \
  FUNCTION(cuDeviceGetAttribute, "cuDeviceGetAttribute");           \
  FUNCTION(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");   \
  FUNCTION(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2"); \
  FUNCTION(cuCtxPushCurrent, "cuCtxPushCurrent_v2");                \
  FUNCTION(cuCtxPopCurrent, "cuCtxPopCurrent_v2");                  \
  FUNCTION(cuMemAlloc, "cuMemAlloc_v2");                            \
  FUNCTION(cuMemFree, "cuMemFree_v2");                              \
  FUNCTION(cuMemsetD8Async, "cuMemsetD8Async");                     \
  FUNCTION(cuMemcpyAsync, "cuMemcpyAsync");                         \
  FUNCTION(cuStreamSynchronize, "cuStreamSynchronize");             \
  FUNCTION(cuPointerSetAttribute, "cuPointerSetAttribute")

struct Driver {
  Status (*cuInit)(unsigned flags) = nullptr;
  Status (*cuGetErrorString)(Status, const char** text) = nullptr;
  Status (*cuDeviceGetCount)(int* count) = nullptr;
  Status (*cuDeviceGet)(Handle*, int number) = nullptr;
  Status (*cuDeviceGetName)(char* name, int size, Handle) = nullptr;
  Status (*cuDeviceGetAttribute)(int* value, int attribute, Handle) = nullptr;
  Status (*cuDevicePrimaryCtxRetain)(Context*, Handle) = nullptr;
  Status (*cuDevicePrimaryCtxRelease)(Handle) = nullptr;
  Status (*cuCtxPushCurrent)(Context) = nullptr;
  Status (*cuCtxPopCurrent)(Context*) = nullptr;
  Status (*cuMemAlloc)(Address*, std::size_t size) = nullptr;
  Status (*cuMemFree)(Address) = nullptr;
  Status (*cuMemsetD8Async)(Address, unsigned char value, std::size_t count, Stream) = nullptr;
  Status (*cuMemcpyAsync)(Address to, Address from, std::size_t size, Stream) = nullptr;
  Status (*cuStreamSynchronize)(Stream) = nullptr;
  Status (*cuPointerSetAttribute)(const void* value, int attribute, Address) = nullptr;
  Status (*cuFlushGPUDirectRDMAWrites)(int target, int scope) = nullptr;  // may be missing

  std::string say(Status status) const {
    const char* text = nullptr;
    const bool known = cuGetErrorString(status, &text) == kSuccess && text != nullptr;
    return (known ? text : "error") + std::string(" (") + std::to_string(status) + ")";
  }
};

}  // namespace gossamer::cuda_driver
