// Runs the rounds of one peer: asks the topology for the neighbourhood, the mixer for payloads, the
// transport to carry them, and holds the correction until the trainer takes it.
//
// The engine starts no thread and never sleeps.  step() does a bounded amount of work; a thread lends it
// time in production, the simulator's event queue in tests.
//
// Rounds and synchrony.  publish() opens round r with a snapshot.  The round closes when the mixer awaits
// nothing more: under `bulk` that is when this round's neighbours are in, and nobody else.  A round that is
// open longer than the deadline is an error that names who was waited for.
//
// The shadow is the last published vector plus every correction not yet applied.
//
// Belongs to one thread at a time; runtime/peer.cc serialises trainer and engine where they overlap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/memory.h"
#include "base/result.h"
#include "gossip/mixer.h"
#include "topologies/topology.h"
#include "transports/channel.h"

namespace gossamer {

struct EngineSetup {
  PeerId self = 0;
  std::size_t peers = 0;
  std::size_t vector_size = 0;  // floats
  Duration round_deadline = std::chrono::seconds(60);
};

struct EngineStats {
  Round rounds = 0;               // closed
  double correction_norm = 0;     // 2-norm of the last correction
  std::uint64_t payloads_sent = 0;
  std::uint64_t payloads_received = 0;
  Duration waiting{};             // rounds open, summed
  std::map<PeerId, Round> last_from;  // the newest round each in-neighbour was heard for
};

class Engine {
 public:
  // Everything outlives the engine.
  Engine(EngineSetup setup, const Clock& clock, const Topology& topology, Mixer& mixer, Transport& transport,
         Stream& stream);

  // Opens the next round with a snapshot of `vector`.  REQUIRES: !open().
  void publish(std::span<const float> vector, double learning_rate);

  // A round is under way.
  bool open() const { return open_.has_value(); }

  // A closed round's correction has not been applied yet.
  bool correction_ready() const { return pending_; }
  // vector = a * vector + add.  No-op without a correction.
  void apply(std::span<float> vector);

  // Moves transport and rounds forward.  Errors end the run: a peer gone that is waited for, a deadline
  // passed, bytes that break the protocol.
  Result<> step();

  // When step() must run even if nothing arrives.
  Time next_deadline() const;

  // Everything sent is with its receivers.
  bool drained() const { return transport_.drained(); }

  // Who the open round is waiting for.
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
    Time opened;
  };

  Result<> adopt(Plan plan);
  Result<bool> pump_sends();
  Result<bool> pump_arrivals();
  void close();
  std::string describe_waiting() const;

  EngineSetup setup_;
  const Clock& clock_;
  const Topology& topology_;
  Mixer& mixer_;
  Transport& transport_;
  Stream& stream_;

  Round next_round_ = 0;
  std::optional<OpenRound> open_;
  AlignedBuffer<float> shadow_;
  AlignedBuffer<float> add_;
  Affine affine_;
  bool pending_ = false;

  std::map<Key, Arrival> waiting_;  // came, not yet handed to the mixer; their slots are occupied
  std::map<PeerId, bool> gone_;
  TransportEvents events_;
  EngineStats stats_;
};

}  // namespace gossamer
