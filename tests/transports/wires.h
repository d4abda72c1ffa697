// The ways between two processes of this machine that the tests go.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "transports/fabric.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer::testing {

struct Wire {
  std::string name;
  std::string kind;                  // ucx or libfabric
  std::string transport, network;    // UCX's transports and devices, or libfabric's provider and interface
  bool maps = true;                  // memory of a neighbour is mapped, not reached by messages
};

inline Result<std::unique_ptr<Fabric>> make_fabric(const Wire& wire) {
  if (wire.kind == "ucx")
    return make_ucx({.tls = wire.transport, .net_devices = wire.network, .map_neighbours = wire.maps, .abandon_polls = 20});
  return make_ofi({.provider = wire.transport, .interface = wire.network, .map_neighbours = wire.maps, .abandon_polls = 20});
}

// Every way between two processes of this machine, and what this build or machine lacks.
inline std::vector<Wire> all_wires() {
  return {{"tcp", "ucx", "tcp,self", "lo"},
          {"shared_memory", "ucx", "posix,sysv,self", ""},
          {"shared_memory_by_messages", "ucx", "posix,sysv,self", "", false},
          {"own_choice", "ucx", "", ""},
          {"rc", "ucx", "rc_v,self", ""},
          {"libfabric_tcp", "libfabric", "tcp", "lo", false},
          {"libfabric_shm", "libfabric", "shm", ""},
          {"libfabric_shm_not_mapped", "libfabric", "shm", "", false},
          {"libfabric_own_choice", "libfabric", "", ""},
          {"libfabric_verbs", "libfabric", "verbs;ofi_rxm", "", false}};
}

// Why a wire cannot be tested here; empty when it can.
inline std::string missing(const Wire& wire) {
  const auto probe = make_fabric(wire);
  return !probe && probe.error().code == Errc::unsupported ? probe.error().message : "";
}

inline void PrintTo(const Wire& wire, std::ostream* out) { *out << wire.name; }

}  // namespace gossamer::testing
