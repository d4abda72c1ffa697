// Everything that can be launched on a device, and how it becomes kernels.
#pragma once

#include <cstdint>
#include <type_traits>
#include <variant>

#include "kernels/device/decode_kernels.h"
#include "kernels/device/low_rank_kernels.h"
#include "kernels/device/positions_kernels.h"
#include "kernels/device/select_kernels.h"
#include "kernels/device/sparse_kernels.h"
#include "kernels/device/tile_kernels.h"
#include "kernels/device/vector_kernels.h"

namespace gossamer::device {

using Work = std::variant<EncodeWork, DecodeWork, Check, WeightedSum, Mix, CopyAndSquare<float>, CopyAndSquare<double>, Sum, Fold, Measure,     // tiles and vectors
                          Sample, Least, Find, Settle, Digits, Pick, Count, Kept, Keep,                                  // selection
                          Group, Extras, SumRows, WritePositions, WriteEmpty, Draw, Scatter, AddDistance,                // sparse payloads
                          Walk, CountPositions, CheckPositions, ReadPositions, CheckValues,                              // and their reading
                          FirstGuess, Times, TransposedTimes, FoldBlocks, Gram, Whiten, Rotate, MoveBody, Expand>;       // low rank

// Calls run(std::integral_constant<Code, c>) for the code c.
template <class Run>
void with_code(Code code, Run run) {
  switch (code) {
    case Code::f32:
      return run(std::integral_constant<Code, Code::f32>());
    case Code::f16:
      return run(std::integral_constant<Code, Code::f16>());
    case Code::bf16:
      return run(std::integral_constant<Code, Code::bf16>());
    case Code::e4m3:
      return run(std::integral_constant<Code, Code::e4m3>());
    case Code::nearest8:
      return run(std::integral_constant<Code, Code::nearest8>());
    case Code::nearest4:
      return run(std::integral_constant<Code, Code::nearest4>());
    case Code::stochastic8:
      return run(std::integral_constant<Code, Code::stochastic8>());
    case Code::stochastic4:
      return run(std::integral_constant<Code, Code::stochastic4>());
    case Code::stochastic2:
      return run(std::integral_constant<Code, Code::stochastic2>());
    case Code::sign:
      return run(std::integral_constant<Code, Code::sign>());
    case Code::natural:
      return run(std::integral_constant<Code, Code::natural>());
  }
}

// Calls run(kernel) with the kernel that does the work: one made for its code, or the work itself.
template <class Run>
void with_kernel(const EncodeWork& work, Run run) {
  with_code(work.how.code, [&](auto code) { run(Encode<decltype(code)::value>{work}); });
}
template <class Run>
void with_kernel(const DecodeWork& work, Run run) {
  with_code(work.how.code, [&](auto code) { run(Decode<decltype(code)::value>{work}); });
}
template <class Kernel, class Run>
void with_kernel(const Kernel& kernel, Run run) {
  run(kernel);
}

}  // namespace gossamer::device
