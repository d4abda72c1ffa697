// What a peer passes on about who is gone and who came.
//
// Of each rank only the latest change is kept, so it does not grow with the run; a latest change says all
// that one needs who missed those before it.  Changes are numbered from 1 in the order in which this peer
// learned of them.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "base/ids.h"
#include "runtime/control/control.pb.h"

namespace gossamer::control {

class News {
 public:
  void add(const wire::Departure& departure);
  void add(const wire::Arrival& arrival);

  // The number of the latest change.
  std::uint64_t last() const { return last_; }
  // Each one behind number `told`, in order.
  void since(std::uint64_t told, const std::function<void(const wire::Change&)>& tell) const;
  // Where a life ended and no later one is known: how.
  const wire::Departure* departure(PeerId rank) const;

 private:
  void put(PeerId rank, wire::Change change);

  std::map<std::uint64_t, wire::Change> changes_;
  std::map<PeerId, std::uint64_t> latest_;
  std::uint64_t last_ = 0;
};

}  // namespace gossamer::control
