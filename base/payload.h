// The header of a payload: what every encoded vector that crosses the wire says of itself.
//
// 64 bytes, little-endian, versioned.  It travels in the notice that follows the payload's bytes
// (transports/fabric.h), so it is in host memory and cannot change while it is read.  Codecs write
// what they alone need (k, levels, scales) into the payload itself.  The grammar of the whole
// conversation is gossip/PROTOCOL.md.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "base/ids.h"
#include "base/result.h"

namespace gossamer {

inline constexpr std::uint32_t kPayloadMagic = 0x4d535347;  // "GSSM"
inline constexpr std::uint16_t kWireVersion = 1;            // a reader refuses every other version

struct PayloadHeader {
  std::uint32_t magic = kPayloadMagic;
  std::uint16_t version = kWireVersion;
  std::uint16_t codec = 0;        // CodecId of kernels/compressor.h; 0 where the mixer has a format of its own
  PeerId sender = 0;
  Incarnation incarnation = 0;    // of the sender
  std::uint32_t view = 0;         // counter of the membership view the sender is in
  Phase phase = 0;
  std::uint16_t kind = 0;         // the mixer's own: request, answer, resync, ...
  Sequence sequence = 0;          // numbers the payloads of one sender to one receiver from 1
  Round round = 0;
  std::uint64_t count = 0;        // elements of the vector that was encoded
  std::uint64_t used = 0;         // bytes of the payload
  std::uint32_t bucket = 0;       // which part of the vector, where it is exchanged in parts
  std::uint32_t checksum = 0;     // low half of the XXH3-64 of those bytes; 0 when checksums are off

  friend bool operator==(const PayloadHeader&, const PayloadHeader&) = default;
};
static_assert(sizeof(PayloadHeader) == 64);
static_assert(std::is_trivially_copyable_v<PayloadHeader>);
static_assert(std::has_unique_object_representations_v<PayloadHeader>, "no padding");

inline constexpr std::size_t kPayloadHeaderSize = sizeof(PayloadHeader);

// Writes the header's 64 bytes, little-endian.
void store(const PayloadHeader& header, std::span<std::byte, kPayloadHeaderSize> to);

// Reads and validates magic and version; everything else is the reader's to check.
Result<PayloadHeader> load_payload_header(std::span<const std::byte> from);

}  // namespace gossamer
