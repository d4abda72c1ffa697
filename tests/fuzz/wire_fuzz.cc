// libFuzzer: what fabrics tell each other through third parties, addresses and keys of regions.
//
// Input: one byte that says which of the two, then its bytes.  What is accepted is packed into the same bytes again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "transports/wire.h"

using namespace gossamer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  // A copy of its own, so that reading one byte past the end is seen.
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1) == 0) {
    const auto address = wire::unpack(bytes);
    if (address ? wire::pack(*address) != bytes : address.error().message.empty()) std::abort();
    if (address)
      if (const auto reachable = wire::check_reachable(*address, "UCX 1.13"); !reachable && reachable.error().message.empty()) std::abort();
    return 0;
  }
  const auto key = wire::unpack_region_key(bytes);
  if (key && wire::pack(*key) != bytes) std::abort();
  // As it comes from a peer that says of its own where the region is.
  const std::uint64_t nonce = key && (data[0] & 2) != 0 ? key->nonce : 1;
  const RemoteRegion region{bytes, key ? key->address : 0, key ? key->size : 0};
  const auto checked = wire::check_key(region, nonce);
  if (checked ? checked->nonce != nonce || checked->size != region.size : checked.error().code != Errc::corrupt) std::abort();
  return 0;
}
