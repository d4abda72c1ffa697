// Stands in for ofi.cc where libfabric was not found at build time.
#include "transports/ofi.h"

namespace gossamer {

Result<std::unique_ptr<Fabric>> make_ofi(const OfiOptions&) {
  return fail(
      Errc::unsupported,
      "this build has no libfabric: install libfabric-dev (Debian, Ubuntu) or libfabric-devel (Fedora, RHEL), 1.17 or "
      "newer, and build again with -Dlibfabric=enabled");
}

std::string ofi_version() { return {}; }

std::vector<std::string> ofi_providers() { return {}; }

std::vector<std::string> ofi_device_providers() { return {}; }

}  // namespace gossamer
