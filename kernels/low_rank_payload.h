// Where everything lies in the payload of low-rank, and what is said of one that is refused.
//
//     payload = header, then for each tensor with elements, in float32:
//               a matrix       left, its columns one behind the other (rank x rows), then right (rank x columns)
//               anything else  its elements
//
// A tensor of two or more dimensions is a matrix of its first one by all others; where factors would not be smaller than it, it
// travels as it is.  Host and device codecs (kernels/device/) share this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/layout.h"
#include "kernels/chunks.h"
#include "kernels/codec_header.h"
#include "kernels/compressor.h"
#include "kernels/tiles.h"

namespace gossamer {

struct LowRankChunk {
  std::uint32_t number = 0;  // of the tensor in the layout, for the random numbers
  std::size_t first = 0;     // element
  std::size_t count = 0;     // elements, at least one
  std::size_t rows = 0, columns = 0;  // 0 where it is no matrix
  std::size_t at = 0;        // in the payload behind its header, in floats

  bool matrix() const { return rows != 0; }
  // A power iteration begins at the shorter side, where random columns are few and each of them meets the more of the matrix.
  bool tall() const { return rows >= columns; }
};

// As kernels/chunks.h, for the tensors as matrices.
class LowRankTable {
 public:
  LowRankTable(const Layout& layout, std::size_t rank);

  const std::vector<LowRankChunk>& chunks() const { return chunks_; }
  std::size_t floats() const { return floats_; }  // behind the header
  std::uint64_t hash() const { return hash_; }

  // Calls visit(chunk, first element within it, elements) for what makes up elements begin .. end-1 of the vector.
  template <class Visit>
  void for_elements(std::size_t begin, std::size_t end, Visit visit) const {
    for_parts(chunks_, begin, end, [](const LowRankChunk& chunk) { return chunk.first; }, [](const LowRankChunk& chunk) { return chunk.count; }, visit);
  }

 private:
  std::vector<LowRankChunk> chunks_;
  std::size_t floats_ = 0;
  std::uint64_t hash_ = 0;
};

// Factors hold no larger magnitudes, so that no product of theirs is infinite: the orthonormal one of a matrix (left of a tall
// one, else right), and the other one.
inline constexpr float kOrthonormalMax = 2.0f;
inline constexpr float kFactorMax = 0x1p120f;

// A stretch of a payload, behind its header, and the largest magnitude that belongs there, as bits.
struct LowRankPart {
  std::size_t at = 0, count = 0;  // floats
  std::uint32_t largest = 0;
  std::size_t element = 0;        // of the vector, where it is no factor
  bool factor = false;
};
std::vector<LowRankPart> parts_of(const LowRankChunk& chunk, std::size_t rank);

struct LowRankPayload {
  explicit LowRankPayload(const CompressionOptions& from) : rank(from.rank), power_iterations(from.power_iterations) {}

  std::size_t rank;
  std::uint32_t power_iterations;

  LowRankTable table(const Layout& layout) const { return LowRankTable(layout, rank); }
  std::size_t size_of(const LowRankTable& table) const { return kCodecHeaderSize + sizeof(float) * table.floats(); }
  CodecHeader header(const Layout& layout, const LowRankTable& table) const;

  // The error.
  Failure bad_value(const Layout& layout, const LowRankChunk& chunk, const LowRankPart& part, float value) const;
};

}  // namespace gossamer
