// What an elastic run adds to the life of a peer: views as members leave and come, and how a newcomer gets a model.
//
// It joins Membership (who takes part) to the engine (what that means for rounds) and to the trainer (where a newcomer
// begins), and neither waits nor sends: its caller hands it what the control plane says and carries what it has to say.  So
// the simulator runs the same code as a peer's process.
//
// A newcomer asks a sponsor, the lowest of its neighbours that lives, for model and optimizer state; then it applies, and when a
// view has it as a member it begins at that view's first round.  Its model is a few rounds old by then, as a slow neighbour's would be.
//
// Belongs to one thread at a time, like the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gossip/engine.h"
#include "gossip/membership.h"
#include "topologies/topology.h"
#include "trainer/trainer.h"

namespace gossamer {

struct ElasticSetup {
  PeerId self = 0;
  Incarnation life = 1;
  std::vector<Incarnation> alive;  // by rank; 0: dead
  std::vector<Incarnation> ended = {};  // by rank: the newest life that is known to have ended; may be left out
  std::optional<PeerId> hub = {};  // without which nobody can go on
  bool newcomer = false;           // came to a run that was under way
  bool rounds_shared = true;       // false: an asynchronous algorithm
  std::uint32_t local_steps = 1;   // between two rounds
};

class Elastic {
 public:
  // Topics of its messages; the control plane carries them.
  static constexpr std::string_view kViews = "view";         // a Membership's
  static constexpr std::string_view kStatePlease = "state-please";
  static constexpr std::string_view kState = "state";        // step, model, optimizer

  // All references outlive it.  `graph` is the whole run's.
  Elastic(ElasticSetup setup, const Topology& graph, Engine& engine, Trainer& trainer);

  void died(PeerId peer, Incarnation life);
  void returned(PeerId peer, Incarnation life);
  // Errors: corrupt, for bytes that are none of ours.
  Result<> heard(PeerId from, std::string_view topic, std::string_view bytes);

  // The model is at rest, between two steps: whoever asked for it gets it.
  void at_rest();

  struct Message {
    PeerId to = 0;
    std::string_view topic;
    std::string bytes;
  };
  std::vector<Message> take_messages();

  // Members that came with the views installed since the last call, and their lives.  They are to be introduced to
  // the transport before the engine's next step().
  struct Newcomer {
    PeerId peer = 0;
    Incarnation life = 0;
  };
  std::vector<Newcomer> take_newcomers();

  // Who gathers the results: peer 0 from the start, and whenever that one is no member any more the lowest member that was one in the
  // view before, too.  All members go through the same views, so they agree on it; a newcomer does not know until told_head().
  std::optional<PeerId> head() const { return head_; }
  void told_head(PeerId peer);

  // A newcomer waits until it is a member, everybody else is one from the start.
  bool member() const { return member_; }
  const View& view() const { return membership_.view(); }
  // Why this peer cannot go on.
  const std::optional<Error>& error() const { return error_ ? error_ : membership_.error(); }

 private:
  bool alive(PeerId peer) const { return setup_.alive[peer] != 0; }
  void look_for_sponsor();
  void settle();
  void succeed(const View& next);

  ElasticSetup setup_;
  const Topology& graph_;
  Engine& engine_;
  Trainer& trainer_;
  Membership membership_;
  bool member_;
  bool has_state_ = false;
  std::optional<PeerId> sponsor_;
  std::vector<Incarnation> told_;  // the newest life of each rank that the control plane has told of
  // Agreed on, and not yet the engine's: a view may name a life before the control plane tells where to find it.
  std::vector<View> views_;
  std::set<PeerId> no_members_;  // who said so when asked for its state
  std::set<PeerId> asking_;  // for this peer's state
  std::vector<Message> messages_;
  std::vector<Newcomer> newcomers_;
  std::optional<Error> error_;
  std::optional<PeerId> head_;
  View headed_;  // the view that head_ is of
};

}  // namespace gossamer
