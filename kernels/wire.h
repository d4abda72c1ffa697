// What every decoder looks at first: the length and the header of a payload.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/result.h"
#include "kernels/codec_header.h"

namespace gossamer {

// Errors: corrupt, or version when the sender's build speaks another one.
Result<> check_size(std::string_view codec, std::size_t size, std::size_t expected);
// Compares the header of a payload (of at least kCodecHeaderSize bytes) with the one this peer would have written, but for
// `used` and `seed`.
Result<> check_header(std::string_view codec, std::span<const std::byte> payload, const CodecHeader& expected);
Result<> check_header(std::string_view codec, const CodecHeader& head, std::size_t payload_size, const CodecHeader& expected);

}  // namespace gossamer
