#include "base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace gossamer {

void prefer_large_pages(void* data, std::size_t size) {
  constexpr std::size_t kWorthIt = std::size_t{4} << 20;  // two large pages of most machines, so that one at least fits inside
  if (size < kWorthIt) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t from = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const std::uintptr_t to = (reinterpret_cast<std::uintptr_t>(data) + size) / page * page;
  (void)::madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);  // a wish: refused, the memory is as good
}

}  // namespace gossamer
