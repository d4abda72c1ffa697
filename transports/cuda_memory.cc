// DeviceMemory by the driver of CUDA.  Its functions are opened at run time, so their types are said here; a test compares
// them with cuda.h where there is one.
#include <dlfcn.h>

#include <utility>

#include "transports/cuda_driver.h"
#include "transports/device_memory.h"

namespace gossamer {
namespace {

using namespace cuda_driver;  // the driver's names

// Makes a context the calling thread's while it lives.
class Current {
 public:
  Current(const Driver& driver, Context context) : driver_(driver), status(driver.cuCtxPushCurrent(context)) {}
  ~Current() {
    Context was = nullptr;
    if (status == kSuccess) (void)driver_.cuCtxPopCurrent(&was);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const Driver& driver_;

 public:
  const Status status;
};

class CudaMemory final : public DeviceMemory {
 public:
  explicit CudaMemory(const Driver& driver) : driver_(driver) {}

  ~CudaMemory() override {
    if (context_ != nullptr) (void)driver_.cuDevicePrimaryCtxRelease(handle_);
  }

  Result<> open(int device) {
    device_ = device;
    GOSSAMER_TRY(must(driver_.cuDeviceGet(&handle_, device), "choosing the device"));
    char text[256] = {};
    if (driver_.cuDeviceGetName(text, sizeof text - 1, handle_) == kSuccess) name_ = text;
    GOSSAMER_TRY(must(driver_.cuDevicePrimaryCtxRetain(&context_, handle_), "taking its primary context"));
    int ordering = 0;
    const bool known = driver_.cuDeviceGetAttribute(&ordering, kWritesOrdering, handle_) == kSuccess;
    flushes_ = known && ordering < kOrderedForOwner && driver_.cuFlushGPUDirectRDMAWrites != nullptr;
    return {};
  }

  int device() const override { return device_; }
  std::string name() const override { return name_ + " (device " + std::to_string(device_) + ")"; }

  Result<std::byte*> allocate(std::size_t size) override {
    const Current current(driver_, context_);
    GOSSAMER_TRY(must(current.status, "making its context current"));
    Address address = 0;
    GOSSAMER_TRY(must(driver_.cuMemAlloc(&address, size), "allocating " + std::to_string(size) + " bytes"));
    // Else a copy may return before it is done, and an adapter would send what was there before.
    const unsigned yes = 1;
    auto done = must(driver_.cuPointerSetAttribute(&yes, kSyncMemops, address), "ordering its memory with adapters");
    if (done) done = must(driver_.cuMemsetD8Async(address, 0, size, kStreamPerThread), "clearing memory");
    if (done) done = must(driver_.cuStreamSynchronize(kStreamPerThread), "clearing memory");
    if (done) return reinterpret_cast<std::byte*>(address);
    (void)driver_.cuMemFree(address);
    return Failure(done.error());
  }

  void release(std::byte* memory) override {
    const Current current(driver_, context_);
    if (current.status == kSuccess) (void)driver_.cuMemFree(reinterpret_cast<Address>(memory));
  }

  // One address space for host and devices (UVA): the driver knows by itself which side is whose.
  Result<> copy(const std::byte* from, std::byte* to, std::size_t size) override {
    if (size == 0) return {};
    const Current current(driver_, context_);
    GOSSAMER_TRY(must(current.status, "making its context current"));
    GOSSAMER_TRY(must(driver_.cuMemcpyAsync(reinterpret_cast<Address>(to), reinterpret_cast<Address>(from), size, kStreamPerThread),
                      "copying " + std::to_string(size) + " bytes"));
    return must(driver_.cuStreamSynchronize(kStreamPerThread), "copying " + std::to_string(size) + " bytes");
  }

  Result<> settle() override {
    if (!flushes_) return {};
    const Current current(driver_, context_);
    GOSSAMER_TRY(must(current.status, "making its context current"));
    return must(driver_.cuFlushGPUDirectRDMAWrites(kFlushCurrentContext, kFlushToOwner), "waiting for what adapters have written");
  }

 private:
  Result<> must(Status status, const std::string& doing) const {
    if (status == kSuccess) return {};
    return fail(Errc::io, "CUDA device " + std::to_string(device_) + ", " + doing + ": " + driver_.say(status));
  }

  const Driver driver_;
  Handle handle_ = 0;
  Context context_ = nullptr;
  int device_ = 0;
  std::string name_ = "CUDA device";
  bool flushes_ = false;
};

Result<Driver> load(const std::string& name) {
  // Never closed: a driver has threads of its own.
  void* const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return fail(Errc::unsupported, "no CUDA driver: " + std::string(::dlerror()) +
                                       " (install the NVIDIA driver; start a container with the GPUs, --gpus all)");
  Driver driver;
  std::string missing;
  const auto find = [&](auto& function, const char* symbol, bool needed = true) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
    if (function == nullptr && needed) missing += std::string(missing.empty() ? "" : ", ") + symbol;
  };
#define GOSSAMER_FIND(name, symbol) find(driver.name, symbol)
  GOSSAMER_CUDA_FUNCTIONS(GOSSAMER_FIND);
#undef GOSSAMER_FIND
  find(driver.cuFlushGPUDirectRDMAWrites, "cuFlushGPUDirectRDMAWrites", false);  // since CUDA 11.3
  if (!missing.empty()) return fail(Errc::unsupported, "the CUDA driver " + name + " is too old: it has no " + missing);
  return driver;
}

}  // namespace

Result<std::shared_ptr<DeviceMemory>> make_cuda_memory(const CudaMemoryOptions& options) {
  GOSSAMER_TRY_ASSIGN(const Driver driver, load(options.driver));
  int count = 0;
  if (const Status status = driver.cuInit(0); status != kSuccess)
    return fail(Errc::unsupported, "the CUDA driver does not start: " + driver.say(status) + " (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  if (driver.cuDeviceGetCount(&count) != kSuccess || count == 0)
    return fail(Errc::unsupported, "the CUDA driver has no device (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  if (options.device < 0 || options.device >= count)
    return fail(Errc::invalid_argument, "CUDA device " + std::to_string(options.device) + ": there are devices 0 .. " + std::to_string(count - 1));
  auto memory = std::make_shared<CudaMemory>(driver);
  GOSSAMER_TRY(memory->open(options.device));
  return memory;
}

}  // namespace gossamer
