// The codecs of kernels/compressor.h for vectors and payloads that lie on a device.
//
// Same interface, same bytes: every span is device memory, and the stream is a DeviceStream (checked).  A call asks the device
// for all its work and waits once or, for the sparsifiers, twice; it returns what the host's codec would have returned.
#pragma once

#include <memory>

#include "kernels/compressor.h"
#include "kernels/device/stream.h"

namespace gossamer {

// Errors: invalid_argument, as make_compressor().
Result<std::unique_ptr<Compressor>> make_device_compressor(const CompressionOptions& options);

namespace device {

// The makers of make_device_compressor(), which has checked the options; `host` is the codec of the same options.
std::unique_ptr<Compressor> make_tile_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host);
std::unique_ptr<Compressor> make_sparse_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host);
std::unique_ptr<Compressor> make_low_rank_codec(const CompressionOptions& options, std::unique_ptr<Compressor> host);

// What the host's codec says of that which the device has refused, so that both say the same: it is copied to the host and
// tried there.  `memory`: of difference and feedback, as it is now.
Failure refused_vector(DeviceStream& stream, const Compressor& host, EncodeOf source, std::span<const float> x, const float* memory,
                       const Layout& layout, std::uint64_t seed);
Failure refused_payload(DeviceStream& stream, const Compressor& host, std::span<const WeightedPayload> payloads, const Layout& layout);

}  // namespace device
}  // namespace gossamer
