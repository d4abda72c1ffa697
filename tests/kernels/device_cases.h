// What every DeviceStream must give: the bytes, bits and sentences of the host's codecs, for all of them, on all size classes,
// unaligned, with awkward and hostile contents.
//
// The cases know no test framework, so that they also run where there is only a compiler (tests/gpu/run).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/device/stream.h"

namespace gossamer {

struct DeviceCase {
  std::string name;
  // Nothing, or the first difference.
  std::function<std::string(DeviceStream&)> run;
};

std::vector<DeviceCase> device_cases();

}  // namespace gossamer
