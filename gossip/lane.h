// Runs the rounds of one part of a peer's vector: asks the topology for the neighbourhood, the mixer for payloads, the
// transport to carry them, and holds the correction until the trainer takes it.
//
// The engine (engine.h) has one lane for each part, all over one transport, polls that and hands each lane what is for it.
// Lanes know nothing of each other.  What begins, ends, waits and overlaps is told in engine.h; all of it holds per lane.
//
// Belongs to one thread at a time, the engine's.
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
#include "gossip/engine.h"
#include "gossip/mixer.h"
#include "gossip/view.h"
#include "topologies/topology.h"
#include "transports/channel.h"

namespace gossamer {

class Lane {
 public:
  // `bucket` is the part's number, as the headers of its payloads carry it, and `size` its floats.  Everything outlives the
  // lane.
  Lane(const EngineSetup& setup, std::uint32_t bucket, std::size_t size, const Clock& clock, const Topology& topology, Mixer& mixer,
       Transport& transport, Stream& stream);

  Mixer& mixer() { return mixer_; }
  const MixerTraits& traits() const { return traits_; }

  // As the engine's.
  bool can_publish() const;
  void enter(const View& view, Round first_round);
  void install(const View& view);
  const View& view() const { return eras_.back().view; }
  std::vector<PeerId> neighbours() const;
  bool owes_publication() const { return traits_.asynchronous && setup_.elastic && !published_; }
  bool owes_exchange() const { return traits_.hub && owed_ && open_.empty(); }
  void publish(std::span<const float> vector, double learning_rate);
  std::size_t open_rounds() const { return open_.size(); }
  bool correction_ready() const { return pending_ || !unmixed_.empty(); }
  std::span<float> apply(std::span<float> vector);
  std::vector<PeerId> waiting_for() const;
  const EngineStats& stats() const { return stats_; }
  Round next_round() const { return next_round_; }

  // What Engine::step() is made of, in this order.
  void lost(std::span<const PeerId> peers);
  void listen();  // an asynchronous peer is spoken to at any time
  Result<> take(const Arrival& arrival);
  Result<> advance();

  // When advance() must run even if nothing arrives.
  Time next_deadline() const;
  // Owes nobody an answer.
  bool answered() const { return answers_.empty(); }

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
    bool kept = false;  // the buffer is the round's
  };
  struct OpenRound {
    RoundInfo info;
    Neighbourhood edges;
    std::vector<Pending> sends;
    std::vector<Await> awaits;
    AlignedBuffer<float> snapshot;   // rounds that overlap have one each
    std::optional<SendBuffer> kept;  // a payload that is the snapshot
    std::vector<Arrival> last;       // what is mixed when the trainer takes the correction
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
  Result<> answer(const Arrival& arrival);
  Failure unawaited(const Arrival& arrival) const;
  void drop_gone(std::vector<Pending>& sends);
  void drop_served(std::vector<Pending>& sends);
  Result<bool> advance(OpenRound& round);
  Result<> encode(const RoundInfo& info, Pending& pending);
  void finish(OpenRound& round);
  bool mixes_late() const;
  bool vector_moves() const { return mixes_late() && traits_.payload_is_snapshot && size_ == setup_.vector_size; }
  std::span<float> elsewhere(std::span<float> vector, std::optional<SendBuffer>* buffer);
  void move_home(std::optional<SendBuffer> buffer);
  Result<bool> pump_sends(const RoundInfo& info, std::vector<Pending>& sends);
  Result<bool> pump_arrivals(OpenRound& round);
  void settle(const RoundInfo& info);
  bool awaited(const Key& key) const;
  Result<> check(const OpenRound& round) const;
  std::string describe_waiting(const OpenRound& round) const;
  std::vector<PeerId> waiting_for(const OpenRound& round) const;

  EngineSetup setup_;
  std::uint32_t bucket_;
  std::size_t size_;
  const Clock& clock_;
  const Topology& topology_;
  Mixer& mixer_;
  const MixerTraits traits_;
  Transport& transport_;
  Stream& stream_;

  std::deque<Era> eras_;  // in front the one of the next round
  bool published_ = false;  // anything, yet
  bool owed_ = false;       // the last publication found an exchange open, and began none
  Round next_round_ = 0;
  std::size_t skips_ = 0;  // in a row
  std::map<Round, OpenRound> open_;
  std::vector<AlignedBuffer<float>> snapshots_;  // free ones
  std::vector<std::size_t> slots_;               // free ones
  std::vector<Answer> answers_;

  // Each is there once it is needed.
  AlignedBuffer<float> shadow_;
  AlignedBuffer<float> add_;    // of one result
  AlignedBuffer<float> sum_;    // of all that wait for apply()
  double a_ = 1;
  bool pending_ = false;
  std::optional<SendBuffer> home_;  // where the trainer's vector lies, if not in memory of its own
  bool home_shown_ = false;         // it was published there: whoever reads it shall find it unchanged
  std::span<float> first_home_;     // the trainer's memory
  std::map<Round, OpenRound>::node_type unmixed_;  // the round that has ended and waits for apply() to mix it
  std::optional<Error> failed_;                    // in publish() or apply(), which tell nobody

  std::map<Key, Arrival> waiting_;  // came, not yet handed to the mixer; their slots are occupied
  std::vector<PeerId> speakers_;    // asynchronous: who may ever ask
  std::set<PeerId> gone_;
  EngineStats stats_;
};

}  // namespace gossamer
