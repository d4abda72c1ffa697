// The tensors inside a flat vector.
//
// A model is one contiguous vector of float32; its Layout says where each parameter tensor lies.
// Per-tensor compression, buckets and safetensors files read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gossamer {

struct Tensor {
  std::string name;
  std::vector<std::size_t> shape;  // row-major
  std::size_t offset = 0;          // in elements, from the start of the flat vector
  std::size_t count = 0;           // elements; the product of shape
};

// Tensors in ascending, gapless order.  Immutable once built, so it may be shared between threads.
class Layout {
 public:
  Layout() = default;

  // Appends a tensor behind the last one.
  void add(std::string name, std::vector<std::size_t> shape);

  // One unnamed tensor of `count` elements.
  static Layout flat(std::size_t count);

  std::size_t size() const { return size_; }  // elements in all tensors
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
  std::size_t size_ = 0;
};

}  // namespace gossamer
