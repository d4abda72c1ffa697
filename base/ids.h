// The small numbers that name things everywhere.
#pragma once

#include <cstdint>

namespace gossamer {

// A peer's rank in the run, 0 .. peers-1.
using PeerId = std::uint32_t;

// Counts exchanges.  Round r of one peer meets round r of its neighbours.
using Round = std::uint64_t;

// A round of some algorithms has several exchanges in a row (a parameter server has two); the phase
// numbers them from 0.
using Phase = std::uint16_t;

// Numbers the payloads from one peer to another, from 1, without gaps.
using Sequence = std::uint64_t;

// Distinguishes the lives of a peer: one that restarts under the same id has a larger incarnation.
using Incarnation = std::uint32_t;

}  // namespace gossamer
