#include "kernels/device/codecs.h"

#include <fmt/core.h>

#include <vector>

namespace gossamer {
namespace device {

Failure refused_vector(DeviceStream& stream, const Compressor& host, EncodeOf source, std::span<const float> x, const float* memory,
                       const Layout& layout, std::uint64_t seed) {
  std::vector<float> values(x.size()), memories(source == EncodeOf::plain ? 0 : x.size()), seen(memories.size());
  stream.download(x.data(), values.data(), 4 * values.size());
  stream.download(memory, memories.data(), 4 * memories.size());
  if (const auto done = stream.finish(); !done) return Failure(done.error());
  std::vector<std::byte> encoded(host.capacity(layout));
  Stream here;
  const auto used = source == EncodeOf::plain        ? host.encode(here, values, layout, seed, encoded)
                    : source == EncodeOf::difference ? host.encode_difference(here, values, memories, layout, seed, encoded)
                                                     : host.encode_feedback(here, values, memories, layout, seed, seen, encoded);
  if (!used) return Failure(used.error());
  return fail(Errc::diverged, fmt::format("{}: the device found what it cannot encode, which is no longer there", host.name()));
}

Failure refused_payload(DeviceStream& stream, const Compressor& host, std::span<const WeightedPayload> payloads, const Layout& layout) {
  Stream here;
  std::vector<float> aside(layout.size());
  for (const WeightedPayload& payload : payloads) {
    std::vector<std::byte> bytes(payload.encoded.size());
    stream.download(payload.encoded.data(), bytes.data(), bytes.size());
    if (const auto done = stream.finish(); !done) return Failure(done.error());
    if (const auto done = host.add_decoded(here, bytes, layout, 0, aside); !done) return Failure(done.error());
  }
  return fail(Errc::corrupt, fmt::format("{} payload: it changed while it was read", host.name()));
}

}  // namespace device

Result<std::unique_ptr<Compressor>> make_device_compressor(const CompressionOptions& options) {
  GOSSAMER_TRY_ASSIGN(std::unique_ptr<Compressor> host, make_compressor(options));
  switch (options.codec) {
    case CodecId::top_k:
    case CodecId::random_k:
    case CodecId::threshold:
      return device::make_sparse_codec(options, std::move(host));
    case CodecId::low_rank:
      return device::make_low_rank_codec(options, std::move(host));
    default:
      return device::make_tile_codec(options, std::move(host));
  }
}

}  // namespace gossamer
