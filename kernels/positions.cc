#include "kernels/positions.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/wire.h"

namespace gossamer {
namespace {

constexpr std::size_t kBytesBlock = 256, kWordsBlock = 65536;

constexpr std::size_t blocks(std::size_t n, std::size_t block) { return n / block + (n % block != 0 ? 1 : 0); }

const char* read_bitmap(std::span<const std::byte> from, std::size_t n, std::size_t k, std::vector<std::uint64_t>* indices) {
  if (from.size() != blocks(n, 8)) return "the bitmap has another length";
  for (std::size_t byte = 0; byte < from.size(); ++byte)
    for (auto bits = std::to_integer<std::uint32_t>(from[byte]); bits != 0; bits &= bits - 1) {
      const std::size_t index = 8 * byte + static_cast<std::size_t>(std::countr_zero(bits));
      if (index >= n) return "an index is past the end";
      if (indices->size() == k) return "the bitmap holds another number of elements";
      indices->push_back(index);
    }
  return indices->size() == k ? nullptr : "the bitmap holds another number of elements";
}

const char* read_bytes(std::span<const std::byte> from, std::size_t n, std::size_t k, std::vector<std::uint64_t>* indices) {
  const std::size_t counts = blocks(n, kBytesBlock);
  if (from.size() < counts) return "the counts are cut off";
  std::size_t at = counts;
  for (std::size_t b = 0; b < counts; ++b) {
    const auto count = std::to_integer<std::size_t>(from[b]);
    const std::size_t written = count == 255 ? 256 : count;
    if (from.size() - at < written) return "the offsets are cut off";
    std::uint32_t least = 0;
    for (std::size_t j = 0; j < written; ++j) {
      const auto offset = std::to_integer<std::uint32_t>(from[at + j]);
      if (j == 255 && offset == 0) break;
      if (offset < least) return "the indices do not ascend";
      if (b * kBytesBlock + offset >= n) return "an index is past the end";
      if (indices->size() == k) return "the counts are of another number of elements";
      indices->push_back(b * kBytesBlock + offset);
      least = offset + 1;
    }
    at += written;
  }
  if (indices->size() != k) return "the counts are of another number of elements";
  return at == from.size() ? nullptr : "there are more offsets than the counts say";
}

const char* read_words(std::span<const std::byte> from, std::size_t n, std::size_t k, std::vector<std::uint64_t>* indices) {
  const std::size_t counts = blocks(n, kWordsBlock);
  if (from.size() != 4 * counts + 2 * k) return "the positions have another length";
  const std::byte* offset = from.data() + 4 * counts;
  for (std::size_t b = 0; b < counts; ++b) {
    const std::size_t count = load<std::uint32_t>(from.data() + 4 * b);
    if (count > k - indices->size()) return "the counts are of another number of elements";
    std::uint32_t least = 0;
    for (std::size_t j = 0; j < count; ++j, offset += 2) {
      const std::uint32_t at = load<std::uint16_t>(offset);
      if (at < least) return "the indices do not ascend";
      if (b * kWordsBlock + at >= n) return "an index is past the end";
      indices->push_back(b * kWordsBlock + at);
      least = at + 1;
    }
  }
  return indices->size() == k ? nullptr : "the counts are of another number of elements";
}

}  // namespace

PositionForm position_form(std::size_t n, std::size_t k) {
  const std::size_t bitmap = blocks(n, 8), bytes = k + blocks(n, kBytesBlock), words = 2 * k + 4 * blocks(n, kWordsBlock);
  if (bitmap <= bytes && bitmap <= words) return PositionForm::bitmap;
  return bytes <= words ? PositionForm::bytes : PositionForm::words;
}

std::size_t positions_capacity(std::size_t n, std::size_t k) {
  switch (position_form(n, k)) {
    case PositionForm::bitmap:
      return blocks(n, 8);
    case PositionForm::bytes:
      return k + k / 255 + blocks(n, kBytesBlock);
    case PositionForm::words:
      return 2 * k + 4 * blocks(n, kWordsBlock);
  }
  return 0;
}

std::size_t write_positions(std::span<const std::uint64_t> indices, std::size_t n, std::byte* to) {
  const std::size_t k = indices.size();
  switch (position_form(n, k)) {
    case PositionForm::bitmap:
      std::memset(to, 0, blocks(n, 8));
      for (const std::uint64_t index : indices) to[index / 8] |= static_cast<std::byte>(1u << (index % 8));
      return blocks(n, 8);
    case PositionForm::bytes: {
      const std::size_t counts = blocks(n, kBytesBlock);
      std::memset(to, 0, counts);
      std::byte* offset = to + counts;
      // Blocks of few elements are most of them, and nobody can foresee where one ends: so without asking, unless a block is full, or
      // full but one, which is when an index and the 254th behind it share it.
      std::uint32_t full = 0;
      for (std::size_t j = 0; j + 254 < k; ++j) full |= indices[j] / kBytesBlock == indices[j + 254] / kBytesBlock ? 1 : 0;
      if (full == 0) {
        auto* const count = reinterpret_cast<std::uint8_t*>(to);
        for (std::size_t j = 0; j < k; ++j) {
          offset[j] = static_cast<std::byte>(indices[j]);
          ++count[indices[j] / kBytesBlock];
        }
        return counts + k;
      }
      for (std::size_t j = 0; j < k;) {
        const std::uint64_t block = indices[j] / kBytesBlock;
        std::size_t count = 0;
        for (; j < k && indices[j] / kBytesBlock == block; ++j, ++count) *offset++ = static_cast<std::byte>(indices[j]);
        if (count == 255) *offset++ = std::byte{0};
        to[block] = static_cast<std::byte>(std::min<std::size_t>(count, 255));
      }
      return static_cast<std::size_t>(offset - to);
    }
    case PositionForm::words: {
      const std::size_t counts = blocks(n, kWordsBlock);
      std::memset(to, 0, 4 * counts);
      std::byte* offset = to + 4 * counts;
      for (std::size_t j = 0; j < k;) {
        const std::uint64_t block = indices[j] / kWordsBlock;
        std::uint32_t count = 0;
        for (; j < k && indices[j] / kWordsBlock == block; ++j, ++count, offset += 2) store(static_cast<std::uint16_t>(indices[j]), offset);
        store(count, to + 4 * block);
      }
      return static_cast<std::size_t>(offset - to);
    }
  }
  return 0;
}

const char* read_positions(std::span<const std::byte> from, std::size_t n, std::size_t k, std::vector<std::uint64_t>* indices) {
  indices->clear();
  indices->reserve(k);
  switch (position_form(n, k)) {
    case PositionForm::bitmap:
      return read_bitmap(from, n, k, indices);
    case PositionForm::bytes:
      return read_bytes(from, n, k, indices);
    case PositionForm::words:
      return read_words(from, n, k, indices);
  }
  return nullptr;
}

}  // namespace gossamer
