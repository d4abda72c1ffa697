#include "tests/kernels/emulated_stream.h"

namespace gossamer {

void EmulatedStream::launch(const device::Work& work) {
  std::visit(
      [](const auto& one) {
        device::with_kernel(one, [](const auto& kernel) {
          EmulatedWarp warp;
          // Warps run in any order on a device; here the last one comes first.
          for (std::uint64_t left = kernel.warps(); left > 0; --left) kernel(warp, left - 1);
        });
      },
      work);
}

}  // namespace gossamer
