#include "transports/ucx.h"

#include <utility>

#include "transports/core_fabric.h"
#include "transports/ucx_core.h"

namespace gossamer {

Result<std::unique_ptr<Fabric>> make_ucx(const UcxOptions& options) {
  GOSSAMER_TRY_ASSIGN(auto core, ucx::Core::make(options));
  return CoreFabric<ucx::Core>::make(std::move(core));
}

std::string ucx_version() { return ucp_get_version_string(); }

}  // namespace gossamer
