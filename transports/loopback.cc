#include "transports/loopback.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/serial.h"
#include "transports/put_check.h"

namespace gossamer {
namespace {

constexpr std::string_view kAddressPrefix = "loopback:";

// Registered memory as senders see it.  They copy under the shared lock; the owner takes the other one to
// retire it, so memory is never written once its Region is gone.
struct SharedRegion {
  std::shared_mutex mutex;
  bool retired = false;  // guarded by mutex
  MemoryView memory;
  AlignedBuffer<std::byte> owned;  // what `memory` views, if the fabric allocated it: then whoever maps it keeps it
  std::shared_ptr<DeviceMemory> device;  // whose memory it is, if not the host's
  bool owns_device_memory = false;

  SharedRegion() = default;
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;
  ~SharedRegion() {
    if (owns_device_memory) device->release(memory.data);
  }
};

class LoopbackMapping final : public Mapping {
 public:
  explicit LoopbackMapping(std::shared_ptr<SharedRegion> region) : region_(std::move(region)) {}
  std::span<const std::byte> bytes() const override { return region_->memory.bytes(); }

 private:
  std::shared_ptr<SharedRegion> region_;
};

struct Endpoint;

// The part of a link that both ends touch.
struct SharedLink {
  std::weak_ptr<Endpoint> sender;
  std::size_t queued = 0;  // notices in the receiver's inbox; guarded by the receiver's mutex
  bool starved = false;    // the sender met a full inbox; guarded by the receiver's mutex
  std::atomic<bool> peer_gone{false};
};

struct Arrived {
  Notice notice;
  std::uint64_t bytes = 0;
  std::shared_ptr<SharedLink> link;
};

// What other threads may touch of a fabric.  No two endpoints are ever locked at once.
struct Endpoint {
  std::uint64_t id = 0;
  int event = -1;

  std::mutex mutex;  // guards everything below
  bool open = true;
  bool attention = false;  // poll() has something to look at besides the inbox
  bool armed = false;      // the owner sleeps on `event`, or is about to
  std::vector<Arrived> inbox;
  std::vector<std::shared_ptr<SharedLink>> incoming;
  std::unordered_map<std::uint64_t, std::shared_ptr<SharedRegion>> regions;

  ~Endpoint() {
    if (event >= 0) ::close(event);
  }

  void signal_locked() {
    if (!std::exchange(armed, false)) return;
    const std::uint64_t one = 1;
    // The counter cannot overflow: arm() empties it and only one signal follows each arm().
    while (::write(event, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

  void call_attention() {
    const std::lock_guard lock(mutex);
    attention = true;
    signal_locked();
  }
};

std::string pack_key(std::uint64_t endpoint, std::uint64_t region) {
  Writer writer;
  writer.put(endpoint);
  writer.put(region);
  return {reinterpret_cast<const char*>(writer.view().data()), writer.view().size()};
}

struct Pending {
  Ended ended;
  std::uint32_t link = 0;
  std::shared_ptr<std::size_t> source_uses;  // puts under way that name the source region
};

// What the links and regions of a fabric share with it; one thread only.
struct Local {
  std::shared_ptr<Endpoint> endpoint;
  LoopbackOptions options;
  std::vector<Pending> ended;
  std::unordered_map<std::uint32_t, std::size_t> in_flight;
  struct Watched {
    std::uint32_t id;
    std::shared_ptr<SharedLink> shared;
  };
  std::vector<Watched> watched;  // links whose going down has not been told yet
  Traffic traffic;
  std::uint32_t next_link = 0;
  std::uint64_t next_region = 0;
  std::string device_trouble;  // why bytes of a device could not be copied, the last time
};

class LoopbackRegion final : public Region {
 public:
  LoopbackRegion(std::shared_ptr<Local> local, std::uint64_t id, std::shared_ptr<SharedRegion> shared)
      : local_(std::move(local)), id_(id), shared_(std::move(shared)) {
    const std::lock_guard lock(local_->endpoint->mutex);
    local_->endpoint->regions.emplace(id_, shared_);
  }

  ~LoopbackRegion() override {
    GOSSAMER_CHECK(*uses_ == 0, "a region was destroyed while a put under way still names it");
    {
      const std::lock_guard lock(local_->endpoint->mutex);
      local_->endpoint->regions.erase(id_);
    }
    const std::unique_lock lock(shared_->mutex);
    shared_->retired = true;
  }

  MemoryView memory() const override { return shared_->memory; }
  RemoteRegion remote() const override {
    return {pack_key(local_->endpoint->id, id_), reinterpret_cast<std::uintptr_t>(shared_->memory.data),
            shared_->memory.size};
  }
  const Local* owner() const { return local_.get(); }
  DeviceMemory* device() const { return shared_->device.get(); }
  const std::shared_ptr<std::size_t>& uses() const { return uses_; }

 private:
  std::shared_ptr<Local> local_;
  std::uint64_t id_;
  std::shared_ptr<SharedRegion> shared_;
  std::shared_ptr<std::size_t> uses_ = std::make_shared<std::size_t>(0);
};

class LoopbackTarget final : public Target {
 public:
  LoopbackTarget(std::shared_ptr<SharedRegion> region, std::shared_ptr<SharedLink> link,
                 std::shared_ptr<std::size_t> open_targets)
      : region_(std::move(region)), link_(std::move(link)), open_targets_(std::move(open_targets)) {
    ++*open_targets_;
  }
  ~LoopbackTarget() override { --*open_targets_; }
  std::uint64_t size() const override { return region_->memory.size; }
  bool mapped() const override { return region_->device == nullptr; }
  SharedRegion& region() const { return *region_; }
  const SharedLink* link() const { return link_.get(); }

 private:
  std::shared_ptr<SharedRegion> region_;
  std::shared_ptr<SharedLink> link_;
  std::shared_ptr<std::size_t> open_targets_;
};

class LoopbackLink final : public Link {
 public:
  LoopbackLink(std::shared_ptr<Local> local, std::shared_ptr<Endpoint> peer,
               std::shared_ptr<SharedLink> shared, std::uint32_t id)
      : local_(std::move(local)), peer_(std::move(peer)), shared_(std::move(shared)), id_(id) {}

  ~LoopbackLink() override {
    GOSSAMER_CHECK(*open_targets_ == 0, "a link was destroyed before its targets");
    // A link that its owner closed does not go down as well.
    std::erase_if(local_->watched, [&](const Local::Watched& w) { return w.id == id_; });
    if (!peer_) return;
    const std::lock_guard lock(peer_->mutex);
    std::erase(peer_->incoming, shared_);
  }

  Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
    GOSSAMER_TRY_ASSIGN(auto region, find(remote));
    return std::make_unique<LoopbackTarget>(std::move(region), shared_, open_targets_);
  }

  Result<std::unique_ptr<Mapping>> map(const RemoteRegion& remote) override {
    GOSSAMER_TRY_ASSIGN(auto region, find(remote));
    if (region->device) return fail(Errc::unsupported, "memory of a device is not mapped: the CPU may not read it");
    if (region->owned.size() == 0) return fail(Errc::unsupported, "memory of a caller is not mapped: it may go at any time");
    return std::make_unique<LoopbackMapping>(std::move(region));
  }

  Errc put(const Put& put) override {
    const auto* source = dynamic_cast<const LoopbackRegion*>(put.source);
    const auto* target = dynamic_cast<const LoopbackTarget*>(put.target);
    if ((put.source && (!source || source->owner() != local_.get())) ||
        (put.target && (!target || target->link() != shared_.get())))
      return Errc::invalid_argument;
    if (!within_bounds(put)) return Errc::invalid_argument;
    if (down()) return Errc::peer_gone;
    std::size_t& in_flight = local_->in_flight[id_];
    if (in_flight >= local_->options.puts_in_flight_max) return Errc::would_block;
    if (const Errc room = inbox_has_room(); room != Errc::ok) return room;

    Errc status = Errc::ok;
    if (put.size > 0) {
      const std::shared_lock lock(target->region().mutex);
      const std::byte* const from = source->memory().data + put.source_offset;
      std::byte* const to = target->region().memory.data + put.target_offset;
      DeviceMemory* const device = target->region().device ? target->region().device.get() : source->device();
      if (target->region().retired) {
        status = Errc::peer_gone;  // as a network card would: an access error, and the link is broken
      } else if (device == nullptr) {
        std::memmove(to, from, put.size);
      } else if (!copy_bytes(device, from, to, put.size, &local_->device_trouble)) {
        return Errc::io;
      }
    }
    if (status == Errc::ok) status = deliver(put.notice, put.size);
    if (status != Errc::ok) break_down();

    ++in_flight;
    local_->traffic.bytes_sent += put.size + put.notice.size();
    local_->traffic.puts_sent += 1;
    local_->traffic.notices_sent += 1;
    local_->ended.push_back({{put.token, status}, id_, source ? source->uses() : nullptr});
    if (source) ++*source->uses();
    return Errc::ok;
  }

  Errc notify(std::span<const std::byte> notice) override {
    if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
    if (down()) return Errc::peer_gone;
    if (const Errc room = inbox_has_room(); room != Errc::ok) return room;
    if (deliver(notice, 0) != Errc::ok) return Errc::peer_gone;
    local_->traffic.bytes_sent += notice.size();
    local_->traffic.notices_sent += 1;
    return Errc::ok;
  }

  std::uint32_t id() const override { return id_; }

 private:
  Result<std::shared_ptr<SharedRegion>> find(const RemoteRegion& remote) {
    if (down()) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
    Reader reader(std::as_bytes(std::span(remote.key.data(), remote.key.size())));
    const auto endpoint = reader.get<std::uint64_t>();
    const auto id = reader.get<std::uint64_t>();
    if (!reader.ok() || reader.left() != 0)
      return fail(Errc::corrupt, "the region's key is not a loopback key");
    if (endpoint != peer_->id)
      return fail(Errc::corrupt,
                  "the region's key belongs to another fabric, or to a previous life of this peer");
    const std::lock_guard lock(peer_->mutex);
    const auto found = peer_->regions.find(id);
    if (found == peer_->regions.end())
      return fail(Errc::corrupt, "the region's key names no region of this peer");
    if (found->second->memory.size != remote.size)
      return fail(Errc::corrupt, "the region's key and its size do not belong together");
    return found->second;
  }

  bool down() const { return shared_->peer_gone.load(std::memory_order_acquire); }

  void break_down() {
    if (!shared_->peer_gone.exchange(true, std::memory_order_acq_rel)) local_->endpoint->call_attention();
  }

  Errc inbox_has_room() {
    const std::lock_guard lock(peer_->mutex);
    if (!peer_->open) return Errc::peer_gone;
    if (shared_->queued < local_->options.notices_queued_max) return Errc::ok;
    shared_->starved = true;
    return Errc::would_block;
  }

  // Only this link adds to its own share of the inbox, so the room that was seen is still there.
  Errc deliver(std::span<const std::byte> notice, std::uint64_t put_size) {
    const std::lock_guard lock(peer_->mutex);
    if (!peer_->open) return Errc::peer_gone;
    Arrived& arrived = peer_->inbox.emplace_back();
    arrived.notice.size = static_cast<std::uint16_t>(notice.size());
    std::copy(notice.begin(), notice.end(), arrived.notice.data.begin());
    arrived.bytes = put_size + notice.size();
    arrived.link = shared_;
    ++shared_->queued;
    peer_->signal_locked();
    return Errc::ok;
  }

  std::shared_ptr<Local> local_;
  std::shared_ptr<Endpoint> peer_;  // null when there was nobody at the address
  std::shared_ptr<SharedLink> shared_;
  std::uint32_t id_;
  std::shared_ptr<std::size_t> open_targets_ = std::make_shared<std::size_t>(0);
};

}  // namespace

struct LoopbackHub::Directory {
  std::mutex mutex;
  std::uint64_t next_id = 1;  // never reused, so the keys of a fabric that went away match nothing
  std::unordered_map<std::uint64_t, std::weak_ptr<Endpoint>> endpoints;
};

LoopbackHub::LoopbackHub() : directory_(std::make_unique<Directory>()) {}
LoopbackHub::~LoopbackHub() = default;

class LoopbackFabric final : public Fabric {
 public:
  LoopbackFabric(std::shared_ptr<LoopbackHub> hub, LoopbackOptions options, int event)
      : hub_(std::move(hub)) {
    local_->options = options;
    local_->endpoint = std::make_shared<Endpoint>();
    local_->endpoint->event = event;
    auto& directory = *hub_->directory_;
    const std::lock_guard lock(directory.mutex);
    local_->endpoint->id = directory.next_id++;
    directory.endpoints.emplace(local_->endpoint->id, local_->endpoint);
  }

  ~LoopbackFabric() override {
    auto& directory = *hub_->directory_;
    {
      const std::lock_guard lock(directory.mutex);
      directory.endpoints.erase(local_->endpoint->id);
    }
    std::vector<std::shared_ptr<SharedLink>> incoming;
    std::vector<Arrived> unread;
    {
      const std::lock_guard lock(local_->endpoint->mutex);
      local_->endpoint->open = false;
      incoming.swap(local_->endpoint->incoming);
      unread.swap(local_->endpoint->inbox);
    }
    for (const auto& link : incoming) {
      link->peer_gone.store(true, std::memory_order_release);
      if (const auto sender = link->sender.lock()) sender->call_attention();
    }
    // Links may outlive this object; they must not send for it any more.
    for (const auto& watched : local_->watched)
      watched.shared->peer_gone.store(true, std::memory_order_release);
    for (const auto& pending : local_->ended)
      if (pending.source_uses) --*pending.source_uses;
    local_->ended.clear();
  }

  std::string_view name() const override { return "loopback"; }
  std::string description() const override {
    std::string text = "loopback: copies between the peers of this process";
    if (const auto& device = local_->options.device.memory) text += ", and to and from " + device->name();
    if (!local_->device_trouble.empty()) text += " (which failed: " + local_->device_trouble + ")";
    return text;
  }
  FabricLimits limits() const override {
    return {.put_size_max = std::size_t{1} << 40,
            .puts_in_flight_max = local_->options.puts_in_flight_max,
            .device_memory = local_->options.device.memory != nullptr,
            .reliable = true};
  }
  Traffic traffic() const override { return local_->traffic; }
  DeviceMemory* device() const override { return local_->options.device.memory.get(); }
  std::string address() const override {
    return std::string(kAddressPrefix) + std::to_string(local_->endpoint->id);
  }

  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    try {
      auto region = std::make_shared<SharedRegion>();
      region->owned = AlignedBuffer<std::byte>(size);
      region->memory = {region->owned.data(), size, MemoryKind::host};
      return std::make_unique<LoopbackRegion>(local_, ++local_->next_region, std::move(region));
    } catch (const std::bad_alloc&) {
      return fail(Errc::io, "cannot allocate " + std::to_string(size) + " bytes: out of memory");
    }
  }

  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override {
    auto region = std::make_shared<SharedRegion>();
    region->device = local_->options.device.memory;
    if (!region->device) return Fabric::allocate_device(size);
    region->memory = {nullptr, size, MemoryKind::cuda};
    if (size > 0) {
      GOSSAMER_TRY_ASSIGN(region->memory.data, region->device->allocate(size));
      region->owns_device_memory = true;
    }
    return std::make_unique<LoopbackRegion>(local_, ++local_->next_region, std::move(region));
  }

  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override {
    auto region = std::make_shared<SharedRegion>();
    if (memory.kind != MemoryKind::host) region->device = local_->options.device.memory;
    if (memory.kind != MemoryKind::host && !region->device)
      return fail(Errc::unsupported, "the loopback fabric has no device: it was made for host memory only");
    if (memory.data == nullptr && memory.size > 0)
      return fail(Errc::invalid_argument, "cannot register memory at a null address");
    region->memory = memory;
    return std::make_unique<LoopbackRegion>(local_, ++local_->next_region, std::move(region));
  }

  Result<std::unique_ptr<Link>> connect(std::string_view address) override {
    std::uint64_t id = 0;
    if (!address.starts_with(kAddressPrefix))
      return fail(Errc::corrupt, "not the address of a loopback fabric");
    address.remove_prefix(kAddressPrefix.size());
    if (address.empty() || address.size() > 19)
      return fail(Errc::corrupt, "not the address of a loopback fabric");
    for (const char c : address) {
      if (c < '0' || c > '9') return fail(Errc::corrupt, "not the address of a loopback fabric");
      id = id * 10 + static_cast<std::uint64_t>(c - '0');
    }
    std::shared_ptr<Endpoint> peer;
    {
      const std::lock_guard lock(hub_->directory_->mutex);
      if (const auto found = hub_->directory_->endpoints.find(id); found != hub_->directory_->endpoints.end())
        peer = found->second.lock();
    }
    auto shared = std::make_shared<SharedLink>();
    shared->sender = local_->endpoint;
    bool reachable = false;
    if (peer) {
      const std::lock_guard lock(peer->mutex);
      reachable = peer->open;
      if (reachable) peer->incoming.push_back(shared);
    }
    const std::uint32_t link = local_->next_link++;
    local_->watched.push_back({link, shared});
    if (!reachable) {
      peer.reset();
      shared->peer_gone.store(true, std::memory_order_release);
      local_->endpoint->call_attention();
    }
    return std::make_unique<LoopbackLink>(local_, std::move(peer), std::move(shared), link);
  }

  void poll(FabricEvents* events) override {
    bool attention = false;
    starved_.clear();
    {
      const std::lock_guard lock(local_->endpoint->mutex);
      arrived_.swap(local_->endpoint->inbox);
      attention = std::exchange(local_->endpoint->attention, false);
      for (const Arrived& arrived : arrived_) {
        --arrived.link->queued;
        if (std::exchange(arrived.link->starved, false)) starved_.push_back(arrived.link);
      }
    }
    for (const auto& link : starved_)
      if (const auto sender = link->sender.lock()) sender->call_attention();
    for (Arrived& arrived : arrived_) {
      local_->traffic.bytes_received += arrived.bytes;
      events->notices.push_back(arrived.notice);
    }
    arrived_.clear();

    for (const Pending& pending : local_->ended) {
      if (--local_->in_flight[pending.link] == 0) local_->in_flight.erase(pending.link);
      if (pending.source_uses) --*pending.source_uses;
      events->ended.push_back(pending.ended);
    }
    local_->ended.clear();

    if (!attention) return;
    std::erase_if(local_->watched, [&](const Local::Watched& watched) {
      if (!watched.shared->peer_gone.load(std::memory_order_acquire)) return false;
      events->down.push_back(watched.id);
      return true;
    });
  }

  int wait_fd() const override { return local_->endpoint->event; }

  bool arm() override {
    if (!local_->ended.empty()) return false;
    Endpoint& self = *local_->endpoint;
    const std::lock_guard lock(self.mutex);
    if (!self.inbox.empty() || self.attention) return false;
    std::uint64_t count = 0;
    while (::read(self.event, &count, sizeof count) < 0 && errno == EINTR) {
    }
    self.armed = true;
    return true;
  }

 private:
  std::shared_ptr<LoopbackHub> hub_;
  std::shared_ptr<Local> local_ = std::make_shared<Local>();
  std::vector<Arrived> arrived_;  // kept for their capacity
  std::vector<std::shared_ptr<SharedLink>> starved_;
};

Result<std::unique_ptr<Fabric>> make_loopback(std::shared_ptr<LoopbackHub> hub, LoopbackOptions options) {
  GOSSAMER_CHECK(hub != nullptr, "a loopback fabric needs a hub");
  if (options.puts_in_flight_max == 0 || options.notices_queued_max == 0)
    return fail(Errc::invalid_argument, "a loopback fabric whose queues hold nothing can send nothing");
  const int event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event < 0)
    return fail(Errc::io,
                std::string("cannot create the loopback fabric's eventfd: ") + std::strerror(errno));
  return std::make_unique<LoopbackFabric>(std::move(hub), options, event);
}

}  // namespace gossamer
