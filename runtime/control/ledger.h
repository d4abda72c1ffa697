// How many bytes wait for each peer, and which peers can be sent to at all: what send() must know before it queues.
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

  // The run has begun with so many peers.
  void open(std::size_t peers);
  // Nothing more goes to this peer, or to anybody; the first reason stays.
  void close(PeerId peer, Error why);
  void close_all(Error why);

  // Before a message is queued, and when it has arrived.
  Result<> take(PeerId peer, std::size_t cost);
  void give(PeerId peer, std::size_t cost);

 private:
  struct Account {
    std::size_t waiting = 0;
    std::optional<Error> closed;
  };
  const std::size_t limit_;
  std::mutex mutex_;
  std::optional<Error> closed_;
  std::vector<Account> accounts_;
};

}  // namespace gossamer::control
