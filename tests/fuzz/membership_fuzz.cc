// libFuzzer: members of a run hear each other's messages changed, repeated, late, from the wrong sender or made up, while members die
// and return.
//
// Input: a program of instructions of a byte and what each takes.  The checks: a view holds its peer, views are numbered upwards without
// a gap, and an error says what is wrong.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <span>
#include <vector>

#include "base/serial.h"
#include "gossip/membership.h"

using namespace gossamer;

namespace {

constexpr PeerId kPeers = 4;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader input(std::as_bytes(std::span(data, size)));
  const auto mode = input.get<std::uint8_t>();
  std::vector<Membership> peers;
  for (PeerId self = 0; self < kPeers; ++self)
    peers.emplace_back(MembershipSetup{.self = self, .alive = std::vector<Incarnation>(kPeers, 1), .rounds_shared = (mode & 1) == 0,
                                       .member = self != 3 || (mode & 2) == 0});
  struct Message {
    PeerId from = 0, to = 0;
    std::vector<std::byte> bytes;
  };
  std::deque<Message> under_way;
  std::vector<Round> next(kPeers);
  std::vector<Incarnation> lives(kPeers, 1);
  std::vector<std::uint32_t> number(kPeers);
  bool newcomer = (mode & 2) != 0;  // peer 3, until it is in a view
  for (PeerId self = 0; self < kPeers; ++self) number[self] = peers[self].view().number;
  const auto settle = [&](PeerId self) {
    for (auto& message : peers[self].take_messages()) {
      require(message.to < kPeers && message.to != self);
      if (under_way.size() < 64) under_way.push_back({self, message.to, std::move(message.bytes)});
    }
    for (const View& view : peers[self].take_views()) {
      require(view.number > number[self]);
      number[self] = view.number;
      require(view.has(self) || peers[self].error().has_value());
      if (self == 3) newcomer = false;
    }
    if (peers[self].error()) require(!peers[self].error()->message.empty());
  };
  while (input.ok() && input.left() > 0) {
    const auto op = input.get<std::uint8_t>();
    // The control plane knows who speaks, and nobody hears from itself or of its own end.
    const PeerId self = (op >> 4) % kPeers, other = (self + 1 + (op >> 6) % (kPeers - 1)) % kPeers;
    switch (op & 7) {
      case 0:  // what is under way arrives
      case 1: {
        if (under_way.empty()) break;
        const std::size_t at = input.get<std::uint8_t>() % under_way.size();
        const Message message = under_way[at];
        if ((op & 7) == 0) under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(at));
        (void)peers[message.to].heard(message.from, message.bytes, next[message.to]).has_value();
        settle(message.to);
        break;
      }
      case 2: {  // changed, or from another
        if (under_way.empty()) break;
        Message message = under_way[input.get<std::uint8_t>() % under_way.size()];
        const auto where = input.get<std::uint8_t>(), what = input.get<std::uint8_t>();
        if (!message.bytes.empty()) message.bytes[where % message.bytes.size()] = static_cast<std::byte>(what);
        const auto heard = peers[self].heard(other, message.bytes, next[self]);
        if (!heard) require(!heard.error().message.empty());
        settle(self);
        break;
      }
      case 3: {  // made up
        const auto bytes = input.bytes(std::min<std::size_t>(input.left(), input.get<std::uint8_t>()));
        const std::vector<std::byte> copy(bytes.begin(), bytes.end());
        const auto heard = peers[self].heard(other, copy, next[self]);
        if (!heard) require(!heard.error().message.empty());
        settle(self);
        break;
      }
      case 4:
        peers[self].died(other, lives[other]);
        settle(self);
        break;
      case 5:
        peers[self].returned(other, ++lives[other]);
        settle(self);
        break;
      case 6:
        peers[self].advance(next[self] += (op >> 7));
        settle(self);
        break;
      default:
        if (self == 3 && newcomer) peers[self].apply();
        settle(self);
    }
  }
  return 0;
}
