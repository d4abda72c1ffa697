// What `gossamer bench transport` measures of our own fabrics, and of libfabric without them.
//
// Two sides, each a process (or a thread, over the loopback), that talk over a stream socket to find each other.  Both spin
// while they wait, as it is the transport that is measured and not the scheduler; except where sleeping is what is measured.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "transports/transports.h"

namespace gossamer::bench {

// A way to move bytes, and how to make both ends of it.
struct Wire {
  std::string name;          // "ucx-shm"
  FabricOptions fabric;      // without the loopback's hub
  std::string ucx_tls;       // what ucx_perftest gets; empty: it does not go this way
  std::string ucx_devices;   // likewise; empty: UCX's choice
  std::string bare_provider; // what the bare libfabric loop uses, on fabric.ofi.interface; empty: it does not go this way
  std::string served_as;     // what the other side is told: the name, and which memory
};
// Between memory of that device, or of the host.
std::vector<Wire> all_wires(const Device& device = {});

struct Amount {
  std::size_t size = 0;   // of one put
  std::size_t count = 0;  // of puts, or of round trips
};

// One side that measures; the other one serves until this is gone.
class Measurement {
 public:
  virtual ~Measurement() = default;
  // Microseconds of half a round trip, median.
  virtual Result<double> latency(Amount amount) = 0;
  // Bytes per second over all links, until the other side has all of it.
  virtual Result<double> bandwidth(Amount amount) = 0;
};

// How long a side sleeps on after something has come for it, from the call of put() there until poll() has handed out the notice
// here.  Microseconds.
struct Wakes {
  double median = 0, p99 = 0;
};

class FabricMeasurement : public Measurement {
 public:
  virtual Result<Wakes> wakes(std::size_t count) = 0;
  // The share of one core that this process uses while its fabric, with all links open, waits for what does not come; the other side
  // sleeps, too.
  virtual Result<double> idle(double seconds) = 0;
};

// Ours: `links` fabrics on the other side.
Result<std::unique_ptr<FabricMeasurement>> measure_fabric(const Wire& wire, std::size_t links, std::size_t size_max);

// libfabric's own: messages; one-sided writes (bandwidth only); messages with a completion queue that one can sleep on, as ours is, which
// makes every one of them dearer.  Errors: unsupported where the provider has no such queue, or the sizes are too large for it.
enum class Bare { send, write, send_with_descriptor };
Result<std::unique_ptr<Measurement>> measure_bare_libfabric(const Wire& wire, Bare kind, std::size_t size_max);

// The other side, as a process: what follows `gossamer bench transport --serve`; the socket is its standard input.
Result<> serve(const std::string& what);

}  // namespace gossamer::bench
