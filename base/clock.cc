#include "base/clock.h"

namespace gossamer {

Time SteadyClock::now() const {
  return {std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()).count()};
}

}  // namespace gossamer
