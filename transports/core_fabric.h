// The Fabric interface over the core of a backend between processes (UCX, libfabric); checks what the caller asks for.
// Private to these backends.
//
// A Core has
//   RegionState  with `memory` and `puts_named` (puts from it whose Ended has not been handed out),
//   LinkState    with `id`, `down` and `nonce()` of the peer,
//   RemoteState  what it needs to know of a region on a peer; `mapped` is its memory where that is mapped here,
// and the functions used below.  Fabric, links, targets and regions share the core, so they may be destroyed in any
// order; shutdown() ends all communication, and after it nothing of the library runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "transports/fabric.h"
#include "transports/put_check.h"
#include "transports/shared_memory.h"
#include "transports/wire.h"

namespace gossamer {

template <class Core>
class CoreFabric final : public Fabric {
  using RegionState = typename Core::RegionState;
  using LinkState = typename Core::LinkState;
  using RemoteState = typename Core::RemoteState;

  class OwnRegion final : public Region {
   public:
    OwnRegion(std::shared_ptr<Core> core, std::shared_ptr<RegionState> state)
        : core_(std::move(core)), state_(std::move(state)) {}
    ~OwnRegion() override {
      GOSSAMER_CHECK(state_->puts_named == 0, "a region was destroyed while a put under way still names it");
      core_->retire(state_);
    }

    MemoryView memory() const override { return state_->memory; }
    RemoteRegion remote() const override {
      const wire::RegionKey key = core_->key(*state_);
      return {wire::pack(key), key.address, key.size};
    }
    const std::shared_ptr<RegionState>& state() const { return state_; }
    const Core* core() const { return core_.get(); }

   private:
    std::shared_ptr<Core> core_;
    std::shared_ptr<RegionState> state_;
  };

  class OwnTarget final : public Target {
   public:
    OwnTarget(std::shared_ptr<LinkState> link, std::shared_ptr<std::size_t> open_targets, std::uint64_t size,
              RemoteState remote)
        : link_(std::move(link)), open_targets_(std::move(open_targets)), size_(size), remote_(std::move(remote)) {
      ++*open_targets_;
    }
    ~OwnTarget() override { --*open_targets_; }

    std::uint64_t size() const override { return size_; }
    bool mapped() const override { return !remote_.mapped.bytes().empty(); }
    const RemoteState& remote() const { return remote_; }
    const LinkState* link() const { return link_.get(); }

   private:
    std::shared_ptr<LinkState> link_;
    std::shared_ptr<std::size_t> open_targets_;
    std::uint64_t size_;
    RemoteState remote_;
  };

  class OwnMapping final : public Mapping {
   public:
    explicit OwnMapping(SharedMemory memory) : memory_(std::move(memory)) {}
    std::span<const std::byte> bytes() const override { return memory_.bytes(); }

   private:
    SharedMemory memory_;
  };

  class OwnLink final : public Link {
   public:
    OwnLink(std::shared_ptr<Core> core, std::shared_ptr<LinkState> state)
        : core_(std::move(core)), state_(std::move(state)) {}
    ~OwnLink() override {
      GOSSAMER_CHECK(*open_targets_ == 0, "a link was destroyed before its targets");
      core_->forget(state_);
    }

    Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
      GOSSAMER_TRY_ASSIGN(const wire::RegionKey key, wire::check_key(remote, state_->nonce()));
      return std::make_unique<OwnTarget>(state_, open_targets_, remote.size, core_->reach(*state_, key));
    }

    Result<std::unique_ptr<Mapping>> map(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot map a region: the peer has gone");
      GOSSAMER_TRY_ASSIGN(const wire::RegionKey key, wire::check_key(remote, state_->nonce()));
      if (!core_->is_mapped(*state_) || key.memory.size == 0)
        return fail(Errc::unsupported, "this peer's memory is not mapped: it is on another machine, or the memory is its caller's or a device's");
      if (key.memory.size != key.size) return fail(Errc::corrupt, "the region's handle is not of its size");
      GOSSAMER_TRY_ASSIGN(SharedMemory memory, SharedMemory::open(key.memory, SharedMemory::Access::read));
      return std::make_unique<OwnMapping>(std::move(memory));
    }

    Errc put(const Put& put) override {
      const auto* source = dynamic_cast<const OwnRegion*>(put.source);
      const auto* target = dynamic_cast<const OwnTarget*>(put.target);
      if ((put.source && (!source || source->core() != core_.get())) ||
          (put.target && (!target || target->link() != state_.get())))
        return Errc::invalid_argument;
      if (!within_bounds(put)) return Errc::invalid_argument;
      return core_->put(state_, put, source ? source->state() : nullptr, target ? &target->remote() : nullptr);
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

 public:
  explicit CoreFabric(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~CoreFabric() override { core_->shutdown(); }

  std::string_view name() const override { return Core::kName; }
  std::string description() const override { return core_->description(); }
  FabricLimits limits() const override {
    return {.put_size_max = std::size_t{1} << 40,
            .puts_in_flight_max = core_->options().puts_in_flight_max,
            .device_memory = core_->options().device.memory != nullptr,
            .reliable = true};
  }
  Traffic traffic() const override { return core_->traffic(); }
  std::string address() const override { return core_->address(); }

  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    GOSSAMER_TRY_ASSIGN(auto state, core_->map({nullptr, size, MemoryKind::host}, size));
    return std::make_unique<OwnRegion>(core_, std::move(state));
  }
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override {
    if (!core_->options().device.memory) return Fabric::allocate_device(size);
    GOSSAMER_TRY_ASSIGN(auto state, core_->map({nullptr, size, MemoryKind::cuda}, size));
    return std::make_unique<OwnRegion>(core_, std::move(state));
  }
  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override {
    if (memory.kind != MemoryKind::host && !core_->options().device.memory)
      return fail(Errc::unsupported, "the " + std::string(Core::kName) + " fabric has no device: it was made for host memory only");
    if (memory.data == nullptr && memory.size > 0)
      return fail(Errc::invalid_argument, "cannot register memory at a null address");
    GOSSAMER_TRY_ASSIGN(auto state, core_->map(memory, 0));
    return std::make_unique<OwnRegion>(core_, std::move(state));
  }
  Result<std::unique_ptr<Link>> connect(std::string_view address) override {
    GOSSAMER_TRY_ASSIGN(auto state, core_->connect(address));
    return std::make_unique<OwnLink>(core_, std::move(state));
  }

  void poll(FabricEvents* events) override { core_->poll(events); }
  int wait_fd() const override { return core_->wait_fd(); }
  bool arm() override { return core_->arm(); }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace gossamer
