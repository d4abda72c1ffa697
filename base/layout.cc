#include "base/layout.h"

#include <algorithm>
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

std::vector<LayoutPart> cut(const Layout& layout, std::size_t least, std::size_t parts_max) {
  // Every part but the first has at least so many, so that there are fewer than parts_max of those.
  least = std::max({least, (layout.size() + parts_max - 1) / parts_max, std::size_t{1}});
  const std::vector<Tensor>& tensors = layout.tensors();
  std::vector<LayoutPart> parts;
  for (std::size_t end = tensors.size(); end > 0;) {
    std::size_t begin = end, count = 0;
    while (begin > 0 && count < least) count += tensors[--begin].count;
    // Tensors without elements, should they come first, are no part.
    if (std::all_of(tensors.begin(), tensors.begin() + static_cast<std::ptrdiff_t>(begin), [](const Tensor& one) { return one.count == 0; })) begin = 0;
    LayoutPart part{tensors[begin].offset, {}};
    for (std::size_t i = begin; i < end; ++i) part.layout.add(tensors[i].name, tensors[i].shape);
    parts.push_back(std::move(part));
    end = begin;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace gossamer
