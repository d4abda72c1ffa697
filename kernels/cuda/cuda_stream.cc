#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"

namespace gossamer {
namespace {

class CudaStream final : public DeviceStream {
 public:
  explicit CudaStream(int device) : device_(device) {}

  ~CudaStream() override {
    const Here here(this);
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    for (const Scratch& one : scratch_)
      if (small_.find(one.memory) == small_.end()) cudaFree(one.memory);
    for (const auto& [memory, size] : small_) cudaFree(memory);
    if (staging_ != nullptr) cudaFreeHost(staging_);
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  Result<> open() {
    const Here here(this);
    note(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
    note(cudaEventCreate(&begin_), "creating an event");
    note(cudaEventCreate(&end_), "creating an event");
    note(cudaMallocHost(reinterpret_cast<void**>(&staging_), kStaging), "allocating memory to copy from");
    return verdict();
  }

  void synchronize() override {
    note(cudaStreamSynchronize(stream_), "waiting for work");
    staged_ = 0;
  }

  Result<> finish() override {
    const Here here(this);
    synchronize();
    return verdict();
  }

  void launch(const device::Work& work) override {
    const Here here(this);
    note(std::visit([this](const auto& one) { return cuda::launch(stream_, one); }, work), "launching a kernel");
  }

  void upload(const void* host, void* device, std::size_t size) override {
    const Here here(this);
    if (size == 0) return;
    // By way of memory of our own: CUDA promises neither to have read a caller's when the call returns (a GPU that reads pageable memory
    // by itself may read it late) nor not to wait for the stream first.
    if (size > kStaging - staged_) synchronize();
    const bool stages = size <= kStaging;
    std::byte* const from = staging_ + staged_;
    if (stages) {
      std::memcpy(from, host, size);
      staged_ += (size + kStagingStep - 1) / kStagingStep * kStagingStep;
    }
    note(cudaMemcpyAsync(device, stages ? from : host, size, cudaMemcpyHostToDevice, stream_), "copying to the device");
    if (!stages) synchronize();
  }
  void download(const void* device, void* host, std::size_t size) override {
    const Here here(this);
    if (size > 0) note(cudaMemcpyAsync(host, device, size, cudaMemcpyDeviceToHost, stream_), "copying from the device");
  }
  void copy(const void* from, void* to, std::size_t size) override {
    const Here here(this);
    if (size > 0) note(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream_), "copying on the device");
  }
  void clear(void* device, std::size_t size) override {
    const Here here(this);
    if (size > 0) note(cudaMemsetAsync(device, 0, size, stream_), "clearing memory");
  }

  // Small pieces are kept for the next one that asks, since the driver gives and takes only while the whole device waits.
  Result<std::byte*> allocate(std::size_t size) override {
    const Here here(this);
    size = size <= kSmall ? std::bit_ceil(std::max<std::size_t>(size, 4096)) : size;
    std::vector<std::byte*>* const spare = size <= kSmall ? &spare_[size] : nullptr;
    if (spare != nullptr && !spare->empty()) {
      std::byte* const memory = spare->back();
      spare->pop_back();
      return memory;
    }
    void* memory = nullptr;
    if (const cudaError_t error = cudaMalloc(&memory, size); error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      return fail(Errc::unsupported, "CUDA: no " + std::to_string(size) + " bytes of device memory: " + cudaGetErrorString(error));
    } else if (error != cudaSuccess) {  // of earlier work, most likely
      note(error, "allocating memory");
      return Failure(verdict().error());
    }
    if (spare != nullptr) small_[static_cast<std::byte*>(memory)] = size;
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory) override {
    if (const auto small = small_.find(memory); small != small_.end()) return spare_[small->second].push_back(memory);
    const Here here(this);
    note(cudaFree(memory), "releasing memory");  // waits for all work
  }

  Result<std::byte*> scratch(std::size_t size, unsigned slot) override {
    Scratch& own = scratch_[slot];
    if (size <= own.size && own.memory != nullptr) return own.memory;
    if (own.memory != nullptr) release(std::exchange(own.memory, nullptr));
    GOSSAMER_TRY_ASSIGN(own.memory, allocate(size + size / 4));  // not for every few bytes more
    own.size = size + size / 4;
    return own.memory;
  }

  Result<double> seconds_of(const std::function<void()>& work) override {
    const Here here(this);
    note(cudaEventRecord(begin_, stream_), "timing");
    work();
    note(cudaEventRecord(end_, stream_), "timing");
    GOSSAMER_TRY(finish());
    float milliseconds = 0;
    note(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing");
    GOSSAMER_TRY(verdict());
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  // A thread has one current device, which is its own business: while this lives it is the stream's.
  class Here {
   public:
    explicit Here(CudaStream* of) {
      int current = of->device_;
      cudaError_t error = cudaGetDevice(&current);
      if (error == cudaSuccess && current != of->device_ && (error = cudaSetDevice(of->device_)) == cudaSuccess) before_ = current;
      of->note(error, "choosing the device");
    }
    ~Here() {
      if (before_ >= 0) cudaSetDevice(before_);
    }
    Here(const Here&) = delete;
    Here& operator=(const Here&) = delete;

   private:
    int before_ = -1;
  };

  void note(cudaError_t error, const char* doing) {
    if (error == cudaSuccess) return;
    (void)cudaGetLastError();  // or other code of this thread would find it there
    if (error_ != cudaSuccess) return;
    error_ = error;
    doing_ = doing;
  }

  Result<> verdict() const {
    if (error_ == cudaSuccess) return {};
    const bool missing = error_ == cudaErrorNoKernelImageForDevice || error_ == cudaErrorInsufficientDriver || error_ == cudaErrorUnsupportedPtxVersion;
    return fail(missing ? Errc::unsupported : Errc::internal,
                std::string("CUDA device ") + std::to_string(device_) + ", " + doing_ + ": " + cudaGetErrorString(error_));
  }

  const int device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  static constexpr std::size_t kStaging = std::size_t{1} << 20, kStagingStep = 64;
  std::byte* staging_ = nullptr;  // what upload() copies from
  std::size_t staged_ = 0;        // of it, since all work was done
  struct Scratch {
    std::byte* memory = nullptr;
    std::size_t size = 0;
  } scratch_[kSlots];
  static constexpr std::size_t kSmall = std::size_t{1} << 20;
  std::map<std::byte*, std::size_t> small_;                // all small pieces, and how large they are
  std::map<std::size_t, std::vector<std::byte*>> spare_;  // those that nobody has, by size
  cudaError_t error_ = cudaSuccess;  // the first one
  const char* doing_ = "";
};

}  // namespace

Result<std::vector<CudaDevice>> cuda_devices() {
  int count = 0;  // stays as it is where there is no driver
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    cudaGetLastError();
    return fail(Errc::unsupported, std::string("no CUDA device: ") + cudaGetErrorString(error));
  }
  if (count == 0) return fail(Errc::unsupported, "no CUDA device: the driver has none (nvidia-smi, CUDA_VISIBLE_DEVICES)");
  std::vector<CudaDevice> devices;
  for (int d = 0; d < count; ++d) {
    cudaDeviceProp properties{};
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, d); error != cudaSuccess)
      return fail(Errc::unsupported, "CUDA device " + std::to_string(d) + ": " + cudaGetErrorString(error));
    devices.push_back({properties.name, properties.totalGlobalMem, properties.major, properties.minor});
  }
  return devices;
}

Result<std::unique_ptr<DeviceStream>> make_cuda_stream(int device) {
  GOSSAMER_TRY_ASSIGN(const std::vector<CudaDevice> devices, cuda_devices());
  if (device < 0 || static_cast<std::size_t>(device) >= devices.size())
    return fail(Errc::invalid_argument, "CUDA device " + std::to_string(device) + ": there are devices 0 .. " + std::to_string(devices.size() - 1));
  auto stream = std::make_unique<CudaStream>(device);
  GOSSAMER_TRY(stream->open());
  return stream;
}

}  // namespace gossamer
