// libFuzzer: run files.  What is accepted is written out in full and read again as the same run.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "runtime/run_file.h"

using namespace gossamer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Overrides overrides;
  overrides.environment.emplace();  // none, whatever this process has
  const auto run = parse_run_file({reinterpret_cast<const char*>(data), size}, "fuzz.yaml", overrides);
  if (!run) {
    if (run.error().message.empty()) std::abort();
    return 0;
  }
  const std::string written = to_yaml(*run);
  const auto again = parse_run_file(written, "again.yaml", overrides);
  if (!again || to_yaml(*again) != written) std::abort();
  return 0;
}
