// How many bytes wait for each peer, and which peers can be sent to at all: what send() must know before it
// queues.
//
// An account belongs to one life of a peer.  It is closed when that life ends, and opened for the next one
// when the threads of this peer are told of its return.
//
// Thread safe.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace gossamer::control {

class Ledger {
 public:
  explicit Ledger(std::size_t limit) : limit_(limit) {}

  // The run is joined: the life of each rank.
  void open(const std::vector<Incarnation>& lives);
  // Nothing more goes to this life of a peer or an earlier one, or to anybody; the first reason stays.
  void close(PeerId peer, Incarnation life, Error why);
  void close_all(Error why);
  // A new life, unless it is closed already.
  void reopen(PeerId peer, Incarnation life);

  // Before a message is queued: for which life it is.  And when it has arrived there.
  Result<Incarnation> take(PeerId peer, std::size_t cost);
  void give(PeerId peer, Incarnation life, std::size_t cost);

 private:
  struct Account {
    Incarnation life = 0;
    std::size_t waiting = 0;
    Incarnation ended = 0;  // this life and all before it
    Error why;
  };
  const std::size_t limit_;
  std::mutex mutex_;
  std::optional<Error> closed_;
  std::vector<Account> accounts_;
};

}  // namespace gossamer::control
