// libFuzzer: what fabrics tell each other through third parties, addresses and keys of regions.
//
// Input: one byte of flags, then bytes.  What is accepted is packed into the same bytes again.
//   1  a key of a region, not an address
//   2  the key comes from a peer that says of its own where the region is
//   4  a checksum follows the bytes, which no search would find
//   8  the address is that of a neighbour on this machine, another fabric of this process, and what it says for neighbours is changed
//      by the bytes (exclusive or) that the input has in that place
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "transports/neighbours.h"
#include "transports/wire.h"

using namespace gossamer;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

template <class T>
T must(Result<T> result) {
  require(bool(result));
  return std::move(*result);
}

// A fabric meets what says that it is its neighbour.
void meet(wire::Address address) {
  const auto victim = must(Neighbours::make(1)), other = must(Neighbours::make(2));
  std::string theirs = other->address();
  const std::string& change = address.neighbours;
  const bool honest = std::ranges::all_of(change.substr(0, theirs.size()), [](char byte) { return byte == 0; });
  for (std::size_t i = 0; i < std::min(change.size(), theirs.size()); ++i) theirs[i] = static_cast<char>(theirs[i] ^ change[i]);
  address.nonce = 2;
  address.machine = wire::this_machine();
  address.process = wire::this_process();
  address.neighbours = theirs;
  const auto link = victim->connect(must(wire::unpack(wire::pack(address))));
  FabricEvents events;
  if (link && victim->notify(link, std::as_bytes(std::span("here", 4))) == Errc::ok) {
    other->poll(&events);
    require(events.notices.size() == (honest ? 1 : events.notices.size()) && events.notices.size() <= 1 && events.ended.empty());
    events.clear();
  } else {
    require(!honest);
  }
  victim->poll(&events);
  require(events.notices.empty() && events.down.size() <= 1);
  if (link) victim->forget(link);
  // The one that is asked first has nobody left to wait for afterwards.
  other->close();
  victim->close();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  // A copy of its own, so that reading one byte past the end is seen.
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 4) != 0) {
    const std::uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size());
    bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
  }
  bytes.shrink_to_fit();
  if ((data[0] & 1) == 0) {
    auto address = wire::unpack(bytes);
    require(address ? wire::pack(*address) == bytes : !address.error().message.empty());
    if (!address) return 0;
    if (const auto reachable = wire::check_reachable(*address, "UCX 1.13"); !reachable) require(!reachable.error().message.empty());
    if ((data[0] & 8) != 0) meet(std::move(*address));
    return 0;
  }
  const auto key = wire::unpack_region_key(bytes);
  require(!key || wire::pack(*key) == bytes);
  // As it comes from a peer that says of its own where the region is.
  const std::uint64_t nonce = key && (data[0] & 2) != 0 ? key->nonce : 1;
  const RemoteRegion region{bytes, key ? key->address : 0, key ? key->size : 0};
  const auto checked = wire::check_key(region, nonce);
  require(checked ? checked->nonce == nonce && checked->size == region.size : checked.error().code == Errc::corrupt);
  return 0;
}
