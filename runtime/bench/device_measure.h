// Times each codec and fused pass on a device beside a copy on that device in the same moment.
//
// What is timed is the whole call, launches and the wait for its end included.  Every repetition times the copy and the kernel
// one after the other; the ratio is the median over those pairs, of bytes counted as in kernels_measure.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/device/stream.h"
#include "runtime/bench/kernels_measure.h"

namespace gossamer {

struct DeviceBench {
  std::vector<std::size_t> elements = {25'000'000, 268'435'456};  // a model that fits the L2 cache of none, and one of 1 GiB
  std::size_t repetitions = 9;
  std::string only;  // rows whose name contains it
  // What could not be measured and why; the others still are.  Null: it ends the measurement.
  std::function<void(const std::string& name, std::size_t elements, const Error& why)> failed = {};
};

// Calls `row` after each measurement; its `threads` is 0 and its limit "device copy".  Errors: those of the device.
Result<> measure_device(DeviceStream& stream, const DeviceBench& bench, const std::function<void(const KernelRow&)>& row);

}  // namespace gossamer
