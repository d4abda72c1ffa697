// What passes between fabrics of one machine that map each other's memory, by no library: once for all backends between
// processes.  Private to them; see core_fabric.h.
//
// A put into memory that the neighbour has allocated is a copy on the sender's thread.  Its notice, and bare notices, go through a
// ring (ring.h), and small puts with them; there is one for each direction between two fabrics, whatever the number of links.  The
// sender owns it: so it can be written from the first moment on, whether or not the other side looks, and a fabric takes memory
// for those only whom it talks to itself.  Puts into memory that cannot be mapped (the caller's, a device's) are left to the
// library; no order between them and others is promised.
//
// A fabric says in its address where its doorbell and its reception are.  The reception is a page of words.  Whoever connects
// puts one word into a free place: the number of its process and of the ring's descriptor in it, in one compare-and-swap, so
// that nobody can die in the middle of it.  The receiver opens what the word names and believes nothing that it finds there.
//
// A neighbour that leaves closes its doorbell; the kernel tells of one that dies (a pidfd).  Either way what its ring still
// holds is handed out first.
//
// poll() looks at the rings that had something last and at a few others in turn, so its cost does not grow with the number
// of neighbours; after a sleep it looks at all.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/core_state.h"
#include "transports/device_memory.h"
#include "transports/doorbell.h"
#include "transports/fabric.h"
#include "transports/ring.h"
#include "transports/shared_memory.h"
#include "transports/waiter.h"
#include "transports/wire.h"

namespace gossamer {

struct ReceptionLayout;

class Neighbours {
 public:
  // A fabric on this machine, and what passes to and from it.
  struct Neighbour;
  using LinkState = LinkTo<Neighbour>;

  struct Neighbour {
    std::uint64_t nonce = 0;
    std::optional<RemoteDoorbell> bell;
    bool gone = false;
    bool hot = false;

    SharedMemory out_memory;
    std::optional<ring::Writer> out;
    bool taken = false;  // the neighbour has mapped it
    bool starved = false;  // somebody was told that there is no room

    SharedMemory in_memory;
    std::optional<ring::Reader> in;
    bool owes = false;  // to find out surely whether the writer waits for room
  };

  // Of the fabric with that nonce.  Errors: io; unsupported where others cannot look into this process.
  static Result<std::shared_ptr<Neighbours>> make(std::uint64_t nonce, std::size_t puts_in_flight_max = 64);
  ~Neighbours() { close(); }

  // For wire::Address::neighbours.
  std::string address() const;

  // Null where that fabric is to be reached by the library.
  std::shared_ptr<LinkState> connect(const wire::Address& address);
  void forget(const std::shared_ptr<LinkState>& link);
  // It is broken elsewhere.
  void lose(LinkState& link) {
    link.down = true;
    if (!std::exchange(link.told_down, true)) down_.push_back(link.id);
  }

  // Host memory only.
  void add_region(std::uint64_t id, MemoryView memory) { regions_.emplace(id, memory); }
  void remove_region(std::uint64_t id) {
    regions_.erase(id);
    last_region_ = {};
  }

  // `to`: the neighbour's region, unless the put is empty; `device`: whose memory `data` is, if not the host's.  Bounds have been
  // checked.
  Errc put(const std::shared_ptr<LinkState>& link, const Put& put, const std::byte* data, DeviceMemory* device, std::uint64_t region,
           std::span<std::byte> to);
  Errc notify(const std::shared_ptr<LinkState>& link, std::span<const std::byte> notice);

  void poll(FabricEvents* events);
  bool arm();
  void disarm();
  int fd() const { return waiter_.fd(); }
  // What was accepted leaves, then the neighbours are told.
  void close();

  // Who has left or died since this was asked last.
  struct Gone {
    std::uint64_t nonce = 0;
    bool died = false;  // its process has ended, without a word
  };
  std::vector<Gone> left() { return std::exchange(left_, {}); }

  const Traffic& traffic() const { return traffic_; }
  // Why memory of a neighbour could not be mapped, the last time.
  const std::string& why_not() const { return why_not_; }
  // Why bytes of the device could not be copied, the last time.
  const std::string& device_trouble() const { return device_trouble_; }
  // The neighbour's region, mapped; empty where that cannot be.
  SharedMemory map(const wire::RegionKey& key) { return map_region(key, &why_not_); }

 private:
  struct EndedPut {
    Ended ended;
    LinkState* link = nullptr;  // null when it is gone
  };

  Neighbours(std::uint64_t nonce, std::size_t puts_in_flight_max) : nonce_(nonce), puts_in_flight_max_(puts_in_flight_max) {}

  ReceptionLayout& reception() const;
  bool knock(const SharedHandle& there, Neighbour& neighbour);
  void welcome();
  bool take(std::uint64_t process, std::uint64_t descriptor);
  std::shared_ptr<Neighbour> meet(std::uint64_t nonce, const wire::Process& process, const DoorbellHandle& bell);

  void settle_room(Neighbour& neighbour);
  // Hands out what its ring holds.
  void drain(Neighbour& neighbour, FabricEvents* events) {
    if (!neighbour.in) return;
    if (neighbour.in->pending()) {
      take_in(neighbour, events);
    } else if (neighbour.owes) {
      settle_room(neighbour);
    }
  }
  void take_in(Neighbour& neighbour, FabricEvents* events);
  bool deliver(const ring::Message& message, std::span<const std::byte> bytes, FabricEvents* events);
  std::byte* reached(const ring::Message& message);
  void refuse(Neighbour& neighbour, ring::Verdict verdict);
  void look_at(Neighbour& neighbour, FabricEvents* events);
  bool has_news(Neighbour& neighbour);
  void lose(Neighbour& neighbour, bool died, FabricEvents* events);
  void fail_out(Neighbour& neighbour);
  void heat(Neighbour& neighbour);
  void sweep();

  Errc room(Neighbour& neighbour);
  void hand_out(FabricEvents* events);
  bool all_left();

  std::uint64_t nonce_;
  std::size_t puts_in_flight_max_;
  std::uint64_t user_ = 0, machine_ = 0;
  bool open_ = true;
  Doorbell bell_;
  SharedMemory reception_;
  Waiter waiter_;
  bool asleep_ = false;  // or about to be
  bool slept_ = false;   // since the last poll, or was about to
  unsigned polls_ = 0;
  std::string why_not_, device_trouble_;

  std::unordered_map<std::uint64_t, std::shared_ptr<Neighbour>> neighbours_;  // by nonce
  std::vector<std::shared_ptr<Neighbour>> all_;                               // the same
  std::array<Neighbour*, 8> hot_{};                                           // that had something last
  std::size_t next_hot_ = 0, next_ = 0;
  bool any_gone_ = false;

  std::unordered_map<std::uint64_t, MemoryView> regions_;
  std::pair<std::uint64_t, MemoryView> last_region_;  // of these, that was named last; 0: none
  std::unordered_map<std::uint32_t, std::shared_ptr<LinkState>> links_;
  // Not handed out yet.
  std::vector<EndedPut> ended_;
  std::vector<std::uint32_t> down_;
  std::vector<Gone> left_;
  Traffic traffic_;
  std::uint64_t refused_ = 0;  // messages that made no sense, or named what is not there
  std::uint32_t next_link_ = std::uint32_t{1} << 31;  // apart from the library's
};

}  // namespace gossamer
