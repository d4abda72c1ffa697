// The inside of a UCX fabric: context, worker, endpoints and what is under way.  Private to the UCX backend.
//
// Lifetime: see core_fabric.h.  Memory is unmapped by its RegionState when neither a Region nor a message under way
// holds it any more.
//
// UCX calls back only from inside its progress function, that is from poll() and shutdown(), on the fabric's
// thread.
#pragma once

#include <ucp/api/ucp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "transports/core_state.h"
#include "transports/shared_memory.h"
#include "transports/ucx.h"
#include "transports/ucx_wire.h"
#include "transports/waiter.h"

namespace gossamer::ucx {

// Owns a ucp_context_h.
class Context {
 public:
  explicit Context(ucp_context_h handle) : handle_(handle) {}
  ~Context() {
    if (!abandoned_) ucp_cleanup(handle_);
  }
  // A worker of it is left as it is, so it has to stay.
  void abandon() { abandoned_ = true; }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ucp_context_h get() const { return handle_; }

 private:
  ucp_context_h handle_;
  bool abandoned_ = false;
};

class Core;
struct Outgoing;

// UCX's log is quiet from now on unless UCX_LOG_LEVEL asks for it.
void quieten();

// Ok where the context can take memory of a CUDA device; else unsupported, and what helps.
Result<> expect_cuda(ucp_context_h context, const std::string& tls);

struct RegionState {
  ~RegionState();

  std::shared_ptr<Context> context;
  ucp_mem_h handle = nullptr;
  MemoryView memory;
  std::shared_ptr<DeviceMemory> device;  // whose memory it is, if not the host's
  std::uint64_t id = 0;
  SharedMemory shared;         // what `memory` views, if it was allocated here
  bool allocated = false;      // then large puts land in it without a copy
  bool retired = false;        // its Region is gone
  std::size_t puts_named = 0;  // puts from it whose Ended has not been handed out
};

// A message that waits for its connection to open.
struct Held {
  Outgoing* outgoing = nullptr;
  const void* data = nullptr;
  std::size_t size = 0;
};

// The connection to one other fabric.  Links to the same fabric share it, and it stays when they go, since
// closing it would also close the other fabric's connection to us.
//
// Over TCP it opens in two steps.  UCX wires two endpoints up when the first message goes out; the other side
// answers on a socket of its own, and if we die before that socket is connected, UCX aborts the other side,
// which finds a wire-up reply among the requests of a broken connection (1.13, where it is built with its
// assertions, as Debian does: ucp_request.c, "got REP message").  So before anything else both sides send a
// hello, which UCX is told to send at once or not at all and which therefore wires nothing up.  It leaves when
// the sender's socket is connected.  Who has sent and has received one knows that both sockets are; then a
// reply never has to wait.
//
// Over a device the first message wires up, whatever is done: requests and replies go by datagrams (UCX's ud), and an
// endpoint that fails or is closed while one of them waits aborts the process likewise (1.13.1, "got REQ message").  So
// nothing is sent behind a hello before the other side's has come.  The wire-up is over at this end when that has come and ours has
// left UCX (to answer a hello of somebody who is dead by now takes a wire-up that never ends); until then UCX is kept from
// finding the peer dead (UD_TIMEOUT), our own patience decides, and such an endpoint is never closed: it is left to UCX, and at
// the end the worker with it.
//
// Over shared memory a sender claims a place in the receiver's queue, and then fills it in; when it dies in
// between, the receiver waits for ever and hears from nobody any more (UCX's mm transports).  So that this takes
// less than a microsecond rather than the mapping of the receiver's buffers, messages without a body are sent
// `direct`: they fit into the queue itself, at once or not at all, and what does not fit is held here.  This
// wires nothing up either, and UCX holds nothing for the dead.
struct Endpoint {
  Core* core = nullptr;
  ucp_ep_h handle = nullptr;
  std::uint64_t nonce = 0;
  bool tells_failures = false;  // peer error mode
  bool failed = false;
  bool greets = false;   // opens by hellos, as above
  bool wires = false;    // and the hello wires up
  bool broken = false;   // as UCX says
  unsigned patience_spent = 0;
  // A message without meaning goes to a peer over a device now and then: the adapter tells of a dead one only when something
  // is sent.  One at a time.
  std::shared_ptr<bool> ping_under_way = std::make_shared<bool>(false);
  bool greeted = false;  // our hello has left, or is with UCX where it wires up
  std::shared_ptr<bool> hello_under_way = std::make_shared<bool>(false);  // is with UCX, that is
  bool heard = false;    // the other side's has come
  bool direct = false;   // over shared memory, as above
  unsigned attempts = 0; // to send our hello
  std::uint64_t splits = 0;  // puts that were sent in parts
  bool used = false;     // messages were sent, or are held
  std::vector<Held> held;

  bool is_open() const { return !greets || (greeted && (heard || !tells_failures)); }
  // UCX ends whatever is under way when the peer is gone.  Over a device it does when the adapter says so.
  bool ends_by_itself() const { return tells_failures && !wires; }
  bool is_wiring() const { return wires && !broken && (!heard || *hello_under_way); }
};

using LinkState = LinkTo<Endpoint>;

// A region on a peer.
struct RemoteState {
  std::uint64_t region = 0;
};

// A message that UCX may still hold: its header lives here until UCX calls back.
struct Outgoing {
  Core* core = nullptr;
  std::shared_ptr<LinkState> link;  // null for the backend's own messages
  std::shared_ptr<RegionState> source;
  Kind kind = Kind::notice;
  bool is_put() const { return kind == Kind::put; }
  // A large put over TCP is parts, and then itself with the last bytes; it has ended when all of them have.
  Outgoing* whole = nullptr;
  std::size_t under_way = 0;  // this one, if it is with UCX, and its parts
  Errc status = Errc::ok;
  ucs_memory_type_t memory_type = UCS_MEMORY_TYPE_HOST;  // of its bytes
  std::unique_ptr<std::byte[]> staged;                   // these bytes, if they were taken from a device
  std::shared_ptr<bool> is_under_way;                    // false again when it is done
  bool unseen = false;    // counted in unseen_
  bool given_up = false;  // its Ended has been handed out though UCX never ended it
  std::uint64_t token = 0;
  std::size_t header_size = 0;
  std::array<std::byte, sizeof(UcxWire) + kNoticeSizeMax> header;
};

class Core {
 public:
  using RegionState = ucx::RegionState;
  using LinkState = ucx::LinkState;
  using RemoteState = ucx::RemoteState;
  static constexpr std::string_view kName = "ucx";

  static Result<std::shared_ptr<Core>> make(const UcxOptions& options);
  ~Core();

  Result<std::shared_ptr<RegionState>> map(MemoryView memory, std::size_t allocate_size);
  void retire(const std::shared_ptr<RegionState>& region);

  Result<std::shared_ptr<LinkState>> connect(const Address& address);
  void forget(const std::shared_ptr<LinkState>& link);
  RemoteState reach(const LinkState&, const RegionKey& key) { return {key.region}; }
  // Whether processes of this machine are to be reached through shared memory, without UCX.
  bool maps_neighbours() const { return machine_ != 0 && options_.map_neighbours; }

  Errc put(const std::shared_ptr<LinkState>& link, const Put& put, const std::shared_ptr<RegionState>& source,
           const RemoteState* remote);
  Errc notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice);

  void poll(FabricEvents* events);
  bool arm();
  int wait_fd() const { return waiter_.fd(); }
  // Wakes a sleeper, too.
  Result<> watch(int descriptor) { return waiter_.watch(descriptor); }
  // Whether anybody is reached by UCX.
  bool busy() const {
    return !endpoints_.empty() || !failed_.empty() || !closing_.empty() || !requests_.empty() || !incoming_.empty() || !news_.empty();
  }
  // That peer is reached without UCX.
  void reached_elsewhere(const wire::Address&) {}
  // That peer has left or died, as is known elsewhere.
  void left(std::uint64_t nonce, bool /*died*/) {
    if (worker_ != nullptr) fail_endpoint(nonce);
  }
  void shutdown();

  std::string dialect() const { return ucx::dialect(); }
  std::uint64_t nonce() const { return nonce_; }
  RegionKey key(const RegionState& region) const {
    return {nonce_, region.id, reinterpret_cast<std::uintptr_t>(region.memory.data), region.memory.size,
            0, 0, 0, region.shared.handle()};
  }
  const UcxOptions& options() const { return options_; }
  const Traffic& traffic() const { return traffic_; }
  std::string address() const;
  std::string description() const;

 private:
  // A large put that UCX is fetching.
  struct Incoming {
    Core* core = nullptr;
    std::shared_ptr<RegionState> region;
    std::unique_ptr<std::byte[]> bounce;  // for memory of the caller, or of a device that UCX does not know
    std::uint64_t offset = 0, size = 0;
    std::uint64_t sender = 0;
    Notice notice;
  };

  // The parts that have come of the last put of a peer that was split.
  struct Coming {
    std::uint64_t put = 0, parts = 0;
  };

  struct Closing {
    std::shared_ptr<LinkState> link;
    std::size_t polls_left = 0;
  };

  explicit Core(UcxOptions options) : options_(std::move(options)) {}

  static ucs_status_t on_message(void* arg, const void* header, std::size_t header_size, void* data,
                                 std::size_t size, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* user_data);
  static void on_received(void* request, ucs_status_t status, std::size_t size, void* user_data);
  static void on_error(void* arg, ucp_ep_h endpoint, ucs_status_t status);

  ucs_status_t receive_put(const UcxWire& wire, std::span<const std::byte> notice, void* data,
                           std::size_t size, const ucp_am_recv_param_t& param);
  void receive_part(const UcxWire& wire);
  bool is_whole(const UcxWire& wire) const;
  bool all_sent() const;
  void enter_device();
  void look_over_devices();
  void leave_device();
  ucs_status_t refuse(const UcxWire& wire, const ucp_am_recv_param_t& param);
  void received(Incoming& incoming, ucs_status_t status);
  void deliver(std::span<const std::byte> notice, std::uint64_t put_size);

  Outgoing* prepare(UcxWire wire, std::span<const std::byte> notice);
  const std::byte* take_from_device(Outgoing* outgoing, const std::byte* data, std::size_t size);
  Errc send_parts(Outgoing* whole, const UcxWire& wire, const std::byte* data, std::size_t part);
  Errc send(Outgoing* outgoing, Endpoint& endpoint, const void* data, std::size_t size);
  Errc send_now(Outgoing* outgoing, ucp_ep_h endpoint, const void* data, std::size_t size, bool direct);
  void send_own(Kind kind, ucp_ep_h endpoint, std::uint64_t to, std::uint64_t value);
  void tell(Kind kind, Endpoint& endpoint, std::uint64_t value);
  void sent(Outgoing* outgoing, Errc status);
  void recycle(Outgoing* outgoing);

  static std::string lanes(ucp_ep_h endpoint);
  std::shared_ptr<Endpoint> reach(const Address& address);
  bool create_endpoint(const Address& address, Endpoint* endpoint, bool tells_failures);
  void greet(Endpoint& endpoint);
  void greet_all();
  void let_go(Endpoint& endpoint);
  void end_held(Endpoint& endpoint, const LinkState* link);
  void fail_endpoint(std::uint64_t nonce);
  void broken(Endpoint& endpoint);
  template <class Which>
  void give_up(Which&& which);
  void close_by_force(ucp_ep_h endpoint);
  void sweep_requests();
  void sweep_failures();
  void sweep_closing();
  template <class Done>
  bool settle(int rounds, Done&& done);
  bool at_rest();
  bool any_wiring() const;

  UcxOptions options_;
  std::shared_ptr<Context> context_;
  ucp_worker_h worker_ = nullptr;
  int worker_fd_ = -1;  // UCX's, owned by the worker
  Waiter waiter_;
  bool slept_ = false;     // or may have, since the last poll
  unsigned polls_ = 0;
  long starved_sleep_ns_ = 0;
  std::uint64_t nonce_ = 0;
  std::uint64_t machine_ = 0;
  bool shared_memory_ = false;
  bool splits_ = false;         // large puts, since they go without a rendezvous
  bool loopback_only_ = false;  // its addresses mean nothing on another machine
  std::string tls_, devices_;
  std::string device_trouble_;  // why bytes of the device could not be copied, the last time

  std::unordered_map<std::uint64_t, std::shared_ptr<RegionState>> regions_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Endpoint>> endpoints_;  // by nonce
  std::vector<std::shared_ptr<Endpoint>> failed_;                           // until they are closed
  struct Visitor {
    std::uint64_t from = 0;
    std::string address;
  };
  std::vector<Visitor> visitors_;  // whose hellos have come; seen to outside of UCX's callbacks
  std::size_t greeting_ = 0;           // endpoints whose hello has not left
  std::size_t over_devices_ = 0;       // of endpoints_, those that wired up or will
  FileDescriptor patience_;            // a timer that ticks while there are any
  struct Refusal {
    std::uint64_t from = 0, to = 0;  // who sent what is refused, and to whom
  };
  std::vector<Refusal> refusals_;  // likewise
  std::unordered_map<std::uint64_t, Coming> coming_;  // by nonce
  std::unordered_map<std::uint32_t, std::shared_ptr<LinkState>> links_;
  std::vector<Closing> closing_;
  std::vector<void*> requests_;  // closes and flushes under way

  std::vector<std::unique_ptr<Outgoing>> outgoing_;  // all; those not in spare_ are under way
  std::vector<Outgoing*> spare_;
  std::unordered_map<Incoming*, std::unique_ptr<Incoming>> incoming_;

  std::size_t unseen_ = 0;  // messages that UCX still holds on endpoints over shared memory
  News<LinkState, RegionState> news_;

  Traffic traffic_;
  std::uint64_t refused_ = 0;  // messages from outside that made no sense, or named what is not there
  std::uint32_t next_link_ = 0;
  std::uint64_t next_region_ = 1;
};

}  // namespace gossamer::ucx
