// libfabric without us: the loop that a benchmark compares with.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "runtime/bench/transport_measure.h"

namespace gossamer::bench {

// The other side of measure_bare_libfabric() with the same `can_sleep`; `descriptor` is its socket.
Result<> serve_bare_libfabric(const Wire& wire, bool can_sleep, std::size_t size_max, int descriptor);

// Where libfabric's own programs reach this machine over this wire: "127.0.0.1".
std::string bare_address(const Wire& wire);

}  // namespace gossamer::bench
