// Runs the rounds of one peer: every publication of the vector (a model, or a gradient) becomes a round of payloads with this
// round's neighbours and ends in a correction that the trainer takes.
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
// Parts.  The vector may be exchanged in parts that are published one by one (`overlap: layerwise`), each with a mixer and
// rounds of its own; all of them share the transport, and the number of a part travels in its payloads' headers.  The peers
// of a run cut their vectors alike.  A round of the vector is closed when that of every part is.
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
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "gossip/mixer.h"
#include "gossip/view.h"
#include "topologies/topology.h"
#include "transports/channel.h"

namespace gossamer {

class Lane;

struct EngineSetup {
  PeerId self = 0;
  std::size_t peers = 0;
  std::size_t vector_size = 0;  // floats
  std::size_t rounds_open = 1;  // as the mixer was set up
  std::size_t skips_max = 8;    // asynchronous: publications in a row that may find the last exchange still open
  // The trainer leaves the vector alone from publish() to apply(), and goes on wherever apply() says that it lies.  A mixer that can
  // (MixerTraits) then moves it in one pass, out of the neighbours' payloads, when it is applied; one that is exchanged whole and as
  // it is goes into a send buffer, from where it is published next without a copy.
  bool trainer_waits = false;
  Duration round_deadline = std::chrono::seconds(60);
  bool elastic = false;         // a peer that is gone is waited for until a view says that it is no member any more
};

struct EngineStats {
  Round rounds = 0;                // closed, by every part
  Round cut_short = 0;             // rounds that were open when somebody they needed left
  Round skipped = 0;               // async: publications that found the last exchange still open
  double correction_norm = 0;      // 2-norm of the last correction of the whole vector
  std::uint64_t payloads_sent = 0;       // of all parts, as all below
  std::uint64_t payloads_received = 0;
  std::map<PeerId, Round> last_from;  // the newest round each in-neighbour was heard for
};

// A range of the vector that is exchanged by itself.
struct EnginePart {
  std::size_t offset = 0;
  std::size_t count = 0;
  Mixer* mixer = nullptr;  // of a layout of `count` elements; outlives the engine
};

class Engine {
 public:
  // Everything outlives the engine.  The first form exchanges the vector whole.  REQUIRES: parts cover it without a gap, in
  // ascending order; their mixers are of one algorithm.
  Engine(EngineSetup setup, const Clock& clock, const Topology& topology, Mixer& mixer, Transport& transport, Stream& stream);
  Engine(EngineSetup setup, const Clock& clock, const Topology& topology, std::span<const EnginePart> parts, Transport& transport,
         Stream& stream);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const MixerTraits& traits() const;
  std::span<const EnginePart> parts() const { return parts_; }

  // What the mixers see of the run outside of rounds (mixer.h): the vector that all peers start from, and a gradient before
  // the optimizer does, whole or of one part.
  void start(std::span<const float> common);
  void gradient(std::span<float> gradient, double learning_rate);
  void gradient(std::size_t part, std::span<float> gradient, double learning_rate);

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
  // not smaller than next_round(), and no round is published in part.
  void install(const View& view);
  const View& view() const;
  // Whom this peer may ever talk to in the newest view.
  std::vector<PeerId> neighbours() const;

  // Asynchronous, and nothing was published yet: until it is this peer answers nobody, and others may wait for its answers.  (Where
  // members do not change they all publish equally often, and nobody waits for one that never does.)
  bool owes_publication() const;
  // The hub of an asynchronous algorithm has not heard of the last publication, which found an exchange open that has ended since.
  bool owes_exchange() const;

  // Opens the next round with a snapshot of `vector`.  An asynchronous mixer whose last exchange is still open gets
  // the new shadow and begins no other.  REQUIRES: can_publish(), and no correction is waiting.
  void publish(std::span<const float> vector, double learning_rate);
  // The same of one part, which has can_publish() for itself: every part once, in any order, before the first one again.
  void publish(std::size_t part, std::span<const float> range, double learning_rate);

  // Rounds of the vector that some part has not closed.
  std::size_t open_rounds() const;

  // Corrections of closed rounds wait to be applied.
  bool correction_ready() const;
  // vector = a * vector + add, for all of them.  No-op without a correction.  Returns where the vector lies now: elsewhere only if the
  // trainer waits (EngineSetup).  Memory of the transport, good until the next apply(), publish() included; what lies there may be
  // written until it is published.
  std::span<float> apply(std::span<float> vector);

  // Moves transport and rounds forward.  Errors end the run: a peer gone that is waited for, a deadline
  // passed, bytes that break the protocol.
  Result<> step();

  // When step() must run even if nothing arrives.
  Time next_deadline() const;

  // Nothing is left to send, and everything sent is with its receivers.
  bool drained() const;

  // Who the open rounds are waiting for.
  std::vector<PeerId> waiting_for() const;

  EngineStats stats() const;
  Round rounds_closed() const;  // stats().rounds
  Round next_round() const;     // of the vector: the part that is behind

 private:
  Transport& transport_;
  Stream& stream_;
  std::vector<EnginePart> parts_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  bool held_ = false;
  TransportEvents events_;
};

}  // namespace gossamer
