// The control plane in virtual time: what runtime/control/ promises to an elastic run, without its sockets.
//
// Messages between two peers arrive in order and once while both live.  Each peer is told of deaths and returns after a delay of its own.
// Of one rank a peer takes, in this order: the death of a life, the return as a later one, its messages.  No message
// crosses from one life to another: what an earlier life sent and nobody took when the return is taken is dropped, and so
// is what was on its way to an earlier life.  What is on its way from a peer that dies may arrive or not: of each pair a first
// part does.  A life that ended before a peer took its return is told of or not.
//
// One thread: that of the event queue.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "runtime/simulator/events.h"
#include "runtime/simulator/network_options.h"

namespace gossamer::sim {

class ControlPlane {
 public:
  struct Life {
    PeerId peer = 0;
    Incarnation life = 0;
  };
  struct Message {
    PeerId from = 0;
    std::string topic;
    std::string bytes;
  };

  // `wake` is called when a peer has something to take.
  ControlPlane(EventQueue& queue, Delay delay, std::size_t peers, std::uint64_t seed, std::function<void(PeerId)> wake);

  // The verdict on a peer's present life; the others are told from `noticed_after` on.
  void died(PeerId peer, Duration noticed_after);
  // Whether the rank may return: who lets it in, the lowest peer that lives, knows that its earlier life is gone.
  bool admits(PeerId peer) const;
  // REQUIRES: admits().  The next life of this rank.
  Incarnation returned(PeerId peer);

  // What a peer is told when it joins: who lives, by rank; 0: dead.
  std::vector<Incarnation> roster(PeerId peer) const;
  // And whose life has ended, by rank; 0: of whoever lives.
  std::vector<Incarnation> ended(PeerId peer) const;
  Incarnation life(PeerId peer) const { return now_[peer].life; }
  bool alive(PeerId peer) const { return now_[peer].alive; }
  // The newest life of a rank that a peer has taken the return of.
  Incarnation known(PeerId to, PeerId peer) const { return desks_[to].known[peer].life; }

  // Nothing happens where the sender takes the receiver for dead, or is taken for dead itself.
  void send(PeerId from, PeerId to, std::string topic, std::string bytes);

  // To be called in this order.
  std::vector<Life> take_deaths(PeerId peer);
  std::vector<Life> take_returns(PeerId peer);
  std::vector<Message> take_messages(PeerId peer);

  // Something can be taken.
  bool waits(PeerId peer) const;
  // Nothing is under way or waits to be taken by a peer that lives.
  bool quiet() const;

 private:
  struct State {
    Incarnation life = 1;
    bool alive = true;
  };
  struct News {
    PeerId peer;
    Incarnation life;
    bool returned;
  };
  struct Letter {
    Message message;
    Incarnation life;  // of its sender
  };
  struct Desk {  // of one peer's present life
    std::vector<State> known;  // taken
    std::vector<State> told;   // and what `news` adds
    std::vector<News> news;
    std::deque<Letter> letters;
  };
  struct Wire {  // one direction of one pair, in one life of the sender
    explicit Wire(Random stream) : random(stream) {}
    Random random;
    Time last{};
    std::uint64_t sent = 0, arrived = 0;
    std::optional<std::uint64_t> cut;  // messages from this number on never arrive
  };

  Wire& wire(PeerId from, Incarnation life, PeerId to);
  Wire& news_wire(PeerId about, PeerId to);
  Time arrival(Wire& wire, Duration after);
  void announce(PeerId peer, Duration after);
  void tell(PeerId to, const News& news);

  EventQueue& queue_;
  Delay delay_;
  std::uint64_t seed_;
  std::function<void(PeerId)> wake_;
  std::vector<State> now_;
  std::vector<Desk> desks_;
  std::map<std::tuple<PeerId, Incarnation, PeerId>, Wire> wires_;
  std::map<std::pair<PeerId, PeerId>, Wire> news_wires_;  // about, to
  Random random_;
  std::uint64_t under_way_ = 0;
};

}  // namespace gossamer::sim
