// Messages of any size, in pieces, with back-pressure.
//
// A sender has at most kWindow bytes under way to one peer.  The receiver takes pieces in and acknowledges them; while its
// inbox is full it does not, and so the sender waits.  Signs of life and other small things pass by.
#include <algorithm>

#include "runtime/control/node.h"

namespace gossamer::control {

void Node::send(PeerId to, Incarnation life, std::string topic, std::shared_ptr<const std::string> bytes) {
  Peer& peer = peers_[to];
  // Otherwise the ledger has been closed meanwhile.
  if (state_ != State::member || peer.life != Life::alive || peer.entry.incarnation != life) return;
  peer.outbox.push_back({std::move(topic), std::move(bytes), 0});
  if (peer.ready) return pump(to);
  open(to);
}

void Node::pump(PeerId rank) {
  Peer& peer = peers_[rank];
  if (!peer.ready || peer.out->finishing()) return;
  while (!peer.outbox.empty() && !peer.out->writing() && peer.sent - peer.acked < kWindow) {
    OutMessage& message = peer.outbox.front();
    const std::size_t total = message.bytes->size();
    const std::size_t size = std::min<std::size_t>(kChunkSize, total - message.offset);
    wire::Frame frame;
    wire::Chunk& chunk = *frame.mutable_chunk();
    if (message.offset == 0) chunk.set_topic(message.topic);
    chunk.set_total(total);
    chunk.set_offset(message.offset);
    peer.out->send(frame, message.bytes, message.offset, size);
    peer.sent += cost_of(size);
    message.offset += size;
    if (message.offset < total) continue;
    peer.unacked.push_back({peer.sent, cost_of(total)});
    peer.outbox.pop_front();
  }
}

void Node::on_ack(Link& link, const wire::Ack& ack) {
  Peer& peer = peers_[link.peer];
  if (peer.out.get() != &link || ack.cost() > peer.sent || ack.cost() < peer.acked)
    return malformed(link, "it acknowledges what was not sent");
  peer.acked = ack.cost();
  while (!peer.unacked.empty() && peer.unacked.front().end <= peer.acked) {
    ledger_.give(link.peer, peer.entry.incarnation, peer.unacked.front().cost);
    peer.unacked.pop_front();
  }
  pump(link.peer);
  check_leave();
}

void Node::on_chunk(Link& link, const wire::Chunk& chunk, std::string& payload) {
  Peer& peer = peers_[link.peer];
  if (peer.in.get() != &link || peer.life != Life::alive) return;
  const bool first = !peer.assembling;
  const bool fits = chunk.offset() == peer.assembly.size() && chunk.total() <= kMessageLimit &&
                    payload.size() <= chunk.total() - std::min(chunk.total(), chunk.offset()) &&
                    (!payload.empty() || chunk.total() == 0) && chunk.topic().size() <= kTopicLimit;
  if (!fits) return malformed(link, "a piece that does not continue its message");
  if (first) {
    peer.assembly_topic = chunk.topic();
    peer.assembling = true;
    peer.assembly.reserve(std::min<std::uint64_t>(chunk.total(), std::uint64_t{64} << 20));
  }
  peer.assembly += payload;
  peer.taken += cost_of(payload.size());
  if (peer.assembly.size() == chunk.total()) {
    mailbox_.add(Message{link.peer, std::move(peer.assembly_topic), std::move(peer.assembly)}, peer.entry.incarnation);
    peer.assembly = {};
    peer.assembly_topic = {};
    peer.assembling = false;
  }
  peer.owes_ack = mailbox_.hold_back();
  if (!peer.owes_ack) acknowledge(peer);
}

void Node::acknowledge(Peer& peer) {
  if (!peer.in) return;
  wire::Frame frame;
  frame.mutable_ack()->set_cost(peer.taken);
  peer.in->send(frame);
}

void Node::drained() {
  for (Peer& peer : peers_) {
    if (!peer.owes_ack) continue;
    peer.owes_ack = false;
    acknowledge(peer);
  }
}

}  // namespace gossamer::control
