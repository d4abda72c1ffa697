// The one place that knows every backend by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "transports/fabric.h"
#include "transports/loopback.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer {

struct FabricOptions {
  std::string kind = "ucx";  // "ucx", "libfabric", or "loopback" for peers that are threads of one process

  UcxOptions ucx;                    // read where kind is "ucx"
  OfiOptions ofi;                    // read where kind is "libfabric"
  LoopbackOptions loopback;          // read where kind is "loopback"
  std::shared_ptr<LoopbackHub> hub;  // needed where kind is "loopback"; the peers of one process share it
};

// Errors: invalid_argument for a kind that does not exist; unsupported for one that this build or machine
// lacks.
Result<std::unique_ptr<Fabric>> make_fabric(const FabricOptions& options);

// The kinds that this build can make, for help texts and for the doctor.
std::vector<std::string_view> fabric_kinds();

}  // namespace gossamer
