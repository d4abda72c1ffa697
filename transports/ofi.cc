#include "transports/ofi.h"

#include <utility>

#include "transports/core_fabric.h"
#include "transports/ofi_core.h"

namespace gossamer {

Result<std::unique_ptr<Fabric>> make_ofi(const OfiOptions& options) {
  GOSSAMER_TRY_ASSIGN(auto core, ofi::Core::make(options));
  return CoreFabric<ofi::Core>::make(std::move(core));
}

}  // namespace gossamer
