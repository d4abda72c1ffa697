// A fabric between the peers of one process: threads of one program, or many peers on one thread.
//
// It behaves like RDMA on one host: put() copies straight into the receiver's registered memory, on the
// sender's thread, and queues the notice for the receiver's next poll().  Nothing is lost and nothing is
// reordered between two peers.  Its queues are bounded, so that would_block is met here as on a real fabric.
#pragma once

#include <cstddef>
#include <memory>

#include "transports/device_memory.h"
#include "transports/fabric.h"

namespace gossamer {

struct LoopbackOptions {
  // Puts of one link whose Ended has not been handed out yet; beyond it put() is would_block.
  std::size_t puts_in_flight_max = 64;
  // Notices of one link that the receiver has not polled yet; beyond it put() and notify() are would_block,
  // and the sender is woken when the receiver has polled.
  std::size_t notices_queued_max = 1024;
  // For memory of a device: who has it.  Its path does not matter, since every put is one copy.
  Device device;
};

// Where the loopback fabrics of one process find each other.  Created by the composition root.  Thread safe.
class LoopbackHub {
 public:
  LoopbackHub();
  ~LoopbackHub();
  LoopbackHub(const LoopbackHub&) = delete;
  LoopbackHub& operator=(const LoopbackHub&) = delete;

 private:
  struct Directory;
  friend class LoopbackFabric;
  std::unique_ptr<Directory> directory_;
};

// A fabric that other fabrics of the same hub can connect to.  Fabrics of one hub may live on different
// threads. Fails only where the system has no descriptor left for its wake-ups.
Result<std::unique_ptr<Fabric>> make_loopback(std::shared_ptr<LoopbackHub> hub, LoopbackOptions options = {});

}  // namespace gossamer
