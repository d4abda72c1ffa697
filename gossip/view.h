// Who takes part in a run, from one round on.
//
// The first view has number 0 and everybody's first life.  Later ones are agreed on by Membership (membership.h); each
// peer goes from one to the next at the same round, and payloads name the view that they were sent in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace gossamer {

struct View {
  std::uint32_t number = 0;
  Round first_round = 0;           // asynchronous algorithms have no common rounds: 0, and it holds at once
  std::vector<Incarnation> lives;  // by rank; 0: not a member

  static View first(std::size_t peers) { return {0, 0, std::vector<Incarnation>(peers, 1)}; }

  bool has(PeerId peer) const { return peer < lives.size() && lives[peer] != 0; }
  bool has(PeerId peer, Incarnation life) const { return has(peer) && lives[peer] == life; }
  std::size_t members() const { return lives.size() - static_cast<std::size_t>(std::count(lives.begin(), lives.end(), Incarnation{0})); }

  friend bool operator==(const View&, const View&) = default;
};

// The ranks that left, came, or are in another life.
inline std::vector<PeerId> changed(const View& before, const View& after) {
  std::vector<PeerId> peers;
  for (PeerId peer = 0; peer < after.lives.size(); ++peer)
    if (before.lives[peer] != after.lives[peer]) peers.push_back(peer);
  return peers;
}

}  // namespace gossamer
