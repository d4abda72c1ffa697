#include "transports/ucx_core.h"

#include <poll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "transports/interfaces.h"
#include "transports/ucx_printed.h"

// Part of UCX's development headers in most, not all, packages.
#if __has_include(<ucs/config/global_opts.h>)
#include <ucs/config/global_opts.h>
#define GOSSAMER_UCX_HAS_LOG_LEVEL 1
#endif

namespace gossamer::ucx {
namespace {

constexpr const char* kNever = "1000000s";
constexpr const char* kQueueElementSize = "1024";
constexpr int kProgressMax = 256;   // calls of UCX's progress in one poll(), so that poll() always returns
constexpr unsigned kPollsPerLook = 256;  // at the neighbours' processes, for those who never sleep
constexpr int kSettleRounds = 200;  // of at most a millisecond each, for what is under way at shutdown
constexpr int kRestRounds = 20;
constexpr long kStarvedSleepMinNs = 100'000;  // doubled while nothing happens
constexpr long kStarvedSleepMaxNs = 10'000'000;

std::string say(ucs_status_t status) {
  return ucs_status_string(status);
}

std::string setting(const std::string& config, std::string_view name) {
  const std::string key = "UCX_" + std::string(name) + "=";
  const std::size_t at = config.starts_with(key) ? 0 : config.find("\n" + key);
  if (at == std::string::npos) return {};
  const std::size_t from = config.find('=', at) + 1;
  return config.substr(from, config.find('\n', from) - from);
}

// Whether anything that UCX has taken reaches another process: of "rc,self" a machine without a device leaves self, without a word.
// UCX prints "#      resource 1  :  md 1  dev 1  flags -- tcp/lo".
bool reaches_others(ucp_context_h context) {
  const std::string info = printed([&](FILE* to) { ucp_context_print_info(context, to); });
  bool any = false;
  for (std::size_t at = info.find(" resource "); at != std::string::npos; at = info.find(" resource ", at + 1)) {
    const std::string line = info.substr(at, info.find('\n', at) - at);
    if (line.find(" self/") == std::string::npos) return true;
    any = true;
  }
  return !any;  // another UCX may print it otherwise
}

}  // namespace

// A dead peer is an ordinary event here and is reported by return values; UCX writes errors and warnings
// about it, and about hardware that a machine does not have, to standard output.  UCX's log is quiet unless
// UCX_LOG_LEVEL asks for something else than its default.  The level belongs to the UCX library and so to the
// whole process.
void quieten() {
#ifdef GOSSAMER_UCX_HAS_LOG_LEVEL
  std::array<char, 32> level{};
  if (ucs_global_opts_get_value("LOG_LEVEL", level.data(), level.size()) != UCS_OK) return;
  if (std::string_view(level.data()) == "WARN" || std::string_view(level.data()) == "warn")
    (void)ucs_global_opts_set_value("LOG_LEVEL", "FATAL");
#endif
}

RegionState::~RegionState() {
  if (handle != nullptr) ucp_mem_unmap(context->get(), handle);
  if (device && allocated) device->release(memory.data);
}

Result<std::shared_ptr<Core>> Core::make(const UcxOptions& options) {
  if (options.puts_in_flight_max == 0 || options.notices_in_flight_max == 0)
    return fail(Errc::invalid_argument, "a UCX fabric that may have nothing in flight can send nothing");
  std::shared_ptr<Core> core(new Core(options));
  quieten();

  ucp_config_t* raw_config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &raw_config); status != UCS_OK)
    return fail(Errc::invalid_argument,
                "UCX cannot read its settings (UCX_* in the environment): " + say(status));
  const Config config(raw_config);
  // Without it a connection to a machine that is switched off would block for minutes.  UCX 1.13 wants the first name, today's
  // (1.22) refuses it.
  for (const char* name : {"CONN_NB", "TCP_CONN_NB"}) (void)ucp_config_modify(config.get(), name, "y");
  // Of UCX's two generations of protocols the one that 1.13 has by default: with the other (1.22's default) no message over TCP
  // leaves at once, and so no hello.
  (void)ucp_config_modify(config.get(), "PROTO_ENABLE", "n");
  std::vector<std::pair<std::string, std::string>> settings = options.settings;
  if (!options.tls.empty()) settings.emplace_back("TLS", options.tls);
  if (!options.interface.empty()) {
    const std::vector<std::string> interfaces = interfaces_of(options.interface);
    if (interfaces.empty())
      return fail(Errc::invalid_argument, "no interface of this machine has an address in `" + options.interface +
                                              "` (transport.interface); `ip -brief address` lists what there is");
    std::string devices;
    for (const std::string& interface : interfaces) devices += (devices.empty() ? "" : ",") + interface;
    settings.emplace_back("NET_DEVICES", devices);
  } else if (!options.net_devices.empty()) {
    settings.emplace_back("NET_DEVICES", options.net_devices);
  }
  // Where this UCX knows it (1.11): no wire-up before the first message, see Endpoint.
  (void)ucp_config_modify(config.get(), "RESOLVE_REMOTE_EP_ID", "n");
  for (const auto& [key, value] : settings)
    if (const ucs_status_t status = ucp_config_modify(config.get(), key.c_str(), value.c_str());
        status != UCS_OK)
      return fail(Errc::invalid_argument,
                  "UCX refuses its setting UCX_" + key + "=" + value + ": " + say(status));
  // A place in a neighbour's queue takes any message of ours that has no body, see Endpoint.
  (void)ucp_config_modify(config.get(), "MM_FIFO_ELEM_SIZE", kQueueElementSize);
  const std::string in_force =
      printed([&](FILE* to) { ucp_config_print(config.get(), to, nullptr, UCS_CONFIG_PRINT_CONFIG); });
  core->tls_ = setting(in_force, "TLS");
  // Where connections wire up our patience decides, see Endpoint.
  if (may_wire_up(core->tls_) && std::ranges::none_of(settings, [](const auto& one) { return one.first == "UD_TIMEOUT"; }))
    (void)ucp_config_modify(config.get(), "UD_TIMEOUT", kNever);
  // Over TCP the handshake of a rendezvous waits in one queue with the bulk that goes the other way, so that two neighbours
  // who send at the same time take turns: 1.07 s a round where sending at once takes 0.83 s (docs/measurements.md).
  const std::string rendezvous = setting(in_force, "RNDV_THRESH");
  const bool own_choice = rendezvous == "auto" || rendezvous == "intra:auto,inter:auto";  // 1.13's, and today's
  core->splits_ = rendezvous == "inf" || (own_choice && !may_use_rdma(core->tls_));
  if (core->splits_) (void)ucp_config_modify(config.get(), "RNDV_THRESH", "inf");
  core->devices_ = setting(in_force, "NET_DEVICES");
  core->shared_memory_ = allows_shared_memory(core->tls_);
  core->loopback_only_ = are_loopback(core->devices_);

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  ucp_context_h context = nullptr;
  if (const ucs_status_t status = ucp_init(&params, config.get(), &context); status != UCS_OK)
    return fail(Errc::unsupported, "UCX finds nothing to communicate with for the transports '" + core->tls_ +
                                       "' on the devices '" + core->devices_ + "': " + say(status) +
                                       " (`ucx_info -d` lists what this machine has)");
  core->context_ = std::make_shared<Context>(context);
  if (core->tls_ != "self" && !reaches_others(context))
    return fail(Errc::unsupported, "UCX reaches no other process by the transports '" + core->tls_ + "' on the devices '" + core->devices_ +
                                       "' (`ucx_info -d` lists what this machine has; rc, ud and dc need an RDMA device and rdma-core)");
  if (options.device.is_direct()) GOSSAMER_TRY(expect_cuda(context, core->tls_));

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;  // a trainer and its engine take turns
  if (const ucs_status_t status = ucp_worker_create(context, &worker_params, &core->worker_);
      status != UCS_OK)
    return fail(Errc::unsupported, "UCX cannot use the transports '" + core->tls_ + "': " + say(status));
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  if (const ucs_status_t status = ucp_worker_query(core->worker_, &attributes); status != UCS_OK)
    return fail(Errc::internal, "UCX cannot say what its worker can do: " + say(status));
  if (attributes.max_am_header < sizeof(UcxWire) + kNoticeSizeMax)
    return fail(Errc::unsupported, "the transports '" + core->tls_ + "' carry message headers of " +
                                       std::to_string(attributes.max_am_header) + " bytes only; " +
                                       std::to_string(sizeof(UcxWire) + kNoticeSizeMax) + " are needed");
  if (const ucs_status_t status = ucp_worker_get_efd(core->worker_, &core->worker_fd_); status != UCS_OK)
    return fail(Errc::unsupported,
                "the transports '" + core->tls_ + "' cannot wake a sleeping process: " + say(status));
  GOSSAMER_TRY_ASSIGN(core->waiter_, Waiter::make());
  GOSSAMER_TRY(core->waiter_.watch(core->worker_fd_));
  core->patience_ = FileDescriptor(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  GOSSAMER_TRY(core->waiter_.watch(core->patience_.number()));

  ucp_am_handler_param_t handler{};
  handler.field_mask =
      UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.cb = &Core::on_message;
  handler.arg = core.get();
  if (const ucs_status_t status = ucp_worker_set_am_recv_handler(core->worker_, &handler); status != UCS_OK)
    return fail(Errc::unsupported, "UCX refuses active messages: " + say(status));

  core->nonce_ = wire::new_nonce();
  if (core->shared_memory_) core->machine_ = wire::this_machine();
  return core;
}

Core::~Core() { shutdown(); }

std::string Core::address() const {
  ucp_address_t* worker = nullptr;
  std::size_t size = 0;
  if (worker_ == nullptr || ucp_worker_get_address(worker_, &worker, &size) != UCS_OK) return {};
  const std::string bytes(reinterpret_cast<const char*>(worker), size);
  ucp_worker_release_address(worker_, worker);
  return pack(Address{.nonce = nonce_,
                      .machine = machine_,
                      .network = loopback_only_ ? wire::this_network() : 0,
                      .process = machine_ != 0 ? wire::this_process() : wire::Process{},
                      .dialect = dialect(),
                      .endpoint = bytes});
}

std::string Core::description() const {
  std::string text = "UCX " + ucx_version() + ", transports " + tls_ + ", devices " + devices_ +
                     (loopback_only_ ? " (loopback: this machine only)" : "") +
                     "; advertises " + advertised(devices_) + "; a put is an active message";
  if (options_.device.memory) text += "; memory of " + options_.device.memory->name() + (options_.device.is_direct() ? " directly" : " through the host's");
  if (!device_trouble_.empty()) text += " (which failed: " + device_trouble_ + ")";
  for (const auto& [nonce, endpoint] : endpoints_) {
    text += (endpoint->tells_failures ? "; lanes (failures are seen):" : "; lanes (failures are not seen):") +
            lanes(endpoint->handle);
    break;  // one endpoint stands for the others
  }
  return text;
}

Result<std::shared_ptr<RegionState>> Core::map(MemoryView memory, std::size_t allocate_size) {
  auto region = std::make_shared<RegionState>();
  region->context = context_;
  region->id = next_region_++;
  region->memory = memory;
  if (memory.kind != MemoryKind::host) region->device = options_.device.memory;
  if (allocate_size > 0) {
    if (region->device) {
      GOSSAMER_TRY_ASSIGN(region->memory.data, region->device->allocate(allocate_size));
    } else {
      GOSSAMER_TRY_ASSIGN(region->shared, maps_neighbours() ? SharedMemory::create(allocate_size) : SharedMemory::create_unshared(allocate_size));
      region->memory.data = region->shared.bytes().data();
    }
    region->allocated = true;
  }
  if (region->memory.size > 0 && (!region->device || options_.device.is_direct())) {
    ucp_mem_map_params_t params{};
    params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
    params.address = region->memory.data;
    params.length = region->memory.size;
    params.memory_type = region->device ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
    if (const ucs_status_t status = ucp_mem_map(context_->get(), &params, &region->handle);
        status != UCS_OK) {
      region->handle = nullptr;
      return fail(Errc::io, "UCX cannot register " + std::to_string(memory.size) + " bytes" + (region->device ? " of a device: " : ": ") +
                                say(status) + " (limits that matter: free memory, ulimit -l)");
    }
  }
  regions_.emplace(region->id, region);
  return region;
}

void Core::retire(const std::shared_ptr<RegionState>& region) {
  region->retired = true;
  regions_.erase(region->id);
}

void Core::forget(const std::shared_ptr<LinkState>& link) {
  links_.erase(link->id);
  link->down = link->told_down = true;
  // Where UCX ends every put by itself there is nothing to watch.
  if (worker_ != nullptr && link->puts > 0 && (!link->endpoint->ends_by_itself() || !link->endpoint->is_open()))
    closing_.push_back({link, options_.abandon_polls});
}

template <class Which>
void Core::give_up(Which&& which) {
  for (const auto& outgoing : outgoing_) {
    if (!outgoing->link || outgoing->kind == Kind::notice || outgoing->given_up || !which(*outgoing->link)) continue;
    outgoing->given_up = true;
    if (std::exchange(outgoing->unseen, false)) --unseen_;  // nobody waits for it any more
    if (!outgoing->is_put()) continue;
    news_.ended.push_back({{outgoing->token, Errc::peer_gone}, outgoing->link, outgoing->source});
  }
}

void Core::fail_endpoint(std::uint64_t nonce) {
  const auto found = endpoints_.find(nonce);
  if (found == endpoints_.end()) return;
  const std::shared_ptr<Endpoint> endpoint = found->second;
  endpoints_.erase(found);
  endpoint->failed = true;
  waiter_.forget(nonce);
  coming_.erase(nonce);
  failed_.push_back(endpoint);
  for (const auto& [id, link] : links_)
    if (link->endpoint == endpoint) news_.lose(*link);
  if (endpoint->greets && !endpoint->greeted) --greeting_;
  if (endpoint->wires) leave_device();
  end_held(*endpoint, nullptr);
  if (!endpoint->tells_failures) give_up([&](const LinkState& link) { return link.endpoint == endpoint; });
}

void Core::broken(Endpoint& endpoint) {
  if (!endpoint.failed) fail_endpoint(endpoint.nonce);
  endpoint.broken = true;
}

void Core::close_by_force(ucp_ep_h endpoint) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(endpoint, &params);
  if (UCS_PTR_IS_PTR(request)) requests_.push_back(request);
}

void Core::sweep_requests() {
  std::erase_if(requests_, [](void* request) {
    if (ucp_request_check_status(request) == UCS_INPROGRESS) return false;
    ucp_request_free(request);
    return true;
  });
}

void Core::sweep_failures() {
  // Endpoints without failure handling cannot be closed towards a peer that is gone; UCX takes them down with
  // the worker.  Those that wire up stay, see Endpoint.
  std::erase_if(failed_, [&](const std::shared_ptr<Endpoint>& endpoint) {
    if (!endpoint->tells_failures || endpoint->handle == nullptr || endpoint->is_wiring()) return false;
    close_by_force(std::exchange(endpoint->handle, nullptr));
    return true;
  });
}

void Core::sweep_closing() {
  std::erase_if(closing_, [&](Closing& closing) {
    if (closing.link->puts == 0) return true;
    if (closing.polls_left > 0) {
      --closing.polls_left;
      return false;
    }
    end_held(*closing.link->endpoint, closing.link.get());
    if (!closing.link->endpoint->ends_by_itself())
      give_up([&](const LinkState& link) { return &link == closing.link.get(); });
    return true;
  });
}

void Core::poll(FabricEvents* events) {
  if (worker_ == nullptr) return;
  for (int i = 0; i < kProgressMax && ucp_worker_progress(worker_) != 0; ++i) {
    starved_sleep_ns_ = 0;
    if (!news_.empty()) break;  // which should not wait for UCX to find that there is no more: over TCP that is a system call
  }
  if (std::exchange(slept_, false) || ++polls_ % kPollsPerLook == 0) {
    for (const std::uint64_t nonce : waiter_.ended()) fail_endpoint(nonce);
    if (over_devices_ > 0) look_over_devices();
  }
  sweep_failures();
  greet_all();
  sweep_closing();
  sweep_requests();
  news_.hand_out(events);
}

bool Core::arm() {
  if (worker_ == nullptr || !news_.empty()) return false;
  if (ucp_worker_arm(worker_) != UCS_OK) return false;
  // Over shared memory UCX's descriptor does not tell when a full queue has room again (the receiver's end knows nothing of
  // the sender's sleep), so a sleep with messages held back is a short one.
  const bool starved = unseen_ > 0 || greeting_ > 0;
  if (starved) starved_sleep_ns_ = std::clamp(2 * starved_sleep_ns_, kStarvedSleepMinNs, kStarvedSleepMaxNs);
  waiter_.wake_after(starved ? starved_sleep_ns_ : 0);
  slept_ = true;
  return true;
}

// Lets UCX work until `done` holds; false if it does not after that many rounds.
template <class Done>
bool Core::settle(int rounds, Done&& done) {
  for (int round = 0;; ++round) {
    for (int i = 0; i < kProgressMax && ucp_worker_progress(worker_) != 0; ++i) {
    }
    sweep_requests();
    if (done()) return true;
    if (round >= rounds) return false;
    const bool armed = ucp_worker_arm(worker_) == UCS_OK;
    pollfd descriptor{worker_fd_, POLLIN, 0};
    (void)::poll(&descriptor, armed ? 1 : 0, 1);
  }
}

// Between processes of one machine: UCX cannot arm while anything waits for room in a neighbour's queue.
bool Core::at_rest() {
  return ucp_worker_arm(worker_) == UCS_OK;
}

bool Core::any_wiring() const {
  return std::ranges::any_of(endpoints_, [](const auto& one) { return one.second->is_wiring(); });
}

void Core::shutdown() {
  if (worker_ == nullptr) return;
  // Who said goodbye while nobody polled?  And whose connection opens late?  (UCX looks at an interface without connections when
  // its own thread has woken: a neighbour whose hello came microseconds ago may not be seen, and learns it from our process' end.)
  (void)settle(kSettleRounds, [&] {
    sweep_failures();
    greet_all();
    return all_sent() && !any_wiring();
  });
  for (const auto& [nonce, endpoint] : std::unordered_map(endpoints_))
    if (!endpoint->tells_failures || (endpoint->wires && endpoint->is_open())) tell(Kind::bye, *endpoint, 0);

  // What was accepted leaves before the connections are closed, if the peers are there to take it.
  const auto flush = [&](ucp_ep_h endpoint) {
    ucp_request_param_t params{};
    void* request = ucp_ep_flush_nbx(endpoint, &params);
    if (UCS_PTR_IS_PTR(request)) requests_.push_back(request);
  };
  for (const auto& [nonce, endpoint] : endpoints_)
    if (endpoint->is_open() && endpoint->used) flush(endpoint->handle);
  (void)settle(kSettleRounds, [&] {
    greet_all();
    return requests_.empty() && all_sent();
  });
  sweep_failures();
  bool rests = settle(kRestRounds, [&] { return at_rest(); });
  for (const auto& [nonce, endpoint] : endpoints_) {
    if (endpoint->is_wiring()) {
      rests = false;
    } else if (endpoint->tells_failures) {
      close_by_force(std::exchange(endpoint->handle, nullptr));
    }
  }
  for (const auto& endpoint : failed_) rests = rests && !endpoint->is_wiring();
  for (void* request : requests_) ucp_request_free(request);
  requests_.clear();
  if (rests) {
    // At once: were UCX let work on, it would answer wire-up requests on new endpoints, and these replies wait
    // for a connection (see Endpoint).
    ucp_worker_destroy(worker_);
  } else {
    // UCX holds messages for a peer that is dead or does not listen.  To destroy a worker that holds a
    // wire-up reply aborts the process (UCX 1.13.1, ucp_worker_destroy: "got REP message"), so this one is left
    // as it is: nobody lets it work any more, so it calls nobody back, and its sockets and queues go with the
    // process.
    for (int i = 0; i < kProgressMax && ucp_worker_progress(worker_) != 0; ++i) {  // closes what can be closed
    }
    context_->abandon();
  }
  worker_ = nullptr;

  // Nothing is under way any more.
  for (const auto& [id, link] : links_) link->down = true;
  give_up([](const LinkState&) { return true; });
  news_.forget_puts();
  outgoing_.clear();
  spare_.clear();
  incoming_.clear();
  links_.clear();
  closing_.clear();
  endpoints_.clear();
  failed_.clear();
}

}  // namespace gossamer::ucx
