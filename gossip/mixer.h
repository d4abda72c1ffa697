// A gossip algorithm without its communication, clock or threads.
//
// A Mixer says which payloads go along which edges, turns vectors into payloads and back, and answers
// with what to do to the model.  It never writes the model, waits for nothing and starts nothing: the
// engine (engine.h) calls it, in production and in the simulator alike.
//
// One round, as the engine drives it:
//
//     begin(info, shadow)          -> Plan: payloads to send, arrivals to wait for
//     encode(info, outgoing, out)     once per payload, only when there is credit to send it
//     arrived(info, arrivals)      -> Plan of the next phase; a plan that awaits nothing ends the round
//     result(info, add)            -> Affine: model = a * model + add
//
// Arrivals of a phase are handed over all at once, in ascending order of peer, so that floating-point
// sums come out the same in every run.  All sends of a phase are encoded before its arrivals are handed over.
//
// Rounds may overlap (`synchrony: stale`): up to RoundInfo::slots rounds are open at once, each with a
// slot number of its own for what a mixer keeps per round.  They may end in any order.
//
// An asynchronous mixer (MixerTraits::asynchronous) also gets arrivals that nobody awaits, one by one and
// at once: arrived() may answer them.  Its shadow is live: it always is the last published vector plus all
// corrections so far, also those that the trainer has not applied.  result() is asked after every begin(),
// arrived() and encode(), and gives what there is.
//
// The members may change (view.h).  Between two rounds view() tells; a round that was open when somebody went ends without
// those who are gone: arrived() then gets fewer arrivals than were awaited, or is not called at all.
//
// A Mixer belongs to one thread, its engine's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/layout.h"
#include "base/memory.h"
#include "base/result.h"
#include "base/serial.h"
#include "gossip/view.h"
#include "kernels/compressor.h"
#include "topologies/topology.h"
#include "transports/channel.h"

namespace gossamer {

struct RoundInfo {
  Round round = 0;
  PeerId self = 0;
  std::size_t peers = 0;
  const Neighbourhood* edges = nullptr;  // this round's, from the topology
  double learning_rate = 0;              // of the local step before this round
  std::size_t slot = 0;                  // of the open rounds: 0 .. slots-1
  std::uint32_t view = 0;                // the number of the view that holds in it
  bool payload_kept = false;             // see MixerTraits::payload_is_snapshot
};

// A payload that the mixer wants sent: encoded once, delivered to each of `to`.
struct Outgoing {
  std::uint32_t id = 0;     // the mixer's own name for it
  Phase phase = 0;          // what the receivers await
  std::uint16_t kind = 0;   // the mixer's own, travels in the header
  std::vector<PeerId> to;
};

struct Await {
  PeerId from = 0;
  Phase phase = 0;
  friend auto operator<=>(const Await&, const Await&) = default;
};

struct Plan {
  std::vector<Outgoing> send;
  std::vector<Await> await;
};

// What encode() wrote: bytes used, and for the header the codec and the number of elements.
struct Encoded {
  std::size_t used = 0;
  CodecId codec = CodecId::none;
  std::uint64_t count = 0;
};

// model = a * model + add.  With a = 1 corrections of rounds still under way commute with what the
// trainer does meanwhile; a = 0 replaces.
struct Affine {
  double a = 1;
  std::optional<double> squared_norm = {};  // of `add`, where it came out of the pass that wrote it
};

enum class Exchanges : std::uint8_t { model, gradient };

// A vector that both ends of an edge keep the same bits of.
enum class Replica : std::uint8_t {
  own,     // of this peer's vector, as the other end holds it
  theirs,  // of the other end's vector
};

// What push-sum keeps of the mass of all models, and the vector that it expects the trainer to hold.
struct Mass {
  double weight = 1;
  std::span<const float> x;
  std::span<const float> expected;
};

struct MixerTraits {
  Exchanges exchanges = Exchanges::model;
  bool asynchronous = false;     // pairs exchange when they like; there are no rounds to wait for
  bool each_once = false;        // payloads are differences: one lost or repeated is never made good
  // encode() of the only payload copies the vector as it is.  The engine then calls it at once after begin(), which gets the
  // trainer's own vector, and keeps the payload (RoundInfo::payload_kept) until result() or mix(): it is the snapshot.  Where the
  // vector lies in that payload already, there is nothing to copy.
  bool payload_is_snapshot = false;
  bool mixes_in_one_pass = false;  // has mix()
  bool uses_graph = true;        // false: the algorithm has a schedule of its own (all-reduce)
  std::optional<PeerId> hub = {};  // it alone holds the run's result while the run goes on, and nobody can go on without it
};

class Mixer {
 public:
  virtual ~Mixer() = default;

  virtual std::string_view name() const = 0;
  virtual MixerTraits traits() const = 0;
  // The most bytes encode() ever uses.
  virtual std::size_t payload_capacity() const = 0;

  // The vector that all peers start from, before the first round; what is kept of other peers may start there too.
  // Never called where the starts differ.
  virtual void start(std::span<const float> /*common*/) {}

  // A local change to the gradient before the optimizer sees it (tracking, quasi-global momentum).
  virtual void gradient(Stream&, const RoundInfo&, std::span<float> /*gradient*/) {}

  // `shadow` is the vector as published; it stays valid and unchanged until result() of this round (asynchronous: it
  // stays valid for ever and is live; payload_is_snapshot: until encode() has returned, if the payload is kept).
  virtual Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) = 0;

  virtual Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what,
                                 std::span<std::byte> out) = 0;

  // The bytes come from outside: an error names what does not fit, and ends the run.  For arrivals that nobody
  // awaits, info.round is the sender's.
  virtual Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) = 0;

  // Writes the whole of `add`; without a value there is nothing to do (asynchronous mixers only).
  virtual std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) = 0;

  // In place of arrived() and result(), where the trainer has left its vector as it was published: to = vector + the round's
  // correction, in one pass; `to` may be the vector.  Returns the squared 2-norm of what was added; after an error `to` is of no use.
  virtual Result<double> mix(Stream&, const RoundInfo&, std::span<const Arrival> /*arrivals*/, std::span<const float> /*vector*/,
                             std::span<float> /*to*/) {
    return fail(Errc::internal, "this algorithm does not mix in place");
  }

  // From the next round on `view` holds, and `graph` (of the members alone, if some are absent) joins them; `changed` are the ranks
  // that left, came, or are in another life.  Asynchronous: at once.  What both ends of an edge keep of each other starts afresh where one end
  // has changed.  A newcomer is told of its first view before its first round, and never gets start().
  virtual void view(const View& /*view*/, const Topology& /*graph*/, std::span<const PeerId> /*changed*/) {}

  // For those who watch from outside (the simulator's checkers): the replica shared with `peer`, as of the last payload
  // encoded (own) or handed over (theirs).  Empty where the algorithm keeps none per edge.
  virtual std::span<const float> replica(PeerId, Replica) const { return {}; }
  // The same of push-sum's share; nothing where the algorithm is not of that kind, or has not begun.
  virtual std::optional<Mass> mass() const { return std::nullopt; }

  // What a restart needs.
  virtual void save(Writer&) const {}
  virtual Result<> load(Reader&) { return {}; }
};

}  // namespace gossamer
