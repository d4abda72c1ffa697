// Times each codec and fused pass beside what memory can do in the same moment, and beside what it replaces.
//
// Machines are noisy, so every repetition times the limit and the kernel one after the other, and the ratio is the median
// over repetitions of that pair.  A repetition counts when nobody else had the processors: when its processor time is nearly
// that of the clock times the threads.  Where no such moment was found, processor time divided by the threads is given
// instead, and the row says so (with several threads that flatters: they did not compete for memory).  The limit is a copy that
// goes past the caches (8 bytes per element), or for passes that hardly write, a read (4 bytes).  Bytes are counted, not measured:
// each input read once, each output written once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/compressor.h"
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
  double peer_seconds = 0;
  double gain = 0;          // peer over kernel
};

struct KernelBench {
  std::vector<std::size_t> elements = {1'000'000, 25'000'000, 100'000'000};
  std::vector<std::size_t> threads = {1, 2};
  std::size_t repetitions = 9;
  std::string only;                   // rows whose name contains it
  const Kernels* kernels = nullptr;   // null: the best
  std::string torch = "python3";      // the Python that has it; empty: none
};

// Calls `row` after each measurement, and once more for each thing that torch does in its place.  Returns the version of torch, or
// why it was not measured.  Errors: internal where torch finds something else.
struct TorchFound {
  std::string version, skipped;
};
Result<TorchFound> measure_kernels(const KernelBench& bench, const std::function<void(const KernelRow&)>& row);

// What the measurements of host and device have in common.

struct NamedCodec {
  const char* name;
  CompressionOptions options;
};

inline std::vector<NamedCodec> dense_codecs() {
  return {{"bf16", {.codec = CodecId::bf16}},
          {"fp16", {.codec = CodecId::fp16}},
          {"fp8", {.codec = CodecId::fp8}},
          {"int8", {.codec = CodecId::int8}},
          {"int4", {.codec = CodecId::int4}},
          {"qsgd 8 bits", {.codec = CodecId::qsgd, .levels = 127}},
          {"qsgd 4 bits", {.codec = CodecId::qsgd, .levels = 7}},
          {"terngrad", {.codec = CodecId::terngrad}},
          {"qsgd 8 bits, 2-norm", {.codec = CodecId::qsgd, .levels = 127, .norm = Norm::two}},
          {"natural", {.codec = CodecId::natural}},
          {"sign", {.codec = CodecId::sign}}};
}

inline double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Normally distributed numbers, nearly: the sum of four uniform ones, as only their spread matters here, and there are many.
inline void fill_normal(std::span<float> x, std::uint64_t seed) {
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (float& value : x) {
    state += 0x9E3779B97F4A7C15u;
    std::uint64_t z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    const auto part = [z](int shift) { return static_cast<float>((z >> shift) & 0xffff); };
    value = (part(0) + part(16) + part(32) + part(48) - 131070.0f) * (1.0f / 37837.0f);
  }
}

}  // namespace gossamer
