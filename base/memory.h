// Views of memory that may live on the host or on a GPU, and the streams that order work on it.
//
// Views and owners are different types.  A MemoryView names bytes and owns nothing; the owner
// outlives it.  A Stream is passed by reference to whatever enqueues work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <typeindex>
#include <utility>
#include <vector>

namespace gossamer {

enum class MemoryKind : std::uint8_t { host = 0, cuda = 1 };

struct MemoryView {
  std::byte* data = nullptr;
  std::size_t size = 0;
  MemoryKind kind = MemoryKind::host;

  std::span<std::byte> bytes() const { return {data, size}; }
};

// Orders work on one device.  On the host work is done when the call that asked for it returns, and a
// Stream is a token; a CUDA stream will derive from it.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual MemoryKind kind() const { return MemoryKind::host; }
  // Returns when all work enqueued so far is done.
  virtual void synchronize() {}

  // Host streams: calls part(context, p) for p = 0 .. parts-1, at most width() at once, and returns when all are done.
  // Here the caller's thread does it all; kernels/parallel.h has a stream with threads.
  using Part = void (*)(void* context, std::size_t part);
  virtual std::size_t width() const { return 1; }
  virtual void run(std::size_t parts, Part part, void* context) {
    for (std::size_t p = 0; p < parts; ++p) part(context, p);
  }

  // A T that lasts as long as the stream: what one call allocates and leaves to the next, since memory that comes from the system anew
  // costs a page fault for every 4 KiB.  Not thread safe, and not for a call within another one that keeps the same T: engines on
  // threads of their own have streams of their own.
  template <class T>
  T& keep() {
    for (const Kept& kept : kept_)
      if (kept.type == typeid(T)) return *static_cast<T*>(kept.value.get());
    return *static_cast<T*>(kept_.emplace_back(Kept{typeid(T), std::make_shared<T>()}).value.get());
  }

  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

 private:
  struct Kept {
    std::type_index type;
    std::shared_ptr<void> value;
  };
  std::vector<Kept> kept_;
};

// Has the kernel back this memory by large pages where it is asked to (transparent_hugepage/enabled is `madvise`) and has any:
// a pass over a model then takes 1 page fault for 512, and hardly ever waits for an address.  REQUIRES: not written yet.
void prefer_large_pages(void* data, std::size_t size);

// Host memory aligned to a cache line (64 bytes), zeroed, movable, not copyable; in large pages, if it is large.
template <class T>
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t count)
      : data_(count == 0 ? nullptr
                         : static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{kAlignment}))),
        count_(count) {
    prefer_large_pages(data_, count * sizeof(T));
    for (std::size_t i = 0; i < count; ++i) new (data_ + i) T{};
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~AlignedBuffer() { ::operator delete(data_, std::align_val_t{kAlignment}); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::span<T> span() { return {data_, count_}; }
  std::span<const T> span() const { return {data_, count_}; }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace gossamer
