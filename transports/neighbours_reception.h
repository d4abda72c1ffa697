// Where the neighbours of a fabric say that they have a ring for it; see neighbours.h.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gossamer {

// Shared memory, zeroed at first.  Every word may be written by anybody at any time.
struct ReceptionLayout {
  static constexpr std::size_t kPlaces = 500;

  alignas(64) std::atomic<std::uint32_t> bell;  // somebody has knocked since the owner looked
  alignas(64) std::array<std::atomic<std::uint64_t>, kPlaces> places;

  static std::uint64_t process(std::uint64_t word) { return word >> 32; }
  static std::uint64_t descriptor(std::uint64_t word) { return word & 0xffffffff; }

  // The visitor's; false when no place is free.
  bool knock(std::uint64_t process, std::uint64_t descriptor) {
    const std::uint64_t word = process << 32 | descriptor;
    for (std::atomic<std::uint64_t>& place : places) {
      std::uint64_t free = 0;
      if (!place.compare_exchange_strong(free, word)) continue;
      bell.store(1);
      return true;
    }
    return false;
  }

  // The owner's.
  bool knocked() const { return bell.load() != 0; }
  std::vector<std::uint64_t> take_all() {
    std::vector<std::uint64_t> words;
    bell.store(0);
    for (std::atomic<std::uint64_t>& place : places)
      if (place.load() != 0) words.push_back(place.exchange(0));
    return words;
  }
};

}  // namespace gossamer
