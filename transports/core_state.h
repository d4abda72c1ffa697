// What the backends between processes (UCX, libfabric) keep in the same way.  Private to them; see core_fabric.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "transports/fabric.h"
#include "transports/shared_memory.h"
#include "transports/wire.h"

namespace gossamer {

// One end of a link.  Links to the same fabric share its Endpoint, the connection.
template <class Endpoint>
struct LinkTo {
  std::uint32_t id = 0;
  std::shared_ptr<Endpoint> endpoint;  // null when the peer could not be reached at all
  std::size_t puts = 0;                // accepted, Ended not handed out
  std::size_t notices = 0;             // bare ones that the library still holds, or has not taken
  bool down = false;
  bool told_down = false;

  std::uint64_t nonce() const { return endpoint ? endpoint->nonce : 0; }
};

// What has happened and has not been handed out by poll() yet.
template <class LinkState, class RegionState>
struct News {
  struct EndedPut {
    Ended ended;
    std::shared_ptr<LinkState> link;
    std::shared_ptr<RegionState> source;
  };
  std::vector<EndedPut> ended;
  std::vector<Notice> notices;
  std::vector<std::uint32_t> down;

  bool empty() const { return ended.empty() && notices.empty() && down.empty(); }

  // The link is no more; told once.
  void lose(LinkState& link) {
    link.down = true;
    if (!std::exchange(link.told_down, true)) down.push_back(link.id);
  }

  void hand_out(FabricEvents* events) {
    for (const EndedPut& put : ended) {
      --put.link->puts;
      events->ended.push_back(put.ended);
    }
    events->notices.insert(events->notices.end(), notices.begin(), notices.end());
    events->down.insert(events->down.end(), down.begin(), down.end());
    notices.clear();
    down.clear();
    forget_puts();
  }

  // Nobody will be told; their sources may be destroyed.
  void forget_puts() {
    for (const EndedPut& put : ended)
      if (put.source) --put.source->puts_named;
    ended.clear();
  }
};

// A region of a process on this machine; empty where it cannot be mapped, and then `why_not` says why.
inline SharedMemory map_region(const wire::RegionKey& key, std::string* why_not) {
  if (key.memory.size != key.size) {
    *why_not = "its handle is not of its size";
    return {};
  }
  auto mapped = SharedMemory::open(key.memory);
  if (mapped) return std::move(*mapped);
  *why_not = mapped.error().message;
  return {};
}

}  // namespace gossamer
