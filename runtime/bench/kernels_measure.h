// Times each codec and fused pass beside what memory can do in the same moment, and beside what it replaces.
//
// Machines are noisy, so every repetition times the limit and the kernel one after the other, and the ratio is the median
// over repetitions of that pair.  A repetition counts when nobody else had the processors: when its processor time is nearly
// that of the clock times the threads.  Where no such moment was found, processor time divided by the threads is given
// instead, and the row says so (with several threads that flatters: they did not compete for memory).  The limit is a copy that goes past the caches (8 bytes per element), or for passes that
// hardly write, a read (4 bytes).  Bytes are counted, not measured: each input read once, each output written once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/implementations.h"

namespace gossamer {

struct KernelRow {
  std::string name;
  std::size_t elements = 0;
  std::size_t threads = 0;
  bool busy = false;        // the machine was; see above
  double seconds = 0;       // median
  double best_seconds = 0;
  double bytes = 0;         // counted
  std::string limit;        // "copy" or "read"
  double limit_bytes_per_second = 0;  // of that limit, median of the same repetitions
  double ratio = 0;         // to it, median of pairs
  std::string peer;         // what it is compared with; empty: nothing
  double peer_seconds = 0;  // 0: the peer is absent
  double gain = 0;          // peer over kernel, median of pairs
};

struct KernelBench {
  std::vector<std::size_t> elements = {1'000'000, 25'000'000, 100'000'000};
  std::vector<std::size_t> threads = {1, 2};
  std::size_t repetitions = 9;
  std::string only;                   // rows whose name contains it
  const Kernels* kernels = nullptr;   // null: the best
};

// Calls `row` after each measurement.
void measure_kernels(const KernelBench& bench, const std::function<void(const KernelRow&)>& row);

// Seconds that torch.topk (magnitudes, sorted=False) takes on this machine, or 0 where python3 has no torch.
double torch_topk_seconds(std::size_t elements, std::size_t kept, std::size_t threads);

}  // namespace gossamer
