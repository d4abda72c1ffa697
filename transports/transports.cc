#include "transports/transports.h"

namespace gossamer {

Result<std::unique_ptr<Fabric>> make_fabric(const FabricOptions& options) {
  if (options.kind == "ucx") return make_ucx(options.ucx);
  if (options.kind == "libfabric") return make_ofi(options.ofi);
  if (options.kind == "loopback") {
    if (!options.hub)
      return fail(
          Errc::invalid_argument,
          "the loopback fabric joins threads of one process and needs their hub; peers that are processes "
          "use `ucx` or `libfabric`");
    return make_loopback(options.hub, options.loopback);
  }
  return fail(Errc::invalid_argument,
              "there is no fabric `" + options.kind + "`; there are `ucx`, `libfabric` and `loopback`");
}

std::vector<std::string_view> fabric_kinds() {
  std::vector<std::string_view> kinds = {"loopback"};
  if (!ucx_version().empty()) kinds.emplace_back("ucx");
  if (!ofi_version().empty()) kinds.emplace_back("libfabric");
  return kinds;
}

}  // namespace gossamer
