#include "runtime/control/addresses.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstring>
#include <memory>

namespace gossamer::control {
namespace {

IpAddress from_sockaddr(const sockaddr* from) {
  if (from->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, from, sizeof in);
    return boost::asio::ip::address_v4(ntohl(in.sin_addr.s_addr));
  }
  sockaddr_in6 in{};
  std::memcpy(&in, from, sizeof in);
  boost::asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
  return boost::asio::ip::address_v6(bytes, in.sin6_scope_id);
}

std::string names_of_interfaces() {
  std::string names;
  for (const LocalAddress& local : local_addresses()) {
    if (!names.empty()) names += ", ";
    names += local.interface + " (" + local.address.to_string() + ")";
  }
  return names;
}

}  // namespace

Result<HostPort> parse_host_port(std::string_view text) {
  const auto wrong = [&](std::string_view why) {
    return fail(Errc::invalid_argument, "'" + std::string(text) + "' is not an address of the form host:port: " + std::string(why));
  };
  HostPort parsed;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return wrong("the bracket is not closed");
    parsed.host = text.substr(1, close - 1);
    if (close + 1 >= text.size() || text[close + 1] != ':') return wrong("no port behind the bracket");
    port = text.substr(close + 2);
  } else {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return wrong("no port");
    parsed.host = text.substr(0, colon);
    if (parsed.host.find(':') != std::string::npos) return wrong("an IPv6 address needs brackets, as in [::1]:5000");
    port = text.substr(colon + 1);
  }
  if (parsed.host.empty()) return wrong("no host");
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size() || number == 0 || number > 65535)
    return wrong("the port must be a number from 1 to 65535");
  parsed.port = static_cast<std::uint16_t>(number);
  return parsed;
}

std::string format_host_port(std::string_view host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string_view::npos;
  return (v6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + std::to_string(port);
}

IpAddress plain(const IpAddress& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  return address;
}

bool is_loopback(const IpAddress& address) { return plain(address).is_loopback(); }

std::vector<LocalAddress> local_addresses() {
  std::vector<LocalAddress> found;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(first, &freeifaddrs);
  for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0) continue;
    if (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6) continue;
    IpAddress address = from_sockaddr(i->ifa_addr);
    if (address.is_v6() && address.to_v6().is_link_local()) continue;
    found.push_back({i->ifa_name, address});
  }
  return found;
}

bool is_local(const IpAddress& address) {
  const IpAddress wanted = plain(address);
  if (wanted.is_loopback()) return true;
  const auto locals = local_addresses();
  return std::any_of(locals.begin(), locals.end(), [&](const LocalAddress& l) { return l.address == wanted; });
}

IpAddress primary_address() {
  // Connecting a datagram socket sends nothing; it only makes the kernel choose a route, and with it our address.
  // The far address is from a block reserved for documentation (RFC 5737).
  boost::asio::io_context io;
  boost::asio::ip::udp::socket probe(io);
  boost::system::error_code error;
  probe.open(boost::asio::ip::udp::v4(), error);
  if (!error) probe.connect({boost::asio::ip::make_address_v4("192.0.2.1"), 9}, error);
  if (!error) {
    const IpAddress address = probe.local_endpoint(error).address();
    if (!error && !address.is_loopback() && !address.is_unspecified()) return address;
  }
  const auto locals = local_addresses();
  for (const bool v4 : {true, false})
    for (const LocalAddress& local : locals)
      if (!local.address.is_loopback() && local.address.is_v4() == v4) return local.address;
  return boost::asio::ip::address_v4::loopback();
}

Result<Listening> resolve_listening(const std::string& host) {
  if (host.empty()) return Listening{boost::asio::ip::address_v4::any(), "", false};
  IpAddress chosen;
  bool found = false;
  const auto locals = local_addresses();
  for (const LocalAddress& local : locals) {
    if (local.interface != host) continue;
    if (!found || (local.address.is_v4() && !chosen.is_v4())) chosen = local.address;
    found = true;
  }
  if (!found) {
    const auto addresses = resolve(host);
    if (!addresses)
      return fail(Errc::invalid_argument, "cannot listen on '" + host + "': it is no interface of this machine and " +
                                              addresses.error().message + "; there are " + names_of_interfaces());
    boost::system::error_code not_literal;
    boost::asio::ip::make_address(host, not_literal);
    for (const IpAddress& address : *addresses) {
      if (address.is_unspecified()) return Listening{address, "", false};
      if (!is_local(address)) continue;
      if (!found || (is_loopback(chosen) && !is_loopback(address))) chosen = address;
      found = true;
    }
    if (!found)
      return fail(Errc::invalid_argument, "cannot listen on '" + host + "': " + addresses->front().to_string() +
                                              " is no address of this machine; there are " + names_of_interfaces());
    // Many distributions let a machine's own name resolve to 127.0.1.1: who gave the name did not mean that.
    if (not_literal && is_loopback(chosen) && host != "localhost")
      return Listening{boost::asio::ip::address_v4::any(), "", false};
  }
  return Listening{chosen, chosen.to_string(), is_loopback(chosen)};
}

Result<std::vector<IpAddress>> resolve(const std::string& host) {
  boost::system::error_code error;
  const IpAddress literal = boost::asio::ip::make_address(host, error);
  if (!error) return std::vector{literal};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  if (const int status = getaddrinfo(host.c_str(), nullptr, &hints, &first); status != 0)
    return fail(Errc::not_found, "the name '" + host + "' does not resolve (" + gai_strerror(status) + ")");
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(first, &freeaddrinfo);
  std::vector<IpAddress> found;
  for (const addrinfo* i = first; i != nullptr; i = i->ai_next)
    if (i->ai_family == AF_INET || i->ai_family == AF_INET6) found.push_back(from_sockaddr(i->ai_addr));
  if (found.empty()) return fail(Errc::not_found, "the name '" + host + "' has no IP address");
  return found;
}

std::string machine_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace gossamer::control
