// What channel.cc and channel_notices.cc share; everybody else wants transports/channel.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/serial.h"
#include "transports/channel.h"

namespace gossamer {

// Control notices; the grammar is in gossip/PROTOCOL.md.
inline constexpr std::uint32_t kControlMagic = 0x43535347;  // "GSSC"
enum class NoticeKind : std::uint16_t { hello = 1, ack = 2, lent = 3, declined = 4 };

inline Writer begin_notice(NoticeKind kind, const TransportSetup& setup, Incarnation to) {
  Writer writer;
  writer.put(kControlMagic);
  writer.put(kWireVersion);
  writer.put(kind);
  writer.put(setup.self);
  writer.put(setup.incarnation);
  writer.put(to);
  return writer;
}

// Never 0, which means that there is none.  A device's bytes are copied to the host for it, piece by piece.  Errors: what the
// device says.
Result<std::uint32_t> payload_checksum(PayloadBytes<const std::byte> bytes);

// Of mailboxes, and of send buffers.  Mixing reads several of them side by side, and regions come to lie one behind the other: the large ones
// are an odd number of two pages, since inputs that lie a multiple of 256 MiB apart are mixed half as fast (docs/measurements.md).
inline std::size_t slot_size(const TransportSetup& setup) {
  constexpr std::size_t kLine = 64, kTwoPages = 8192, kLarge = std::size_t{1} << 20;
  const std::size_t payload = std::max<std::size_t>(setup.payload_size_max, 1);
  const auto units = [&](std::size_t unit) { return (payload + unit - 1) / unit; };
  return payload < kLarge ? units(kLine) * kLine : (units(kTwoPages) | 1) * kTwoPages;
}

struct Transport::Buffer {
  std::unique_ptr<Region> region;
  std::uint32_t pins = 0;  // sends under way, receivers that it is lent to, and one for whoever leased it
  std::uint32_t lent = 0;  // those receivers
  // One of them went without giving it back, and may still read: this memory is never written again.
  bool tainted = false;
};

// A payload sent and not yet known to have come.
struct Transport::Unacked {
  Sequence sequence = 0;
  PayloadHeader header;
  std::uint32_t buffer = 0;
  bool lent = false;       // stays in its buffer; only the notice of it travels
  bool retained = true;    // keeps the buffer for a put still to be started; a put under way keeps it by itself
  bool under_way = false;
  bool put_off = false;      // its memory could not be read, which has been told
  std::optional<Time> sent;  // last put, or try at it that was put off
};

// Memory of a peer that payloads are read in place from.
struct Transport::Borrowed {
  std::unique_ptr<Mapping> mapping;
  std::size_t held = 0;    // payloads in it that have come and are not released
  std::uint64_t used = 0;  // when it was last, for choosing the one to unmap
};

// A payload that has come, and where it lies: in the peer's memory, or in its slot of our mailbox.
struct Transport::Come {
  PayloadHeader header;
  Borrowed* from = nullptr;
  std::size_t offset = 0;
  bool released = false;
};

struct Transport::Peer {
  PeerId id = 0;
  std::uint64_t life = 0;  // no two Peers of a Transport have the same
  std::string address;
  Incarnation incarnation = 0;
  Incarnation announced = 0;  // the newer life that was reported as restarted
  std::unique_ptr<Link> link;
  bool gone = false;

  // Towards the peer.
  std::unique_ptr<Target> target;  // its mailbox for us, once its hello came
  std::uint64_t slot_size = 0;
  std::uint32_t slots = 0;
  Sequence sent = 0;
  Sequence consumed_there = 0;
  Sequence received_there = 0;
  std::deque<Unacked> unacked;  // ascending; leaves when the peer has it
  std::deque<std::pair<Sequence, std::uint32_t>> lent;  // payloads and their buffers, ascending; leaves when the peer has read it
  bool declines = false;        // it cannot map our memory
  PayloadHeader newest;         // the last one sent
  unsigned asks = 0;            // in vain since
  Time asked;                   // when the peer last acknowledged, or was asked to (unreliable fabrics)

  // From the peer.
  bool receive = false;
  std::unique_ptr<Region> mailbox;
  Sequence received = 0;  // in order, handed out
  Sequence consumed = 0;  // released, in order
  std::map<Sequence, Come> early;  // came before its turn
  std::map<Sequence, Come> held;   // handed out
  std::map<std::string, Borrowed> borrowed;  // by key
  std::uint64_t borrows = 0;
  std::set<Sequence> declined;  // the peer is still to be told
  bool ack_due = false;

  bool hello_due = false;
  bool hello_known = false;  // the peer has said that it has our present hello
  std::optional<Time> hello_sent;
  unsigned hellos = 0;  // repeated so far
};

}  // namespace gossamer
