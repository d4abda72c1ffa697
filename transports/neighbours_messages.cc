// What passes between neighbours: the part of Neighbours that runs for every put.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "transports/neighbours.h"

namespace gossamer {
namespace {

using wire::Kind;

}  // namespace

// --- Out.

Errc Neighbours::room(Neighbour& neighbour) {
  if (!neighbour.out) return Errc::peer_gone;
  const Errc status = neighbour.out->room();
  if (status == Errc::would_block) neighbour.starved = true;
  if (status != Errc::corrupt) return status;
  ++refused_;
  fail_out(neighbour);
  return Errc::peer_gone;
}

Errc Neighbours::put(const std::shared_ptr<LinkState>& link, const Put& put, const std::byte* data, DeviceMemory* device,
                        std::uint64_t region, std::span<std::byte> to) {
  if (link->down || !open_) return Errc::peer_gone;
  if (link->puts >= puts_in_flight_max_) return Errc::would_block;
  Neighbour& neighbour = *link->endpoint;
  if (const Errc status = room(neighbour); status != Errc::ok) return status;
  ring::Message message{.kind = Kind::put,
                        .notice_size = static_cast<std::uint16_t>(put.notice.size()),
                        .region = region,
                        .offset = put.target_offset,
                        .size = put.size};
  std::array<std::byte, ring::kBytesMax> staged;
  // What fits goes with its notice even though it could be copied to its place: there it would be one more line, or several, for
  // which one processor waits for the other.
  if (put.size <= ring::kBytesMax - put.notice.size()) {
    message.body_size = static_cast<std::uint32_t>(put.size);
    if (device != nullptr && put.size > 0) {
      if (!copy_bytes(device, data, staged.data(), put.size, &device_trouble_)) return Errc::io;
      data = staged.data();
    }
  } else {
    message.kind = Kind::landed;
    if (!copy_bytes(device, data, to.data() + put.target_offset, put.size, &device_trouble_)) return Errc::io;
  }
  neighbour.out->write(message, put.notice, {data, message.body_size});
  neighbour.bell->ring();
  ended_.push_back({{put.token, Errc::ok}, link.get()});
  ++link->puts;
  traffic_.bytes_sent += put.size + put.notice.size();
  traffic_.puts_sent += 1;
  traffic_.notices_sent += 1;
  return Errc::ok;
}

Errc Neighbours::notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice) {
  if (link->down || !open_) return Errc::peer_gone;
  Neighbour& neighbour = *link->endpoint;
  if (const Errc status = room(neighbour); status != Errc::ok) return status;
  neighbour.out->write({.notice_size = static_cast<std::uint16_t>(notice.size())}, notice, {});
  neighbour.bell->ring();
  traffic_.bytes_sent += notice.size();
  traffic_.notices_sent += 1;
  return Errc::ok;
}

void Neighbours::hand_out(FabricEvents* events) {
  for (const EndedPut& put : ended_) {
    if (put.link != nullptr) --put.link->puts;
    events->ended.push_back(put.ended);
  }
  ended_.clear();
  events->down.insert(events->down.end(), down_.begin(), down_.end());
  down_.clear();
}

// --- In.

// The writer is told how much room there is at once, and whether it sleeps for want of it is found out surely when there is
// time for that: when its ring is empty, or before this side sleeps.
void Neighbours::settle_room(Neighbour& neighbour) {
  if (std::exchange(neighbour.owes, false) && neighbour.in && neighbour.in->give_room(true)) neighbour.bell->ring();
}

void Neighbours::take_in(Neighbour& neighbour, FabricEvents* events) {
  for (std::size_t i = 0; i < ring::kSlots; ++i) {
    ring::Message message;
    std::span<const std::byte> bytes;
    const Errc status = neighbour.in->look(&message, &bytes);
    if (status == Errc::would_block) break;
    if (status == Errc::corrupt) return refuse(neighbour, ring::Verdict::corrupt);
    if (!deliver(message, bytes, events)) return refuse(neighbour, ring::Verdict::refused);
    neighbour.in->done();
  }
  neighbour.owes = true;
  if (neighbour.in->give_room(false)) neighbour.bell->ring();
  if (!neighbour.hot) heat(neighbour);
}

// Where its bytes belong; null when that is not in any region.
std::byte* Neighbours::reached(const ring::Message& message) {
  if (message.region != last_region_.first) {
    const auto found = regions_.find(message.region);
    if (found == regions_.end()) return nullptr;
    last_region_ = *found;
  }
  const MemoryView& memory = last_region_.second;
  const bool inside = message.offset <= memory.size && message.size <= memory.size - message.offset;
  return inside ? memory.data + message.offset : nullptr;
}

// False when it makes no sense, or names what is not there.
bool Neighbours::deliver(const ring::Message& message, std::span<const std::byte> bytes, FabricEvents* events) {
  const auto notice = bytes.first(message.notice_size), body = bytes.subspan(message.notice_size);
  switch (message.kind) {
    case Kind::notice:
      if (!body.empty() || message.size != 0) return false;
      break;
    case Kind::landed:
      if (!body.empty() || reached(message) == nullptr) return false;
      break;
    case Kind::put:
      if (message.size != body.size()) return false;
      if (body.empty()) break;
      if (std::byte* const to = reached(message); to != nullptr) {
        std::memcpy(to, body.data(), body.size());
        break;
      }
      return false;
    default:
      return false;
  }
  traffic_.bytes_received += message.size + notice.size();
  Notice& to = events->notices.emplace_back();
  to.size = message.notice_size;
  std::copy(notice.begin(), notice.end(), to.data.begin());
  return true;
}

// The writer learns that its link is broken.  Whoever writes nonsense is not written to either.
void Neighbours::refuse(Neighbour& neighbour, ring::Verdict verdict) {
  ++refused_;
  neighbour.in->judge(verdict);
  neighbour.in.reset();
  neighbour.in_memory = {};
  neighbour.owes = false;
  neighbour.bell->ring();
  if (verdict == ring::Verdict::corrupt) fail_out(neighbour);
}

}  // namespace gossamer
