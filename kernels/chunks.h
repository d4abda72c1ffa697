// The chunk table: which parts of a vector are compressed by themselves, and where their tiles and bytes lie.
//
// With Scope::tensor every tensor that has elements is a chunk, with Scope::model the whole vector is one.  Tiles are
// numbered through all chunks, so that work on a vector of many tensors is cut by tiles and not by tensors: one loop, or
// one launch, serves them all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/layout.h"
#include "base/result.h"
#include "kernels/compressor.h"
#include "kernels/tiles.h"

namespace gossamer {

struct Chunk {
  std::uint32_t number = 0;      // of the tensor in the layout, which tells its random numbers from the others'
  std::size_t first = 0;         // element
  std::size_t count = 0;         // elements, at least one
  std::uint64_t first_tile = 0;  // in the numbering through all chunks
  std::size_t codes = 0;         // where its codes begin in the section of codes, in bytes
};

// Calls visit(chunk, first unit within it, units) for the parts of chunks that make up units begin .. end-1: of consecutive chunks, of which
// first_of says where in the numbering through them all they begin, and count_of how many units they have, at least one.
template <class AnyChunk, class FirstOf, class CountOf, class Visit>
void for_parts(const std::vector<AnyChunk>& chunks, std::uint64_t begin, std::uint64_t end, const FirstOf& first_of, const CountOf& count_of, const Visit& visit) {
  if (begin >= end) return;
  const auto behind = std::upper_bound(chunks.begin(), chunks.end(), begin, [&](std::uint64_t at, const AnyChunk& chunk) { return at < first_of(chunk); });
  for (auto chunk = behind - 1; begin < end; ++chunk) {
    const std::uint64_t first = first_of(*chunk), until = std::min<std::uint64_t>(end, first + count_of(*chunk));
    visit(*chunk, begin - first, until - begin);
    begin = until;
  }
}

class ChunkTable {
 public:
  ChunkTable(const Layout& layout, Scope scope, Code code);

  const std::vector<Chunk>& chunks() const { return chunks_; }
  std::uint64_t tiles() const { return tiles_; }
  std::size_t code_bytes() const { return code_bytes_; }  // of all chunks
  std::uint64_t hash() const { return hash_; }

  // Calls visit(chunk, first tile within it, tiles) for the parts of chunks that make up tiles begin .. end-1.
  template <class Visit>
  void for_tiles(std::uint64_t begin, std::uint64_t end, Visit visit) const {
    for_parts(chunks_, begin, end, [](const Chunk& chunk) { return chunk.first_tile; }, [](const Chunk& chunk) { return tile_count(chunk.count); }, visit);
  }

 private:
  std::vector<Chunk> chunks_;
  std::uint64_t tiles_ = 0;
  std::size_t code_bytes_ = 0;
  std::uint64_t hash_ = 0;
};

// "element 3 of tensor 'bias'"
std::string describe_element(const Layout& layout, std::size_t element);

// Why elements begin .. end-1 cannot be encoded: names the largest of them, or one that is no number.  The memory may have moved on in
// part, but not where the element at fault lies.
Failure cannot_encode(std::string_view codec, EncodeOf source, const float* x, const float* memory, const Layout& layout, std::size_t begin,
                      std::size_t end);

}  // namespace gossamer
