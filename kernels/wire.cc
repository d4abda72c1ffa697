#include "kernels/wire.h"

#include <fmt/core.h>

namespace gossamer {

Result<> check_size(std::string_view codec, std::size_t size, std::size_t expected) {
  if (size == expected) return {};
  return fail(Errc::corrupt, fmt::format("{} payload of {} bytes where this model and these options take {}: does the sender run "
                                         "another run file?",
                                         codec, size, expected));
}

Result<> check_header(std::string_view codec, std::span<const std::byte> payload, const CodecHeader& expected) {
  CodecHeader head;
  std::memcpy(&head, payload.data(), sizeof head);
  return check_header(codec, head, payload.size(), expected);
}

Result<> check_header(std::string_view codec, const CodecHeader& head, std::size_t payload_size, const CodecHeader& expected) {
  if (head.magic != kCodecMagic) return fail(Errc::corrupt, fmt::format("{} payload does not begin with the header of a codec", codec));
  if (head.version != kCodecVersion)
    return fail(Errc::version, fmt::format("{} payload of version {}; this peer speaks {}: start all peers from one build", codec,
                                           head.version, kCodecVersion));
  const auto differs = [&](std::string_view what, auto theirs, auto ours) {
    return fail(Errc::corrupt, fmt::format("{} payload with {} {} where this peer has {}: does the sender run another run file?", codec,
                                           what, theirs, ours));
  };
  if (head.codec != expected.codec) return differs("codec", head.codec, expected.codec);
  if (head.code != expected.code) return differs("value code", head.code, expected.code);
  if (head.norm != expected.norm) return differs("norm", head.norm, expected.norm);
  if (head.scope != expected.scope) return differs("scope", head.scope, expected.scope);
  if (head.flags != expected.flags) return differs("flags", head.flags, expected.flags);
  if (head.levels != expected.levels) return differs("levels", head.levels, expected.levels);
  if (head.count != expected.count) return differs("elements", head.count, expected.count);
  if (std::memcmp(&head.parameter, &expected.parameter, sizeof head.parameter) != 0)
    return differs("parameter", head.parameter, expected.parameter);
  if (head.layout != expected.layout || head.chunks != expected.chunks)
    return fail(Errc::corrupt, fmt::format("{} payload of a model with other tensors", codec));
  if (head.reserved != 0 || head.used != payload_size)
    return fail(Errc::corrupt, fmt::format("{} payload of {} bytes whose header says {}", codec, payload_size, head.used));
  return {};
}

}  // namespace gossamer
