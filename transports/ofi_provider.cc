#include "transports/ofi_provider.h"

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "transports/interfaces.h"

namespace gossamer::ofi {
namespace {

constexpr std::uint32_t kVersion = FI_VERSION(1, 17);
// Messages of one sender are seen in the order in which they were sent; everything here needs that.
constexpr std::uint64_t kMessagesInOrder = FI_ORDER_SAS;
constexpr std::uint64_t kMessagesBehindWrites = FI_ORDER_SAS | FI_ORDER_SAW;

// What is asked of a provider.
struct Wish {
  bool writes = true, ordered = true;
  bool device = false;  // memory of devices, too
  std::uint64_t further_capabilities = 0;
};

Info ask(const std::string& provider, const Wish& wish) {
  const Info hints(fi_allocinfo());
  if (!hints) return nullptr;
  hints->caps = FI_MSG | (wish.writes ? FI_RMA : 0) | (wish.device ? FI_HMEM : 0) | wish.further_capabilities;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  if (wish.device) hints->domain_attr->mr_mode |= FI_MR_HMEM;
  hints->tx_attr->msg_order = hints->rx_attr->msg_order = wish.ordered ? kMessagesBehindWrites : kMessagesInOrder;
  // Without order the sender has to know when a write has been delivered.
  if (wish.writes && !wish.ordered) hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
  if (!provider.empty()) hints->fabric_attr->prov_name = ::strdup(provider.c_str());  // goes with the hints
  fi_info* found = nullptr;
  if (fi_getinfo(kVersion, nullptr, nullptr, 0, hints.get(), &found) != 0) return nullptr;
  return Info(found);
}

// Of an endpoint of this provider; its text is empty where the provider has no IP addresses.
NetworkAddress network_of(const fi_info& info) {
  NetworkAddress address;
  const bool is_ip = info.addr_format == FI_SOCKADDR || info.addr_format == FI_SOCKADDR_IN || info.addr_format == FI_SOCKADDR_IN6;
  if (is_ip && info.src_addr != nullptr) address = network_address(static_cast<const sockaddr*>(info.src_addr));
  if (info.domain_attr->name != nullptr) address.interface = info.domain_attr->name;
  return address;
}

// A domain of verbs is named for the adapter, "mlx5_0", and has the address of an interface, "ib0".
bool fits(const fi_info& info, const std::string& wanted, const std::vector<NetworkAddress>& interfaces) {
  NetworkAddress address = network_of(info);
  if (names(wanted, address)) return true;
  if (info.nic != nullptr && info.nic->device_attr != nullptr && info.nic->device_attr->name != nullptr &&
      wanted == info.nic->device_attr->name)
    return true;
  return std::ranges::any_of(interfaces, [&](const NetworkAddress& one) {
    return !address.text.empty() && one.text == address.text && one.interface == wanted;
  });
}

// The one to use of a list, or null.
const fi_info* pick(const fi_info* all, const std::string& wanted) {
  const auto interfaces = network_addresses();
  const fi_info* best = nullptr;
  const auto worth = [](const fi_info& info) {
    const NetworkAddress address = network_of(info);
    return (address.loopback ? 0 : 2) + (address.link_local ? 0 : 1);
  };
  for (const fi_info* info = all; info != nullptr; info = info->next) {
    // The first provider is libfabric's preference; only its networks are weighed.
    if (best != nullptr && std::strcmp(best->fabric_attr->prov_name, info->fabric_attr->prov_name) != 0) continue;
    if (!wanted.empty() && !fits(*info, wanted, interfaces)) continue;
    if (best == nullptr || worth(*info) > worth(*best)) best = info;
  }
  return best;
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

constexpr Wish kWishes[] = {{true, true}, {true, false}, {false, false}};

std::set<std::string> names_of(const fi_info* all) {
  std::set<std::string> names;
  for (const fi_info* info = all; info != nullptr; info = info->next) names.insert(info->fabric_attr->prov_name);
  return names;
}

}  // namespace

std::string say(const std::string& what, long error) {
  return what + ": " + fi_strerror(static_cast<int>(std::labs(error))) + " (" + std::to_string(std::labs(error)) + ")";
}

Result<Offer> choose(const OfiOptions& options) {
  bool any = false;
  std::set<std::string> without_device;
  for (Wish wish : kWishes) {
    if (options.device.is_direct()) {
      if (without_device.empty()) without_device = names_of(ask(options.provider, wish).get());
      if (!wish.writes) break;  // messages carry copies
      wish.device = true;
    }
    const Info all = ask(options.provider, wish);
    any = any || all;
    const fi_info* best = pick(all.get(), options.interface);
    if (best == nullptr) continue;
    Offer offer;
    offer.info = Info(fi_dupinfo(best));
    if (!offer.info) return fail(Errc::io, "libfabric cannot copy a description: out of memory");
    offer.info->tx_attr->op_flags = 0;  // asked for per operation
    offer.writes = wish.writes;
    offer.ordered = wish.ordered;
    const Info far = ask(best->fabric_attr->prov_name, {wish.writes, wish.ordered, wish.device, FI_REMOTE_COMM});
    offer.this_machine_only = !far;
    offer.loopback = network_of(*best).loopback;
    return offer;
  }
  if (!any && !without_device.empty())
    return fail(Errc::unsupported, "libfabric " + ofi_version() + " has " + (options.provider.empty() ? "no provider" : "no provider `" + options.provider + "`") +
                                       " that takes memory of devices (FI_HMEM) here; without it there are: " + join({without_device.begin(), without_device.end()}) +
                                       " (take a libfabric that was configured --with-cuda and a provider such as verbs, efa or cxi; or move bytes "
                                       "through host memory, DevicePath::staged)");
  const std::string there_are = "; here are: " + join(ofi_providers());
  if (any)
    return fail(Errc::invalid_argument, "libfabric" + (options.provider.empty() ? "" : "'s provider " + options.provider) +
                                            " has no network `" + options.interface + "` (transport.interface)" + there_are);
  return fail(Errc::unsupported,
              "libfabric " + ofi_version() + " has no " +
                  (options.provider.empty() ? "provider" : "provider `" + options.provider + "`") +
                  " that offers reliable datagrams in order on this machine" + there_are +
                  " (`fi_info -l` lists what it was built with; verbs needs an RDMA device and rdma-core)");
}

}  // namespace gossamer::ofi

namespace gossamer {

std::string ofi_version() {
  const std::uint32_t version = fi_version();
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

std::vector<std::string> ofi_providers() {
  // In libfabric's order of preference.
  std::vector<std::string> providers;
  std::vector<std::string> networks;
  for (const auto& wish : ofi::kWishes) {
    const ofi::Info all = ofi::ask({}, wish);
    for (const fi_info* info = all.get(); info != nullptr; info = info->next) {
      auto at = std::ranges::find(providers, info->fabric_attr->prov_name);
      if (at == providers.end()) {
        at = providers.insert(providers.end(), info->fabric_attr->prov_name);
        networks.emplace_back();
      }
      std::string& list = networks[static_cast<std::size_t>(at - providers.begin())];
      const std::string name = info->domain_attr->name != nullptr ? info->domain_attr->name : "?";
      if ((", " + list + ",").find(", " + name + ",") == std::string::npos) list += (list.empty() ? "" : ", ") + name;
    }
  }
  for (std::size_t i = 0; i < providers.size(); ++i) providers[i] += " (" + networks[i] + ")";
  return providers;
}

std::vector<std::string> ofi_device_providers() {
  std::set<std::string> names;
  for (ofi::Wish wish : ofi::kWishes) {
    wish.device = true;
    if (!wish.writes) continue;
    names.merge(ofi::names_of(ofi::ask({}, wish).get()));
  }
  return {names.begin(), names.end()};
}

}  // namespace gossamer
