// How the peers of a run agree on who takes part: views, installed in two phases.
//
// A Membership is fed with what its peer learns (deaths, returns, messages of other memberships) and is asked what it
// has to say.  It has no clock, no thread and no connection, so the simulator runs the same code.
//
// The coordinator of a change is the lowest member that lives and was a member in the view before, too; if there is none, the
// lowest member that lives.  (A newcomer may not know yet that it is a member.)
//
//     1. It sends prepare(ballot, next members) to every old member that goes on.  Each stops beginning rounds and
//        answers promise(ballot, its next round, the view that it is in).
//     2. When all have promised, the new view begins at the largest of those rounds: nobody has begun it yet, and
//        the rounds before it are finished in the old view, without the edges to those who are gone.  install(view) goes
//        to them all.  Each hands it to the newcomers in it, who enter when most of the old members, or all that live, have
//        done so.
//
// A coordinator that dies is followed by the next one; whoever is in its last view hands that on, so that all agree on who is next.  All living members must answer it, so if anybody still alive has
// installed the view that the dead one proposed, the new one hears of it and hands it on before it proposes its own.
// Whoever has promised a later ballot takes no view of an earlier one, whoever brings it and with whatever message: a message of the
// dead may say that they were in a view when all who live have agreed on another.  If it promised somebody who died, it asks the others itself, and
// goes where an answer to its own question says that somebody is.
//
// Deaths are the control plane's verdict, final and told to all; who is wrongly declared dead is expelled there.  Two halves of a network that take
// each other for dead do not both go on: a view needs more than half of the members of the view before it, or half and
// the lowest of them.  The others end with an error.
//
// A peer that returns is a new life of its rank.  It is admitted once it has asked (apply()), which it does when it has a model.
//
// Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/serial.h"
#include "gossip/view.h"

namespace gossamer {

struct MembershipSetup {
  PeerId self = 0;
  Incarnation life = 1;
  std::vector<Incarnation> alive;  // by rank, as far as is known now; 0: dead
  std::vector<Incarnation> ended = {};  // by rank: the newest life that is known to have ended; may be left out
  bool rounds_shared = true;       // false: an asynchronous algorithm; views hold at once and nobody stops
  bool member = true;              // false: a newcomer, which has to apply
};

class Membership {
 public:
  explicit Membership(MembershipSetup setup);

  // What the control plane says.  Of an earlier life than the known one it is old news.
  void died(PeerId peer, Incarnation life);
  void returned(PeerId peer, Incarnation life);

  // A newcomer has a model to go on from and asks the members to take it in.
  void apply();

  // A message of another peer's membership, and the first round that this peer has not begun.
  // Errors: corrupt, where the bytes are none of ours.
  Result<> heard(PeerId from, std::span<const std::byte> bytes, Round next_round);
  // To be called after died() and returned(), and whenever this peer may have begun rounds since, so that a coordinator's own promise is
  // up to date.
  void advance(Round next_round);

  struct Message {
    PeerId to = 0;
    std::vector<std::byte> bytes;
  };
  // What is to be sent, in this order; reliable and in order per receiver while both live.
  std::vector<Message> take_messages();

  // No round may be begun: a change is being agreed on.
  bool frozen() const { return setup_.rounds_shared && member_ && promised_.number > view_.number; }

  // The views installed since the last call, in order.
  std::vector<View> take_views();
  const View& view() const { return view_; }

  // Why this peer cannot go on: it is not in the view that the others installed, or too few are left.
  const std::optional<Error>& error() const { return error_; }

 private:
  struct Ballot {
    std::uint32_t number = 0;  // of the view that is proposed
    std::uint32_t order = 0;   // of its coordinator: those that follow have higher ones
    std::uint32_t attempt = 0;
    friend auto operator<=>(const Ballot&, const Ballot&) = default;
  };
  struct Proposal {
    Ballot ballot;
    std::vector<Incarnation> lives;
    std::map<PeerId, Round> promises;
  };

  bool alive(PeerId peer) const { return setup_.alive[peer] != 0; }
  bool lives_on(PeerId peer) const { return view_.has(peer) && view_.lives[peer] == setup_.alive[peer]; }
  std::uint32_t order(PeerId peer) const;
  PeerId proposer(const Ballot& ballot) const { return ballot.order % static_cast<std::uint32_t>(setup_.alive.size()); }
  std::optional<PeerId> coordinator() const;
  bool leads() const;
  std::vector<Incarnation> desired() const;
  Result<> take(PeerId from, std::span<const std::byte> bytes, Round next_round);
  void propose(Round next_round);
  void promise(PeerId to, const Ballot& ballot, Round next_round);
  void count_promises();
  void install(const View& view, const Ballot& ballot);
  void enter();
  void answer_late(Round next_round);
  void installed(const View& view, const Ballot& ballot);
  void hand_on();
  void learn(PeerId peer, Incarnation life);
  void send_to_members(const Writer& writer);
  void send(PeerId to, const Writer& writer);
  void send_application(PeerId to);

  MembershipSetup setup_;
  bool member_;
  View view_;
  std::vector<Incarnation> before_;  // who lived in the view before
  std::vector<View> fresh_;  // not yet taken
  Ballot chosen_;    // by which the view was agreed on
  Ballot promised_;
  std::uint32_t attempts_ = 0;
  std::uint32_t refused_ = 0;  // the newest view that came with too early a ballot
  std::optional<PeerId> proposer_;  // of the view, if this peer took it from there
  std::optional<Proposal> proposal_;
  std::vector<Incarnation> ended_;    // the newest life of each rank that is known to have died
  std::vector<Incarnation> applied_;  // lives that asked to be taken in
  // A newcomer's:
  bool applying_ = false;
  struct Invitation {
    Ballot ballot;  // by which the view was agreed on
    View view;
    std::vector<Incarnation> before;  // the view before it
  };
  std::map<PeerId, Invitation> invitations_;  // the newest one of each member
  std::optional<std::pair<PeerId, Ballot>> unanswered_;  // the newest prepare that came before the view that it builds on
  std::vector<Message> messages_;
  std::vector<Incarnation> told_;  // the newest life of each rank that the control plane has told of
  std::vector<Message> early_;     // to lives that only a view has told of yet: before that nothing reaches them
  std::optional<Error> error_;
};

}  // namespace gossamer
