// The schedule that is left when some peers are absent: what went through them is passed on.
//
// Per round, absent peers that are joined through absent peers alone make one gap.  What a gap took from its
// living senders and gave to its living receivers is handed on among these:
//
//  - Edges without direction (the same living peers on both sides): the peers around the gap are chained in
//    ascending order, and each splits what it shared with the gap between its neighbours in the chain, the
//    smaller of two offers counting.  A ring stays a ring with its weights, a tree stays a tree, a star that
//    lost its hub becomes a path.  Where only columns (rows) of W sum to 1, the sender's (receiver's) offer
//    counts instead.
//  - Edges with a direction, if `base` is known to be doubly stochastic: senders to receivers, both
//    ascending, each edge carrying as much as its two ends have left (the north-west corner rule of transport
//    plans), so that i -> absent -> k becomes i -> k.  Where that would fall into parts, two edges exchange a
//    third of what they carry.
//  - Otherwise every sender hands to every receiver, in proportion to both (as in the stochastic complement
//    of a Markov chain).
//
// What a peer cannot pass on it keeps.  An edge between two peers that are neighbours already adds to theirs.
// Symmetric, doubly, column and row stochastic matrices stay so, and a static graph that was connected
// (strongly, where edges have a direction) stays connected.  A schedule need not: each of its rounds is
// repaired by itself, and two peers may have met through an absent one in different rounds.
#pragma once

#include <memory>
#include <vector>

#include "topologies/topology.h"

namespace gossamer {

// `absent[r]` true: rank r is not there.  Peers keep their ranks; an absent peer has no edges and self weight
// 1.  period() is that of `base`, and with nobody absent so is every Neighbourhood, bit for bit.  facts()
// keeps only that matrices are symmetric or doubly stochastic.
//
// at() costs what `base` takes for the peer itself and for every absent peer of the gaps beside it.
//
// REQUIRES: absent.size() == base.peer_count(); `base` outlives the result.
std::unique_ptr<Topology> without(const Topology& base, std::vector<bool> absent);

}  // namespace gossamer
