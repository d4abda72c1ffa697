// Cuts one piece of scratch memory into arrays: first counted with null, then cut for good.
#pragma once

#include <cstddef>

namespace gossamer::device {

class Scratch {
 public:
  explicit Scratch(std::byte* base) : base_(base) {}

  template <class T>
  T* take(std::size_t count) {
    const std::size_t at = used_;
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

}  // namespace gossamer::device
