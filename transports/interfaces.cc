#include "transports/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

namespace gossamer {
namespace {

// IPv4 as IPv6 maps it, so that one comparison of bits does for both.
using Bits = std::array<unsigned char, 16>;

std::optional<Bits> bits_of(const std::string& text) {
  Bits bits{};
  if (::inet_pton(AF_INET6, text.c_str(), bits.data()) == 1) return bits;
  in_addr four{};
  if (::inet_pton(AF_INET, text.c_str(), &four) != 1) return std::nullopt;
  bits[10] = bits[11] = 0xff;
  std::memcpy(bits.data() + 12, &four, 4);
  return bits;
}

struct Subnet {
  Bits bits{};
  unsigned prefix = 128;
};

// Of "10.1.0.0/16" or "10.1.2.3".
std::optional<Subnet> subnet_of(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  const auto bits = bits_of(address);
  if (!bits) return std::nullopt;
  Subnet subnet{*bits, 128};
  if (slash == std::string_view::npos) return subnet;
  const std::string_view digits = text.substr(slash + 1);
  const unsigned longest = address.find(':') == std::string::npos ? 32 : 128;
  unsigned prefix = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (error != std::errc() || end != digits.data() + digits.size() || prefix > longest) return std::nullopt;
  subnet.prefix = prefix + 128 - longest;
  return subnet;
}

bool lies_in(const Bits& bits, const Subnet& subnet) {
  for (unsigned i = 0; i < subnet.prefix; ++i) {
    const unsigned mask = 0x80u >> (i % 8);
    if ((bits[i / 8] & mask) != (subnet.bits[i / 8] & mask)) return false;
  }
  return true;
}

}  // namespace

NetworkAddress network_address(const sockaddr* address) {
  NetworkAddress result;
  if (address == nullptr) return result;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, address, sizeof four);
    result.text = ::inet_ntop(AF_INET, &four.sin_addr, text.data(), text.size());
    result.loopback = (ntohl(four.sin_addr.s_addr) >> 24) == 127;
  } else if (address->sa_family == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, address, sizeof six);
    result.text = ::inet_ntop(AF_INET6, &six.sin6_addr, text.data(), text.size());
    result.loopback = IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
    result.link_local = IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr);
  }
  return result;
}

std::vector<NetworkAddress> network_addresses() {
  std::vector<NetworkAddress> result;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return result;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(all, &::freeifaddrs);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if ((one->ifa_flags & IFF_UP) == 0) continue;
    NetworkAddress address = network_address(one->ifa_addr);
    if (address.text.empty()) continue;
    address.interface = one->ifa_name;
    result.push_back(std::move(address));
  }
  return result;
}

bool names(std::string_view wanted, const NetworkAddress& address) {
  if (wanted == address.interface) return true;
  const auto subnet = subnet_of(wanted);
  const auto bits = bits_of(address.text);
  return subnet && bits && lies_in(*bits, *subnet);
}

std::vector<std::string> interfaces_of(std::string_view wanted) {
  if (!subnet_of(wanted)) return {std::string(wanted)};
  std::vector<std::string> result;
  for (const NetworkAddress& address : network_addresses())
    if (names(wanted, address) && std::ranges::find(result, address.interface) == result.end())
      result.push_back(address.interface);
  return result;
}

std::string host_of(std::string_view wanted) {
  for (const NetworkAddress& address : network_addresses())
    if (names(wanted, address)) return wanted == address.interface ? address.interface : address.text;
  return {};
}

}  // namespace gossamer
