// The inside of a libfabric fabric: domain, endpoint, connections and what is under way.  Private to the libfabric backend.
//
// Lifetime: see core_fabric.h.  libfabric calls nobody back: everything happens in calls of poll(), arm() and shutdown().
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/core_state.h"
#include "transports/doorbell.h"
#include "transports/fabric.h"
#include "transports/ofi.h"
#include "transports/ofi_provider.h"
#include "transports/shared_memory.h"
#include "transports/waiter.h"
#include "transports/wire.h"

namespace gossamer::ofi {

// What is registered lives in it, so that it outlives a fabric.
struct Domain {
  Info info;
  Owned<fid_fabric> fabric;
  Owned<fid_domain> domain;
};

struct RegionState {
  RegionState() = default;
  RegionState(const RegionState&) = delete;
  RegionState& operator=(const RegionState&) = delete;
  ~RegionState() {
    registered.reset();
    if (device && allocated) device->release(memory.data);
  }

  std::shared_ptr<Domain> domain;
  SharedMemory shared;     // what `memory` views, if it was allocated here
  Owned<fid_mr> registered;
  MemoryView memory;
  std::shared_ptr<DeviceMemory> device;  // whose memory it is, if not the host's
  bool allocated = false;
  std::uint64_t id = 0;
  bool writable = false;       // by peers, with one-sided writes
  std::size_t puts_named = 0;  // puts from it whose Ended has not been handed out

  void* descriptor() const { return registered ? fi_mr_desc(registered.get()) : nullptr; }
};

// A region on a peer.
struct RemoteState {
  std::uint64_t region = 0;
  bool writable = false;
  std::uint64_t key = 0, base = 0;
};

struct Outgoing;

// The connection to one other fabric; links to the same fabric share it.
struct Endpoint {
  std::uint64_t nonce = 0;
  std::string name;  // libfabric's address of it
  fi_addr_t address = FI_ADDR_UNSPEC;
  bool neighbour = false;
  bool takes_writes = true;
  std::optional<RemoteDoorbell> bell;  // where the provider cannot wake a sleeper
  bool failed = false;
  std::uint64_t sent = 0, received = 0;  // numbers of the last messages
  std::deque<Outgoing*> queue;           // not, or not all, taken by libfabric yet; in order
};

using LinkState = LinkTo<Endpoint>;

// What libfabric hands back when it has done something.
struct Operation {
  fi_context2 context{};  // first, and libfabric's own meanwhile
  enum class Type { receive, message, write } type = Type::receive;
  std::byte* bytes = nullptr;
  void* descriptor = nullptr;
  Outgoing* of = nullptr;
};
static_assert(std::is_standard_layout_v<Operation>, "libfabric's context is its first bytes");

// A message, and the writes or messages that have to go before it.
struct Outgoing {
  Operation message;
  std::size_t message_size = 0;
  bool message_posted = false;
  std::shared_ptr<Endpoint> endpoint;
  std::shared_ptr<LinkState> link;      // null for the backend's own messages
  std::shared_ptr<RegionState> source;
  wire::Kind kind = wire::Kind::notice;
  std::uint64_t token = 0;

  // The bytes that go before the message: by writes to `remote_key`, or as parts.
  const std::byte* data = nullptr;
  std::size_t size = 0, posted = 0;
  std::unique_ptr<std::byte[]> staged;  // what `data` points to, if it was taken from a device
  bool by_writes = false;
  std::uint64_t remote_address = 0, remote_key = 0;
  Outgoing* whole = nullptr;  // what this is a part of

  std::size_t under_way = 0;  // operations of it, and parts, that have not ended
  Errc status = Errc::ok;
  bool queued = false;
  bool given_up = false;  // its Ended has been handed out though it has not ended
  bool is_put() const { return link && (kind == wire::Kind::put || kind == wire::Kind::landed); }
};

// libfabric's shm keeps the memory of an endpoint in /dev/shm, under the name that is its address, where a process that was
// killed leaves it.  Nothing happens to names of other providers.
void remove_leftovers(const std::string& name);

class Core {
 public:
  using RegionState = ofi::RegionState;
  using LinkState = ofi::LinkState;
  using RemoteState = ofi::RemoteState;
  static constexpr std::string_view kName = "libfabric";

  static Result<std::shared_ptr<Core>> make(const OfiOptions& options);
  ~Core();

  Result<std::shared_ptr<RegionState>> map(MemoryView memory, std::size_t allocate_size);
  void retire(const std::shared_ptr<RegionState>& region);
  wire::RegionKey key(const RegionState& region) const;

  Result<std::shared_ptr<LinkState>> connect(const wire::Address& address);
  void forget(const std::shared_ptr<LinkState>& link);
  RemoteState reach(const LinkState& link, const wire::RegionKey& key);
  // Whether processes of this machine are to be reached through shared memory, without libfabric.
  bool maps_neighbours() const { return machine_ != 0 && options_.map_neighbours; }

  Errc put(const std::shared_ptr<LinkState>& link, const Put& put, const std::shared_ptr<RegionState>& source,
           const RemoteState* remote);
  Errc notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice);

  void poll(FabricEvents* events);
  bool arm();
  int wait_fd() const { return waiter_.fd(); }
  // Wakes a sleeper, too.
  Result<> watch(int descriptor) { return waiter_.watch(descriptor); }
  // Whether anybody is reached by libfabric.
  bool busy() const { return !endpoints_.empty() || !closing_.empty() || under_way_ > given_up_ || !unposted_.empty() || !news_.empty(); }
  // That peer is reached without libfabric.
  void reached_elsewhere(const wire::Address& address);
  // That peer has left or died, as is known elsewhere.
  void left(std::uint64_t nonce, bool died);
  void shutdown();

  std::uint64_t nonce() const { return nonce_; }
  const std::string& dialect() const { return dialect_; }

  const OfiOptions& options() const { return options_; }
  const Traffic& traffic() const { return traffic_; }
  std::string address() const;
  std::string description() const;

 private:
  // What may still end by itself, for so many polls.
  struct Closing {
    std::shared_ptr<Endpoint> endpoint;  // all of its puts, or
    std::shared_ptr<LinkState> link;     // those of this link
    std::size_t polls_left = 0;
  };

  Core(OfiOptions options, Offer offer);

  // ofi_core.cc
  Result<> open();
  Result<> open_queue();
  Result<> post_all_receives();
  Result<Owned<fid_mr>> register_memory(MemoryView memory, std::uint64_t access);
  Result<> expect_device();
  bool starved() const;
  void trust_queue_fd(bool trusted);
  bool all_sent() const { return queued_ == 0 && under_way_ == 0; }

  // ofi_endpoints.cc
  std::shared_ptr<Endpoint> reach(const wire::Address& address);
  void greet(Endpoint& endpoint);
  void tell(wire::Kind kind, const std::shared_ptr<Endpoint>& endpoint, std::uint64_t value);
  void visit(const wire::Header& header, std::span<const std::byte> body);
  void fail_endpoint(std::uint64_t nonce, std::size_t polls);
  void give_up(const Closing& closing);
  void sweep_closing();
  void look_for_the_dead();

  // ofi_messages.cc
  int progress();
  void ended(Operation& operation, bool good);
  void received(Operation& operation, std::size_t size);
  void deliver(const wire::Header& header, std::span<const std::byte> notice, std::span<const std::byte> body);
  bool post_receive(Operation& operation);
  bool reaches(const wire::Header& header, std::uint64_t size) const;
  void refuse(const wire::Header& header);
  bool take_bytes(Outgoing& outgoing, const Put& put);

  Outgoing* prepare(std::shared_ptr<Endpoint> endpoint, wire::Header header, std::span<const std::byte> notice);
  void recycle(Outgoing* outgoing);
  Errc send(Outgoing* outgoing);
  enum class Step { posted, held, broken };
  Step advance(Outgoing& outgoing);
  static bool is_closed(const Endpoint& endpoint);
  Step post_writes(Outgoing& outgoing);
  Step post_parts(Outgoing& outgoing);
  Step post_message(Outgoing& outgoing);
  Step after(ssize_t returned, Outgoing& outgoing);
  void pump();
  void pump(Endpoint& endpoint);
  void settle(Outgoing& outgoing);
  void end(Outgoing& outgoing, Errc status);

  OfiOptions options_;
  Offer offer_;
  std::string dialect_;
  std::shared_ptr<Domain> domain_;
  Owned<fid_av> addresses_;
  Owned<fid_cq> completions_;
  Owned<fid_ep> endpoint_;
  Owned<fid_mr> receive_memory_registered_;
  bool open_ = false;
  bool can_wait_ = false;           // the completion queue has a descriptor
  int queue_fd_ = -1;
  unsigned fruitless_ = 0;          // wake-ups in a row that brought nothing, see arm()
  bool ignores_queue_fd_ = false;   // meanwhile
  std::optional<Doorbell> bell_;    // where it has not
  Waiter waiter_;
  bool slept_ = false;              // or may have, since the last poll
  unsigned polls_ = 0;
  long nap_ns_ = 0;
  std::uint64_t nonce_ = 0, machine_ = 0;
  std::string own_name_;            // libfabric's address of the endpoint
  std::string own_network_;         // the same for people
  std::string unreached_;           // why a neighbour could not be reached, the last time
  std::string device_trouble_;      // why bytes of the device could not be copied, the last time
  std::size_t body_max_ = 0;        // bytes of a put that one message carries
  std::size_t chunk_ = 0;           // bytes of one write

  std::unique_ptr<std::byte[]> receive_memory_;
  std::vector<std::unique_ptr<Operation>> receives_;
  std::vector<Operation*> unposted_;
  struct Slab {
    std::unique_ptr<std::byte[]> memory;
    Owned<fid_mr> registered;
  };
  std::vector<Slab> slabs_;
  std::vector<std::unique_ptr<Outgoing>> outgoing_;  // all; those not in spare_ are in use
  std::vector<Outgoing*> spare_;
  std::vector<std::unique_ptr<Operation>> writes_;
  std::vector<Operation*> spare_writes_;
  std::size_t parts_ = 0;      // under way
  std::size_t queued_ = 0;     // in the queues of all endpoints
  std::size_t under_way_ = 0;  // operations that libfabric has not ended, without receives
  std::size_t given_up_ = 0;   // of these, those that nobody waits for

  std::unordered_map<std::uint64_t, std::shared_ptr<RegionState>> regions_;
  std::deque<std::shared_ptr<RegionState>> retired_;  // late writes may still come
  std::unordered_map<std::uint64_t, std::shared_ptr<Endpoint>> endpoints_;  // by nonce
  std::unordered_map<std::uint64_t, std::shared_ptr<Endpoint>> lost_;       // those that failed
  std::unordered_map<std::uint32_t, std::shared_ptr<LinkState>> links_;
  std::vector<Closing> closing_;
  std::unordered_map<std::uint64_t, std::string> elsewhere_;  // names in shm of those who are reached without libfabric, by nonce

  News<LinkState, RegionState> news_;

  Traffic traffic_;
  std::uint64_t refused_ = 0;  // messages from outside that made no sense, or named what is not there
  std::uint32_t next_link_ = 0;
  std::uint64_t next_region_ = 1;
};

}  // namespace gossamer::ofi
