#include "transports/ucx_wire.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>

#include "transports/ucx.h"

namespace gossamer::ucx {

std::string dialect() {
  const std::string version = ucx_version();
  return "UCX " + version.substr(0, version.find('.', version.find('.') + 1));
}

namespace {

// Whether a UCX_TLS value names one of these transports, or excludes others.
bool names_one_of(std::string_view tls, std::initializer_list<std::string_view> transports) {
  if (tls.starts_with('^')) return true;
  while (!tls.empty()) {
    const std::size_t comma = tls.find(',');
    std::string_view name = tls.substr(0, comma);
    if (name.starts_with('\\')) name.remove_prefix(1);  // UCX's way to say "this very transport, no alias"
    if (std::find(transports.begin(), transports.end(), name) != transports.end()) return true;
    if (comma == std::string_view::npos) break;
    tls.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

bool allows_shared_memory(std::string_view tls) { return names_one_of(tls, {"all", "sm", "shm", "mm", "posix", "sysv", "xpmem"}); }

bool may_use_rdma(std::string_view tls) {
  std::error_code error;
  return names_one_of(tls, {"all", "ib", "rc", "rc_v", "rc_x", "rc_verbs", "rc_mlx5", "dc", "dc_x", "dc_mlx5", "ud", "ud_v", "ud_x", "ud_verbs", "ud_mlx5"}) &&
         !std::filesystem::is_empty("/sys/class/infiniband", error) && !error;
}

}  // namespace gossamer::ucx
