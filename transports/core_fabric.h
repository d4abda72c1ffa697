// The Fabric interface over the core of a backend between processes (UCX, libfabric); checks what the caller asks for, and
// sends by the core's library or, between processes of one machine, without it (neighbours.h).  Private to these backends.
//
// A Core has
//   RegionState  with `id`, `memory` and `puts_named` (puts from it whose Ended has not been handed out),
//   LinkState    with `id`, `down` and `nonce()` of the peer,
//   RemoteState  what it needs to know of a region on a peer,
// and the functions used below.  Fabric, links, targets and regions share the core, so they may be destroyed in any
// order; shutdown() ends all communication, and after it nothing of the library runs.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "transports/fabric.h"
#include "transports/neighbours.h"
#include "transports/put_check.h"
#include "transports/shared_memory.h"
#include "transports/wire.h"

namespace gossamer {

template <class Core>
class CoreFabric final : public Fabric {
  using RegionState = typename Core::RegionState;
  using LinkState = typename Core::LinkState;
  using RemoteState = typename Core::RemoteState;

  // What all that is made from a fabric shares.
  struct Shared {
    std::shared_ptr<Core> core;
    std::shared_ptr<Neighbours> neighbours;  // null where everything goes by the library
    // Links by the library that belong to links to neighbours, by their numbers, which nobody else knows.
    std::shared_ptr<std::unordered_map<std::uint32_t, std::shared_ptr<Neighbours::LinkState>>> hidden;
  };

  class OwnRegion final : public Region {
   public:
    OwnRegion(Shared shared, std::shared_ptr<RegionState> state) : shared_(std::move(shared)), state_(std::move(state)) {
      if (shared_.neighbours && !state_->device) shared_.neighbours->add_region(state_->id, state_->memory);
    }
    ~OwnRegion() override {
      GOSSAMER_CHECK(state_->puts_named == 0, "a region was destroyed while a put under way still names it");
      if (shared_.neighbours) shared_.neighbours->remove_region(state_->id);
      shared_.core->retire(state_);
    }

    MemoryView memory() const override { return state_->memory; }
    RemoteRegion remote() const override {
      const wire::RegionKey key = shared_.core->key(*state_);
      return {wire::pack(key), key.address, key.size};
    }
    const std::shared_ptr<RegionState>& state() const { return state_; }
    const Core* core() const { return shared_.core.get(); }

   private:
    Shared shared_;
    std::shared_ptr<RegionState> state_;
  };

  // A region of a neighbour.
  struct MappedRegion {
    std::uint64_t region = 0;
    SharedMemory mapped;                    // empty where it cannot be mapped;
    std::optional<RemoteState> by_library;  // then it is reached so
  };

  // On a link by the core's library, or to a neighbour.
  template <class State, class Remote>
  class OwnTarget final : public Target {
   public:
    OwnTarget(std::shared_ptr<State> link, std::shared_ptr<std::size_t> open_targets, std::uint64_t size, Remote remote)
        : link_(std::move(link)), open_targets_(std::move(open_targets)), size_(size), remote_(std::move(remote)) {
      ++*open_targets_;
    }
    ~OwnTarget() override { --*open_targets_; }

    std::uint64_t size() const override { return size_; }
    bool mapped() const override {
      if constexpr (std::is_same_v<Remote, MappedRegion>) return !remote_.mapped.bytes().empty();
      return false;
    }
    const Remote& remote() const { return remote_; }
    const State* link() const { return link_.get(); }

   private:
    std::shared_ptr<State> link_;
    std::shared_ptr<std::size_t> open_targets_;
    std::uint64_t size_;
    Remote remote_;
  };

  class OwnMapping final : public Mapping {
   public:
    explicit OwnMapping(SharedMemory memory) : memory_(std::move(memory)) {}
    std::span<const std::byte> bytes() const override { return memory_.bytes(); }

   private:
    SharedMemory memory_;
  };

  // What a put names, if it is this fabric's and stays inside of it.
  template <class Kind, class Interface>
  static bool is_own(const Interface* given, const Kind** own) {
    *own = nullptr;
    if (given == nullptr) return true;
    if (typeid(*given) != typeid(Kind)) return false;
    *own = static_cast<const Kind*>(given);
    return true;
  }
  template <class AnyTarget, class State>
  static bool check(const Put& put, const Core* core, const State* link, const OwnRegion** source, const AnyTarget** target) {
    return is_own(put.source, source) && is_own(put.target, target) && (!*source || (*source)->core() == core) &&
           (!*target || (*target)->link() == link) && within_bounds(put);
  }

  class LibraryLink final : public Link {
    using LibraryTarget = OwnTarget<LinkState, RemoteState>;

   public:
    LibraryLink(Shared shared, std::shared_ptr<LinkState> state) : shared_(std::move(shared)), state_(std::move(state)) {}
    ~LibraryLink() override {
      GOSSAMER_CHECK(*open_targets_ == 0, "a link was destroyed before its targets");
      shared_.core->forget(state_);
    }

    Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
      GOSSAMER_TRY_ASSIGN(const wire::RegionKey key, wire::check_key(remote, state_->nonce()));
      return std::make_unique<LibraryTarget>(state_, open_targets_, remote.size, shared_.core->reach(*state_, key));
    }

    Result<std::unique_ptr<Mapping>> map(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot map a region: the peer has gone");
      GOSSAMER_TRY(wire::check_key(remote, state_->nonce()));
      return fail(Errc::unsupported, "this peer's memory is not mapped: it is on another machine, or another user's process");
    }

    Errc put(const Put& put) override {
      const OwnRegion* source = nullptr;
      const LibraryTarget* target = nullptr;
      if (!check(put, shared_.core.get(), state_.get(), &source, &target)) return Errc::invalid_argument;
      return shared_.core->put(state_, put, source ? source->state() : nullptr, target ? &target->remote() : nullptr);
    }

    Errc notify(std::span<const std::byte> notice) override {
      if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
      return shared_.core->notify(state_, notice);
    }

    std::uint32_t id() const override { return state_->id; }

   private:
    Shared shared_;
    std::shared_ptr<LinkState> state_;
    std::shared_ptr<std::size_t> open_targets_ = std::make_shared<std::size_t>(0);
  };

  class NeighbourLink final : public Link {
    using State = Neighbours::LinkState;
    using NeighbourTarget = OwnTarget<State, MappedRegion>;

   public:
    NeighbourLink(Shared shared, std::shared_ptr<State> state, wire::Address address)
        : shared_(std::move(shared)), state_(std::move(state)), address_(std::move(address)) {}
    ~NeighbourLink() override {
      GOSSAMER_CHECK(*open_targets_ == 0, "a link was destroyed before its targets");
      shared_.neighbours->forget(state_);
      if (!library_) return;
      shared_.hidden->erase(library_->id);
      shared_.core->forget(library_);
    }

    Result<std::unique_ptr<Target>> open(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
      GOSSAMER_TRY_ASSIGN(const wire::RegionKey key, wire::check_key(remote, state_->nonce()));
      MappedRegion region{key.region, {}, {}};
      if (key.memory.size != 0) region.mapped = shared_.neighbours->map(key);
      if (region.mapped.bytes().empty()) {
        GOSSAMER_TRY(connect_by_library());
        if (library_->down) return fail(Errc::peer_gone, "cannot open a region: the peer has gone");
        region.by_library = shared_.core->reach(*library_, key);
      }
      return std::make_unique<NeighbourTarget>(state_, open_targets_, remote.size, std::move(region));
    }

    Result<std::unique_ptr<Mapping>> map(const RemoteRegion& remote) override {
      if (state_->down) return fail(Errc::peer_gone, "cannot map a region: the peer has gone");
      GOSSAMER_TRY_ASSIGN(const wire::RegionKey key, wire::check_key(remote, state_->nonce()));
      if (key.memory.size == 0) return fail(Errc::unsupported, "this peer's memory is not mapped: it is its caller's or a device's");
      if (key.memory.size != key.size) return fail(Errc::corrupt, "the region's handle is not of its size");
      GOSSAMER_TRY_ASSIGN(SharedMemory memory, SharedMemory::open(key.memory, SharedMemory::Access::read));
      return std::make_unique<OwnMapping>(std::move(memory));
    }

    Errc put(const Put& put) override {
      const OwnRegion* source = nullptr;
      const NeighbourTarget* target = nullptr;
      if (!check(put, shared_.core.get(), state_.get(), &source, &target)) return Errc::invalid_argument;
      const MappedRegion* const region = target ? &target->remote() : nullptr;
      if (put.size > 0 && region->by_library)
        return state_->down ? Errc::peer_gone : shared_.core->put(library_, put, source->state(), &*region->by_library);
      return shared_.neighbours->put(state_, put, put.size > 0 ? source->state()->memory.data + put.source_offset : nullptr,
                                     source ? source->state()->device.get() : nullptr, region ? region->region : 0,
                                     region ? region->mapped.bytes() : std::span<std::byte>());
    }

    Errc notify(std::span<const std::byte> notice) override {
      if (notice.size() > kNoticeSizeMax) return Errc::invalid_argument;
      return shared_.neighbours->notify(state_, notice);
    }

    std::uint32_t id() const override { return state_->id; }

   private:
    Result<> connect_by_library() {
      if (library_) return {};
      GOSSAMER_TRY_ASSIGN(library_, shared_.core->connect(address_));
      shared_.hidden->emplace(library_->id, state_);
      return {};
    }

    Shared shared_;
    std::shared_ptr<State> state_;
    wire::Address address_;
    std::shared_ptr<LinkState> library_;  // null until it is needed
    std::shared_ptr<std::size_t> open_targets_ = std::make_shared<std::size_t>(0);
  };

 public:
  static Result<std::unique_ptr<Fabric>> make(std::shared_ptr<Core> core) {
    std::shared_ptr<Neighbours> neighbours;
    if (core->maps_neighbours()) {
      auto made = Neighbours::make(core->nonce(), core->options().puts_in_flight_max);
      if (!made && made.error().code != Errc::unsupported) return Failure(made.error());
      if (made) {
        neighbours = std::move(*made);
        GOSSAMER_TRY(core->watch(neighbours->fd()));
      }
    }
    return std::unique_ptr<Fabric>(new CoreFabric(std::move(core), std::move(neighbours)));
  }
  ~CoreFabric() override {
    if (neighbours_) neighbours_->close();
    core_->shutdown();
  }

  std::string_view name() const override { return Core::kName; }
  std::string description() const override {
    std::string text = core_->description();
    if (!neighbours_) return text;
    text += "; on one machine a put is a copy into mapped memory, and its notice goes through a ring in shared memory";
    if (!neighbours_->device_trouble().empty()) text += " (memory of the device failed: " + neighbours_->device_trouble() + ")";
    if (!neighbours_->why_not().empty()) text += " (not everywhere: " + neighbours_->why_not() + ")";
    return text;
  }
  FabricLimits limits() const override {
    return {.put_size_max = std::size_t{1} << 40,
            .puts_in_flight_max = core_->options().puts_in_flight_max,
            .device_memory = core_->options().device.memory != nullptr,
            .reliable = true};
  }
  Traffic traffic() const override {
    Traffic all = core_->traffic();
    if (!neighbours_) return all;
    const Traffic& more = neighbours_->traffic();
    all.bytes_sent += more.bytes_sent;
    all.bytes_received += more.bytes_received;
    all.puts_sent += more.puts_sent;
    all.notices_sent += more.notices_sent;
    return all;
  }
  DeviceMemory* device() const override { return core_->options().device.memory.get(); }
  std::string address() const override {
    const std::string plain = core_->address();
    if (!neighbours_) return plain;
    auto address = wire::unpack(plain);
    if (!address) return plain;  // empty: it has been shut down
    address->neighbours = neighbours_->address();
    return wire::pack(*address);
  }

  Result<std::unique_ptr<Region>> allocate(std::size_t size) override {
    GOSSAMER_TRY_ASSIGN(auto state, core_->map({nullptr, size, MemoryKind::host}, size));
    return std::make_unique<OwnRegion>(shared(), std::move(state));
  }
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override {
    if (!core_->options().device.memory) return Fabric::allocate_device(size);
    GOSSAMER_TRY_ASSIGN(auto state, core_->map({nullptr, size, MemoryKind::cuda}, size));
    return std::make_unique<OwnRegion>(shared(), std::move(state));
  }
  Result<std::unique_ptr<Region>> add_region(MemoryView memory) override {
    if (memory.kind != MemoryKind::host && !core_->options().device.memory)
      return fail(Errc::unsupported, "the " + std::string(Core::kName) + " fabric has no device: it was made for host memory only");
    if (memory.data == nullptr && memory.size > 0)
      return fail(Errc::invalid_argument, "cannot register memory at a null address");
    GOSSAMER_TRY_ASSIGN(auto state, core_->map(memory, 0));
    return std::make_unique<OwnRegion>(shared(), std::move(state));
  }
  Result<std::unique_ptr<Link>> connect(std::string_view bytes) override {
    GOSSAMER_TRY_ASSIGN(const wire::Address address, wire::unpack(bytes));
    GOSSAMER_TRY(wire::check_reachable(address, core_->dialect()));
    if (neighbours_)
      if (auto state = neighbours_->connect(address)) {
        core_->reached_elsewhere(address);
        return std::make_unique<NeighbourLink>(shared(), std::move(state), address);
      }
    GOSSAMER_TRY_ASSIGN(auto state, core_->connect(address));
    return std::make_unique<LibraryLink>(shared(), std::move(state));
  }

  void poll(FabricEvents* events) override {
    if (neighbours_) {
      neighbours_->poll(events);
      // What goes to them by the library ends, too: it may know nothing of its own.
      for (const auto& [nonce, died] : neighbours_->left()) core_->left(nonce, died);
      // The library costs more than all rings, and has nothing to say until somebody comes whom rings do not reach.
      if (!std::exchange(armed_, false) && !core_->busy() && ++polls_ % kPollsPerLibrary != 0) return;
    }
    const std::size_t down_before = events->down.size();
    core_->poll(events);
    if (hidden_->empty()) return;
    const auto from = events->down.begin() + static_cast<std::ptrdiff_t>(down_before);
    events->down.erase(std::remove_if(from, events->down.end(), [&](std::uint32_t id) {
      const auto hidden = hidden_->find(id);
      if (hidden == hidden_->end()) return false;
      neighbours_->lose(*hidden->second);  // told under its own number, once
      return true;
    }), events->down.end());
  }
  int wait_fd() const override { return core_->wait_fd(); }
  bool arm() override {
    armed_ = true;
    if (neighbours_ && !neighbours_->arm()) return false;
    if (core_->arm()) return true;
    if (neighbours_) neighbours_->disarm();
    return false;
  }

 private:
  static constexpr unsigned kPollsPerLibrary = 256;

  CoreFabric(std::shared_ptr<Core> core, std::shared_ptr<Neighbours> neighbours) : core_(std::move(core)), neighbours_(std::move(neighbours)) {}
  Shared shared() const { return {core_, neighbours_, hidden_}; }

  std::shared_ptr<Core> core_;
  std::shared_ptr<Neighbours> neighbours_;
  decltype(Shared::hidden) hidden_ = std::make_shared<typename decltype(Shared::hidden)::element_type>();
  unsigned polls_ = 0;
  bool armed_ = false;
};

}  // namespace gossamer
