#include "base/layout.h"

#include <utility>

namespace gossamer {

void Layout::add(std::string name, std::vector<std::size_t> shape) {
  std::size_t count = 1;
  for (std::size_t extent : shape) count *= extent;
  tensors_.push_back({std::move(name), std::move(shape), size_, count});
  size_ += count;
}

Layout Layout::flat(std::size_t count) {
  Layout layout;
  layout.add("", {count});
  return layout;
}

}  // namespace gossamer
