// The makers of the mixers, for the table in gossip/algorithms.cc.
#pragma once

#include <memory>

#include "base/result.h"
#include "gossip/mixer.h"

namespace gossamer {

struct MixerSetup;

Result<std::unique_ptr<Mixer>> make_dpsgd(const MixerSetup& setup);
Result<std::unique_ptr<Mixer>> make_choco(const MixerSetup& setup);
Result<std::unique_ptr<Mixer>> make_all_reduce(const MixerSetup& setup);

// A round among the graph's neighbours in one phase: the same payload to everybody who listens, one from
// everybody who is listened to.
Plan exchange_with_neighbours(const Neighbourhood& edges);

// Checks what every whole-vector payload must say of itself.
Result<> check_payload(const Arrival& arrival, CodecId codec, std::uint64_t count);

}  // namespace gossamer
