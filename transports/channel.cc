#include "transports/channel.h"

#include <algorithm>
#include <deque>
#include <fmt/core.h>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <xxhash.h>

#include "base/check.h"
#include "base/serial.h"

namespace gossamer {
namespace {

// Control notices; the grammar is in gossip/PROTOCOL.md.
constexpr std::uint32_t kControlMagic = 0x43535347;  // "GSSC"
enum class NoticeKind : std::uint16_t { hello = 1, ack = 2 };

struct Prefix {
  NoticeKind kind{};
  PeerId sender = 0;
  Incarnation incarnation = 0;  // of the sender
  Incarnation to = 0;           // of the receiver, as the sender knows it
};

Writer begin_notice(NoticeKind kind, const TransportSetup& setup, Incarnation to) {
  Writer writer;
  writer.put(kControlMagic);
  writer.put(kWireVersion);
  writer.put(kind);
  writer.put(setup.self);
  writer.put(setup.incarnation);
  writer.put(to);
  return writer;
}

// Never 0, which means that there is none.
std::uint32_t checksum(std::span<const std::byte> bytes) {
  const auto hash = static_cast<std::uint32_t>(XXH3_64bits(bytes.data(), bytes.size()));
  return hash ? hash : 1;
}

constexpr std::size_t kAlignment = 64;
std::size_t slot_size(const TransportSetup& setup) {
  return (std::max<std::size_t>(setup.payload_size_max, 1) + kAlignment - 1) / kAlignment * kAlignment;
}

bool lies_in(const Region& region, const std::byte* at) {
  const auto memory = region.memory().bytes();
  return !std::less<>{}(at, memory.data()) && std::less<>{}(at, memory.data() + memory.size());
}

}  // namespace

struct Transport::Buffer {
  std::unique_ptr<Region> region;
  std::uint32_t pins = 0;  // sends under way, and one for whoever leased it
};

// A payload sent and not yet known to have come.
struct Transport::Unacked {
  Sequence sequence = 0;
  PayloadHeader header;
  std::uint32_t buffer = 0;
  bool retained = true;    // keeps the buffer for a put still to be started; a put under way keeps it by itself
  bool under_way = false;
  std::optional<Time> sent;  // last put
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
  PayloadHeader newest;         // the last one sent
  unsigned asks = 0;            // in vain since
  Time asked;                   // when the peer last acknowledged, or was asked to (unreliable fabrics)

  // From the peer.
  bool receive = false;
  std::unique_ptr<Region> mailbox;
  Sequence received = 0;  // in order, handed out
  Sequence consumed = 0;  // released, in order
  std::map<Sequence, PayloadHeader> early;  // came before its turn
  std::map<Sequence, bool> held;            // handed out, true once released
  bool ack_due = false;

  bool hello_due = false;
  bool hello_known = false;  // the peer has said that it has our present hello
  std::optional<Time> hello_sent;
  unsigned hellos = 0;  // repeated so far
};

Transport::Transport(TransportSetup setup, Fabric& fabric, const Clock& clock)
    : setup_(setup), fabric_(fabric), clock_(clock), reliable_(fabric.limits().reliable) {
  GOSSAMER_CHECK(setup_.window >= 1 && setup_.window <= 64, "window out of range");
  GOSSAMER_CHECK(setup_.self < setup_.peers, "rank out of range");
}

// Regions may not go while a put names them: links are closed, which ends their puts, and the ends are awaited.
Transport::~Transport() {
  for (auto& [id, peer] : peers_) {
    peer->target.reset();
    peer->link.reset();
  }
  // A virtual clock stands still in here: then polls are counted instead.
  const Time start = clock_.now();
  for (int polls = 0; !puts_.empty(); ++polls) {
    const Time now = clock_.now();
    if (now - start >= std::chrono::seconds(2) || (now == start && polls == 1'000'000)) break;
    fabric_events_.clear();
    fabric_.poll(&fabric_events_);
    for (const Ended& ended : fabric_events_.ended) puts_.erase(ended.token);
  }
  // A fabric that does not end its puts may still read from these buffers: they are left to it rather than freed.
  for (const auto& [token, put] : puts_) (void)buffers_[put.buffer]->region.release();
}

Transport::Peer& Transport::at(PeerId peer) {
  Peer* found = find(peer);
  GOSSAMER_CHECK(found, "unknown peer: set_peer() first");
  return *found;
}

Transport::Peer* Transport::find(PeerId peer) {
  const auto at = peers_.find(peer);
  return at == peers_.end() ? nullptr : at->second.get();
}

Result<> Transport::set_peer(PeerId peer, std::string address, Incarnation incarnation) {
  if (peer >= setup_.peers || peer == setup_.self)
    return fail(Errc::invalid_argument, fmt::format("peer {} is not one of the other {} peers", peer, setup_.peers));
  bool receive = false;
  if (const Peer* known = find(peer)) {
    if (incarnation < known->incarnation || (incarnation == known->incarnation && !known->gone)) return {};
    receive = known->receive;
    drop_peer(peer);
  }
  auto entry = std::make_unique<Peer>();
  entry->id = peer;
  entry->life = next_life_++;
  entry->address = std::move(address);
  entry->incarnation = incarnation;
  entry->receive = receive;
  peers_[peer] = std::move(entry);
  return {};
}

void Transport::drop_peer(PeerId id) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) return;
  Peer& peer = *found->second;
  end_sends(peer, &dropped_);
  const auto read = static_cast<std::size_t>(
      std::count_if(peer.held.begin(), peer.held.end(), [](const auto& arrival) { return !arrival.second; }));
  if (read > 0) retired_.push_back({std::move(peer.mailbox), read});
  if (peer.link) links_.erase(peer.link->id());
  peer.target.reset();
  peer.link.reset();
  peers_.erase(found);
}

Result<> Transport::open(PeerId id, bool receive) {
  Peer& peer = at(id);
  if (peer.gone) return fail(Errc::peer_gone, fmt::format("peer {} is gone", id));
  if (!peer.link) {
    GOSSAMER_TRY_ASSIGN(peer.link, fabric_.connect(peer.address));
    links_[peer.link->id()] = id;
    peer.hello_due = true;
  }
  if (receive) peer.receive = true;
  if (peer.receive && !peer.mailbox) {
    GOSSAMER_TRY_ASSIGN(peer.mailbox, fabric_.allocate(slot_size(setup_) * setup_.window));
    peer.hello_due = true;
    peer.hello_known = false;
  }
  pump(peer);
  return {};
}

bool Transport::has_credit(PeerId to) const {
  const auto found = peers_.find(to);
  if (found == peers_.end()) return false;
  const Peer& peer = *found->second;
  if (peer.gone || !peer.target || peer.sent >= peer.consumed_there + peer.slots) return false;
  // A repetition still under way would write over the next payload of its slot.
  return reliable_ || peer.unacked.empty() || peer.sent < peer.unacked.front().sequence - 1 + peer.slots;
}

// Everything sent has come, the slots are not known to be free, and the acknowledgement that says so may be lost.
bool Transport::starved(const Peer& peer) const {
  return !reliable_ && peer.sent > 0 && peer.unacked.empty() && peer.sent >= peer.consumed_there + peer.slots;
}

Result<SendBuffer> Transport::lease() {
  if (free_buffers_.empty()) {
    if (buffers_.size() >= setup_.send_buffers_max) return fail(Errc::would_block, "");
    GOSSAMER_TRY_ASSIGN(auto region, fabric_.allocate(slot_size(setup_)));
    buffers_.push_back(std::make_unique<Buffer>(Buffer{std::move(region), 0}));
    free_buffers_.push_back(static_cast<std::uint32_t>(buffers_.size() - 1));
  }
  const std::uint32_t index = free_buffers_.back();
  free_buffers_.pop_back();
  buffers_[index]->pins = 1;
  return SendBuffer{index, buffers_[index]->region->memory().bytes().first(setup_.payload_size_max)};
}

void Transport::give_back(SendBuffer buffer) { unpin(buffer.index); }

void Transport::unpin(std::uint32_t index) {
  Buffer& buffer = *buffers_[index];
  GOSSAMER_CHECK(buffer.pins > 0, "send buffer given back twice");
  if (--buffer.pins == 0) free_buffers_.push_back(index);
}

void Transport::send(const SendBuffer& buffer, const PayloadHeader& header, std::span<const PeerId> to, bool last) {
  GOSSAMER_CHECK(header.used <= setup_.payload_size_max, "payload larger than its buffer");
  PayloadHeader full = header;
  full.magic = kPayloadMagic;
  full.version = kWireVersion;
  full.sender = setup_.self;
  full.incarnation = setup_.incarnation;
  full.checksum = setup_.checksum ? checksum(buffer.bytes.first(header.used)) : 0;
  for (const PeerId id : to) {
    GOSSAMER_CHECK(has_credit(id), "send without credit");
    Peer& peer = at(id);
    full.sequence = ++peer.sent;
    peer.newest = full;
    peer.unacked.push_back({.sequence = full.sequence, .header = full, .buffer = buffer.index});
    ++buffers_[buffer.index]->pins;
    put(peer, peer.unacked.back());
  }
  if (last) unpin(buffer.index);
}

// Starts the put of an unacked payload; false when the fabric's queue is full (pump() tries again).
bool Transport::put(Peer& peer, Unacked& sent) {
  std::array<std::byte, kPayloadHeaderSize> notice;
  store(sent.header, notice);
  const Put request{.source = buffers_[sent.buffer]->region.get(),
                    .source_offset = 0,
                    .size = sent.header.used,
                    .target = peer.target.get(),
                    .target_offset = (sent.sequence - 1) % peer.slots * peer.slot_size,
                    .notice = notice,
                    .token = next_token_};
  const Errc status = peer.link->put(request);
  if (status != Errc::ok) return false;  // would_block is retried; a lost link shows as `down`
  puts_[next_token_++] = {peer.id, peer.life, sent.sequence, sent.buffer};
  sent.under_way = true;
  sent.sent = clock_.now();
  ++buffers_[sent.buffer]->pins;
  // A reliable fabric needs no second put of it.
  if (reliable_) release_retained(sent);
  return true;
}

void Transport::release_retained(Unacked& sent) {
  if (std::exchange(sent.retained, false)) unpin(sent.buffer);
}

void Transport::release(const Arrival& arrival) {
  Peer* peer = find(arrival.from);
  if (!peer || !peer->mailbox || !lies_in(*peer->mailbox, arrival.bytes.data())) {
    // The peer was dropped, or restarted, while its payload was read.
    const auto retired = std::find_if(retired_.begin(), retired_.end(), [&](const Retired& mailbox) {
      return lies_in(*mailbox.mailbox, arrival.bytes.data());
    });
    if (retired != retired_.end() && --retired->held == 0) retired_.erase(retired);
    return;
  }
  const auto held = peer->held.find(arrival.header.sequence);
  GOSSAMER_CHECK(held != peer->held.end() && !held->second, "arrival released twice");
  held->second = true;
  while (!peer->held.empty() && peer->held.begin()->second) {
    peer->consumed = peer->held.begin()->first;
    peer->held.erase(peer->held.begin());
    peer->ack_due = true;
  }
  pump(*peer);
}

void Transport::say_hello(Peer& peer) {
  Writer writer = begin_notice(NoticeKind::hello, setup_, peer.incarnation);
  writer.put(setup_.run);
  writer.put<std::uint64_t>(setup_.payload_size_max);
  writer.put<std::uint32_t>((peer.target ? 1u : 0u) | (peer.hello_known ? 2u : 0u));
  const RemoteRegion region = peer.mailbox ? peer.mailbox->remote() : RemoteRegion{};
  writer.put<std::uint32_t>(peer.mailbox ? setup_.window : 0);
  writer.put<std::uint64_t>(peer.mailbox ? slot_size(setup_) : 0);
  writer.put(region.address);
  writer.put(region.size);
  writer.text(region.key);
  GOSSAMER_CHECK(writer.view().size() <= kNoticeSizeMax, "hello longer than a notice");
  if (peer.link->notify(writer.view()) == Errc::ok) {
    peer.hello_due = false;
    peer.hello_sent = clock_.now();
  }
}

void Transport::acknowledge(Peer& peer) {
  Writer writer = begin_notice(NoticeKind::ack, setup_, peer.incarnation);
  writer.put(peer.received);
  writer.put(peer.consumed);
  if (peer.link->notify(writer.view()) == Errc::ok) peer.ack_due = false;
}

// How long a question may stay unanswered.  It doubles, or questions alone would fill a link that is slow enough; payloads
// need no such care, because a put is repeated only after it has ended.
Duration Transport::patience(unsigned repeated) const { return setup_.resend_after * (1 << std::min(repeated, 6u)); }

// Sends whatever is owed to a peer and was held up.
void Transport::pump(Peer& peer) {
  if (!peer.link || peer.gone) return;
  const Time now = clock_.now();
  // A hello is repeated until the peer shows that it has it: the fabric may lose it, and on any fabric the peer may
  // not know us yet when it first comes.
  if (!peer.hello_known && peer.hello_sent && now - *peer.hello_sent >= patience(peer.hellos)) {
    peer.hello_due = true;
    ++peer.hellos;
  }
  if (peer.hello_due) say_hello(peer);
  if (peer.ack_due) acknowledge(peer);
  for (Unacked& sent : peer.unacked) {
    if (sent.under_way || !sent.retained) continue;
    if (!sent.sent || now - *sent.sent >= setup_.resend_after)
      if (!put(peer, sent)) break;
  }
  // The notice of a payload that the peer has is answered by an acknowledgement.
  if (starved(peer) && now - peer.asked >= patience(peer.asks)) {
    std::array<std::byte, kPayloadHeaderSize> notice;
    store(peer.newest, notice);
    if (peer.link->notify(notice) == Errc::ok) {
      peer.asked = now;
      ++peer.asks;
    }
  }
}

void Transport::poll(TransportEvents* events) {
  events->deliveries.insert(events->deliveries.end(), dropped_.begin(), dropped_.end());
  dropped_.clear();
  fabric_events_.clear();
  fabric_.poll(&fabric_events_);
  for (const Ended& ended : fabric_events_.ended) {
    const auto found = puts_.find(ended.token);
    GOSSAMER_CHECK(found != puts_.end(), "the fabric ended a put that was not under way");
    const PutUnderWay put = found->second;
    puts_.erase(found);
    unpin(put.buffer);
    Peer* peer = find(put.peer);
    if (!peer || peer->life != put.life) continue;  // of a peer that was dropped
    for (Unacked& sent : peer->unacked)
      if (sent.sequence == put.sequence) sent.under_way = false;
    drop_acknowledged(*peer);
  }
  for (const Notice& notice : fabric_events_.notices) on_notice(notice.bytes(), events);
  for (const std::uint32_t link : fabric_events_.down)
    if (const auto found = links_.find(link); found != links_.end())
      if (Peer* peer = find(found->second)) lose(*peer, events);
  for (auto& [id, peer] : peers_) pump(*peer);
}

void Transport::lose(Peer& peer, TransportEvents* events) {
  if (peer.gone) return;
  peer.gone = true;
  end_sends(peer, &events->deliveries);
  peer.early.clear();
  events->gone.push_back(peer.id);
}

void Transport::drop_acknowledged(Peer& peer) {
  std::erase_if(peer.unacked, [&](Unacked& sent) {
    if (sent.sequence > peer.received_there) return false;
    release_retained(sent);
    return !sent.under_way;
  });
}

// Whatever the peer is not known to have ends as peer_gone.
void Transport::end_sends(Peer& peer, std::vector<Delivery>* deliveries) {
  for (Unacked& sent : peer.unacked) {
    release_retained(sent);
    if (sent.sequence > peer.received_there) deliveries->push_back({peer.id, sent.sequence, Errc::peer_gone});
  }
  peer.unacked.clear();
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
  }
  events->faults.push_back({named, {Errc::corrupt, fmt::format("a notice of unknown kind {}", static_cast<int>(kind))}});
}

namespace {

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
  if (received > peer->received_there) {
    for (Sequence s = peer->received_there + 1; s <= received; ++s) events->deliveries.push_back({peer->id, s, Errc::ok});
    peer->received_there = received;
    drop_acknowledged(*peer);
  }
}

void Transport::on_payload(const PayloadHeader& header, TransportEvents* events) {
  Peer* peer = find(header.sender);
  if (!peer || peer->gone || header.incarnation != peer->incarnation) return;  // of another life
  const auto fault = [&](std::string text) { events->faults.push_back({header.sender, {Errc::corrupt, std::move(text)}}); };
  if (!peer->mailbox) return fault(fmt::format("peer {} sent a payload and was granted no mailbox", header.sender));
  if (header.used > setup_.payload_size_max)
    return fault(fmt::format("peer {} sent a payload of {} bytes; {} is the most", header.sender, header.used, setup_.payload_size_max));
  if (header.sequence > peer->consumed + setup_.window || header.sequence == 0)
    return fault(fmt::format("peer {} sent payload {} without credit (at most {})", header.sender, header.sequence, peer->consumed + setup_.window));
  if (header.sequence <= peer->received || peer->early.contains(header.sequence)) {
    peer->ack_due = true;  // a repetition: the acknowledgement was lost or is late
    return;
  }
  peer->early.emplace(header.sequence, header);
  for (auto next = peer->early.begin(); next != peer->early.end() && next->first == peer->received + 1;
       next = peer->early.erase(next))
    deliver(*peer, next->second, events);
}

void Transport::deliver(Peer& peer, const PayloadHeader& header, TransportEvents* events) {
  peer.received = header.sequence;
  // Releasing acknowledges on its own; an unreliable fabric must hear earlier, or it repeats what is being read.
  if (!reliable_) peer.ack_due = true;
  peer.held.emplace(header.sequence, false);
  const std::size_t slot = (header.sequence - 1) % setup_.window;
  const Arrival arrival{peer.id, header, peer.mailbox->memory().bytes().subspan(slot * slot_size(setup_), header.used)};
  if ((setup_.checksum || header.checksum != 0) && checksum(arrival.bytes) != header.checksum) {
    events->faults.push_back({peer.id, {Errc::corrupt, fmt::format("payload {} of peer {} arrived {}", header.sequence, peer.id,
                                                                   header.checksum != 0 ? "damaged (checksum)" : "without a checksum; all peers of a run have the same setting")}});
    release(arrival);
    return;
  }
  events->arrivals.push_back(arrival);
}

bool Transport::drained() const {
  for (const auto& [id, peer] : peers_) {
    if (peer->gone || !peer->link) continue;
    if (peer->received_there < peer->sent || peer->ack_due || peer->hello_due) return false;
    if (!peer->unacked.empty()) return false;
  }
  return true;
}

Time Transport::next_deadline() const {
  Time next{std::numeric_limits<std::int64_t>::max()};
  for (const auto& [id, peer] : peers_) {
    if (peer->gone || !peer->link) continue;
    if (peer->hello_due) next = std::min(next, clock_.now() + std::chrono::milliseconds(1));
    if (!peer->hello_known && peer->hello_sent) next = std::min(next, *peer->hello_sent + patience(peer->hellos));
    if (peer->ack_due) next = std::min(next, clock_.now() + std::chrono::milliseconds(1));
    for (const Unacked& sent : peer->unacked)
      if (!sent.under_way && sent.retained)
        next = std::min(next, sent.sent ? *sent.sent + setup_.resend_after : clock_.now() + std::chrono::milliseconds(1));
    if (starved(*peer)) next = std::min(next, peer->asked + patience(peer->asks));
  }
  return next;
}

}  // namespace gossamer
