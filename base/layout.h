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

// Neighbouring tensors, as a layout of their own.
struct LayoutPart {
  std::size_t offset = 0;  // of its first element in the whole
  Layout layout;           // its tensors, from 0 on
};

// Cuts a layout between tensors into parts of at least `least` elements, of the last tensors first: what a backward pass
// finishes together stays together.  The first part may be smaller.  At most `parts_max` parts, in ascending order.
// REQUIRES: parts_max >= 1.
std::vector<LayoutPart> cut(const Layout& layout, std::size_t least, std::size_t parts_max);

}  // namespace gossamer
