#include "base/payload.h"

#include <bit>
#include <cstring>
#include <fmt/core.h>

namespace gossamer {

static_assert(std::endian::native == std::endian::little, "big-endian hosts need byte swaps here and in the codecs");

void store(const PayloadHeader& header, std::span<std::byte, kPayloadHeaderSize> to) {
  std::memcpy(to.data(), &header, kPayloadHeaderSize);
}

Result<PayloadHeader> load_payload_header(std::span<const std::byte> from) {
  if (from.size() < kPayloadHeaderSize)
    return fail(Errc::corrupt, fmt::format("payload header of {} bytes, {} expected", from.size(), kPayloadHeaderSize));
  PayloadHeader header;
  std::memcpy(&header, from.data(), kPayloadHeaderSize);
  if (header.magic != kPayloadMagic)
    return fail(Errc::corrupt, fmt::format("payload header starts with {:#x}, which is not Gossamer's", header.magic));
  if (header.version != kWireVersion)
    return fail(Errc::version, fmt::format("peer {} speaks wire version {}, this one {}; run the same release everywhere",
                                           header.sender, header.version, kWireVersion));
  return header;
}

}  // namespace gossamer
