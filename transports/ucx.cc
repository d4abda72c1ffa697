// The Fabric interface over ucx::Core; checks what the caller asks for.
#include "transports/ucx.h"

#include <utility>

#include "base/check.h"
#include "transports/put_check.h"
#include "transports/ucx_core.h"

namespace gossamer {
namespace ucx {
namespace {

class UcxRegion final : public Region {
 public:
  UcxRegion(std::shared_ptr<Core> core, std::shared_ptr<RegionState> state)
      : core_(std::move(core)), state_(std::move(state)) {}
  ~UcxRegion() override {
    GOSSAMER_CHECK(state_->puts_named == 0, "a region was destroyed while a put under way still names it");
    core_->retire(state_);
  }

  MemoryView memory() const override { return state_->memory; }
  RemoteRegion remote() const override {
    const RegionKey key = core_->key(*state_);
    return {pack(key), key.address, key.size};
  }
  const std::shared_ptr<RegionState>& state() const { return state_; }
  const Core* core() const { return core_.get(); }

 private:
  std::shared_ptr<Core> core_;
  std::shared_ptr<RegionState> state_;
};

class UcxTarget final : public Target {
 public:
  UcxTarget(std::shared_ptr<LinkState> link, std::shared_ptr<std::size_t> open_targets, std::uint64_t region,
            std::uint64_t size, SharedMemory mapped)
      : link_(std::move(link)),
        open_targets_(std::move(open_targets)),
        region_(region),
        size_(size),
        mapped_(std::move(mapped)) {
    ++*open_targets_;
  }
  ~UcxTarget() override { --*open_targets_; }

  std::uint64_t size() const override { return size_; }
  std::uint64_t region() const { return region_; }
  std::byte* mapped() const { return mapped_.bytes().data(); }  // null where it is not
  const LinkState* link() const { return link_.get(); }

 private:
  std::shared_ptr<LinkState> link_;
  std::shared_ptr<std::size_t> open_targets_;
  std::uint64_t region_;
  std::uint64_t size_;
  SharedMemory mapped_;  // on the same machine
};

class UcxLink final : public Link {
 public:
  UcxLink(std::shared_ptr<Core> core, std::shared_ptr<LinkState> state)
      : core_(std::move(core)), state_(std::move(state)) {}
  ~UcxLink() override {
    GOSSAMER_CHECK(*open_targets_ == 0, "a link was destroyed before its targets");
    core_->forget(state_);
  }

  Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
    if (state_->down) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
    const auto key = unpack_region_key(remote.key);
    if (!key) return fail(Errc::corrupt, "the region's key is not the key of a UCX fabric");
    if (key->nonce != state_->endpoint->nonce)
      return fail(Errc::corrupt,
                  "the region's key belongs to another fabric, or to a previous life of this peer");
    if (key->address != remote.address || key->size != remote.size)
      return fail(Errc::corrupt, "the region's key and its size do not belong together");
    auto mapped = core_->map_remote(*state_, *key);
    return std::make_unique<UcxTarget>(state_, open_targets_, key->region, remote.size, std::move(mapped));
  }

  Errc put(const Put& put) override {
    const auto* source = dynamic_cast<const UcxRegion*>(put.source);
    const auto* target = dynamic_cast<const UcxTarget*>(put.target);
    if ((put.source && (!source || source->core() != core_.get())) ||
        (put.target && (!target || target->link() != state_.get())))
      return Errc::invalid_argument;
    if (!within_bounds(put)) return Errc::invalid_argument;
    return core_->put(state_, put, source ? source->state() : nullptr, target ? target->region() : 0,
                      target ? target->mapped() : nullptr);
  }

  Errc notify(std::span<const std::byte> notice) override {
    if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
    return core_->notify(state_, notice);
  }

  std::uint32_t id() const override { return state_->id; }

 private:
  std::shared_ptr<Core> core_;
  std::shared_ptr<LinkState> state_;
  std::shared_ptr<std::size_t> open_targets_ = std::make_shared<std::size_t>(0);
};

class UcxFabric final : public Fabric {
 public:
  explicit UcxFabric(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~UcxFabric() override { core_->shutdown(); }

  std::string_view name() const override { return "ucx"; }
  std::string description() const override { return core_->description(); }
  FabricLimits limits() const override {
    return {.put_size_max = std::size_t{1} << 40,
            .puts_in_flight_max = core_->options().puts_in_flight_max,
            .device_memory = false,
            .reliable = true};
  }
  Traffic traffic() const override { return core_->traffic(); }
  std::string address() const override { return core_->address(); }

  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    GOSSAMER_TRY_ASSIGN(auto state, core_->map({nullptr, size, MemoryKind::host}, size));
    return std::make_unique<UcxRegion>(core_, std::move(state));
  }
  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override {
    if (memory.kind != MemoryKind::host)
      return fail(Errc::unsupported,
                  "the UCX fabric takes host memory only; stage device memory through allocate()");
    if (memory.data == nullptr && memory.size > 0)
      return fail(Errc::invalid_argument, "cannot register memory at a null address");
    GOSSAMER_TRY_ASSIGN(auto state, core_->map(memory, 0));
    return std::make_unique<UcxRegion>(core_, std::move(state));
  }
  Result<std::unique_ptr<Link>> connect(std::string_view address) override {
    GOSSAMER_TRY_ASSIGN(auto state, core_->connect(address));
    return std::make_unique<UcxLink>(core_, std::move(state));
  }

  void poll(FabricEvents* events) override { core_->poll(events); }
  int wait_fd() const override { return core_->wait_fd(); }
  bool arm() override { return core_->arm(); }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace
}  // namespace ucx

Result<std::unique_ptr<Fabric>> make_ucx(const UcxOptions& options) {
  GOSSAMER_TRY_ASSIGN(auto core, ucx::Core::make(options));
  return std::make_unique<ucx::UcxFabric>(std::move(core));
}

std::string ucx_version() {
  return ucp_get_version_string();
}

}  // namespace gossamer
