// Messages and writes, out and in: the part of ofi::Core that runs for every put.
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "transports/ofi_core.h"

namespace gossamer::ofi {
namespace {

constexpr std::size_t kSlabMessages = 16;
constexpr std::size_t kPartsMax = 64;    // under way at a time, of all puts
constexpr int kProgressMax = 64;         // reads of the completion queue in one poll(), so that poll() always returns
constexpr std::size_t kCompletions = 16; // in one of them

}  // namespace

// --- Out.

Outgoing* Core::prepare(std::shared_ptr<Endpoint> endpoint, wire::Header header, std::span<const std::byte> notice) {
  if (spare_.empty()) {
    const std::size_t size = sizeof(wire::Header) + kNoticeSizeMax + body_max_;
    Slab slab{std::unique_ptr<std::byte[]>(new std::byte[kSlabMessages * size]), nullptr};
    if (auto registered = register_memory({slab.memory.get(), kSlabMessages * size}, FI_SEND)) slab.registered = std::move(*registered);
    for (std::size_t i = 0; i < kSlabMessages; ++i) {
      Outgoing* outgoing = outgoing_.emplace_back(std::make_unique<Outgoing>()).get();
      outgoing->message.type = Operation::Type::message;
      outgoing->message.of = outgoing;
      outgoing->message.bytes = slab.memory.get() + i * size;
      outgoing->message.descriptor = slab.registered ? fi_mr_desc(slab.registered.get()) : nullptr;
      spare_.push_back(outgoing);
    }
    slabs_.push_back(std::move(slab));
  }
  Outgoing* outgoing = spare_.back();
  spare_.pop_back();
  header.from = nonce_;
  header.to = endpoint->nonce;
  header.notice_size = static_cast<std::uint16_t>(notice.size());
  std::memcpy(outgoing->message.bytes, &header, sizeof header);
  std::copy(notice.begin(), notice.end(), outgoing->message.bytes + sizeof header);
  outgoing->message_size = sizeof header + notice.size();
  outgoing->kind = header.kind;
  outgoing->endpoint = std::move(endpoint);
  return outgoing;
}

void Core::recycle(Outgoing* outgoing) {
  outgoing->endpoint.reset();
  outgoing->link.reset();
  outgoing->source.reset();
  outgoing->message_posted = outgoing->by_writes = outgoing->queued = outgoing->given_up = false;
  outgoing->data = nullptr;
  outgoing->staged.reset();
  outgoing->size = outgoing->posted = 0;
  outgoing->whole = nullptr;
  outgoing->status = Errc::ok;
  spare_.push_back(outgoing);
}

Errc Core::put(const std::shared_ptr<LinkState>& link, const Put& put, const std::shared_ptr<RegionState>& source,
               const RemoteState* remote) {
  if (link->down || !open_) return Errc::peer_gone;
  if (link->puts >= options_.puts_in_flight_max) return Errc::would_block;
  const bool small = put.size <= body_max_;
  const bool direct = !source || !source->device || options_.device.is_direct();
  const bool by_writes = !small && offer_.writes && remote->writable && direct;
  wire::Header header;
  header.kind = by_writes ? wire::Kind::landed : wire::Kind::put;
  header.region = remote != nullptr ? remote->region : 0;
  header.offset = put.target_offset;
  header.size = put.size;
  Outgoing* outgoing = prepare(link->endpoint, header, put.notice);
  outgoing->link = link;
  outgoing->source = source;
  outgoing->token = put.token;
  outgoing->by_writes = by_writes;
  if (put.size > 0 && !take_bytes(*outgoing, put)) {
    recycle(outgoing);
    return Errc::io;
  }
  if (by_writes) {
    outgoing->remote_address = remote->base + put.target_offset;
    outgoing->remote_key = remote->key;
  }
  ++link->puts;
  if (source) ++source->puts_named;
  traffic_.bytes_sent += put.size + put.notice.size();
  traffic_.puts_sent += 1;
  traffic_.notices_sent += 1;
  return send(outgoing);
}

// The bytes of a put go into its message, or stay to be written or sent in parts.  False: its device does not give them.
bool Core::take_bytes(Outgoing& outgoing, const Put& put) {
  DeviceMemory* const device = outgoing.source->device.get();
  const std::byte* const data = outgoing.source->memory.data + put.source_offset;
  if (outgoing.kind == wire::Kind::put && put.size <= body_max_) {
    std::byte* const to = outgoing.message.bytes + outgoing.message_size;
    outgoing.message_size += put.size;
    return copy_bytes(device, data, to, put.size, &device_trouble_);
  }
  outgoing.data = data;
  outgoing.size = put.size;
  if (device == nullptr || outgoing.by_writes) return true;
  outgoing.staged.reset(new std::byte[put.size]);
  outgoing.data = outgoing.staged.get();
  return copy_bytes(device, data, outgoing.staged.get(), put.size, &device_trouble_);
}

Errc Core::notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice) {
  if (link->down || !open_) return Errc::peer_gone;
  if (link->notices >= options_.notices_in_flight_max) return Errc::would_block;
  Outgoing* outgoing = prepare(link->endpoint, {}, notice);
  outgoing->link = link;
  ++link->notices;
  traffic_.bytes_sent += notice.size();
  traffic_.notices_sent += 1;
  return send(outgoing);
}

// Always accepted: what libfabric does not take now is held.  That a connection is broken shows as a link that goes down.
Errc Core::send(Outgoing* outgoing) {
  Endpoint& endpoint = *outgoing->endpoint;
  if (endpoint.queue.empty()) {
    const std::shared_ptr<Endpoint> kept = outgoing->endpoint;
    const Step step = advance(*outgoing);
    if (step == Step::posted) return Errc::ok;
    if (step == Step::broken) {
      outgoing->status = Errc::peer_gone;
      settle(*outgoing);
      fail_endpoint(kept->nonce, options_.abandon_polls);
      return Errc::ok;
    }
  }
  endpoint.queue.push_back(outgoing);
  outgoing->queued = true;
  ++queued_;
  return Errc::ok;
}

void Core::pump() {
  std::erase_if(unposted_, [&](Operation* operation) { return post_receive(*operation); });
  if (queued_ == 0) return;
  std::vector<std::shared_ptr<Endpoint>> waiting;  // sending may fail endpoints
  for (const auto& [nonce, endpoint] : endpoints_)
    if (!endpoint->queue.empty()) waiting.push_back(endpoint);
  for (const auto& endpoint : waiting) pump(*endpoint);
}

void Core::pump(Endpoint& endpoint) {
  while (!endpoint.failed && !endpoint.queue.empty()) {
    Outgoing& outgoing = *endpoint.queue.front();
    const Step step = advance(outgoing);
    if (step == Step::held) return;
    if (step == Step::broken) return fail_endpoint(endpoint.nonce, options_.abandon_polls);
    endpoint.queue.pop_front();
    outgoing.queued = false;
    --queued_;
  }
}

// Hands libfabric what it takes.  posted: all of it, or all until the writes have been delivered.
Core::Step Core::advance(Outgoing& outgoing) {
  if (is_closed(*outgoing.endpoint)) return Step::broken;
  if (outgoing.posted < outgoing.size) {
    const Step step = outgoing.by_writes ? post_writes(outgoing) : post_parts(outgoing);
    if (step != Step::posted) return step;
    if (outgoing.by_writes && !offer_.ordered) return Step::posted;  // settle() goes on
  }
  return post_message(outgoing);
}

// libfabric's shm (1.17) writes into the memory of a peer of the same process even when that is gone.
bool Core::is_closed(const Endpoint& endpoint) { return endpoint.bell && endpoint.bell->closed(); }

Core::Step Core::after(ssize_t returned, Outgoing& outgoing) {
  if (returned == 0) {
    ++outgoing.under_way;
    ++under_way_;
    return Step::posted;
  }
  return returned == -FI_EAGAIN || returned == -FI_ENOMEM ? Step::held : Step::broken;
}

Core::Step Core::post_writes(Outgoing& outgoing) {
  while (outgoing.posted < outgoing.size) {
    if (spare_writes_.empty()) {
      spare_writes_.push_back(writes_.emplace_back(std::make_unique<Operation>()).get());
      spare_writes_.back()->type = Operation::Type::write;
    }
    Operation& write = *spare_writes_.back();
    const std::size_t size = std::min(outgoing.size - outgoing.posted, chunk_);
    iovec from{const_cast<std::byte*>(outgoing.data) + outgoing.posted, size};
    fi_rma_iov to{outgoing.remote_address + outgoing.posted, size, outgoing.remote_key};
    void* descriptor = outgoing.source->descriptor();
    fi_msg_rma message{};
    message.msg_iov = &from;
    message.desc = &descriptor;
    message.iov_count = 1;
    message.addr = outgoing.endpoint->address;
    message.rma_iov = &to;
    message.rma_iov_count = 1;
    message.context = &write.context;
    const std::uint64_t flags = FI_COMPLETION | (offer_.ordered ? 0 : FI_DELIVERY_COMPLETE);
    const Step step = after(fi_writemsg(endpoint_.get(), &message, flags), outgoing);
    if (step != Step::posted) return step;
    write.of = &outgoing;
    spare_writes_.pop_back();
    outgoing.posted += size;
  }
  return Step::posted;
}

// The last bytes go with the message itself.
Core::Step Core::post_parts(Outgoing& outgoing) {
  while (outgoing.size - outgoing.posted > body_max_) {
    if (parts_ >= kPartsMax) return Step::held;
    wire::Header header;
    std::memcpy(&header, outgoing.message.bytes, sizeof header);
    header.kind = wire::Kind::part;
    header.offset += outgoing.posted;
    header.size = body_max_;
    Outgoing* part = prepare(outgoing.endpoint, header, {});
    std::memcpy(part->message.bytes + part->message_size, outgoing.data + outgoing.posted, body_max_);
    part->message_size += body_max_;
    part->source = outgoing.source;
    const Step step = post_message(*part);
    if (step != Step::posted) {
      recycle(part);
      return step;
    }
    part->whole = &outgoing;
    ++outgoing.under_way;
    ++parts_;
    outgoing.posted += body_max_;
  }
  wire::Header header;
  std::memcpy(&header, outgoing.message.bytes, sizeof header);
  const std::size_t last = outgoing.size - outgoing.posted;
  header.offset += outgoing.posted;
  header.size = last;
  std::memcpy(outgoing.message.bytes, &header, sizeof header);
  std::memcpy(outgoing.message.bytes + outgoing.message_size, outgoing.data + outgoing.posted, last);
  outgoing.message_size += last;
  outgoing.posted = outgoing.size;
  return Step::posted;
}

Core::Step Core::post_message(Outgoing& outgoing) {
  Endpoint& endpoint = *outgoing.endpoint;
  const std::uint64_t number = endpoint.sent + 1;
  std::memcpy(outgoing.message.bytes + offsetof(wire::Header, sequence), &number, sizeof number);
  const Step step = after(fi_send(endpoint_.get(), outgoing.message.bytes, outgoing.message_size, outgoing.message.descriptor,
                                  endpoint.address, &outgoing.message.context),
                          outgoing);
  if (step != Step::posted) return step;
  endpoint.sent = number;
  outgoing.message_posted = true;
  if (endpoint.bell) endpoint.bell->ring();
  return step;
}

// Something of it has ended; has all of it?
void Core::settle(Outgoing& outgoing) {
  if (outgoing.under_way > 0 || outgoing.queued) return;
  if (outgoing.status != Errc::ok || outgoing.endpoint->failed || outgoing.message_posted)
    return end(outgoing, outgoing.message_posted ? outgoing.status : Errc::peer_gone);
  if (outgoing.posted == outgoing.size && outgoing.by_writes) (void)send(&outgoing);  // delivered: now its notice
}

void Core::end(Outgoing& outgoing, Errc status) {
  if (outgoing.is_put() && !outgoing.given_up) news_.ended.push_back({{outgoing.token, status}, outgoing.link, outgoing.source});
  if (outgoing.link && outgoing.kind == wire::Kind::notice) --outgoing.link->notices;
  Outgoing* const whole = outgoing.whole;
  recycle(&outgoing);
  if (whole == nullptr) return;
  --parts_;
  --whole->under_way;
  if (whole->given_up) --given_up_;
  if (status != Errc::ok) whole->status = status;
  settle(*whole);
}

void Core::ended(Operation& operation, bool good) {
  Outgoing& outgoing = *operation.of;
  --under_way_;
  --outgoing.under_way;
  if (outgoing.given_up) --given_up_;
  if (operation.type == Operation::Type::write) spare_writes_.push_back(&operation);
  if (!good) {
    outgoing.status = Errc::peer_gone;
    const std::uint64_t nonce = outgoing.endpoint->nonce;
    const auto found = endpoints_.find(nonce);
    if (found != endpoints_.end() && found->second == outgoing.endpoint) fail_endpoint(nonce, options_.abandon_polls);
  }
  settle(outgoing);
}

// --- In.

bool Core::post_receive(Operation& operation) {
  return fi_recv(endpoint_.get(), operation.bytes, sizeof(wire::Header) + kNoticeSizeMax + body_max_, operation.descriptor,
                 FI_ADDR_UNSPEC, &operation.context) == 0;
}

// How many operations have ended.
int Core::progress() {
  int count = 0;
  for (int round = 0; round < kProgressMax; ++round) {
    std::array<fi_cq_msg_entry, kCompletions> entries;
    const ssize_t read = fi_cq_read(completions_.get(), entries.data(), entries.size());
    if (read == -FI_EAVAIL) {
      fi_cq_err_entry error{};
      if (fi_cq_readerr(completions_.get(), &error, 0) != 1) break;
      ++count;
      if (error.op_context == nullptr) continue;
      auto& operation = *static_cast<Operation*>(error.op_context);
      if (operation.type != Operation::Type::receive) {
        ended(operation, false);
      } else if (error.err != FI_ECANCELED) {  // too long, say: no message of ours
        ++refused_;
        if (!post_receive(operation)) unposted_.push_back(&operation);
      }
      continue;
    }
    if (read <= 0) break;
    count += static_cast<int>(read);
    for (ssize_t i = 0; i < read; ++i) {
      auto& operation = *static_cast<Operation*>(entries[static_cast<std::size_t>(i)].op_context);
      if (operation.type == Operation::Type::receive) {
        received(operation, entries[static_cast<std::size_t>(i)].len);
        if (!post_receive(operation)) unposted_.push_back(&operation);
      } else {
        ended(operation, true);
      }
    }
    if (static_cast<std::size_t>(read) < entries.size()) break;
  }
  return count;
}

// Nothing in it is believed.
void Core::received(Operation& operation, std::size_t size) {
  wire::Header header;
  if (size < sizeof header) {
    ++refused_;
    return;
  }
  std::memcpy(&header, operation.bytes, sizeof header);
  const std::size_t rest = size - sizeof header;
  if (header.magic != wire::kMagic || header.notice_size > kNoticeSizeMax || header.notice_size > rest) {
    ++refused_;
    return;
  }
  const std::span notice(operation.bytes + sizeof header, header.notice_size);
  const std::span body(notice.data() + notice.size(), rest - notice.size());
  const bool has_body = header.kind == wire::Kind::put || header.kind == wire::Kind::part || header.kind == wire::Kind::hello;
  if (has_body ? header.size != body.size() : !body.empty()) {
    ++refused_;
    return;
  }
  if (header.kind == wire::Kind::refused) return fail_endpoint(header.region, options_.abandon_polls);  // says itself whom it speaks of
  if (header.to != nonce_) return refuse(header);
  if (header.kind == wire::Kind::hello) return visit(header, body);
  const auto from = endpoints_.find(header.from);
  // One that came before it was lost: the sender does not know that its connection was broken in between.
  if (from == endpoints_.end() || header.sequence != from->second->received + 1) return refuse(header);
  from->second->received = header.sequence;
  deliver(header, notice, body);
}

bool Core::reaches(const wire::Header& header, std::uint64_t size) const {
  const auto region = regions_.find(header.region);
  return region != regions_.end() && header.offset <= region->second->memory.size &&
         size <= region->second->memory.size - header.offset;
}

void Core::deliver(const wire::Header& header, std::span<const std::byte> notice, std::span<const std::byte> body) {
  switch (header.kind) {
    case wire::Kind::bye:
      return fail_endpoint(header.from, options_.abandon_polls);
    case wire::Kind::notice:
      break;
    case wire::Kind::landed:
      if (!reaches(header, header.size)) return refuse(header);
      if (DeviceMemory* const device = regions_.at(header.region)->device.get(); device != nullptr) {
        if (const auto settled = device->settle(); !settled) {
          device_trouble_ = settled.error().message;
          return refuse(header);
        }
      }
      break;
    case wire::Kind::put:
    case wire::Kind::part:
      if (!body.empty()) {
        if (!reaches(header, body.size())) return refuse(header);
        const RegionState& region = *regions_.at(header.region);
        if (!copy_bytes(region.device.get(), body.data(), region.memory.data + header.offset, body.size(), &device_trouble_)) return refuse(header);
      }
      if (header.kind == wire::Kind::part) {
        traffic_.bytes_received += body.size();
        return;
      }
      break;
    default:
      ++refused_;  // a kind that this version does not know
      return;
  }
  Notice& to = news_.notices.emplace_back();
  to.size = header.notice_size;
  std::copy(notice.begin(), notice.end(), to.data.begin());
  traffic_.bytes_received += header.size + notice.size();
}

// The sender learns that its link is broken; a put that vanished in silence would break the promise to land once.  What is
// said is what the sender calls us, which may be the name of an earlier life.
void Core::refuse(const wire::Header& header) {
  ++refused_;
  if (const auto found = endpoints_.find(header.from); found != endpoints_.end())
    return tell(wire::Kind::refused, std::shared_ptr(found->second), header.to);
  const auto lost = lost_.find(header.from);
  if (lost == lost_.end() || is_closed(*lost->second)) return;
  wire::Header answer;
  answer.kind = wire::Kind::refused;
  answer.region = header.to;
  Outgoing* outgoing = prepare(lost->second, answer, {});
  if (post_message(*outgoing) != Step::posted) recycle(outgoing);  // it will ask again
}

}  // namespace gossamer::ofi
