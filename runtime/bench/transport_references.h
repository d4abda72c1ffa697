// What `gossamer bench transport` compares with, apart from libfabric's bare loop.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "runtime/bench/transport_measure.h"

namespace gossamer::bench {

// Bytes per second of a copy of so many bytes, median of `count`.
double memcpy_bandwidth(Amount amount);

// The same by the driver, from one part of the device's memory to another.
Result<double> device_copy_bandwidth(DeviceMemory& device, Amount amount);

// One of ucx_perftest's tests ("ucp_put_bw", "tag_lat"; "tag_bw -e" with connections that tell of a peer's death) between two processes of its own.  Bytes per second, or
// microseconds (median).  From CUDA memory to CUDA memory where the wire is between such.  Errors: unsupported when ucx_perftest is
// not installed; timed_out; io.
Result<double> ucx_perftest(const Wire& wire, const std::string& test, Amount amount);

// libfabric's own ping-pong between two processes of its own: microseconds of half a round trip, mean.  Errors: as above.
Result<double> fi_pingpong(const Wire& wire, Amount amount);

}  // namespace gossamer::bench
