// How a lane of a device kernel reads and writes memory: 16 bytes at once where the address allows, by smaller steps where it
// does not.  On the host, where tests run the kernels, everything is a copy of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/host_device.h"
#include "kernels/tiles.h"

namespace gossamer::device {

struct alignas(16) Four {
  float v[4];
};
struct alignas(16) FourWords {
  std::uint32_t v[4];
};

// The elements of a whole tile that lane t of a warp owns: 4t .. 4t+3 and 128+4t .. 128+4t+3 (kernels/draws.h).
struct Eight {
  float v[8];
};
struct EightCodes {
  std::uint32_t v[8];
};

GOSSAMER_HD inline bool aligned(const void* at, std::uintptr_t to) { return (reinterpret_cast<std::uintptr_t>(at) & (to - 1)) == 0; }

// Any address.  Word is an integer or a float, or Four or FourWords.
template <class Word>
GOSSAMER_HD Word load_any(const std::byte* from) {
#if defined(__CUDA_ARCH__)
  if (aligned(from, alignof(Word))) return *reinterpret_cast<const Word*>(from);
#endif
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

template <class Word>
GOSSAMER_HD void store_any(const Word& word, std::byte* to) {
#if defined(__CUDA_ARCH__)
  if (aligned(to, alignof(Word))) {
    *reinterpret_cast<Word*>(to) = word;
    return;
  }
#endif
  std::memcpy(to, &word, sizeof word);
}

// Four neighbouring floats; `from` is aligned for a float.
GOSSAMER_HD inline Four load_four(const float* from) {
#if defined(__CUDA_ARCH__)
  if (aligned(from, 16)) return *reinterpret_cast<const Four*>(from);
#endif
  return {{from[0], from[1], from[2], from[3]}};
}

GOSSAMER_HD inline void store_four(const Four& four, float* to) {
#if defined(__CUDA_ARCH__)
  if (aligned(to, 16)) {
    *reinterpret_cast<Four*>(to) = four;
    return;
  }
#endif
  GOSSAMER_UNROLL
  for (int i = 0; i < 4; ++i) to[i] = four.v[i];
}

GOSSAMER_HD inline Eight load_eight(const float* tile, unsigned lane) {
  const Four low = load_four(tile + 4 * lane), high = load_four(tile + kTile / 2 + 4 * lane);
  Eight all;
  GOSSAMER_UNROLL
  for (int i = 0; i < 4; ++i) {
    all.v[i] = low.v[i];
    all.v[4 + i] = high.v[i];
  }
  return all;
}

GOSSAMER_HD inline void store_eight(const Eight& all, float* tile, unsigned lane) {
  store_four({{all.v[0], all.v[1], all.v[2], all.v[3]}}, tile + 4 * lane);
  store_four({{all.v[4], all.v[5], all.v[6], all.v[7]}}, tile + kTile / 2 + 4 * lane);
}

}  // namespace gossamer::device
