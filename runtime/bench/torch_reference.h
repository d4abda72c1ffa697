// What torch takes, on this processor, for what the kernels do: with the same vector and as many threads, in a process of its own
// that no part of the build depends on.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace gossamer::bench {

struct TorchRun {
  std::string python = "python3";
  std::span<const float> x;
  std::size_t kept = 0;     // by torch.topk
  std::size_t threads = 1;
  std::size_t repetitions = 3;
};

struct TorchTime {
  std::string row;   // of the kernels' bench, which it stands beside
  std::string what;
  double seconds = 0;  // median
};

struct TorchTimes {
  std::string version;
  std::vector<TorchTime> times;
  float least_kept = 0;  // the smallest magnitude that torch.topk returns
};

// Errors: unsupported, with the remedy, where that Python is not there or has no torch; io; timed_out.
Result<TorchTimes> measure_torch(const TorchRun& run);

}  // namespace gossamer::bench
