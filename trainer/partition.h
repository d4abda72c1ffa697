// Who trains on which samples.
//
// A partition is exhaustive and disjoint, and a pure function of its arguments, so that every peer
// computes the whole of it and takes its own part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "trainer/data.h"

namespace gossamer {

// The range of the options; needs no data.
Result<> validate(const PartitionOptions& options);

// Sample indices of each peer, ascending.
//
//   iid        a shuffled set cut into parts whose sizes differ by at most one
//   by-label   the set sorted by label (shuffled within a label), cut into peers * shards pieces, which are
//              dealt at random (McMahan et al. 2017): each peer sees about `shards` classes
//   dirichlet  each class is divided by proportions drawn from Dirichlet(alpha) (Hsu et al. 2019)
//
// No peer is left with fewer than samples_min samples: as long as one is, the peer with the most (the lowest
// such rank) gives its last sample to the lowest rank in need.  Fewer than peers * samples_min samples is an
// error, and so is a scheme that needs classes on a set without them.
Result<std::vector<std::vector<std::uint32_t>>> partition(const Dataset& data,
                                                          const PartitionOptions& options, std::size_t peers,
                                                          std::uint64_t seed);

}  // namespace gossamer
