// Runs the rounds of one peer: asks the topology for the neighbourhood, the mixer for payloads, the
// transport to carry them, and holds the correction until the trainer takes it.
//
// The engine starts no thread and never sleeps.  step() does a bounded amount of work; a thread lends it
// time in production, the simulator's event queue in tests.
//
// Rounds and synchrony.  publish() opens round r with a snapshot.  The round closes when the mixer awaits
// nothing more, which needs this round's neighbours and nobody else.  A trainer under `bulk` waits for that
// before it goes on; under `stale: s` up to s older rounds may still be open when it publishes; under `async`
// it waits only when it has outrun its own exchanges by far (EngineSetup::skips_max).  A round that is open longer than the
// deadline is an error that names who was waited for.
//
// Views.  install() tells of members that left or came.  Rounds before the view's first round go on without those who are
// gone; the first round of the view begins when they are all closed, on the graph of those who are there.
//
// The shadow is the last published vector plus every correction not yet applied.  An asynchronous peer hears others from its
// first publication on: before that it has nothing to answer with.
//
// Belongs to one thread at a time; runtime/engine_driver.h serialises trainer and engine where they overlap.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/memory.h"
#include "base/result.h"
#include "gossip/mixer.h"
#include "gossip/view.h"
#include "topologies/topology.h"
#include "transports/channel.h"

namespace gossamer {

struct EngineSetup {
  PeerId self = 0;
  std::size_t peers = 0;
  std::size_t vector_size = 0;  // floats
  std::size_t rounds_open = 1;  // as the mixer was set up
  std::size_t skips_max = 8;    // asynchronous: publications in a row that may find the last exchange still open
  Duration round_deadline = std::chrono::seconds(60);
  bool elastic = false;         // a peer that is gone is waited for until a view says that it is no member any more
};

struct EngineStats {
  Round rounds = 0;                // closed
  Round cut_short = 0;             // rounds that were open when somebody they needed left
  Round skipped = 0;               // async: publications that found the last exchange still open
  double correction_norm = 0;      // 2-norm of the last correction
  std::uint64_t payloads_sent = 0;
  std::uint64_t payloads_received = 0;
  std::map<PeerId, Round> last_from;  // the newest round each in-neighbour was heard for
};

class Engine {
 public:
  // Everything outlives the engine.
  Engine(EngineSetup setup, const Clock& clock, const Topology& topology, Mixer& mixer, Transport& transport,
         Stream& stream);

  // Whether publish() is allowed: the oldest open round is fewer than `rounds_open` rounds old.  An asynchronous trainer
  // must not outrun its exchanges without end: the theory wants staleness bounded, and nobody would mix.
  bool can_publish() const;
  // While held no round begins.
  void hold(bool held) { held_ = held; }
  bool held() const { return held_; }

  // A newcomer begins in this view, at this round; nothing was published before.
  void enter(const View& view, Round first_round);
  // The members change.  Channels to those who left are dropped; those who came are to be introduced to the transport
  // (Transport::set_peer) before the next step().  REQUIRES: the view's number is larger than that of the view before, its first round is
  // not smaller than next_round().
  void install(const View& view);
  const View& view() const { return eras_.back().view; }
  // Whom this peer may ever talk to in the newest view.
  std::vector<PeerId> neighbours() const;

  // Asynchronous, and nothing was published yet: until it is this peer answers nobody, and others may wait for its answers.  (Where
  // members do not change they all publish equally often, and nobody waits for one that never does.)
  bool owes_publication() const { return traits_.asynchronous && setup_.elastic && !published_; }

  // Opens the next round with a snapshot of `vector`.  An asynchronous mixer whose last exchange is still open gets
  // the new shadow and begins no other.  REQUIRES: can_publish(), and no correction is waiting.
  void publish(std::span<const float> vector, double learning_rate);

  std::size_t open_rounds() const { return open_.size(); }

  // Corrections of closed rounds wait to be applied.
  bool correction_ready() const { return pending_; }
  // vector = a * vector + add, for all of them.  No-op without a correction.
  void apply(std::span<float> vector);

  // Moves transport and rounds forward.  Errors end the run: a peer gone that is waited for, a deadline
  // passed, bytes that break the protocol.
  Result<> step();

  // When step() must run even if nothing arrives.
  Time next_deadline() const;

  // Nothing is left to send, and everything sent is with its receivers.
  bool drained() const { return answers_.empty() && transport_.drained(); }

  // Who the open rounds are waiting for.
  std::vector<PeerId> waiting_for() const;

  const EngineStats& stats() const { return stats_; }
  Round next_round() const { return next_round_; }

 private:
  struct Key {
    Round round;
    Phase phase;
    PeerId from;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Pending {  // a payload not yet sent to all of its receivers
    Outgoing what;
    std::optional<SendBuffer> buffer;  // once encoded
    PayloadHeader header;
  };
  struct OpenRound {
    RoundInfo info;
    Neighbourhood edges;
    std::vector<Pending> sends;
    std::vector<Await> awaits;
    AlignedBuffer<float> snapshot;  // rounds that overlap have one each
    Time opened;
  };
  struct Answer {  // asynchronous: to a payload that nobody awaited
    RoundInfo info;
    std::vector<Pending> sends;
  };

  struct Era {  // a view and what joins its members
    View view;
    std::unique_ptr<Topology> reduced;  // where somebody is absent
  };

  const Topology& graph(const Era& era) const { return era.reduced ? *era.reduced : topology_; }
  Era era_of(const View& view) const;
  bool era_ends() const;
  void next_era();
  void forget(PeerId peer);
  Result<> take(const Arrival& arrival);
  Result<> answer(const Arrival& arrival);
  Failure unawaited(const Arrival& arrival) const;
  void drop_gone(std::vector<Pending>& sends);
  void drop_served(std::vector<Pending>& sends);
  Result<bool> advance(OpenRound& round);
  Result<bool> pump_sends(const RoundInfo& info, std::vector<Pending>& sends);
  Result<bool> pump_arrivals(OpenRound& round);
  void settle(const RoundInfo& info);
  void listen();
  bool awaited(const Key& key) const;
  Result<> check(const OpenRound& round) const;
  std::string describe_waiting(const OpenRound& round) const;
  std::vector<PeerId> waiting_for(const OpenRound& round) const;

  EngineSetup setup_;
  const Clock& clock_;
  const Topology& topology_;
  Mixer& mixer_;
  const MixerTraits traits_;
  Transport& transport_;
  Stream& stream_;

  std::deque<Era> eras_;  // in front the one of the next round
  bool held_ = false;
  bool published_ = false;  // anything, yet
  Round next_round_ = 0;
  std::size_t skips_ = 0;  // in a row
  std::map<Round, OpenRound> open_;
  std::vector<AlignedBuffer<float>> snapshots_;  // free ones
  std::vector<std::size_t> slots_;               // free ones
  std::vector<Answer> answers_;

  AlignedBuffer<float> shadow_;
  AlignedBuffer<float> add_;    // of one result
  AlignedBuffer<float> sum_;    // of all that wait for apply()
  double a_ = 1;
  bool pending_ = false;

  std::map<Key, Arrival> waiting_;  // came, not yet handed to the mixer; their slots are occupied
  std::vector<PeerId> speakers_;    // asynchronous: who may ever ask
  std::set<PeerId> gone_;
  TransportEvents events_;
  EngineStats stats_;
};

}  // namespace gossamer
