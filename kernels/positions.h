// Which k of n elements a sparse payload holds: the index coding of the wire.
//
// The form depends on n and k alone, and is the one of fewest bytes:
//
//     bitmap   one bit per element                                        k from about n/8 on
//     bytes    per 256 elements a count, and a byte for each offset       about 1 + n/(256 k) bytes per element
//     words    per 65,536 elements a u32 count, and a u16 for each        k below n/256
//
// Positions ascend.  In `bytes` a count of 255 stands for 255 or 256 and is followed by 256 offsets; where there are only 255
// of them the last one is 0, which does not ascend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gossamer {

enum class PositionForm : std::uint8_t { bitmap, bytes, words };

PositionForm position_form(std::size_t n, std::size_t k);

// The most bytes that k of n positions take.
std::size_t positions_capacity(std::size_t n, std::size_t k);

// Writes k = indices.size() ascending positions below n, and returns the bytes used.
std::size_t write_positions(std::span<const std::uint64_t> indices, std::size_t n, std::byte* to);

// Reads k positions out of bytes that may be anything: null, and *indices ascending and below n; or why they cannot be k
// positions of n.
const char* read_positions(std::span<const std::byte> from, std::size_t n, std::size_t k, std::vector<std::uint64_t>* indices);

}  // namespace gossamer
