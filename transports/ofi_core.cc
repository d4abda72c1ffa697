#include "transports/ofi_core.h"

#include <poll.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/serial.h"
#include "transports/interfaces.h"

namespace gossamer::ofi {
namespace {

constexpr std::size_t kReceives = 128;      // posted at a time; more wait in the provider or at the sender
constexpr std::size_t kBodyMax = 8 << 10;   // below what providers send eagerly
constexpr std::size_t kNameMax = 512;
// Regions that were destroyed, and stay writable for a while: a write that comes late lands in memory that nobody looks at.
// Were it refused, the provider would break more than the one link (libfabric 1.17: tcp resets the connection, shm stops).
constexpr std::size_t kRetired = 256, kRetiredPinned = 8;
constexpr int kSettleRounds = 50, kSettleMs = 4;  // for what is under way at shutdown
constexpr unsigned kPollsPerLook = 256;  // at the neighbours' processes, for those who never sleep
constexpr long kNapMinNs = 50'000;       // doubled while nothing happens
constexpr long kNapMaxNs = 10'000'000;
constexpr unsigned kFruitlessWakes = 64, kFruitlessNaps = 256;
constexpr long kNapMaxFruitlessNs = 5'000'000;
constexpr long kNapMaxAloneNs = 1'000'000;  // where naps are all that finds what has come

}  // namespace

Core::Core(OfiOptions options, Offer offer)
    : options_(std::move(options)), offer_(std::move(offer)), domain_(std::make_shared<Domain>()) {}

Core::~Core() { shutdown(); }

Result<std::shared_ptr<Core>> Core::make(const OfiOptions& options) {
  if (options.puts_in_flight_max == 0 || options.notices_in_flight_max == 0)
    return fail(Errc::invalid_argument, "a libfabric fabric that may have nothing in flight can send nothing");
  GOSSAMER_TRY_ASSIGN(Offer offer, choose(options));
  std::shared_ptr<Core> core(new Core(options, std::move(offer)));
  GOSSAMER_TRY(core->open());
  return core;
}

Result<> Core::open() {
  fi_info* info = offer_.info.get();
  const std::string provider = info->fabric_attr->prov_name;
  const auto cannot = [&](const char* what, long error) {
    return fail(Errc::unsupported, say("libfabric's provider " + provider + " cannot open " + what, error));
  };
  // What it hands out is owned at once; a null pointer after an error is no matter.
  const auto own = [](auto& owned, auto* raw) { owned.reset(raw); };
  fid_fabric* fabric = nullptr;
  if (const int error = fi_fabric(info->fabric_attr, &fabric, nullptr); error != 0) return cannot("its fabric", error);
  own(domain_->fabric, fabric);
  fid_domain* domain = nullptr;
  if (const int error = fi_domain(fabric, info, &domain, nullptr); error != 0) return cannot("its domain", error);
  own(domain_->domain, domain);
  fid_av* addresses = nullptr;
  fi_av_attr table{};
  table.type = info->domain_attr->av_type == FI_AV_MAP ? FI_AV_MAP : FI_AV_TABLE;
  if (const int error = fi_av_open(domain, &table, &addresses, nullptr); error != 0) return cannot("an address table", error);
  own(addresses_, addresses);
  GOSSAMER_TRY_ASSIGN(waiter_, Waiter::make());
  GOSSAMER_TRY(open_queue());

  fid_ep* endpoint = nullptr;
  if (const int error = fi_endpoint(domain, info, &endpoint, nullptr); error != 0) return cannot("an endpoint", error);
  own(endpoint_, endpoint);
  if (const int error = fi_ep_bind(endpoint, &addresses->fid, 0); error != 0) return cannot("an endpoint with addresses", error);
  if (const int error = fi_ep_bind(endpoint, &completions_->fid, FI_TRANSMIT | FI_RECV); error != 0)
    return cannot("an endpoint with a queue", error);
  const auto ask_name = [&]() -> Result<std::string> {
    std::array<char, kNameMax> name{};
    std::size_t size = name.size();
    if (const int error = fi_getname(&endpoint->fid, name.data(), &size); error != 0 || size > name.size())
      return cannot("an endpoint that knows its address", error);
    return std::string(name.data(), size);
  };
  // A name of shm holds this process's number.  What lies under it was left by one of the same number that was killed, and would
  // be taken for that of a process that lives: this one.
  if (offer_.this_machine_only)
    if (const auto name = ask_name()) remove_leftovers(*name);
  if (const int error = fi_enable(endpoint); error != 0)
    return fail(Errc::unsupported, say("libfabric's provider " + provider + " cannot enable an endpoint", error) +
                                       " (limits that matter: ulimit -l, ulimit -n; over Soft-RoCE set FI_UNIVERSE_SIZE=16)");
  GOSSAMER_TRY_ASSIGN(own_name_, ask_name());

  // A message that fits the provider's inject size leaves without being waited for, where that size is a useful one.
  const std::size_t least = sizeof(wire::Header) + kNoticeSizeMax;
  body_max_ = info->tx_attr->inject_size >= 2 * least ? std::min(info->tx_attr->inject_size - least, kBodyMax) : kBodyMax;
  body_max_ = std::min(body_max_, std::max(info->ep_attr->max_msg_size, least) - least);
  if (body_max_ == 0)
    return fail(Errc::unsupported, "libfabric's provider " + provider + " carries messages of " +
                                       std::to_string(info->ep_attr->max_msg_size) + " bytes only");
  chunk_ = info->ep_attr->max_msg_size;
  dialect_ = "libfabric " + ofi_version() + " " + provider + ", protocol " + std::to_string(info->ep_attr->protocol) + "." +
             std::to_string(info->ep_attr->protocol_version) + ", messages of " + std::to_string(least + body_max_) + " bytes";
  if (info->addr_format == FI_SOCKADDR_IN || info->addr_format == FI_SOCKADDR_IN6 || info->addr_format == FI_SOCKADDR) {
    sockaddr_storage where{};
    std::memcpy(&where, own_name_.data(), std::min(own_name_.size(), sizeof where));
    const NetworkAddress network = network_address(reinterpret_cast<const sockaddr*>(&where));
    own_network_ = network.text;
    offer_.loopback = network.loopback;
  }
  GOSSAMER_TRY(post_all_receives());
  if (options_.device.is_direct()) GOSSAMER_TRY(expect_device());
  nonce_ = wire::new_nonce();
  machine_ = wire::this_machine();
  open_ = true;
  return {};
}

// A descriptor that tells of arrivals, where the provider has one; else a doorbell for neighbours, and naps.
Result<> Core::open_queue() {
  fi_cq_attr attributes{};
  attributes.format = FI_CQ_FORMAT_MSG;
  attributes.size = offer_.info->tx_attr->size + std::max(offer_.info->rx_attr->size, kReceives);
  attributes.wait_obj = FI_WAIT_FD;
  fid_cq* queue = nullptr;
  int error = fi_cq_open(domain_->domain.get(), &attributes, &queue, nullptr);
  can_wait_ = error == 0;
  if (!can_wait_) {
    attributes.wait_obj = FI_WAIT_NONE;
    error = fi_cq_open(domain_->domain.get(), &attributes, &queue, nullptr);
  }
  if (error != 0) return fail(Errc::unsupported, say("libfabric cannot open a completion queue", error));
  completions_.reset(queue);
  if (can_wait_) {
    if (const int failed = fi_control(&queue->fid, FI_GETWAIT, &queue_fd_); failed != 0 || queue_fd_ < 0)
      return fail(Errc::unsupported, say("libfabric has no descriptor to wait on", failed));
    return waiter_.watch(queue_fd_);
  }
  GOSSAMER_TRY_ASSIGN(bell_, Doorbell::make());
  return waiter_.watch(bell_->fd());
}

Result<> Core::post_all_receives() {
  const std::size_t count = std::min(kReceives, std::max<std::size_t>(offer_.info->rx_attr->size, 1));
  const std::size_t size = sizeof(wire::Header) + kNoticeSizeMax + body_max_;
  receive_memory_.reset(new std::byte[count * size]);
  GOSSAMER_TRY_ASSIGN(receive_memory_registered_, register_memory({receive_memory_.get(), count * size}, FI_RECV));
  for (std::size_t i = 0; i < count; ++i) {
    Operation& operation = *receives_.emplace_back(std::make_unique<Operation>());
    operation.bytes = receive_memory_.get() + i * size;
    operation.descriptor = receive_memory_registered_ ? fi_mr_desc(receive_memory_registered_.get()) : nullptr;
    if (!post_receive(operation)) unposted_.push_back(&operation);
  }
  return {};
}

// None where the provider needs none: memory that only its owner uses.
Result<Owned<fid_mr>> Core::register_memory(MemoryView memory, std::uint64_t access) {
  const int mode = offer_.info->domain_attr->mr_mode;
  const bool of_device = memory.kind != MemoryKind::host;
  if ((access & FI_REMOTE_WRITE) == 0 && (mode & FI_MR_LOCAL) == 0 && !of_device) return Owned<fid_mr>();
  fid_mr* registered = nullptr;
  const iovec bytes{memory.data, memory.size};
  fi_mr_attr attributes{};
  attributes.mr_iov = &bytes;
  attributes.iov_count = 1;
  attributes.access = access;
  attributes.requested_key = next_region_++;
  if (of_device) {
    attributes.iface = FI_HMEM_CUDA;
    attributes.device.cuda = options_.device.memory->device();
  }
  int error = fi_mr_regattr(domain_->domain.get(), &attributes, 0, &registered);
  Owned<fid_mr> owned(registered);
  if (error == 0 && (mode & FI_MR_ENDPOINT) != 0) {
    error = fi_mr_bind(registered, &endpoint_->fid, 0);
    if (error == 0) error = fi_mr_enable(registered);
  }
  if (error == 0) return owned;
  return fail(Errc::io, say("libfabric cannot register " + std::to_string(memory.size) + " bytes" + (of_device ? " of a device" : ""), error) +
                            " (limits that matter: free memory, ulimit -l)");
}

// A provider may offer memory of devices though its libfabric was not built for this kind of them: that shows here.
Result<> Core::expect_device() {
  DeviceMemory& device = *options_.device.memory;
  constexpr std::size_t kSize = 4096;
  GOSSAMER_TRY_ASSIGN(std::byte* const memory, device.allocate(kSize));
  const auto registered = register_memory({memory, kSize, MemoryKind::cuda}, FI_SEND | FI_WRITE | FI_REMOTE_WRITE);
  device.release(memory);
  if (registered) return {};
  return fail(Errc::unsupported, registered.error().message + ": this libfabric does not take memory of " + device.name() +
                                     " (take one that was configured --with-cuda; for InfiniBand load nvidia-peermem; or move bytes through "
                                     "host memory, DevicePath::staged)");
}

Result<std::shared_ptr<RegionState>> Core::map(MemoryView memory, std::size_t allocate_size) {
  if (!open_) return fail(Errc::peer_gone, "this fabric has been shut down");
  auto region = std::make_shared<RegionState>();
  region->domain = domain_;
  region->memory = memory;
  const bool direct = memory.kind == MemoryKind::host || options_.device.is_direct();
  if (memory.kind != MemoryKind::host) region->device = options_.device.memory;
  if (allocate_size > 0 && region->device) {
    GOSSAMER_TRY_ASSIGN(region->memory.data, region->device->allocate(allocate_size));
    region->allocated = true;
    region->writable = offer_.writes && direct;
  } else if (allocate_size > 0) {
    GOSSAMER_TRY_ASSIGN(region->shared, maps_neighbours() ? SharedMemory::create(allocate_size) : SharedMemory::create_unshared(allocate_size));
    region->memory.data = region->shared.bytes().data();
    region->writable = offer_.writes;
  }
  if (region->memory.size > 0 && direct) {
    GOSSAMER_TRY_ASSIGN(region->registered,
                        register_memory(region->memory, FI_SEND | FI_WRITE | (region->writable ? FI_REMOTE_WRITE : 0)));
  }
  region->id = next_region_++;
  regions_.emplace(region->id, region);
  return region;
}

void Core::retire(const std::shared_ptr<RegionState>& region) {
  regions_.erase(region->id);
  if (!open_ || !region->writable) return;
  const bool pinned = (offer_.info->domain_attr->mr_mode & FI_MR_ALLOCATED) != 0 || region->device;
  // The pages go back at once where nothing holds them, unless a neighbour still reads what it was lent there.
  if (!pinned) region->shared.stop_sharing();
  retired_.push_back(region);
  if (retired_.size() > (pinned ? kRetiredPinned : kRetired)) retired_.pop_front();
}

wire::RegionKey Core::key(const RegionState& region) const {
  const auto address = reinterpret_cast<std::uintptr_t>(region.memory.data);
  const bool by_address = (offer_.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
  const bool writable = region.writable && region.registered;
  return {.nonce = nonce_,
          .region = region.id,
          .address = address,
          .size = region.memory.size,
          .rma = writable,
          .rma_key = writable ? fi_mr_key(region.registered.get()) : 0,
          .rma_base = by_address ? address : 0,
          .memory = region.shared.handle()};
}

std::string Core::address() const {
  if (!open_) return {};
  Writer endpoint;
  endpoint.text(own_name_);
  endpoint.put<std::uint8_t>(bell_.has_value());
  if (bell_) {
    const DoorbellHandle handle = bell_->handle();
    endpoint.array(std::span(&handle, 1));
  }
  const auto bytes = endpoint.view();
  return wire::pack({.nonce = nonce_,
                     .machine = machine_,
                     .network = offer_.loopback ? wire::this_network() : 0,
                     .process = wire::this_process(),
                     .dialect = dialect_,
                     .endpoint = {reinterpret_cast<const char*>(bytes.data()), bytes.size()}});
}

std::string Core::description() const {
  const fi_info& info = *offer_.info;
  std::string text = dialect_ + ", domain " + (info.domain_attr->name != nullptr ? info.domain_attr->name : "?");
  if (!own_network_.empty()) text += "; advertises " + own_network_ + (offer_.loopback ? " (loopback: this machine only)" : "");
  text += offer_.writes ? "; a large put is a one-sided write, its notice a message " : "; a put is messages";
  if (offer_.writes) text += offer_.ordered ? "ordered behind it" : "once it is delivered";
  if (!unreached_.empty()) text += " (not everywhere: " + unreached_ + ")";
  if (options_.device.memory) text += "; memory of " + options_.device.memory->name() + (options_.device.is_direct() ? " directly" : " through the host's");
  if (!device_trouble_.empty()) text += " (which failed: " + device_trouble_ + ")";
  text += can_wait_ ? "; sleeps on the provider's descriptor"
                    : offer_.this_machine_only ? "; sleeps until a neighbour rings" : "; sleeps for a millisecond at most";
  return text;
}

bool Core::starved() const {
  return queued_ > 0 || !closing_.empty() || !unposted_.empty() || (!can_wait_ && under_way_ > given_up_);
}

void Core::poll(FabricEvents* events) {
  if (!open_) return;
  const bool slept = std::exchange(slept_, false);
  if (slept && bell_) bell_->awake();
  if (progress() > 0) {
    nap_ns_ = 0;
    fruitless_ = 0;
    trust_queue_fd(true);
  } else if (slept && can_wait_) {
    ++fruitless_;
  }
  if (slept || ++polls_ % kPollsPerLook == 0) look_for_the_dead();
  pump();
  sweep_closing();
  news_.hand_out(events);
}

bool Core::arm() {
  if (!open_ || !news_.empty()) return false;
  if (bell_) {
    bell_->will_sleep();
    if (progress() > 0 || !news_.empty()) {  // came before the bell was set
      bell_->awake();
      return false;
    }
  } else {
    fid* queue = &completions_->fid;
    if (fi_trywait(domain_->fabric.get(), &queue, 1) != FI_SUCCESS) return false;
  }
  // A descriptor may stay readable with nothing to read (libfabric 1.17's net): then it is left alone until something comes,
  // and short naps find out.  They are short first, because a large transfer wakes us many times before it is whole.
  const bool distrusted = fruitless_ >= kFruitlessWakes;
  if (distrusted) trust_queue_fd(false);
  const bool alone = !can_wait_ && !offer_.this_machine_only;
  const bool naps = distrusted || alone || starved();
  const bool grows = !distrusted || fruitless_ >= kFruitlessWakes + kFruitlessNaps;
  const long longest = distrusted ? kNapMaxFruitlessNs : alone ? kNapMaxAloneNs : kNapMaxNs;
  if (naps) nap_ns_ = std::clamp(grows ? 2 * nap_ns_ : kNapMinNs, kNapMinNs, longest);
  waiter_.wake_after(naps ? nap_ns_ : 0);
  slept_ = true;
  return true;
}

void Core::trust_queue_fd(bool trusted) {
  if (!can_wait_ || trusted != ignores_queue_fd_) return;
  ignores_queue_fd_ = !trusted;
  if (!trusted) {
    waiter_.unwatch(queue_fd_);
  } else if (!waiter_.watch(queue_fd_)) {
    ignores_queue_fd_ = true;  // naps go on
  }
}

void Core::shutdown() {
  if (!open_) return;
  std::vector<std::shared_ptr<Endpoint>> all;
  for (const auto& [nonce, endpoint] : endpoints_) all.push_back(endpoint);
  (void)progress();  // who said goodbye while nobody polled?
  look_for_the_dead();
  for (const auto& endpoint : all)
    if (!endpoint->failed) tell(wire::Kind::bye, endpoint, 0);
  if (bell_) bell_->close();
  // What was accepted leaves before the connections are closed, if the peers are there to take it.
  for (int round = 0; round < kSettleRounds; ++round) {
    (void)progress();
    pump();
    look_for_the_dead();
    sweep_closing();
    if (queued_ == 0 && under_way_ <= given_up_) break;
    pollfd none{-1, 0, 0};
    (void)::poll(&none, 1, kSettleMs);
  }
  open_ = false;
  const auto deregister = [&] {
    for (const auto& [id, region] : regions_) region->registered.reset();
    for (const auto& region : retired_) region->registered.reset();
    for (const auto& outgoing : outgoing_)
      if (outgoing->source) outgoing->source->registered.reset();
    receive_memory_registered_.reset();
    for (Slab& slab : slabs_) slab.registered.reset();
  };
  // What is bound to the endpoint goes before it, all else after it.
  if ((offer_.info->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0) deregister();
  endpoint_.reset();
  deregister();
  completions_.reset();
  addresses_.reset();

  // Nothing is under way any more.
  for (const auto& [id, link] : links_) link->down = true;
  news_.forget_puts();
  for (const auto& outgoing : outgoing_)
    if (outgoing->source && outgoing->is_put() && !outgoing->given_up) --outgoing->source->puts_named;
  closing_.clear();
  links_.clear();
  endpoints_.clear();
  retired_.clear();
  regions_.clear();
  outgoing_.clear();
  spare_.clear();
  slabs_.clear();
}

}  // namespace gossamer::ofi
