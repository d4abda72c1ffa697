// Addresses of the control plane: which one to listen on, which one to tell the others.
//
// The rule that keeps peers apart from failing to meet: a loopback address is never told to another host.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gossamer::control {

using IpAddress = boost::asio::ip::address;

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

// "host:port", "10.0.0.1:5000", "[fe80::1]:5000".
Result<HostPort> parse_host_port(std::string_view text);
std::string format_host_port(std::string_view host, std::uint16_t port);

// An IPv4 address that IPv6 carries becomes plain again.
IpAddress plain(const IpAddress& address);
// 127.0.0.0/8 or ::1.
bool is_loopback(const IpAddress& address);

struct LocalAddress {
  std::string interface;
  IpAddress address;
};
// Of all interfaces of this machine that are up, without IPv6 link-local ones.
std::vector<LocalAddress> local_addresses();
// Is this an address of this machine?
bool is_local(const IpAddress& address);
// The address from which this machine reaches the world; without one its first that is not loopback, else 127.0.0.1.
IpAddress primary_address();

// What ControlOptions::host asks for.
struct Listening {
  IpAddress bind;            // unspecified: everywhere
  std::string advertise;     // empty: the address that a connection shows
  bool loopback_only = false;
};
Result<Listening> resolve_listening(const std::string& host);

// All addresses of a name or a literal.  Blocks as long as the machine's resolver does.
Result<std::vector<IpAddress>> resolve(const std::string& host);

// This machine's name.
std::string machine_name();

}  // namespace gossamer::control
