// The upper floor of transports: payloads between peers, exactly once and in order, with credits.
//
// Written once over every Fabric.  A Transport holds one channel per direction and peer.  The receiver
// grants each sender a mailbox of `window` slots; a sender may have that many payloads waiting there, and
// gets a slot back when the receiver releases the arrival.  No credit is Errc::would_block: nothing was
// encoded or sent, and for a difference the next one subsumes it.
//
// To a neighbour (Target::mapped) a large payload is lent: it stays in its send buffer, the neighbour reads it there, and only
// a notice travels.  One buffer serves all its receivers.  It is free again when each of them has released it; one that went
// without doing so may still read, so that memory is never written again but left to whoever maps it.
//
// With TransportSetup::memory a device's, mailboxes and send buffers are memory of the fabric's device: payloads go from device to
// device, as that fabric can (docs/transports.md), and are never lent.  Work of the device is ordered by the caller: what writes
// a buffer has ended before send(), what reads an arrival begins after poll() and has ended before release().  Peers of both
// kinds understand each other; what crosses the wire is the same.
//
// What crosses the wire is described in gossip/PROTOCOL.md.  Everything from the wire is validated before
// it is used; a violation closes nothing by itself but is reported as a fault that names the peer.
//
// On an unreliable fabric (FabricLimits::reliable is false) payloads that are not acknowledged in time are
// sent again; duplicates and reordering are undone here.
//
// Never blocks.  Belongs to one thread, the fabric's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/memory.h"
#include "base/payload.h"
#include "base/result.h"
#include "transports/fabric.h"
#include "transports/payload_bytes.h"

namespace gossamer {

inline constexpr std::size_t kNeverLend = std::numeric_limits<std::size_t>::max();

struct TransportSetup {
  PeerId self = 0;
  std::size_t peers = 0;
  Incarnation incarnation = 1;
  std::uint64_t run = 0;             // every peer of a run has the same number; others are refused
  std::size_t payload_size_max = 0;  // bytes of the largest payload of this run
  std::uint32_t window = 2;          // slots per sender in this peer's mailboxes, 1..64
  std::size_t send_buffers_max = 256;
  std::size_t lend_size_min = std::size_t{64} << 10;  // smaller payloads are copied also to neighbours; kNeverLend: all are
  Duration resend_after = std::chrono::milliseconds(200);  // unreliable fabrics; also how often a hello is repeated
  bool checksum = false;             // XXH3 over every payload, at both ends; of a device's memory it is copied to the host for it
  // Where mailboxes and send buffers lie.  cuda: on the device that the fabric was made with; where it has none, open() and lease()
  // are refused.  Each sender's mailbox then takes `window` payloads of that memory.
  MemoryKind memory = MemoryKind::host;
};

// Memory to encode into.  The transport owns it; it is handed to send() or give_back().
struct SendBuffer {
  std::uint32_t index = 0;
  PayloadBytes<std::byte> bytes;  // payload_size_max
};

// A payload that came.  `bytes` stays valid and unchanged until release(), also when its sender is dropped, dies or restarts
// meanwhile; until then it occupies a slot of the sender's credit, and the sender's buffer if it was lent.
struct Arrival {
  PeerId from = 0;
  PayloadHeader header;
  PayloadBytes<const std::byte> bytes;
};

// What became of something sent.
struct Delivery {
  PeerId to = 0;
  Sequence sequence = 0;
  Errc status = Errc::ok;  // ok: the receiver has it; peer_gone: it may or may not
};

struct Fault {
  PeerId peer = 0;  // this peer itself where the bytes do not even say whose they are, or its own device fails
  Error error;
};

struct TransportEvents {
  std::vector<Arrival> arrivals;
  std::vector<Delivery> deliveries;
  std::vector<PeerId> gone;       // the fabric lost the link to this peer; named once per incarnation
  std::vector<PeerId> restarted;  // this peer came back as a new incarnation (named once): set_peer() accepts it
  std::vector<Fault> faults;      // bytes from this peer that break the protocol (dropped)

  void clear() {
    arrivals.clear();
    deliveries.clear();
    gone.clear();
    restarted.clear();
    faults.clear();
  }
};

class Transport {
 public:
  // Fabric and clock outlive the Transport.
  Transport(TransportSetup setup, Fabric& fabric, const Clock& clock);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Where a peer is.  A larger incarnation than before forgets everything about the earlier life; a smaller one is old
  // news and changes nothing.
  Result<> set_peer(PeerId peer, std::string address, Incarnation incarnation);
  // Stops caring about a peer: its channels are dropped, what was under way ends as peer_gone at the next poll().
  void drop_peer(PeerId peer);

  // Starts a channel: `receive` grants the peer a mailbox here.  Idempotent; sending starts as soon as the
  // peer has granted one in turn (has_credit).  REQUIRES: set_peer() before.  Errors: peer_gone; unsupported where the memory is to
  // be a device's and the fabric has none; what the fabric says.
  Result<> open(PeerId peer, bool receive);

  bool has_credit(PeerId to) const;

  // A buffer to encode into, or would_block when all are under way.  Errors: as those of open() about memory.
  Result<SendBuffer> lease();
  void give_back(SendBuffer buffer);

  // Sends the first header.used bytes of the buffer to each of `to`; the header's codec, phase, kind, round,
  // view, count and used are the caller's, the rest is filled in.  The bytes are not to be written any more.  The buffer returns
  // to the pool by itself once `last` was true, all its sends have ended and whoever it is lent to has released it; with `last`
  // false more sends of it follow, or give_back().
  // REQUIRES: has_credit() of each.
  void send(const SendBuffer& buffer, const PayloadHeader& header, std::span<const PeerId> to, bool last);

  // Gives the slot of an arrival back to its sender.
  void release(const Arrival& arrival);

  // Moves everything forward and appends what happened.
  void poll(TransportEvents* events);

  // Everything sent has been acknowledged, and every acknowledgement owed has left.
  bool drained() const;

  // When poll() has something to do even if no descriptor wakes it.
  Time next_deadline() const;

  Fabric& fabric() { return fabric_; }
  // The fabric's, and payloads that were lent as if they had travelled.
  Traffic traffic() const;

 private:
  struct Peer;
  struct Buffer;
  struct Unacked;
  struct Borrowed;
  struct Come;
  struct PutUnderWay {
    PeerId peer = 0;
    std::uint64_t life = 0;
    Sequence sequence = 0;
    std::uint32_t buffer = 0;
  };
  // The mailbox of a dropped peer, and what it lent, while arrivals in them are still read.
  struct Retired {
    std::unique_ptr<Region> mailbox;
    std::map<std::string, Borrowed> borrowed;
    std::size_t held = 0;
  };

  Result<> check_memory() const;
  Result<std::unique_ptr<Region>> allocate(std::size_t size);
  PayloadBytes<std::byte> bytes_of(const Region& region) const;
  Peer& at(PeerId peer);
  Peer* find(PeerId peer);
  void say_hello(Peer& peer);
  void acknowledge(Peer& peer);
  void end_sends(Peer& peer, std::vector<Delivery>* deliveries);
  bool put(Peer& peer, Unacked& sent);
  bool put_off(Peer& peer, Unacked& sent, std::string_view why);
  Result<std::uint32_t> checksum_of(std::uint32_t buffer, std::size_t size) const;
  bool lends(const Peer& peer, const Buffer& buffer, std::size_t size) const;
  void lend(Peer& peer, Sequence sequence, std::uint32_t buffer);
  void take_back(Peer& peer, Sequence consumed);
  void take_back(std::uint32_t buffer);
  Borrowed* borrow(Peer& peer, const RemoteRegion& region, Error* error);
  void unmap_spare(Peer& peer);
  Duration patience(unsigned repeated) const;
  void pump(Peer& peer);
  bool starved(const Peer& peer) const;
  void unpin(std::uint32_t buffer);
  void release_retained(Unacked& sent);
  void drop_acknowledged(Peer& peer);
  void on_notice(std::span<const std::byte> notice, TransportEvents* events);
  void on_hello(std::span<const std::byte> notice, TransportEvents* events);
  void on_ack(std::span<const std::byte> notice, TransportEvents* events);
  void on_payload(const PayloadHeader& header, TransportEvents* events);
  void on_lent(std::span<const std::byte> notice, TransportEvents* events);
  void on_declined(std::span<const std::byte> notice, TransportEvents* events);
  Peer* awaiting(const PayloadHeader& header, TransportEvents* events);
  void arrive(Peer& peer, const Come& come, TransportEvents* events);
  void deliver(Peer& peer, const Come& come, TransportEvents* events);
  std::optional<Fault> damage(const Arrival& arrival) const;
  void lose(Peer& peer, TransportEvents* events);

  TransportSetup setup_;
  Fabric& fabric_;
  const Clock& clock_;
  bool reliable_;
  std::map<PeerId, std::unique_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::uint32_t> free_buffers_;
  std::map<std::uint32_t, PeerId> links_;  // fabric link id -> peer
  std::map<std::uint64_t, PutUnderWay> puts_;  // by token
  std::uint64_t next_token_ = 1;
  std::uint64_t next_life_ = 1;
  std::size_t lent_buffers_ = 0;
  std::uint64_t bytes_lent_ = 0, bytes_borrowed_ = 0;
  std::vector<Retired> retired_;
  std::vector<Delivery> dropped_;  // ends of drop_peer(), handed out by the next poll()
  std::vector<Fault> own_faults_;  // likewise
  FabricEvents fabric_events_;
};

}  // namespace gossamer
