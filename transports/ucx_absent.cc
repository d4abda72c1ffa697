// Stands in for ucx.cc where UCX was not found at build time.
#include "transports/ucx.h"

namespace gossamer {

Result<std::unique_ptr<Fabric>> make_ucx(const UcxOptions&) {
  return fail(
      Errc::unsupported,
      "this build has no UCX: install libucx-dev (Debian, Ubuntu) or ucx-devel (Fedora, RHEL), 1.13 or "
      "newer, and build again with -Ducx=enabled");
}

bool ucx_knows_cuda(const std::string&) { return false; }

std::string ucx_version() {
  return {};
}

}  // namespace gossamer
