// What the control thread leaves for the threads of the peer: messages, deaths, returns, and whether this one can go on.
//
// It keeps the lives of each rank apart, in whatever order things are taken: a return waits for the death of the life
// before it, and the messages and the death of a life wait for its return.
//
// Thread safe.  The descriptor is readable exactly while something is to be taken.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/control/control.h"

namespace gossamer::control {

class Mailbox {
 public:
  explicit Mailbox(std::size_t limit) : limit_(limit) {}
  Mailbox(const Mailbox&) = delete;
  ~Mailbox();

  // Opens the descriptor; call before anything else.
  Result<> open();

  // For the control thread.  begin() is told the roster's life of each rank, and comes first.
  void begin(std::vector<Incarnation> lives, std::vector<PeerId> departed);
  void add(Message message, Incarnation life);
  void add(Death death);
  void add_unheard(Death death);  // of a life whose beginning was not heard
  void add(Roster::Entry returned);
  void add_departed(PeerId rank);
  // The first reason stays.
  void fail_standing(Error why);
  // Is the inbox full?  If so, the sender is to be held back until receive() says `drained`.
  bool hold_back();

  // For everybody else.  `drained` is set where senders were held back and there is room again: they must hear of it.
  std::vector<Message> receive(std::optional<std::string_view> topic, Duration deadline, bool& drained);
  std::vector<Death> deaths();
  // `told(entry)` is called for each, before what it sent can be received.
  std::vector<Roster::Entry> returned(const std::function<void(const Roster::Entry&)>& told, bool& drained);
  std::vector<PeerId> departed() const;
  Result<> standing() const;
  int wake_fd() const { return wake_fd_; }

 private:
  struct Letter {
    Message message;
    Incarnation life = 0;
  };

  // With mutex_ held.
  void signal();
  std::vector<Message> take(std::optional<std::string_view> topic);
  bool drain();

  const std::size_t limit_;
  int wake_fd_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Incarnation> lives_;  // of each rank, the last that was told
  std::deque<Letter> letters_;
  std::size_t early_ = 0;  // so many of them are of lives that were not told yet
  std::size_t bytes_ = 0;
  bool held_back_ = false;
  std::vector<Death> deaths_;
  std::vector<Death> unheard_;
  std::vector<Roster::Entry> returned_;
  std::vector<PeerId> departed_;
  std::optional<Error> broken_;
  bool signalled_ = false;
};

// What a message counts for in every bound of memory.
inline std::size_t cost_of(std::size_t bytes) { return bytes + 64; }

}  // namespace gossamer::control
