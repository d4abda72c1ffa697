// Positions and values of the elements that a sparse payload holds, written and read on a device.
//
// The selections of all chunks lie one behind the other: indices within their chunk, and values.  A second chunk table says
// where each begins (`first`) and where its scales and codes lie in the payload, so that the kernels of tiles serve the values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device/memory_access.h"
#include "kernels/device/rows.h"
#include "kernels/device/select_kernels.h"
#include "kernels/codec_header.h"
#include "kernels/positions.h"
#include "kernels/strata.h"

namespace gossamer::device {

// What else there is to know of a chunk: by the number of a chunk that keeps something.
struct SparseChunk {
  std::uint64_t first = 0;      // element of the vector
  std::uint64_t count = 0;      // elements of the chunk
  std::uint64_t head = 0;       // offset of its block in the payload
  std::uint64_t positions = 0;  // their bytes
  std::uint32_t form = 0;       // PositionForm
};

GOSSAMER_HD inline std::uint64_t blocks_of(std::uint64_t n, std::uint64_t block) { return shares(n, block); }

// The first of the ascending indices[0 .. end) that is `least` or more, none being further than `reach` from the end.
GOSSAMER_HD inline std::uint64_t lower_bound(const std::uint64_t* indices, std::uint64_t end, std::uint64_t reach, std::uint64_t least) {
  std::uint64_t low = end > reach ? end - reach : 0, high = end;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (indices[middle] < least)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Element j of a selection of k is the last of a block of 256 that keeps just 255: its offsets are followed by a zero.
GOSSAMER_HD inline bool ends_255(const std::uint64_t* indices, std::uint64_t j, std::uint64_t k) {
  const std::uint64_t block = indices[j] / 256;
  if (j < 254 || (j + 1 < k && indices[j + 1] / 256 == block) || indices[j - 254] / 256 != block) return false;
  return j == 254 || indices[j - 255] / 256 != block;
}

// For each row of a selection how many of its elements end such a block.
struct Extras {
  Chunks chunks;  // the selections
  const SparseChunk* sparse = nullptr;
  const std::uint64_t* indices = nullptr;
  Counts* rows = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const bool bytes = sparse[row.chunk].form == static_cast<std::uint32_t>(PositionForm::bytes);
    const std::uint32_t extras = warp.sum([&](unsigned lane) {
      std::uint32_t found = 0;
      for (std::uint64_t i = lane; bytes && i < row.count; i += kLanes)
        found += ends_255(indices + row.first - row.at, row.at + i, chunks.table[row.chunk].count) ? 1 : 0;
      return found;
    });
    warp.once([&] { rows[index] = {extras, 0}; });
  }
};

// Of each chunk.
struct SumRows {
  Chunks chunks;
  Rows rows;
  Counts* sums = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceChunk& chunk = chunks.table[index];
    const Counts all = counts_between(warp, rows, chunk.first_part, chunk.first_part + shares(chunk.count, kSumChunk));
    warp.once([&] { sums[index] = all; });
  }
};

// Into bytes that are zero before.
struct WritePositions {
  Chunks chunks;  // the selections
  const SparseChunk* sparse = nullptr;
  Rows extras;
  const std::uint64_t* indices = nullptr;
  std::byte* payload = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const SparseChunk& chunk = sparse[row.chunk];
    const std::uint64_t k = chunks.table[row.chunk].count, n = chunk.count;
    const std::uint64_t* const chosen = indices + row.first - row.at;
    std::byte* const to = payload + chunk.head + 16;
    warp.once([&] {
      if (row.at != 0) return;
      store_any(k, payload + chunk.head);
      store_any(chunk.positions, payload + chunk.head + 8);
    });
    if (chunk.form == static_cast<std::uint32_t>(PositionForm::bitmap)) {
      warp.each([&](unsigned lane) {
        for (std::uint64_t i = lane; i < row.count; i += kLanes) {
          // Whole words, wherever they begin; what lies around the byte stays as it is.
          std::byte* const byte = to + chosen[row.at + i] / 8;
          const auto off = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(byte) & 3u);
          Warp::set_bits(reinterpret_cast<std::uint32_t*>(byte - off), 1u << (8 * off + chosen[row.at + i] % 8));
        }
      });
      return;
    }
    const bool bytes = chunk.form == static_cast<std::uint32_t>(PositionForm::bytes);
    const std::uint64_t block = bytes ? 256 : 65536;
    std::byte* const offsets = to + (bytes ? 1 : 4) * blocks_of(n, block);
    std::uint64_t more = bytes ? counts_between(warp, extras, chunks.table[row.chunk].first_part, index).a : 0;
    for (std::uint64_t first = 0; first < row.count; first += kLanes) {
      std::uint32_t more_here = 0;
      typename Warp::template PerLane<std::uint32_t> ends;
      warp.each([&](unsigned lane) { ends[lane] = bytes && first + lane < row.count && ends_255(chosen, row.at + first + lane, k) ? 1 : 0; });
      auto more_before = warp.before([&](unsigned lane) { return ends[lane]; }, &more_here);
      warp.each([&](unsigned lane) {
        const std::uint64_t j = row.at + first + lane;
        if (first + lane >= row.count) return;
        const std::uint64_t at = chosen[j], of = at / block;
        if (bytes) {
          std::byte* const offset = offsets + j + more + more_before[lane];
          *offset = static_cast<std::byte>(at);
          if (ends[lane] != 0) offset[1] = std::byte{0};
        } else {
          store_any(static_cast<std::uint16_t>(at), offsets + 2 * j);
        }
        if (j + 1 < k && chosen[j + 1] / block == of) return;
        const std::uint64_t count = j + 1 - lower_bound(chosen, j + 1, block, of * block);
        if (bytes)
          to[of] = static_cast<std::byte>(count < 255 ? count : 255);
        else
          store_any(static_cast<std::uint32_t>(count), to + 4 * of);
      });
      more += more_here;
    }
  }
};

// Blocks that hold nothing are k = 0 and their positions, all zero.
struct WriteEmpty {
  const SparseChunk* sparse = nullptr;
  std::uint32_t count = 0;
  std::byte* payload = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kLanes); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    warp.each([&](unsigned lane) {
      const std::uint64_t c = index * kLanes + lane;
      if (c < count) store_any(sparse[c].positions, payload + sparse[c].head + 8);
    });
  }
};

// One chunk's draw.
struct Drawing {
  Strata strata;
  std::uint64_t group = 1;  // elements
};

// random-k: which elements, and where `x` is given, their values.
struct Draw {
  Vector v;
  Chunks chunks;  // the selections
  const SparseChunk* sparse = nullptr;
  const Drawing* drawings = nullptr;
  const float* factors = nullptr;  // of each chunk
  std::uint64_t* indices = nullptr;
  float* values = nullptr;
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const SparseChunk& chunk = sparse[row.chunk];
    const Drawing& drawing = drawings[row.chunk];
    warp.each([&](unsigned lane) {
      GOSSAMER_UNROLL_BY(2)
      for (std::uint64_t i = lane; i < row.count; i += kLanes) {
        const std::uint64_t j = (row.at + i) / drawing.group;
        const std::uint64_t at = drawing.strata.index(j, drawing.strata.words(j / 4)[j % 4]) * drawing.group + (row.at + i) % drawing.group;
        indices[row.first + i] = at;
        if (v.x == nullptr) continue;
        const float value = at >= chunk.count ? 0.0f : v[chunk.first + at] * factors[row.chunk];
        values[row.first + i] = value;
        if (magnitude_bits(value) >= kInfinityBits) status->refused = 1;
      }
    });
  }
};

// What Scatter does with the value q of element i.
enum class ScatterTo : std::uint8_t { add, put, wide };

struct Scatter {
  ScatterTo target = ScatterTo::add;
  float weight = 1;
  double wide_weight = 1;
  Chunks chunks;  // the selections
  const SparseChunk* sparse = nullptr;
  const std::uint64_t* indices = nullptr;
  const float* values = nullptr;
  float* out = nullptr;
  double* wide = nullptr;
  const Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    if (warp.ballot([&](unsigned) { return status->refused != 0; }) != 0) return;
    const Row row = row_at(chunks, index);
    const SparseChunk& chunk = sparse[row.chunk];
    warp.each([&](unsigned lane) {
      GOSSAMER_UNROLL_BY(4)
      for (std::uint64_t i = lane; i < row.count; i += kLanes) {
        const std::uint64_t at = indices[row.first + i], e = chunk.first + at;
        if (at >= chunk.count) continue;  // behind the last group of random-k
        const float q = values[row.first + i];
        if (target == ScatterTo::add)
          out[e] += weight * q;
        else if (target == ScatterTo::put)
          out[e] = q;
        else
          wide[e] += wide_weight * static_cast<double>(q);
      }
    });
  }
};

// sum += weight * (of - own): the dense end of follow and difference.
struct AddDistance {
  float* sum = nullptr;
  const float* of = nullptr;
  const float* own = nullptr;
  float weight = 1;
  std::uint64_t count = 0;

  static constexpr std::uint64_t kOfWarp = 1024;
  GOSSAMER_HD std::uint64_t warps() const { return shares(count, kOfWarp); }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    warp.each([&](unsigned lane) {
      GOSSAMER_UNROLL_BY(8)
      for (std::uint64_t i = index * kOfWarp + lane; i < (index + 1) * kOfWarp && i < count; i += kLanes) sum[i] += weight * (of[i] - own[i]);
    });
  }
};

}  // namespace gossamer::device
