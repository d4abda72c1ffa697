// libfabric without us: the loop that a benchmark compares with.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace gossamer::bench {

// The other side of measure_bare_libfabric(); `descriptor` is its socket.
Result<> serve_bare_libfabric(const std::string& provider, bool writes, std::size_t size_max, int descriptor);

}  // namespace gossamer::bench
