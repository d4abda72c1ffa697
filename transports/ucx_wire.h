// What the UCX backend adds to transports/wire.h.  Private to it.
#pragma once

#include <string>
#include <string_view>

#include "transports/wire.h"

namespace gossamer::ucx {

using wire::Address;
using wire::Kind;
using wire::RegionKey;
using UcxWire = wire::Header;

inline constexpr unsigned kMessageId = 17;  // of the active message; ours alone, since the worker is

// What fabrics of this library understand: its worker addresses change between releases.
std::string dialect();

// Whether this machine has RDMA devices that a UCX_TLS value lets UCX use.
// Whether connections may be made by datagrams of a device before they carry anything (rc, dc).
bool may_wire_up(std::string_view tls);
bool may_use_rdma(std::string_view tls);

// Whether a UCX_TLS value lets UCX use shared memory.
bool allows_shared_memory(std::string_view tls);

// Whether a UCX_NET_DEVICES value names loopback interfaces only.
bool are_loopback(std::string_view devices);

// The IP addresses of the interfaces that a UCX_NET_DEVICES value lets UCX use, for people; UCX tells nobody but this machine
// of its loopback addresses.
std::string advertised(std::string_view devices);

}  // namespace gossamer::ucx
