// The networks of this machine, and how a user names one: `eth0`, `10.1.0.0/16`, `10.1.2.3`.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

namespace gossamer {

struct NetworkAddress {
  std::string interface;
  std::string text;  // "10.1.2.3", without a port
  bool loopback = false;
  bool link_local = false;  // IPv6: says nothing without its interface
};

// Of all interfaces that are up.
std::vector<NetworkAddress> network_addresses();

// The address alone, its interface empty; text is empty for what is not an IP address.
NetworkAddress network_address(const sockaddr* address);

// Whether `wanted` names this address: its interface, the address itself, or a subnet that it lies in.
bool names(std::string_view wanted, const NetworkAddress& address);

// The interfaces that `wanted`, a subnet or an address, lies on; `wanted` itself where it is neither (then it is a
// device's name), and empty where no interface has such an address.
std::vector<std::string> interfaces_of(std::string_view wanted);

// What of `wanted` other sockets of this machine can listen on: the interface itself, the address in a subnet; empty where it
// names no network of IP (a device, say).
std::string host_of(std::string_view wanted);

}  // namespace gossamer
