// A fabric over UCX: InfiniBand and RoCE, shared memory, TCP, whatever UCX finds on the machine.
//
// Towards another machine a put is one active message.  Its header says where the bytes belong and carries
// the notice; small ones are sent eagerly, and with RDMA large ones move straight into the target by rendezvous.  So
// the receiver's poll() is what lets puts land.  On one machine, where shared memory is among the transports,
// memory from allocate() is mapped by its neighbours: a put is a copy on the sender's thread, and the
// notice goes through a ring in shared memory (neighbours.h). Memory of the caller works everywhere too, through UCX and one more
// copy at the receiver, because a transfer into it could not be recalled if the caller frees it.
//
// An Ended with ok says that the source may be written again, not that the peer has seen the notice.
//
// When a peer dies:
// - over a network its links go down as soon as UCX notices, and the puts under way end with peer_gone;
// - over shared memory UCX notices nothing, but the kernel tells when a process of this machine ends (a pidfd).  Puts
//   towards a peer that is only stopped stay bounded by would_block; whoever gives it up (a heartbeat) destroys the
//   link, and soon after the puts end with peer_gone.  Regions that UCX might still read are kept mapped for it; memory
//   of the caller given to add_region() must in this one case stay mapped until the fabric is gone.
// A fabric that is destroyed in good order takes leave, and the links of its peers go down at once
// everywhere.
//
// One fabric is one UCX context with one worker.  Several may live in a process, on different threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transports/device_memory.h"
#include "transports/fabric.h"

namespace gossamer {

struct UcxOptions {
  // UCX's transports, "tcp,self" or "posix,sysv,self" or "rc,sm,self", say.  Empty: UCX_TLS, or else all that
  // UCX finds.  Peers that are meant to reach each other need one in common.
  std::string tls;
  // Network devices, "mlx5_0:1" or "eth0", comma-separated.  Empty: UCX_NET_DEVICES, or else all of them.
  std::string net_devices;
  // The network by an interface, a subnet or an address instead ("eth0", "10.1.0.0/16"); what is none of these is taken for
  // the name of a device.  Wins over net_devices.
  std::string interface;
  // Further UCX settings by their names without UCX_, for example {"RNDV_THRESH", "64K"}.  They win over the
  // environment.
  std::vector<std::pair<std::string, std::string>> settings;

  // Puts of one link whose Ended has not been handed out yet; beyond it put() is would_block.  More hide more
  // latency and pin more memory on both sides.
  std::size_t puts_in_flight_max = 64;
  // Bare notices of one link that UCX has not taken off our hands yet; beyond it notify() is would_block.
  std::size_t notices_in_flight_max = 256;
  // False: memory of neighbours on this machine is reached by messages, too, as it is where it cannot be mapped.
  bool map_neighbours = true;
  // For memory of a device.  Direct: UCX takes it from there and puts it there (cuda_copy, cuda_ipc, GPUDirect); make_ucx() is
  // refused where this UCX, or the transports chosen of it, know no such memory.
  Device device;
  // How long a connection over an RDMA device may take to open before its links go down.
  std::chrono::milliseconds wire_up_patience = std::chrono::seconds(30);
  // How many calls of poll() the puts of a destroyed link may take to end by themselves, where UCX does not
  // tell that the peer is gone, before they are given up.
  std::size_t abandon_polls = 1000;
};

// Errors: unsupported where this build has no UCX or UCX finds nothing to use (the message says what to
// install or to set); invalid_argument for settings that UCX refuses.
Result<std::unique_ptr<Fabric>> make_ucx(const UcxOptions& options = {});

// "1.13.1", or empty where this build has no UCX.
std::string ucx_version();

// Whether UCX can take memory of a CUDA device here; a UCX that was built for it says no where there is no driver.  An empty
// list of transports means what it means in UcxOptions.
bool ucx_knows_cuda(const std::string& tls = {});

}  // namespace gossamer
