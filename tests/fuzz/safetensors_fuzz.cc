// libFuzzer: models as .safetensors files.  What is accepted has as many values as its layout says.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "runtime/report/safetensors.h"

using namespace gossamer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of its own, so that reading one byte past the end is seen.
  const std::vector<std::uint8_t> copy(data, data + size);
  const auto model = parse_safetensors(std::as_bytes(std::span(copy)));
  if (model ? model->values.size() != model->layout.size() : model.error().message.empty()) std::abort();
  return 0;
}
