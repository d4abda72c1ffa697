// A fabric over libfabric (OFI): verbs, EFA, Slingshot, Omni-Path, TCP, shared memory, whatever its providers serve.
//
// One reliable-datagram endpoint.  What the provider offers decides, never its name:
// - a large put into memory from allocate() is a one-sided write; the notice is a message behind it.  Where messages are
//   ordered behind writes (FI_ORDER_SAW) it is sent at once, elsewhere when the write has been delivered;
// - a small put is one message that carries its bytes, and so is every piece of a put into memory of the caller
//   (which could not be recalled if the caller frees it) or over a provider without one-sided writes;
// - on one machine memory from allocate() is mapped by its neighbours: a put is a copy on the sender's thread, and
//   its notice goes through a ring in shared memory (neighbours.h).
//
// An Ended with ok says that the source may be written again, not that the peer has seen the notice.
//
// When a peer dies on this machine, the kernel tells (a pidfd) and its links go down.  On another machine libfabric tells of
// what was under way, if at all; for the rest whoever knows (a heartbeat) destroys the link, and its puts end with
// peer_gone.  Messages are numbered, so that one that was lost in silence breaks the link as soon as another one comes.
// A fabric that is destroyed in good order takes leave, and the links of its peers go down at once everywhere.
//
// One fabric is one domain with one endpoint.  Several may live in a process, on different threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "transports/device_memory.h"
#include "transports/fabric.h"

namespace gossamer {

struct OfiOptions {
  // "tcp", "net", "shm", "verbs;ofi_rxm", "efa", ...; empty leaves the choice to libfabric.
  std::string provider;
  // The network: an interface or a libfabric domain by name, a subnet, or an address.  Empty: the provider's first that is
  // no loopback, if there is one.
  std::string interface;

  // Puts of one link whose Ended has not been handed out yet; beyond it put() is would_block.
  std::size_t puts_in_flight_max = 64;
  // Bare notices of one link that libfabric has not taken off our hands yet; beyond it notify() is would_block.
  std::size_t notices_in_flight_max = 256;
  // False: memory of neighbours on this machine is reached by libfabric, too, as it is where it cannot be mapped.
  bool map_neighbours = true;
  // For memory of a device.  Direct: a provider is chosen that takes it (FI_HMEM), large puts are one-sided writes from device to
  // device; make_ofi() is refused where there is none.
  Device device;
  // How many calls of poll() the puts of a lost peer or a destroyed link may take to end by themselves before they are
  // given up.
  std::size_t abandon_polls = 100;
};

// Errors: unsupported where this build has no libfabric or no provider fits (the message says what there is);
// invalid_argument for an interface that the provider does not have.
Result<std::unique_ptr<Fabric>> make_ofi(const OfiOptions& options = {});

// "1.17", or empty where this build has no libfabric.
std::string ofi_version();

// The providers of this machine that can carry a fabric, each with the networks that it reaches: "tcp;ofi_rxm (eth0, lo)".
std::vector<std::string> ofi_providers();

// The names of those that say they take memory of devices (FI_HMEM); whether this libfabric was built for the device at hand shows
// when such memory is registered.
std::vector<std::string> ofi_device_providers();

}  // namespace gossamer
