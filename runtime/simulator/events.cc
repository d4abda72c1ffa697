#include "runtime/simulator/events.h"

#include <limits>

namespace gossamer::sim {

Time PeerClock::when(Time local) const {
  constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  if (local.ns > kNever / 2) return {kNever};
  Time guess{static_cast<std::int64_t>(static_cast<double>(local.ns - offset_.count()) / (1 + drift_))};
  // The division rounds: a few nanoseconds either way.
  while (shown(guess) < local) guess.ns += 1;
  return guess;
}

}  // namespace gossamer::sim
