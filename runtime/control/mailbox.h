// What the control thread leaves for the threads of the peer: messages, deaths, and whether this peer can go on.
//
// Thread safe.  The descriptor is readable exactly while something is to be taken.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
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

  // For the control thread.
  void add(Message message);
  void add(Death death);
  void add_departed(PeerId rank);
  // The first reason stays.
  void fail_standing(Error why);
  // Is the inbox full?  If so, the sender is to be held back until receive() says `drained`.
  bool hold_back();

  // For everybody else.  `drained` is set where senders were held back and there is room again: they must hear of it.
  std::vector<Message> receive(std::optional<std::string_view> topic, Duration deadline, bool& drained);
  std::vector<Death> deaths();
  std::vector<PeerId> departed() const;
  Result<> standing() const;
  int wake_fd() const { return wake_fd_; }

 private:
  // With mutex_ held.
  void signal();
  std::vector<Message> take(std::optional<std::string_view> topic);

  const std::size_t limit_;
  int wake_fd_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::size_t bytes_ = 0;
  bool held_back_ = false;
  std::vector<Death> deaths_;
  std::vector<PeerId> departed_;
  std::optional<Error> broken_;
  bool signalled_ = false;
};

// What a message counts for in every bound of memory.
inline std::size_t cost_of(std::size_t bytes) { return bytes + 64; }

}  // namespace gossamer::control
