// Models as .safetensors files, the format of github.com/huggingface/safetensors, which the Python packages
// of that name read (safetensors.numpy.load_file, safetensors.torch.load_file).
//
// A file is: u64 little-endian length of the header; the header, a JSON object
//   {"__metadata__": {string: string...}, NAME: {"dtype": "F32", "shape": [..], "data_offsets": [begin,
//   end]}...}
// padded with spaces to a multiple of 8; the tensors' bytes, row-major and without gaps, offsets counted from
// the end of the header.
//
// Reading trusts nothing: every length, offset, product and nesting is checked before memory is asked for,
// and at most the file's own size is allocated.  These are functions of their arguments; any thread may call
// them.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/layout.h"
#include "base/result.h"

namespace gossamer {

struct SavedModel {
  Layout layout;  // in the order of the bytes in the file
  std::vector<float> values;
  std::map<std::string, std::string> metadata;
};

// Writes the flat vector `values`, whose tensors `layout` names, as F32.  Atomic: readers see the old file or
// the new one.  Refuses names that occur twice or are not UTF-8, since no reader could tell them apart.
// REQUIRES: values.size() == layout.size().
Result<> write_safetensors(const std::string& path, std::span<const float> values, const Layout& layout,
                           const std::map<std::string, std::string>& metadata = {});

Result<SavedModel> read_safetensors(const std::string& path);

// The same from bytes in memory.
Result<SavedModel> parse_safetensors(std::span<const std::byte> file);

// Whether a vector laid out as `found` can be used as one laid out as `wanted`: same names, shapes and order.
// The error names the first difference.
Result<> check_same_layout(const Layout& wanted, const Layout& found);

}  // namespace gossamer
