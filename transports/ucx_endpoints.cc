// Connections of ucx::Core: how they are made and open, see Endpoint.
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "transports/ucx_core.h"
#include "transports/ucx_printed.h"

namespace gossamer::ucx {
namespace {

constexpr unsigned kDirectAttempts = 100;  // to send a first message at once where that should be possible
constexpr unsigned kTicks = 8;             // of patience

bool has_any(const std::string& lanes, std::initializer_list<std::string_view> transports) {
  return std::ranges::any_of(transports, [&](std::string_view one) { return lanes.find(one) != std::string::npos; });
}

}  // namespace

// The lanes of an endpoint, as in " tcp/lo.0 (am am_bw#0)", for people; and whether any of them is TCP.
// UCX prints "#  lane[0]:  1:tcp/lo.0 md[1]  -> md[1]/tcp/sysdev[255] am am_bw#0".
std::string Core::lanes(ucp_ep_h endpoint) {
  const std::string info = printed([&](FILE* to) { ucp_ep_print_info(endpoint, to); });
  std::string text;
  for (std::size_t at = info.find("lane["); at != std::string::npos; at = info.find("lane[", at + 1)) {
    const std::string line = info.substr(at, info.find('\n', at) - at);
    const std::size_t colon = line.find(':', line.find(':') + 1), last = line.rfind(']');
    if (colon == std::string::npos || last == std::string::npos) continue;
    text += ' ' + line.substr(colon + 1, line.find(' ', colon) - colon - 1) + " (" +
            line.substr(std::min(last + 2, line.size())) + ")";
  }
  return text;
}

bool Core::create_endpoint(const Address& address, Endpoint* endpoint, bool tells_failures) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.address = reinterpret_cast<const ucp_address_t*>(address.endpoint.data());
  params.err_mode = tells_failures ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE;
  if (tells_failures) {
    params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLER;
    params.err_handler.cb = &Core::on_error;
    params.err_handler.arg = endpoint;
  }
  endpoint->tells_failures = tells_failures;
  return ucp_ep_create(worker_, &params, &endpoint->handle) == UCS_OK;
}

Result<std::shared_ptr<LinkState>> Core::connect(const Address& address) {
  if (worker_ == nullptr) return fail(Errc::peer_gone, "this fabric has been shut down");
  auto link = std::make_shared<LinkState>();
  link->id = next_link_++;
  links_.emplace(link->id, link);
  const auto known = endpoints_.find(address.nonce);
  link->endpoint = known != endpoints_.end() ? known->second : reach(address);
  if (!link->endpoint) news_.lose(*link);
  return link;
}

std::shared_ptr<Endpoint> Core::reach(const Address& address) {
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->core = this;
  endpoint->nonce = address.nonce;
  // UCX's shared memory does not serve endpoints that ask to be told of failures; asking all the same would
  // silently get a slower transport between two processes of one machine.
  const bool neighbour = machine_ != 0 && address.machine == machine_;
  // Over shared memory UCX does not notice a death; the kernel does.
  if (neighbour && !waiter_.watch(address.process, address.nonce)) return nullptr;
  if (!create_endpoint(address, endpoint.get(), !neighbour) &&
      (neighbour || !create_endpoint(address, endpoint.get(), false)))
    return nullptr;
  endpoints_.emplace(address.nonce, endpoint);
  endpoint->direct = !endpoint->tells_failures && neighbour;
  const std::string ways = endpoint->direct ? std::string() : lanes(endpoint->handle);
  const bool over_tcp = has_any(ways, {" tcp/"});
  endpoint->wires = !over_tcp && endpoint->tells_failures && has_any(ways, {" rc_", " dc_"});
  endpoint->greets = endpoint->direct || over_tcp || endpoint->wires;
  if (endpoint->wires) enter_device();
  if (endpoint->greets) {
    ++greeting_;
    greet(*endpoint);
  } else {
    tell(Kind::hello, *endpoint, 0);
  }
  return endpoint;
}

void Core::greet(Endpoint& endpoint) {
  UcxWire wire;
  wire.kind = Kind::hello;
  wire.from = nonce_;
  wire.to = endpoint.nonce;
  std::string address = this->address();
  wire.size = address.size();
  // As long as the longest message without a body: if this one can be sent at once, they all can.
  address.resize(std::max(address.size(), kNoticeSizeMax));
  if (endpoint.wires) {
    Outgoing* hello = prepare(wire, {});
    hello->staged.reset(new std::byte[address.size()]);
    std::memcpy(hello->staged.get(), address.data(), address.size());
    *endpoint.hello_under_way = true;
    hello->is_under_way = endpoint.hello_under_way;
    if (send_now(hello, endpoint.handle, hello->staged.get(), address.size(), false) != Errc::ok) return recycle(hello);
    endpoint.greeted = true;
    --greeting_;
    if (endpoint.is_open()) let_go(endpoint);
    return;
  }
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FLAG_FORCE_IMM_CMPL;
  void* request =
      ucp_am_send_nbx(endpoint.handle, kMessageId, &wire, sizeof wire, address.data(), address.size(), &params);
  if (request != nullptr) {
    // Not connected yet; on_error tells if it never will be.  A neighbour's queue may be full.
    if (!endpoint.direct || ++endpoint.attempts < kDirectAttempts) return;
    endpoint.direct = false;  // or this UCX has shorter ones: then all goes UCX's own way
    tell(Kind::hello, endpoint, 0);
  }
  endpoint.greeted = true;
  --greeting_;
  if (endpoint.is_open()) let_go(endpoint);
}

void Core::greet_all() {
  for (const Visitor& visitor : std::exchange(visitors_, {})) {
    const auto address = wire::unpack(visitor.address);
    if (!address || !wire::check_reachable(*address, dialect())) {
      ++refused_;
      continue;
    }
    auto found = endpoints_.find(address->nonce);
    // It has connected anew: what it had before is broken, though UCX has not told yet.
    if (found != endpoints_.end() && found->second->heard && found->second->tells_failures) {
      fail_endpoint(address->nonce);
      found = endpoints_.end();
    }
    const std::shared_ptr<Endpoint> endpoint = found != endpoints_.end() ? found->second : reach(*address);
    if (!endpoint || !endpoint->greets || std::exchange(endpoint->heard, true)) continue;
    if (endpoint->is_open()) let_go(*endpoint);
  }
  for (const Refusal& refusal : std::exchange(refusals_, {}))
    if (const auto found = endpoints_.find(refusal.from); found != endpoints_.end())
      tell(Kind::refused, *std::shared_ptr(found->second), refusal.to);
  if (greeting_ == 0 && unseen_ == 0) return;
  std::vector<std::shared_ptr<Endpoint>> waiting;  // sending may fail endpoints
  for (const auto& [nonce, endpoint] : endpoints_)
    if ((endpoint->greets && !endpoint->greeted) || !endpoint->held.empty()) waiting.push_back(endpoint);
  for (const auto& endpoint : waiting) {
    if (endpoint->failed) continue;
    if (endpoint->greets && !endpoint->greeted) {
      greet(*endpoint);
    } else if (endpoint->is_open()) {
      let_go(*endpoint);
    }
  }
}

void Core::enter_device() {
  if (over_devices_++ > 0) return;
  const auto patience = std::chrono::duration_cast<std::chrono::nanoseconds>(options_.wire_up_patience).count();
  const long tick = std::max<long>(patience / kTicks, 1);
  itimerspec ticks{};
  ticks.it_value = ticks.it_interval = {.tv_sec = tick / 1'000'000'000, .tv_nsec = tick % 1'000'000'000};
  (void)::timerfd_settime(patience_.number(), 0, &ticks, nullptr);
}

void Core::look_over_devices() {
  std::uint64_t ticks = 0;
  if (::read(patience_.number(), &ticks, sizeof ticks) != sizeof ticks) return;
  std::vector<std::shared_ptr<Endpoint>> all;  // sending may fail endpoints
  for (const auto& [nonce, endpoint] : endpoints_)
    if (endpoint->wires) all.push_back(endpoint);
  for (const auto& endpoint : all) {
    if (endpoint->is_wiring()) {
      if ((endpoint->patience_spent += static_cast<unsigned>(ticks)) > kTicks) fail_endpoint(endpoint->nonce);
    } else if (endpoint->is_open() && !endpoint->failed && !*endpoint->ping_under_way) {
      UcxWire wire;
      wire.kind = Kind::hello;  // an empty one
      wire.to = endpoint->nonce;
      Outgoing* const ping = prepare(wire, {});
      *endpoint->ping_under_way = true;
      ping->is_under_way = endpoint->ping_under_way;
      if (send(ping, *endpoint, nullptr, 0) != Errc::ok) recycle(ping);
    }
  }
}

// Without any the ticks would wake a fabric that has nothing to wait for.
void Core::leave_device() {
  constexpr itimerspec kNoTicks{};
  if (--over_devices_ == 0) (void)::timerfd_settime(patience_.number(), 0, &kNoTicks, nullptr);
}

bool Core::all_sent() const {
  return std::ranges::all_of(endpoints_, [](const auto& one) { return one.second->held.empty(); });
}

void Core::let_go(Endpoint& endpoint) {
  std::vector<Held> all = std::exchange(endpoint.held, {});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool direct = endpoint.direct && all[i].size == 0;
    const Errc status = endpoint.failed
                            ? Errc::peer_gone
                            : send_now(all[i].outgoing, endpoint.handle, all[i].data, all[i].size, direct);
    if (status == Errc::ok) continue;
    if (status == Errc::would_block) {
      endpoint.held.assign(all.begin() + static_cast<std::ptrdiff_t>(i), all.end());
      return;
    }
    sent(all[i].outgoing, Errc::peer_gone);
    fail_endpoint(endpoint.nonce);
  }
}

// Of one link, or all.
void Core::end_held(Endpoint& endpoint, const LinkState* link) {
  std::erase_if(endpoint.held, [&](const Held& held) {
    if (link != nullptr && (held.outgoing->link.get() != link || held.outgoing->kind == Kind::notice)) return false;
    sent(held.outgoing, Errc::peer_gone);
    return true;
  });
}

}  // namespace gossamer::ucx
