// Connections of ofi::Core: how they are made, how they break, and what becomes of what was under way.
#include <rdma/fi_errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/serial.h"
#include "transports/ofi_core.h"

namespace gossamer::ofi {

void remove_leftovers(const std::string& name) {
  constexpr std::string_view kScheme = "fi_shm://";
  if (name.starts_with(kScheme)) (void)::shm_unlink(("/" + std::string(name.c_str() + kScheme.size())).c_str());
}

Result<std::shared_ptr<LinkState>> Core::connect(const wire::Address& address) {
  if (!open_) return fail(Errc::peer_gone, "this fabric has been shut down");
  auto link = std::make_shared<LinkState>();
  link->id = next_link_++;
  links_.emplace(link->id, link);
  const auto known = endpoints_.find(address.nonce);
  link->endpoint = known != endpoints_.end() ? known->second : reach(address);
  if (!link->endpoint) news_.lose(*link);
  return link;
}

// Null when the peer cannot be reached: it has died, or its address means nothing to the provider.
std::shared_ptr<Endpoint> Core::reach(const wire::Address& address) {
  const auto* text = reinterpret_cast<const std::byte*>(address.endpoint.data());
  Reader reader(std::span(text, address.endpoint.size()));
  std::string name = reader.text();
  DoorbellHandle bell;
  const bool rings = reader.get<std::uint8_t>() != 0;
  if (rings) reader.array(std::span(&bell, 1));
  // The provider believes every byte of a name, and takes it to be as long as its own.
  const bool is_text = offer_.info->addr_format == FI_ADDR_STR;
  if (!reader.ok() || name.empty() || (is_text ? name.back() != '\0' : name.size() != own_name_.size())) return nullptr;
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->nonce = address.nonce;
  endpoint->neighbour = machine_ != 0 && address.machine == machine_;
  if (endpoint->neighbour && !waiter_.watch(address.process, address.nonce)) return nullptr;
  if (endpoint->neighbour && rings && bell_) {
    auto opened = RemoteDoorbell::open(bell);
    if (!opened) {
      unreached_ = opened.error().message;
      return nullptr;
    }
    endpoint->bell = std::move(*opened);
  }
  // libfabric's shm (1.17) goes on writing through memory that a peer of its own process has freed; over messages alone
  // the doorbell keeps it from that.
  endpoint->takes_writes = !offer_.this_machine_only || address.process != wire::this_process();
  if (fi_av_insert(addresses_.get(), name.data(), 1, &endpoint->address, 0, nullptr) != 1) return nullptr;
  endpoint->name = std::move(name);
  endpoints_.emplace(address.nonce, endpoint);
  lost_.erase(address.nonce);
  wire::Header header;
  header.kind = wire::Kind::hello;
  Outgoing* hello = prepare(endpoint, header, {});
  // The address goes as the body.
  const std::string own = this->address();
  if (own.size() > body_max_) {
    recycle(hello);
    return nullptr;
  }
  header.size = own.size();
  header.from = nonce_;
  header.to = address.nonce;
  std::memcpy(hello->message.bytes, &header, sizeof header);
  std::memcpy(hello->message.bytes + sizeof header, own.data(), own.size());
  hello->message_size = sizeof header + own.size();
  (void)send(hello);
  return endpoint;
}

RemoteState Core::reach(const LinkState& link, const wire::RegionKey& key) {
  return {key.region, key.rma != 0 && link.endpoint->takes_writes, key.rma_key, key.rma_base};
}

void Core::tell(wire::Kind kind, const std::shared_ptr<Endpoint>& endpoint, std::uint64_t value) {
  wire::Header header;
  header.kind = kind;
  header.region = value;
  (void)send(prepare(endpoint, header, {}));
}

// A hello has come.
void Core::visit(const wire::Header& header, std::span<const std::byte> body) {
  const auto address = wire::unpack({reinterpret_cast<const char*>(body.data()), static_cast<std::size_t>(header.size)});
  if (!address || address->nonce != header.from || !wire::check_reachable(*address, dialect_)) {
    ++refused_;
    return;
  }
  auto found = endpoints_.find(address->nonce);
  // It has connected anew: what it had before is broken, though nobody has told us yet.
  if (found != endpoints_.end() && found->second->received > 0) {
    fail_endpoint(address->nonce, options_.abandon_polls);
    found = endpoints_.end();
  }
  const std::shared_ptr<Endpoint> endpoint = found != endpoints_.end() ? found->second : reach(*address);
  if (endpoint) endpoint->received = header.sequence;
}

// `polls`: how long what is under way may still end by itself.
void Core::fail_endpoint(std::uint64_t nonce, std::size_t polls) {
  const auto found = endpoints_.find(nonce);
  if (found == endpoints_.end()) return;
  const std::shared_ptr<Endpoint> endpoint = found->second;
  endpoints_.erase(found);
  endpoint->failed = true;
  waiter_.forget(nonce);
  lost_[nonce] = endpoint;
  for (const auto& [id, link] : links_)
    if (link->endpoint == endpoint) news_.lose(*link);
  const auto queue = std::exchange(endpoint->queue, {});
  queued_ -= queue.size();
  for (Outgoing* outgoing : queue) {
    outgoing->queued = false;
    outgoing->status = Errc::peer_gone;
    settle(*outgoing);
  }
  closing_.push_back({endpoint, nullptr, polls});
}

void Core::forget(const std::shared_ptr<LinkState>& link) {
  links_.erase(link->id);
  link->down = link->told_down = true;
  if (open_ && link->puts > 0 && !link->endpoint->failed) closing_.push_back({nullptr, link, options_.abandon_polls});
}

void Core::give_up(const Closing& closing) {
  for (const auto& outgoing : outgoing_) {
    if (!outgoing->endpoint || outgoing->given_up) continue;
    if (closing.endpoint ? outgoing->endpoint != closing.endpoint : outgoing->link != closing.link) continue;
    if (outgoing->queued) {
      // Its turn has never come.  A message that is gone would be missed by its number, so it has none yet.
      auto& queue = outgoing->endpoint->queue;
      queue.erase(std::ranges::find(queue, outgoing.get()));
      --queued_;
      outgoing->queued = false;
      outgoing->status = Errc::peer_gone;
      settle(*outgoing);
      if (!outgoing->endpoint) continue;  // it has ended
    }
    outgoing->given_up = true;
    outgoing->status = Errc::peer_gone;
    given_up_ += outgoing->under_way;
    if (outgoing->is_put()) news_.ended.push_back({{outgoing->token, Errc::peer_gone}, outgoing->link, outgoing->source});
  }
}

void Core::sweep_closing() {
  std::erase_if(closing_, [&](Closing& closing) {
    if (closing.link && closing.link->puts == 0) return true;
    if (closing.polls_left > 0) {
      --closing.polls_left;
      return false;
    }
    give_up(closing);
    return true;
  });
}

void Core::reached_elsewhere(const wire::Address& address) {
  if (!offer_.this_machine_only) return;
  Reader reader(std::as_bytes(std::span(address.endpoint.data(), address.endpoint.size())));
  if (std::string name = reader.text(); reader.ok()) elsewhere_.emplace(address.nonce, std::move(name));
}

void Core::left(std::uint64_t nonce, bool died) {
  if (!open_) return;
  if (const auto known = elsewhere_.extract(nonce); known && died) remove_leftovers(known.mapped());
  fail_endpoint(nonce, options_.abandon_polls);
}

void Core::look_for_the_dead() {
  for (const std::uint64_t nonce : waiter_.ended()) {
    if (const auto found = endpoints_.find(nonce); found != endpoints_.end()) remove_leftovers(found->second->name);
    fail_endpoint(nonce, 0);
  }
}

}  // namespace gossamer::ofi
