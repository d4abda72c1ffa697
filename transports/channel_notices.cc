// What comes over the channels: it is validated here, and nothing else believes a byte of it.
#include <algorithm>
#include <cstddef>
#include <fmt/core.h>
#include <utility>

#include "base/check.h"
#include "transports/channel_state.h"

namespace gossamer {
namespace {

struct Prefix {
  NoticeKind kind{};
  PeerId sender = 0;
  Incarnation incarnation = 0;  // of the sender
  Incarnation to = 0;           // of the receiver, as the sender knows it
};

Prefix read_prefix(Reader& reader) {
  reader.get<std::uint32_t>();
  reader.get<std::uint16_t>();
  Prefix prefix;
  prefix.kind = reader.get<NoticeKind>();
  prefix.sender = reader.get<PeerId>();
  prefix.incarnation = reader.get<Incarnation>();
  prefix.to = reader.get<Incarnation>();
  return prefix;
}

}  // namespace

void Transport::lose(Peer& peer, TransportEvents* events) {
  if (peer.gone) return;
  peer.gone = true;
  end_sends(peer, &events->deliveries);
  for (const auto& [sequence, come] : peer.early)
    if (come.from) --come.from->held;
  peer.early.clear();
  events->gone.push_back(peer.id);
}

void Transport::on_notice(std::span<const std::byte> notice, TransportEvents* events) {
  Reader reader(notice);
  const auto magic = reader.get<std::uint32_t>();
  if (magic == kPayloadMagic) {
    auto header = load_payload_header(notice);
    if (!header) {
      events->faults.push_back({setup_.self, header.error()});
      return;
    }
    on_payload(*header, events);
    return;
  }
  const auto version = reader.get<std::uint16_t>();
  const auto kind = reader.get<NoticeKind>();
  const auto sender = reader.get<PeerId>();
  if (!reader.ok() || magic != kControlMagic) {
    events->faults.push_back({setup_.self, {Errc::corrupt, fmt::format("a notice of {} bytes that is not Gossamer's", notice.size())}});
    return;
  }
  const PeerId named = sender < setup_.peers ? sender : setup_.self;
  if (version != kWireVersion) {
    events->faults.push_back({named, {Errc::version, fmt::format("a notice of wire version {}; this peer speaks {}: start all peers from one build", version, kWireVersion)}});
    return;
  }
  switch (kind) {
    case NoticeKind::hello: return on_hello(notice, events);
    case NoticeKind::ack: return on_ack(notice, events);
    case NoticeKind::lent: return on_lent(notice, events);
    case NoticeKind::declined: return on_declined(notice, events);
  }
  events->faults.push_back({named, {Errc::corrupt, fmt::format("a notice of unknown kind {}", static_cast<int>(kind))}});
}

void Transport::on_hello(std::span<const std::byte> notice, TransportEvents* events) {
  Reader reader(notice);
  const Prefix prefix = read_prefix(reader);
  const auto run = reader.get<std::uint64_t>();
  const auto payload_size_max = reader.get<std::uint64_t>();
  const auto flags = reader.get<std::uint32_t>();
  const bool has_ours = flags & 1;        // it can put into our mailbox
  const bool knows_we_know = flags & 2;   // it needs no further hello of ours
  const auto slots = reader.get<std::uint32_t>();
  const auto size = reader.get<std::uint64_t>();
  RemoteRegion region;
  region.address = reader.get<std::uint64_t>();
  region.size = reader.get<std::uint64_t>();
  region.key = reader.text();
  Peer* peer = find(prefix.sender);
  const PeerId named = prefix.sender < setup_.peers ? prefix.sender : setup_.self;
  const auto fault = [&](Errc code, std::string text) { events->faults.push_back({named, {code, std::move(text)}}); };
  if (!reader.ok() || slots > 64 || (slots > 0 && (size == 0 || size > region.size / slots)))
    return fault(Errc::corrupt, fmt::format("peer {} sent a hello that does not parse", prefix.sender));
  if (!peer) return;  // not introduced yet; it will say hello again
  if (run != setup_.run)
    return fault(Errc::version, fmt::format("peer {} belongs to another run; start all peers with the same run file", peer->id));
  if (payload_size_max != setup_.payload_size_max)
    return fault(Errc::version, fmt::format("peer {} has payloads of up to {} bytes, this peer of {}: its model has another size",
                                            peer->id, payload_size_max, setup_.payload_size_max));
  if (slots > 0 && size < payload_size_max)
    return fault(Errc::corrupt, fmt::format("peer {} grants slots of {} bytes for payloads of up to {}", peer->id, size, payload_size_max));
  if (prefix.incarnation < peer->incarnation || (prefix.to != 0 && prefix.to != setup_.incarnation)) return;
  if (prefix.incarnation > peer->incarnation) {
    // A new life of that peer.  Its address comes by rendezvous; until then nothing of it can be used.
    if (!peer->gone) lose(*peer, events);
    if (prefix.incarnation > std::exchange(peer->announced, std::max(peer->announced, prefix.incarnation)))
      events->restarted.push_back(peer->id);
    return;
  }
  if (peer->gone) return;
  if (!peer->link)
    if (const auto opened = open(peer->id, false); !opened) return fault(opened.error().code, opened.error().message);
  if (slots > 0 && !peer->target) {
    auto target = peer->link->open(region);
    // Its last words: it has died since.
    if (!target && target.error().code == Errc::peer_gone) return lose(*peer, events);
    if (!target) return fault(target.error().code, fmt::format("mailbox of peer {}: {}", peer->id, target.error().message));
    peer->target = std::move(*target);
    peer->slots = slots;
    peer->slot_size = size;
  }
  // Known means: the peer has our mailbox, or we offer none and it has heard us.
  if (has_ours || !peer->mailbox) peer->hello_known = true;
  if (!knows_we_know) peer->hello_due = true;
  pump(*peer);
}

void Transport::on_ack(std::span<const std::byte> notice, TransportEvents* events) {
  Reader reader(notice);
  const Prefix prefix = read_prefix(reader);
  const auto received = reader.get<Sequence>();
  const auto consumed = reader.get<Sequence>();
  Peer* peer = find(prefix.sender);
  if (!peer) return;
  if (!reader.ok()) {
    events->faults.push_back({peer->id, {Errc::corrupt, fmt::format("peer {} sent an acknowledgement that does not parse", peer->id)}});
    return;
  }
  // Of another life, or after the end of this one, when everything sent has been reported as peer_gone.
  if (peer->gone || prefix.incarnation != peer->incarnation || prefix.to != setup_.incarnation) return;
  if (received > peer->sent || consumed > received) {
    events->faults.push_back({peer->id, {Errc::corrupt, fmt::format("peer {} acknowledges payload {} of {}", peer->id, received, peer->sent)}});
    return;
  }
  peer->asked = clock_.now();
  peer->asks = 0;
  peer->consumed_there = std::max(peer->consumed_there, consumed);
  take_back(*peer, peer->consumed_there);
  if (received > peer->received_there) {
    for (Sequence s = peer->received_there + 1; s <= received; ++s) events->deliveries.push_back({peer->id, s, Errc::ok});
    peer->received_there = received;
    drop_acknowledged(*peer);
  }
}

// Whose payload it is, if it is one that is still to come.
Transport::Peer* Transport::awaiting(const PayloadHeader& header, TransportEvents* events) {
  Peer* peer = find(header.sender);
  if (!peer || peer->gone || header.incarnation != peer->incarnation) return nullptr;  // of another life
  const auto fault = [&](std::string text) { events->faults.push_back({header.sender, {Errc::corrupt, std::move(text)}}); };
  if (!peer->mailbox) {
    fault(fmt::format("peer {} sent a payload and was granted no mailbox", header.sender));
  } else if (header.used > setup_.payload_size_max) {
    fault(fmt::format("peer {} sent a payload of {} bytes; {} is the most", header.sender, header.used, setup_.payload_size_max));
  } else if (header.sequence > peer->consumed + setup_.window || header.sequence == 0) {
    fault(fmt::format("peer {} sent payload {} without credit (at most {})", header.sender, header.sequence, peer->consumed + setup_.window));
  } else if (header.sequence <= peer->received || peer->early.contains(header.sequence)) {
    peer->ack_due = true;  // a repetition: the acknowledgement was lost or is late
  } else {
    return peer;
  }
  return nullptr;
}

void Transport::on_payload(const PayloadHeader& header, TransportEvents* events) {
  if (Peer* const peer = awaiting(header, events))
    arrive(*peer, {.header = header, .offset = (header.sequence - 1) % setup_.window * slot_size(setup_)}, events);
}

void Transport::on_lent(std::span<const std::byte> notice, TransportEvents* events) {
  Reader reader(notice);
  const Prefix prefix = read_prefix(reader);
  const PeerId named = prefix.sender < setup_.peers ? prefix.sender : setup_.self;
  const auto fault = [&](std::string text) { events->faults.push_back({named, {Errc::corrupt, std::move(text)}}); };
  const auto header = load_payload_header(reader.bytes(kPayloadHeaderSize));
  const auto offset = reader.get<std::uint64_t>();
  RemoteRegion region;
  region.address = reader.get<std::uint64_t>();
  region.size = reader.get<std::uint64_t>();
  region.key = reader.text();
  if (!reader.ok() || reader.left() != 0 || !header || header->sender != prefix.sender || header->incarnation != prefix.incarnation)
    return fault(fmt::format("peer {} lends a payload in a notice that does not parse", prefix.sender));
  if (prefix.to != setup_.incarnation) return;  // meant for another life
  // Send buffers are of one size at all peers, and payloads begin where a vector may.
  if (region.size != slot_size(setup_) || offset % alignof(std::max_align_t) != 0 || offset > region.size || header->used > region.size - offset)
    return fault(fmt::format("peer {} lends {} bytes at {} of memory of {} bytes; send buffers have {}", prefix.sender, header->used, offset,
                             region.size, slot_size(setup_)));
  Peer* const peer = awaiting(*header, events);
  if (!peer) return;
  Error error;
  Borrowed* const from = borrow(*peer, region, &error);
  if (!from) {
    // It has died, or has taken its memory back because it does not count on us any more; or its memory cannot be had: then
    // it is asked for a copy.
    if (error.code != Errc::peer_gone) peer->declined.insert(header->sequence);
    return pump(*peer);
  }
  ++from->held;
  from->used = ++peer->borrows;
  bytes_borrowed_ += header->used;
  arrive(*peer, {.header = *header, .from = from, .offset = static_cast<std::size_t>(offset)}, events);
}

Transport::Borrowed* Transport::borrow(Peer& peer, const RemoteRegion& region, Error* error) {
  if (setup_.memory != MemoryKind::host) {
    *error = {Errc::unsupported, "payloads are wanted in memory of a device"};
    return nullptr;
  }
  if (const auto known = peer.borrowed.find(region.key); known != peer.borrowed.end()) return &known->second;
  if (!peer.link) {
    if (const auto opened = open(peer.id, false); !opened) {
      *error = opened.error();
      return nullptr;
    }
  }
  auto mapping = peer.link->map(region);
  if (!mapping) {
    *error = mapping.error();
    return nullptr;
  }
  Borrowed& made = peer.borrowed[region.key];
  made.mapping = std::move(*mapping);
  unmap_spare(peer);
  return &made;
}

// A sender uses about as many buffers as it may have payloads under way; what it has not used for longer may be memory that is
// not even its own any more.
void Transport::unmap_spare(Peer& peer) {
  while (peer.borrowed.size() > 2 * setup_.window + 2) {
    auto oldest = peer.borrowed.end();
    for (auto one = peer.borrowed.begin(); one != peer.borrowed.end(); ++one)
      if (one->second.held == 0 && one->second.used > 0 && (oldest == peer.borrowed.end() || one->second.used < oldest->second.used)) oldest = one;
    if (oldest == peer.borrowed.end()) return;
    peer.borrowed.erase(oldest);
  }
}

// The peer cannot map what it was lent: it gets copies from now on, of this payload too.
void Transport::on_declined(std::span<const std::byte> notice, TransportEvents* events) {
  Reader reader(notice);
  const Prefix prefix = read_prefix(reader);
  const auto sequence = reader.get<Sequence>();
  Peer* peer = find(prefix.sender);
  if (!peer || peer->gone || prefix.incarnation != peer->incarnation || prefix.to != setup_.incarnation) return;
  if (!reader.ok() || sequence == 0 || sequence > peer->sent) {
    events->faults.push_back({peer->id, {Errc::corrupt, fmt::format("peer {} declines payload {} of {}", peer->id, sequence, peer->sent)}});
    return;
  }
  peer->declines = true;
  for (Unacked& sent : peer->unacked) {
    if (!sent.lent || sent.sequence <= peer->received_there) continue;
    sent.lent = false;
    sent.sent.reset();
    bytes_lent_ -= sent.header.used;
    if (!std::exchange(sent.retained, true)) ++buffers_[sent.buffer]->pins;
    const auto lent = std::ranges::find(peer->lent, sent.sequence, [](const auto& one) { return one.first; });
    GOSSAMER_CHECK(lent != peer->lent.end(), "a payload that is lent has a buffer");
    take_back(lent->second);
    peer->lent.erase(lent);
  }
  pump(*peer);
}

void Transport::arrive(Peer& peer, const Come& come, TransportEvents* events) {
  peer.early.emplace(come.header.sequence, come);
  for (auto next = peer.early.begin(); next != peer.early.end() && next->first == peer.received + 1;
       next = peer.early.erase(next))
    deliver(peer, next->second, events);
}

void Transport::deliver(Peer& peer, const Come& come, TransportEvents* events) {
  const PayloadHeader& header = come.header;
  peer.received = header.sequence;
  // Releasing acknowledges on its own; an unreliable fabric must hear earlier, or it repeats what is being read.
  if (!reliable_) peer.ack_due = true;
  peer.held.emplace(header.sequence, come);
  Arrival arrival{peer.id, header, {}};
  arrival.bytes = come.from ? PayloadBytes(come.from->mapping->bytes()) : PayloadBytes<const std::byte>(bytes_of(*peer.mailbox));
  arrival.bytes = arrival.bytes.subspan(come.offset, header.used);
  if (auto fault = damage(arrival)) {
    events->faults.push_back(std::move(*fault));
    release(arrival);
    return;
  }
  events->arrivals.push_back(arrival);
}

std::optional<Fault> Transport::damage(const Arrival& arrival) const {
  const PayloadHeader& header = arrival.header;
  if (!setup_.checksum && header.checksum == 0) return std::nullopt;
  const auto fault = [&](PeerId whose, Errc code, std::string_view what) {
    return Fault{whose, {code, fmt::format("payload {} of peer {} {}", header.sequence, arrival.from, what)}};
  };
  if (header.checksum == 0) return fault(arrival.from, Errc::corrupt, "arrived without a checksum; all peers of a run have the same setting");
  const auto checksum = payload_checksum(arrival.bytes);
  if (!checksum) return fault(setup_.self, checksum.error().code, "cannot be checked: " + checksum.error().message);
  if (*checksum != header.checksum) return fault(arrival.from, Errc::corrupt, "arrived damaged (checksum)");
  return std::nullopt;
}

}  // namespace gossamer
