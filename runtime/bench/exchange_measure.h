// What `gossamer bench exchange` measures: ours, the references, and what memory can do.
//
// Each contestant is started anew for every measurement, as so many processes, makes a few rounds that do not count, and is
// timed from the moment when all of them are ready until the last one has done its rounds.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "base/result.h"

namespace gossamer::bench {

struct Exchange {
  std::size_t parameters = 25'000'000;  // float32
  std::size_t peers = 4;
  std::size_t rounds = 10;
  std::string transport = "ucx";
  std::size_t lend_from = std::size_t{64} << 10;  // bytes
  std::size_t spin_us = 0;                        // how long a peer that waits looks for news before it sleeps
};
inline constexpr std::size_t kExchangeWarmUp = 3;  // rounds

// Seconds of a round of D-PSGD on a ring by the engine: snapshot, exchange, mixing, apply.  Errors: io when the models are not
// to the bit what the algorithm makes of them.
Result<double> measure_exchange(const Exchange& exchange);

// One of our processes; `what` follows `gossamer bench exchange --serve`, and the socket is its standard input.
Result<> serve_exchange(const std::string& what);

// Seconds of a round of each thing that a reference program ("gloo", "mpi") measures.  Errors: unsupported where this build or
// machine has none.
Result<std::map<std::string, double>> measure_reference(const std::string& name, const Exchange& exchange);

// Bytes per second, read and written, of copies past the caches by all cores at once.
double copy_bandwidth(const Exchange& exchange);

}  // namespace gossamer::bench
