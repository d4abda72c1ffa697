// What several mixers share.
#pragma once

#include <memory>

#include "base/result.h"
#include "gossip/mixer.h"

namespace gossamer {

struct MixerSetup;

// A round among the graph's neighbours in one phase: the same payload to everybody who listens, one from
// everybody who is listened to.
Plan exchange_with_neighbours(const Neighbourhood& edges);

// Checks what every whole-vector payload must say of itself.
Result<> check_payload(const Arrival& arrival, CodecId codec, std::uint64_t count);

// Encodes a vector and leaves in `seen` what its receivers will decode, which is what differences must be taken from
// if the mean is to be kept.
Result<Encoded> encode_vector(Stream& stream, const MixerSetup& setup, std::span<const float> x, std::uint64_t seed,
                              std::span<std::byte> out, std::span<float> seen);

// to = the vector of a payload that encode_vector() wrote.
Result<> decode_vector(Stream& stream, const MixerSetup& setup, const Arrival& arrival, std::span<float> to);
// The same for bytes out of a payload that carries more than one vector.
Result<> decode_vector(Stream& stream, const MixerSetup& setup, std::span<const std::byte> bytes, std::span<float> to);

// The weight that this round's graph gives to what `from` sends.
double weight_from(const Neighbourhood& edges, PeerId from);

// sum += weight * (theirs - own)
void add_difference(double weight, std::span<const float> theirs, std::span<const float> own, std::span<float> sum);

void set_zero(std::span<float> x);

// add = move, with its norm out of the same pass: what result() has to say of a correction that lies ready.
Affine moved_by(Stream& stream, std::span<const float> move, std::span<float> add);

}  // namespace gossamer
