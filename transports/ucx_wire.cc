#include "transports/ucx_wire.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>

#include "transports/interfaces.h"
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

bool may_wire_up(std::string_view tls) {
  return may_use_rdma(tls) && names_one_of(tls, {"all", "ib", "rc", "rc_v", "rc_x", "rc_verbs", "rc_mlx5", "dc", "dc_x", "dc_mlx5"});
}

bool are_loopback(std::string_view devices) {
  bool any = false;
  for (const NetworkAddress& address : network_addresses()) {
    if (!names_one_of(devices, {address.interface})) continue;
    if (!address.loopback) return false;
    any = true;
  }
  // "lo,mlx5_0:1" has one that is no interface.
  const auto interfaces = 1 + std::ranges::count(devices, ',');
  return any && interfaces == 1;
}

std::string advertised(std::string_view devices) {
  std::string text;
  for (const NetworkAddress& address : network_addresses()) {
    const bool meant = devices == "all" ? !address.loopback : names_one_of(devices, {address.interface});
    if (meant && !address.link_local) text += (text.empty() ? "" : ", ") + address.interface + " " + address.text;
  }
  return text.empty() ? "no IP address" : text;
}

}  // namespace gossamer::ucx
