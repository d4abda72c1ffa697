// Messages out and in: the part of ucx::Core that runs for every put.
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"
#include "transports/ucx_core.h"

namespace gossamer::ucx {
namespace {

// What fits into one of UCX's TCP segments (64 KiB unless UCX_TCP_RX_SEG_SIZE says otherwise) with all headers, and the notice of the
// last part.
constexpr std::size_t kPart = (64 << 10) - 1024;
static_assert(sizeof(UcxWire) + kNoticeSizeMax + 256 <= 1024);

}  // namespace

Outgoing* Core::prepare(UcxWire wire, std::span<const std::byte> notice) {
  if (spare_.empty()) {
    spare_.push_back(outgoing_.emplace_back(std::make_unique<Outgoing>()).get());
    spare_.back()->core = this;
  }
  Outgoing* outgoing = spare_.back();
  spare_.pop_back();
  wire.from = nonce_;
  wire.notice_size = static_cast<std::uint16_t>(notice.size());
  std::memcpy(outgoing->header.data(), &wire, sizeof wire);
  std::copy(notice.begin(), notice.end(), outgoing->header.begin() + sizeof wire);
  outgoing->header_size = sizeof wire + notice.size();
  outgoing->kind = wire.kind;
  return outgoing;
}

void Core::recycle(Outgoing* outgoing) {
  outgoing->link.reset();
  outgoing->source.reset();
  outgoing->given_up = false;
  outgoing->whole = nullptr;
  outgoing->memory_type = UCS_MEMORY_TYPE_HOST;
  outgoing->staged.reset();
  if (const auto flag = std::exchange(outgoing->is_under_way, nullptr)) *flag = false;
  outgoing->under_way = 0;
  outgoing->status = Errc::ok;
  if (std::exchange(outgoing->unseen, false)) --unseen_;
  spare_.push_back(outgoing);
}

Errc Core::send(Outgoing* outgoing, Endpoint& endpoint, const void* data, std::size_t size) {
  endpoint.used = true;
  const bool direct = endpoint.direct && size == 0;
  if (endpoint.is_open() && endpoint.held.empty()) {
    const Errc status = send_now(outgoing, endpoint.handle, data, size, direct);
    if (status != Errc::would_block || !direct) return status;
  }
  endpoint.held.push_back({outgoing, data, size});
  if (!endpoint.tells_failures && !std::exchange(outgoing->unseen, true)) ++unseen_;
  return Errc::ok;
}

Errc Core::send_now(Outgoing* outgoing, ucp_ep_h endpoint, const void* data, std::size_t size, bool direct) {
  ucp_request_param_t params{};
  if (direct) {
    params.op_attr_mask = UCP_OP_ATTR_FLAG_FORCE_IMM_CMPL;
  } else {
    params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS |
                          UCP_OP_ATTR_FIELD_MEMORY_TYPE;
    params.cb.send = &Core::on_sent;
    params.user_data = outgoing;
    params.memory_type = outgoing->memory_type;
    // So that the receiver can refuse: it need not have a link of its own to us.
    params.flags = UCP_AM_SEND_FLAG_REPLY;
  }
  void* request = ucp_am_send_nbx(endpoint, kMessageId, outgoing->header.data(), outgoing->header_size, data,
                                  size, &params);
  if (UCS_PTR_IS_ERR(request)) {
    const ucs_status_t status = UCS_PTR_STATUS(request);
    return status == UCS_ERR_NO_RESOURCE || status == UCS_ERR_NO_MEMORY ? Errc::would_block : Errc::peer_gone;
  }
  if (request == nullptr) {
    sent(outgoing, Errc::ok);  // and the callback will not come
  } else if (outgoing->link && !outgoing->link->endpoint->tells_failures && !std::exchange(outgoing->unseen, true)) {
    ++unseen_;
  }
  return Errc::ok;
}

void Core::send_own(Kind kind, ucp_ep_h endpoint, std::uint64_t to, std::uint64_t value) {
  UcxWire wire;
  wire.kind = kind;
  wire.to = to;
  wire.region = value;
  Outgoing* outgoing = prepare(wire, {});
  if (send_now(outgoing, endpoint, nullptr, 0, false) != Errc::ok) recycle(outgoing);
}

void Core::tell(Kind kind, Endpoint& endpoint, std::uint64_t value) {
  UcxWire wire;
  wire.kind = kind;
  wire.to = endpoint.nonce;
  wire.region = value;
  Outgoing* outgoing = prepare(wire, {});
  if (send(outgoing, endpoint, nullptr, 0) != Errc::ok) recycle(outgoing);
}

Errc Core::put(const std::shared_ptr<LinkState>& link, const Put& put,
               const std::shared_ptr<RegionState>& source, const RemoteState* remote) {
  if (link->down || worker_ == nullptr) return Errc::peer_gone;
  if (link->puts >= options_.puts_in_flight_max) return Errc::would_block;
  UcxWire wire;
  wire.kind = Kind::put;
  wire.to = link->endpoint->nonce;
  wire.region = remote != nullptr ? remote->region : 0;
  wire.offset = put.target_offset;
  wire.size = put.size;
  Outgoing* outgoing = prepare(wire, put.notice);
  outgoing->link = link;
  outgoing->source = source;
  outgoing->token = put.token;
  ++link->puts;
  if (source) ++source->puts_named;
  const std::byte* data = put.size > 0 ? source->memory.data + put.source_offset : nullptr;
  Errc status = Errc::ok;
  if (data != nullptr && source->device) {
    data = take_from_device(outgoing, data, put.size);
    if (data == nullptr) status = Errc::io;
  }
  if (status != Errc::ok) {
    // Nothing was started.
  } else if (splits_ && put.size > kPart) {
    // A message of several segments is put together at the receiver before it is copied; one of a single segment is copied from
    // where the socket was read to, which the cache still holds.  A put is never more than 2^16 of them.
    const std::size_t part = std::max(kPart, put.size / 60'000);
    status = send_parts(outgoing, wire, data, part);
  } else {
    status = send(outgoing, *link->endpoint, data, put.size);
  }
  if (status != Errc::ok) {
    --link->puts;
    if (source) --source->puts_named;
    recycle(outgoing);
    if (status == Errc::peer_gone) fail_endpoint(link->endpoint->nonce);
    return status;
  }
  traffic_.bytes_sent += put.size + put.notice.size();
  traffic_.puts_sent += 1;
  traffic_.notices_sent += 1;
  return Errc::ok;
}

// Where UCX takes the bytes of a put from: from the device, if it knows it, else from host memory.  Null: they cannot be had.
const std::byte* Core::take_from_device(Outgoing* outgoing, const std::byte* data, std::size_t size) {
  if (options_.device.is_direct()) {
    outgoing->memory_type = UCS_MEMORY_TYPE_CUDA;
    return data;
  }
  outgoing->staged.reset(new std::byte[size]);
  const bool copied = copy_bytes(options_.device.memory.get(), data, outgoing->staged.get(), size, &device_trouble_);
  return copied ? outgoing->staged.get() : nullptr;
}

// All of it has been started, or as much as could be, and an Ended will follow; else nothing.
Errc Core::send_parts(Outgoing* whole, const UcxWire& wire, const std::byte* data, std::size_t part) {
  const std::shared_ptr<LinkState> link = whole->link;
  const std::uint64_t number = ++link->endpoint->splits << 16;
  whole->under_way = 1;
  std::size_t at = 0;
  for (; wire.size - at > part; at += part) {
    UcxWire header = wire;
    header.kind = Kind::part;
    header.offset += at;
    header.size = part;
    header.sequence = number;
    Outgoing* outgoing = prepare(header, {});
    outgoing->link = link;
    outgoing->whole = whole;
    outgoing->memory_type = whole->memory_type;
    ++whole->under_way;
    const Errc status = send(outgoing, *link->endpoint, data + at, part);
    if (status == Errc::ok) continue;
    recycle(outgoing);
    if (at == 0) return status;
    --whole->under_way;
    sent(whole, Errc::peer_gone);
    fail_endpoint(link->endpoint->nonce);
    return Errc::ok;
  }
  UcxWire header;
  std::memcpy(&header, whole->header.data(), sizeof header);
  header.offset += at;
  header.size -= at;
  header.sequence = number | (at / part);
  std::memcpy(whole->header.data(), &header, sizeof header);
  if (send(whole, *link->endpoint, data + at, header.size) != Errc::ok) {
    sent(whole, Errc::peer_gone);
    fail_endpoint(link->endpoint->nonce);
  }
  return Errc::ok;
}

Errc Core::notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice) {
  if (link->down || worker_ == nullptr) return Errc::peer_gone;
  if (link->notices >= options_.notices_in_flight_max) return Errc::would_block;
  UcxWire wire;
  wire.kind = Kind::notice;
  wire.to = link->endpoint->nonce;
  Outgoing* outgoing = prepare(wire, notice);
  outgoing->link = link;
  ++link->notices;
  if (const Errc status = send(outgoing, *link->endpoint, nullptr, 0); status != Errc::ok) {
    --link->notices;
    recycle(outgoing);
    if (status == Errc::peer_gone) fail_endpoint(link->endpoint->nonce);
    return status;
  }
  traffic_.bytes_sent += notice.size();
  traffic_.notices_sent += 1;
  return Errc::ok;
}

void Core::on_sent(void* request, ucs_status_t status, void* user_data) {
  auto* outgoing = static_cast<Outgoing*>(user_data);
  outgoing->core->sent(outgoing, status == UCS_OK ? Errc::ok : Errc::peer_gone);
  ucp_request_free(request);
}

void Core::sent(Outgoing* outgoing, Errc status) {
  if (Outgoing* const whole = outgoing->whole; whole != nullptr) {
    recycle(outgoing);
    return sent(whole, status);
  }
  if (status != Errc::ok) outgoing->status = status;
  if (outgoing->under_way > 0 && --outgoing->under_way > 0) return;
  status = outgoing->status;
  if (outgoing->is_put() && !outgoing->given_up)
    news_.ended.push_back({{outgoing->token, status}, outgoing->link, outgoing->source});
  if (outgoing->kind == Kind::notice) --outgoing->link->notices;
  recycle(outgoing);
}

void Core::on_error(void* arg, ucp_ep_h, ucs_status_t) {
  auto* endpoint = static_cast<Endpoint*>(arg);
  endpoint->core->broken(*endpoint);
}

void Core::deliver(std::span<const std::byte> notice, std::uint64_t put_size) {
  Notice& to = news_.notices.emplace_back();
  to.size = static_cast<std::uint16_t>(notice.size());
  std::copy(notice.begin(), notice.end(), to.data.begin());
  traffic_.bytes_received += put_size + notice.size();
}

ucs_status_t Core::on_message(void* arg, const void* header, std::size_t header_size, void* data,
                              std::size_t size, const ucp_am_recv_param_t* param) {
  Core& core = *static_cast<Core*>(arg);
  UcxWire wire;
  if (header_size < sizeof wire) {
    ++core.refused_;
    return UCS_OK;
  }
  std::memcpy(&wire, header, sizeof wire);
  const std::span notice(static_cast<const std::byte*>(header) + sizeof wire, header_size - sizeof wire);
  if (wire.magic != wire::kMagic || wire.notice_size != notice.size() || notice.size() > kNoticeSizeMax ||
      (wire.kind != Kind::put && wire.kind != Kind::part && wire.kind != Kind::hello && size != 0)) {
    ++core.refused_;
    return UCS_OK;
  }
  if (wire.kind == Kind::refused) {  // says itself whom it speaks of
    core.fail_endpoint(wire.region);
    return UCS_OK;
  }
  try {
    if (wire.to != core.nonce_) return core.refuse(wire, *param);
    switch (wire.kind) {
      case Kind::put:
      case Kind::part:
        return core.receive_put(wire, notice, data, size, *param);
      case Kind::notice:
        core.deliver(notice, 0);
        return UCS_OK;
      case Kind::hello:
        if (size > 0 && wire.size <= size && (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0)
          core.visitors_.push_back({wire.from, std::string(static_cast<const char*>(data), wire.size)});
        return UCS_OK;
      case Kind::bye:
        // Of one who came and went since we looked last, too.
        std::erase_if(core.visitors_, [&](const Visitor& visitor) { return visitor.from == wire.from; });
        core.fail_endpoint(wire.from);
        return UCS_OK;
      case Kind::landed:  // said by libfabric's fabrics, and in rings
      case Kind::refused:
        break;
    }
  } catch (const std::bad_alloc&) {
    return core.refuse(wire, *param);
  }
  ++core.refused_;  // a kind that this version does not know
  return UCS_OK;
}

// The sender learns that its link is broken; a put that vanished in silence would break the promise to land
// once.
ucs_status_t Core::refuse(const UcxWire& wire, const ucp_am_recv_param_t& param) {
  ++refused_;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0) {
    send_own(Kind::refused, param.reply_ep, wire.from, wire.to);
  } else {
    refusals_.push_back({wire.from, wire.to});
  }
  return UCS_OK;
}

ucs_status_t Core::receive_put(const UcxWire& wire, std::span<const std::byte> notice, void* data,
                               std::size_t size, const ucp_am_recv_param_t& param) {
  if (wire.size != size || !is_whole(wire)) return refuse(wire, param);
  if (size == 0) {
    deliver(notice, 0);
    return UCS_OK;
  }
  const auto found = regions_.find(wire.region);
  if (found == regions_.end()) return refuse(wire, param);
  const std::shared_ptr<RegionState>& region = found->second;
  if (wire.offset > region->memory.size || size > region->memory.size - wire.offset)
    return refuse(wire, param);
  std::byte* to = region->memory.data + wire.offset;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
    if (!copy_bytes(region->device.get(), static_cast<const std::byte*>(data), to, size, &device_trouble_)) return refuse(wire, param);
    if (wire.kind == Kind::part) {
      receive_part(wire);
    } else {
      deliver(notice, size);
    }
    return UCS_OK;
  }
  if (wire.kind == Kind::part) return refuse(wire, param);  // parts are sent at once

  auto owned = std::make_unique<Incoming>();
  Incoming* incoming = owned.get();
  incoming->core = this;
  incoming->region = region;
  incoming->offset = wire.offset;
  incoming->size = size;
  incoming->sender = wire.from;
  incoming->notice.size = wire.notice_size;
  std::copy(notice.begin(), notice.end(), incoming->notice.data.begin());
  const bool to_device = region->device && region->allocated && options_.device.is_direct();
  if (!to_device && (region->device || !region->allocated)) {
    incoming->bounce.reset(new std::byte[size]);
    to = incoming->bounce.get();
  }
  incoming_.emplace(incoming, std::move(owned));
  ucp_request_param_t params{};
  params.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.recv_am = &Core::on_received;
  params.user_data = incoming;
  params.memory_type = to_device ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
  void* request = ucp_am_recv_data_nbx(worker_, data, to, size, &params);
  if (UCS_PTR_IS_ERR(request)) {
    incoming_.erase(incoming);
    (void)refuse(wire, param);
  } else if (request == nullptr) {
    received(*incoming, UCS_OK);
  }
  return UCS_INPROGRESS;  // UCX owns the descriptor since it was handed to ucp_am_recv_data_nbx
}

void Core::receive_part(const UcxWire& wire) {
  Coming& coming = coming_[wire.from];
  if (coming.put != wire.sequence) coming = {wire.sequence, 0};
  ++coming.parts;
  traffic_.bytes_received += wire.size;
}

// The parts of a put come before it, since UCX keeps the messages of an endpoint in order; were it otherwise, it would be seen
// here.
bool Core::is_whole(const UcxWire& wire) const {
  if (wire.kind == Kind::part || wire.sequence == 0) return true;
  const auto coming = coming_.find(wire.from);
  return coming != coming_.end() && (coming->second.put | coming->second.parts) == wire.sequence;
}

void Core::on_received(void* request, ucs_status_t status, std::size_t, void* user_data) {
  auto* incoming = static_cast<Incoming*>(user_data);
  incoming->core->received(*incoming, status);
  ucp_request_free(request);
}

void Core::received(Incoming& incoming, ucs_status_t status) {
  const RegionState& region = *incoming.region;
  bool landed = status == UCS_OK && !region.retired;
  if (landed && incoming.bounce) {
    landed = copy_bytes(region.device.get(), incoming.bounce.get(), region.memory.data + incoming.offset, incoming.size, &device_trouble_);
  } else if (landed && region.device) {
    const auto settled = region.device->settle();
    if (!settled) device_trouble_ = settled.error().message;
    landed = settled.has_value();
  }
  if (landed) {
    deliver(incoming.notice.bytes(), incoming.size);
  } else {
    // The sender takes it to be there.
    ++refused_;
    refusals_.push_back({incoming.sender, nonce_});
  }
  incoming_.erase(&incoming);
}

}  // namespace gossamer::ucx
