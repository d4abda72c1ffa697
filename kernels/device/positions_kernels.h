// Positions out of bytes that may be anything, on a device: kernels/positions.h.
//
// Work is cut by rows of the vector's chunks.  Nothing is read outside the positions and nothing is written outside the
// selection, whatever the bytes say, and even if they change meanwhile; what does not fit sets Status::refused.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device/memory_access.h"
#include "kernels/device/rows.h"
#include "kernels/device/sparse_kernels.h"

namespace gossamer::device {

// The front of each block: k and the bytes of positions, and where the block begins.  One lane goes from block to block.
struct Front {
  std::uint64_t k = 0, positions = 0, head = 0;
};
struct Walk {
  const std::byte* payload = nullptr;
  std::uint64_t size = 0;
  Code code = Code::f32;
  Chunks chunks;
  Front* fronts = nullptr;  // those past the end of the payload stay as they are

  GOSSAMER_HD std::uint64_t warps() const { return 1; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t) const {
    warp.once([&] {
      std::uint64_t at = kCodecHeaderSize;
      for (std::uint32_t c = 0; c < chunks.count; ++c) {
        if (at > size || size - at < 16) return;
        const Front front{load_any<std::uint64_t>(payload + at), load_any<std::uint64_t>(payload + at + 8), at};
        fronts[c] = front;
        if (front.k > chunks.table[c].count || front.positions > size) return;
        const std::uint64_t scales = has_scale(code) ? padded(4 * tile_count(front.k), 8) : 0;
        at += 16 + padded(front.positions, 8) + scales + chunk_code_bytes(code, front.k);
      }
    });
  }
};

// Where each chunk's positions are, for the two kernels below; chunks that keep nothing are read too.
struct Positions {
  Chunks chunks;                     // of the vector
  const SparseChunk* sparse = nullptr;
  const std::uint64_t* kept = nullptr;    // k of each
  const std::uint64_t* begins = nullptr;  // of each in the selection
  const std::byte* payload = nullptr;
  Status* status = nullptr;

  GOSSAMER_HD const std::byte* at(std::uint32_t chunk) const { return payload + sparse[chunk].head + 16; }
  GOSSAMER_HD PositionForm form(std::uint32_t chunk) const { return static_cast<PositionForm>(sparse[chunk].form); }
};

// Each row's share of the positions.  bitmap and words: a is its elements (of words those of a whole block are the first row's);
// bytes: a is its bytes of offsets and, in the second round, when those of the rows before are known, its elements.
struct CountPositions {
  Positions from;
  Rows written;        // second round: of the first one
  bool second = false;
  Counts* rows = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return from.chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(from.chunks, index);
    const std::byte* const bytes = from.at(row.chunk);
    const std::uint64_t n = from.chunks.table[row.chunk].count, size = from.sparse[row.chunk].positions;
    const PositionForm form = from.form(row.chunk);
    std::uint64_t before = 0;
    if (form == PositionForm::bytes && second)
      before = blocks_of(n, 256) + counts_between(warp, written, from.chunks.table[row.chunk].first_part, index).a;
    const std::uint64_t sum = warp.sum([&](unsigned lane) {
      std::uint64_t own = 0;
      switch (form) {
        case PositionForm::bitmap:
          for (std::uint64_t b = row.at / 8 + lane; b < blocks_of(row.at + row.count, 8); b += kLanes) own += count_bits(static_cast<std::uint32_t>(bytes[b]));
          break;
        case PositionForm::bytes:
          if (lane < blocks_of(row.count, 256)) {
            const std::uint64_t block = row.at / 256 + lane;
            const auto count = static_cast<std::uint64_t>(bytes[block]);
            own = count == 255 ? 256 : count;
            if (second && count == 255) {
              std::uint64_t last = before + 255;
              for (unsigned lower = 0; lower < lane; ++lower) last += offsets_of(bytes[row.at / 256 + lower]);
              if (last < size && static_cast<std::uint32_t>(bytes[last]) == 0) own = 255;
            }
          }
          break;
        case PositionForm::words:
          if (lane == 0 && row.at % 65536 == 0) own = load_any<std::uint32_t>(bytes + row.at / 65536 * 4);
          break;
      }
      return own;
    });
    warp.once([&] { rows[index] = {sum, 0}; });
  }

  GOSSAMER_HD static std::uint64_t offsets_of(std::byte count) { return count == std::byte{255} ? 256 : static_cast<std::uint64_t>(count); }
};

// That there are as many elements, and bytes, as the payload says.
struct CheckPositions {
  Positions from;
  Rows elements, written;

  GOSSAMER_HD std::uint64_t warps() const { return from.chunks.count; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const DeviceChunk& chunk = from.chunks.table[index];
    const std::uint64_t end = chunk.first_part + shares(chunk.count, kSumChunk);
    const std::uint64_t k = counts_between(warp, elements, chunk.first_part, end).a;
    bool fits = k == from.kept[index];
    if (from.form(static_cast<std::uint32_t>(index)) == PositionForm::bytes)
      fits = fits && blocks_of(chunk.count, 256) + counts_between(warp, written, chunk.first_part, end).a == from.sparse[index].positions;
    if (!fits) warp.once([&] { from.status->refused = 1; });
  }
};

struct ReadPositions {
  Positions from;
  Rows elements, written;
  std::uint64_t* indices = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return from.chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(from.chunks, index);
    const PositionForm form = from.form(row.chunk);
    const std::uint64_t first_part = from.chunks.table[row.chunk].first_part;
    const std::uint64_t before = counts_between(warp, elements, first_part, index).a;
    if (form == PositionForm::bitmap)
      bitmap(warp, row, before);
    else if (form == PositionForm::bytes)
      bytes(warp, row, before, counts_between(warp, written, first_part, index).a);
    else if (row.at % 65536 == 0)
      words(warp, row, before);
  }

 private:
  // Element `at` of the chunk is the selection's j-th.
  GOSSAMER_HD void put(const Row& row, std::uint64_t j, std::uint64_t at) const {
    if (j < from.kept[row.chunk] && at < from.chunks.table[row.chunk].count)
      indices[from.begins[row.chunk] + j] = at;
    else
      from.status->refused = 1;
  }

  template <class Warp>
  GOSSAMER_HD void bitmap(Warp& warp, const Row& row, std::uint64_t before) const {
    const std::byte* const map = from.at(row.chunk);
    const std::uint64_t end = blocks_of(row.at + row.count, 8);
    for (std::uint64_t first = row.at / 8; first < end; first += kLanes) {
      typename Warp::template PerLane<std::uint32_t> bits;
      std::uint32_t here = 0;
      warp.each([&](unsigned lane) { bits[lane] = first + lane < end ? static_cast<std::uint32_t>(map[first + lane]) : 0; });
      auto lower = warp.before([&](unsigned lane) { return count_bits(bits[lane]); }, &here);
      warp.each([&](unsigned lane) {
        std::uint64_t j = before + lower[lane];
        for (std::uint32_t left = bits[lane]; left != 0; left &= left - 1, ++j) put(row, j, 8 * (first + lane) + lowest_bit(left));
      });
      before += here;
    }
  }

  template <class Warp>
  GOSSAMER_HD void bytes(Warp& warp, const Row& row, std::uint64_t before, std::uint64_t written_before) const {
    const std::byte* const all = from.at(row.chunk);
    const std::uint64_t n = from.chunks.table[row.chunk].count, size = from.sparse[row.chunk].positions;
    std::uint64_t at = blocks_of(n, 256) + written_before;
    for (std::uint64_t block = row.at / 256; block < blocks_of(row.at + row.count, 256); ++block) {
      const std::uint64_t length = CountPositions::offsets_of(all[block]);
      std::uint64_t count = length;
      if (length == 256 && at + 255 < size && all[at + 255] == std::byte{0}) count = 255;
      warp.each([&](unsigned lane) {
        for (std::uint64_t j = lane; j < count; j += kLanes) {
          if (at + j >= size) {
            from.status->refused = 1;
            return;
          }
          const auto offset = static_cast<std::uint32_t>(all[at + j]);
          if (j > 0 && offset <= static_cast<std::uint32_t>(all[at + j - 1])) from.status->refused = 1;  // they do not ascend
          put(row, before + j, block * 256 + offset);
        }
      });
      at += length;
      before += count;
    }
  }

  template <class Warp>
  GOSSAMER_HD void words(Warp& warp, const Row& row, std::uint64_t before) const {
    const std::byte* const all = from.at(row.chunk);
    const std::uint64_t n = from.chunks.table[row.chunk].count, k = from.kept[row.chunk];
    const std::uint64_t count = load_any<std::uint32_t>(all + row.at / 65536 * 4);
    if (before > k || count > k - before) {
      warp.once([&] { from.status->refused = 1; });
      return;
    }
    const std::byte* const offsets = all + 4 * blocks_of(n, 65536) + 2 * before;
    warp.each([&](unsigned lane) {
      for (std::uint64_t j = lane; j < count; j += kLanes) {
        const std::uint32_t offset = load_any<std::uint16_t>(offsets + 2 * j);
        if (j > 0 && offset <= load_any<std::uint16_t>(offsets + 2 * (j - 1))) from.status->refused = 1;
        put(row, before + j, row.at + offset);
      }
    });
  }
};

// The scales, or where they are floats the values, of all chunks.
struct CheckValues {
  Chunks chunks;  // the selections
  Code code = Code::f32;
  const std::byte* payload = nullptr;
  Status* status = nullptr;

  GOSSAMER_HD std::uint64_t warps() const { return chunks.parts; }

  template <class Warp>
  GOSSAMER_HD void operator()(Warp& warp, std::uint64_t index) const {
    const Row row = row_at(chunks, index);
    const DeviceChunk& chunk = chunks.table[row.chunk];
    warp.each([&](unsigned lane) {
      for (std::uint64_t i = lane; i < row.count; i += kLanes) {
        const std::uint64_t at = row.at + i;
        if (has_scale(code)) {
          if (at % kTile == 0 && !valid_scale(code, load_any<float>(payload + chunk.scales + at / kTile * 4))) status->refused = 1;
        } else {
          const std::uint32_t bits = code == Code::f32 ? load_any<std::uint32_t>(payload + chunk.codes + 4 * at)
                                                       : std::uint32_t{load_any<std::uint16_t>(payload + chunk.codes + 2 * at)} << 16;
          if ((bits & 0x7fffffffu) >= kInfinityBits) status->refused = 1;
        }
      }
    });
  }
};

}  // namespace gossamer::device
