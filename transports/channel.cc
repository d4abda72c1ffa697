#include "transports/channel.h"

#include <algorithm>
#include <atomic>
#include <fmt/core.h>
#include <functional>
#include <limits>
#include <utility>
#include <xxhash.h>

#include "base/check.h"
#include "transports/channel_state.h"
#include "transports/device_memory.h"

namespace gossamer {
namespace {

bool lies_in(const std::byte* memory, std::size_t size, const std::byte* at) {
  return !std::less<>{}(at, memory) && std::less<>{}(at, memory + size);
}

// Whether it lies in a mailbox, or in what was borrowed.
bool lies_in(const std::unique_ptr<Region>& mailbox, const auto& borrowed, const std::byte* at) {
  return (mailbox && lies_in(mailbox->memory().data, mailbox->memory().size, at)) ||
         std::any_of(borrowed.begin(), borrowed.end(), [at](const auto& one) {
           const std::span<const std::byte> memory = one.second.mapping->bytes();
           return lies_in(memory.data(), memory.size(), at);
         });
}

}  // namespace

Result<std::uint32_t> payload_checksum(PayloadBytes<const std::byte> bytes) {
  const auto never_none = [](XXH64_hash_t hash) { return std::max(static_cast<std::uint32_t>(hash), 1u); };
  if (bytes.device() == nullptr) return never_none(XXH3_64bits(bytes.data(), bytes.size()));
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), &XXH3_freeState);
  GOSSAMER_CHECK(state && XXH3_64bits_reset(state.get()) == XXH_OK, "no memory for a checksum");
  std::vector<std::byte> piece(std::min(kPiece, bytes.size()));
  for (std::size_t at = 0; at < bytes.size(); at += piece.size()) {
    const std::size_t size = std::min(piece.size(), bytes.size() - at);
    GOSSAMER_TRY(bytes.device()->copy(bytes.address() + at, piece.data(), size));
    (void)XXH3_64bits_update(state.get(), piece.data(), size);
  }
  return never_none(XXH3_64bits_digest(state.get()));
}

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

Result<> Transport::check_memory() const {
  if (setup_.memory == MemoryKind::host || fabric_.device() != nullptr) return {};
  return fail(Errc::unsupported, fmt::format("payloads in memory of a device: the {} fabric has no device; make it with one (transports/device_memory.h), "
                                             "or keep payloads in the host's memory (TransportSetup::memory)", fabric_.name()));
}

Result<std::unique_ptr<Region>> Transport::allocate(std::size_t size) {
  GOSSAMER_TRY(check_memory());
  return setup_.memory == MemoryKind::host ? fabric_.allocate(size) : fabric_.allocate_device(size);
}

PayloadBytes<std::byte> Transport::bytes_of(const Region& region) const {
  const MemoryView memory = region.memory();
  return {memory.data, memory.size, memory.kind == MemoryKind::host ? nullptr : fabric_.device()};
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
      std::count_if(peer.held.begin(), peer.held.end(), [](const auto& arrival) { return !arrival.second.released; }));
  if (read > 0) retired_.push_back({std::move(peer.mailbox), std::move(peer.borrowed), read});
  if (peer.link) links_.erase(peer.link->id());
  peer.target.reset();
  peer.link.reset();
  peers_.erase(found);
}

Result<> Transport::open(PeerId id, bool receive) {
  Peer& peer = at(id);
  if (peer.gone) return fail(Errc::peer_gone, fmt::format("peer {} is gone", id));
  GOSSAMER_TRY(check_memory());
  if (!peer.link) {
    GOSSAMER_TRY_ASSIGN(peer.link, fabric_.connect(peer.address));
    links_[peer.link->id()] = id;
    peer.hello_due = true;
  }
  if (receive) peer.receive = true;
  if (peer.receive && !peer.mailbox) {
    GOSSAMER_TRY_ASSIGN(peer.mailbox, allocate(slot_size(setup_) * setup_.window));
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

// Everything sent has come, the slots or what was lent are not known to be free, and the acknowledgement that says so may be
// lost.
bool Transport::starved(const Peer& peer) const {
  return !reliable_ && peer.sent > 0 && peer.unacked.empty() &&
         (peer.sent >= peer.consumed_there + peer.slots || !peer.lent.empty());
}

Result<SendBuffer> Transport::lease() {
  if (free_buffers_.empty()) {
    if (buffers_.size() >= setup_.send_buffers_max) return fail(Errc::would_block, "");
    buffers_.push_back(std::make_unique<Buffer>());
    free_buffers_.push_back(static_cast<std::uint32_t>(buffers_.size() - 1));
  }
  const std::uint32_t index = free_buffers_.back();
  if (!buffers_[index]->region) {
    GOSSAMER_TRY_ASSIGN(buffers_[index]->region, allocate(slot_size(setup_)));
  }
  free_buffers_.pop_back();
  buffers_[index]->pins = 1;
  return SendBuffer{index, bytes_of(*buffers_[index]->region).first(setup_.payload_size_max)};
}

void Transport::give_back(SendBuffer buffer) { unpin(buffer.index); }

void Transport::unpin(std::uint32_t index) {
  Buffer& buffer = *buffers_[index];
  GOSSAMER_CHECK(buffer.pins > 0, "send buffer given back twice");
  if (--buffer.pins > 0) return;
  // Whoever still reads it has it mapped, and keeps it as it is.
  if (std::exchange(buffer.tainted, false)) buffer.region.reset();
  free_buffers_.push_back(index);
}

void Transport::send(const SendBuffer& buffer, const PayloadHeader& header, std::span<const PeerId> to, bool last) {
  GOSSAMER_CHECK(header.used <= setup_.payload_size_max, "payload larger than its buffer");
  PayloadHeader full = header;
  full.magic = kPayloadMagic;
  full.version = kWireVersion;
  full.sender = setup_.self;
  full.incarnation = setup_.incarnation;
  full.checksum = setup_.checksum ? checksum_of(buffer.index, header.used).value_or(0) : 0;
  for (const PeerId id : to) {
    GOSSAMER_CHECK(has_credit(id), "send without credit");
    Peer& peer = at(id);
    full.sequence = ++peer.sent;
    peer.newest = full;
    const bool lent = lends(peer, *buffers_[buffer.index], header.used);
    if (lent) lend(peer, full.sequence, buffer.index);
    peer.unacked.push_back({.sequence = full.sequence, .header = full, .buffer = buffer.index, .lent = lent});
    ++buffers_[buffer.index]->pins;
    put(peer, peer.unacked.back());
  }
  if (last) unpin(buffer.index);
}

Result<std::uint32_t> Transport::checksum_of(std::uint32_t buffer, std::size_t size) const {
  return payload_checksum(bytes_of(*buffers_[buffer]->region).first(size));
}

// Starts the put of an unacked payload; false when the fabric's queue is full (pump() tries again).
bool Transport::put(Peer& peer, Unacked& sent) {
  if (setup_.checksum && sent.header.checksum == 0) {
    const auto checksum = checksum_of(sent.buffer, sent.header.used);
    if (!checksum) return put_off(peer, sent, checksum.error().message);
    sent.header.checksum = *checksum;
  }
  std::array<std::byte, kPayloadHeaderSize> header;
  store(sent.header, header);
  Put request{.source = buffers_[sent.buffer]->region.get(),
              .source_offset = 0,
              .size = sent.header.used,
              .target = peer.target.get(),
              .target_offset = (sent.sequence - 1) % peer.slots * peer.slot_size,
              .notice = header,
              .token = next_token_};
  Writer lent;
  if (sent.lent) {
    lent = begin_notice(NoticeKind::lent, setup_, peer.incarnation);
    lent.bytes(header);
    lent.put<std::uint64_t>(0);  // where in the region
    const RemoteRegion region = request.source->remote();
    lent.put(region.address);
    lent.put(region.size);
    lent.text(region.key);
    request = {.notice = lent.view(), .token = next_token_};
  }
  const Errc status = peer.link->put(request);
  if (status == Errc::io) return put_off(peer, sent, fabric_.description());
  if (status != Errc::ok) return false;  // would_block is retried; a lost link shows as `down`
  if (sent.lent) bytes_lent_ += sent.header.used;
  puts_[next_token_++] = {peer.id, peer.life, sent.sequence, sent.buffer};
  sent.under_way = true;
  sent.sent = clock_.now();
  ++buffers_[sent.buffer]->pins;
  // A reliable fabric needs no second put of it.
  if (reliable_) release_retained(sent);
  return true;
}

// Our own device does not give the bytes out.  That is told once; should it recover, so does the channel.
bool Transport::put_off(Peer& peer, Unacked& sent, std::string_view why) {
  sent.sent = clock_.now();
  if (!std::exchange(sent.put_off, true))
    own_faults_.push_back({setup_.self, {Errc::io, fmt::format("payload {} to peer {} cannot be read from the device: {}", sent.sequence, peer.id, why)}});
  return false;
}

void Transport::release_retained(Unacked& sent) {
  if (std::exchange(sent.retained, false)) unpin(sent.buffer);
}

void Transport::release(const Arrival& arrival) {
  Peer* peer = find(arrival.from);
  if (!peer || !lies_in(peer->mailbox, peer->borrowed, arrival.bytes.address())) {
    // The peer was dropped, or restarted, while its payload was read.
    const auto retired = std::find_if(retired_.begin(), retired_.end(), [&](const Retired& one) {
      return lies_in(one.mailbox, one.borrowed, arrival.bytes.address());
    });
    if (retired != retired_.end() && --retired->held == 0) retired_.erase(retired);
    return;
  }
  const auto held = peer->held.find(arrival.header.sequence);
  GOSSAMER_CHECK(held != peer->held.end() && !held->second.released, "arrival released twice");
  held->second.released = true;
  if (Borrowed* const from = held->second.from) {
    --from->held;
    unmap_spare(*peer);
    // What was read was read before the sender may hear that it may write again.
    std::atomic_thread_fence(std::memory_order_release);
  }
  while (!peer->held.empty() && peer->held.begin()->second.released) {
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

// Buffers lent to those who read slowly must not keep others from sending: half of them are always for copies, which are soon
// over.
bool Transport::lends(const Peer& peer, const Buffer& buffer, std::size_t size) const {
  return setup_.memory == MemoryKind::host && size >= setup_.lend_size_min && size > 0 && !peer.declines && peer.target->mapped() &&
         (buffer.lent > 0 || lent_buffers_ < setup_.send_buffers_max / 2);
}

void Transport::lend(Peer& peer, Sequence sequence, std::uint32_t index) {
  Buffer& buffer = *buffers_[index];
  ++buffer.pins;
  if (buffer.lent++ == 0) ++lent_buffers_;
  peer.lent.emplace_back(sequence, index);
}

void Transport::take_back(std::uint32_t index) {
  if (--buffers_[index]->lent == 0) --lent_buffers_;
  unpin(index);
}

// What the peer has read.
void Transport::take_back(Peer& peer, Sequence consumed) {
  for (; !peer.lent.empty() && peer.lent.front().first <= consumed; peer.lent.pop_front()) take_back(peer.lent.front().second);
}

Traffic Transport::traffic() const {
  Traffic traffic = fabric_.traffic();
  traffic.bytes_sent += bytes_lent_;
  traffic.bytes_received += bytes_borrowed_;
  return traffic;
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
  while (!peer.declined.empty()) {
    Writer writer = begin_notice(NoticeKind::declined, setup_, peer.incarnation);
    writer.put(*peer.declined.begin());
    if (peer.link->notify(writer.view()) != Errc::ok) break;
    peer.declined.erase(peer.declined.begin());
  }
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
  events->faults.insert(events->faults.end(), own_faults_.begin(), own_faults_.end());
  own_faults_.clear();
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
  // It may still read these: a link that broke, or a peer that was given up, is not a dead process.
  for (const auto& [sequence, buffer] : peer.lent) {
    buffers_[buffer]->tainted = true;
    take_back(buffer);
  }
  peer.lent.clear();
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
    if (peer->ack_due || !peer->declined.empty()) next = std::min(next, clock_.now() + std::chrono::milliseconds(1));
    for (const Unacked& sent : peer->unacked)
      if (!sent.under_way && sent.retained)
        next = std::min(next, sent.sent ? *sent.sent + setup_.resend_after : clock_.now() + std::chrono::milliseconds(1));
    if (starved(*peer)) next = std::min(next, peer->asked + patience(peer->asks));
  }
  return next;
}

}  // namespace gossamer
