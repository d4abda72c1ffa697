// The lower floor of transports: what a backend (loopback, UCX, libfabric, the simulator) implements.
//
// A Fabric copies bytes from memory this peer registered into memory another peer exported, and then
// delivers a small notice.  The receiver posts nothing; it polls.  The one promise about order:
//
//     when poll() hands out a notice, every byte of the put that carried it is visible.
//
// Two puts, or a put and a bare notice, may land in either order.  On a fabric whose limits say
// `reliable` every put lands exactly once unless its link goes down; on any other a put may be lost, and
// its notice may come twice.  Either way, once a put has ended (see Ended) none of its bytes land any more.
// transports/channel.h builds exactly-once and in-order on top, once for all backends.
//
// Nothing here blocks.  A full queue is Errc::would_block: nothing was started, poll() and try again.
//
// A Fabric and everything made from it belong to one thread, the one that polls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/memory.h"
#include "base/result.h"

namespace gossamer {

class DeviceMemory;  // transports/device_memory.h

// The longest notice.  Enough for a payload header, or for a hello with a region's key.
inline constexpr std::size_t kNoticeSizeMax = 512;

// Names memory on another peer.  Plain data: it travels in messages.
struct RemoteRegion {
  std::string key;  // the backend's own, opaque; at most 256 bytes
  std::uint64_t address = 0;
  std::uint64_t size = 0;
};

// Keeps memory registered.  Destroying a Region that a put under way still names is a bug, and checked.
class Region {
 public:
  virtual ~Region() = default;
  virtual MemoryView memory() const = 0;
  virtual RemoteRegion remote() const = 0;
};

// A RemoteRegion made usable on one link (a backend unpacks its key once).  Destroy it before the link.
class Target {
 public:
  virtual ~Target() = default;
  virtual std::uint64_t size() const = 0;
  // Its owner is a neighbour, and it is the host's memory: it is mapped here, and the owner can as a rule map ours (Link::map).
  virtual bool mapped() const { return false; }
};

// Memory of a neighbour, mapped here to be read where it lies.  It stays until this is destroyed, whatever becomes of the
// peer, the link and this fabric; what was written before a notice was sent is visible when that notice is handed out.
class Mapping {
 public:
  virtual ~Mapping() = default;
  virtual std::span<const std::byte> bytes() const = 0;
};

struct Put {
  const Region* source = nullptr;
  std::size_t source_offset = 0;
  std::size_t size = 0;  // may be 0: then the notice alone travels, with a completion
  const Target* target = nullptr;
  std::size_t target_offset = 0;
  std::span<const std::byte> notice;  // copied before put() returns; at most kNoticeSizeMax
  std::uint64_t token = 0;            // the caller's name for this put, handed back when it ends
};

// A one-way path to one peer.
class Link {
 public:
  virtual ~Link() = default;

  // Errors: corrupt when the key is not this fabric's; peer_gone.
  virtual Result<std::unique_ptr<Target>> open(const RemoteRegion& region) = 0;

  // For host memory that the peer has from allocate().  Errors: unsupported where this peer's memory cannot be mapped; corrupt and
  // peer_gone as above; io.
  virtual Result<std::unique_ptr<Mapping>> map(const RemoteRegion& region);

  // ok: started, and an Ended with its token will follow.
  // would_block: nothing was started.  peer_gone: this link will never accept another put.
  // invalid_argument: the put reaches outside its source or target, or its notice is too long.
  // io: it is about memory of a device, which could not be copied (description() says why); nothing was started.
  virtual Errc put(const Put& put) = 0;

  // A notice without a put, and without a completion.  Same results.
  virtual Errc notify(std::span<const std::byte> notice) = 0;

  // A number that names this link in FabricEvents::down; unique within its fabric.
  virtual std::uint32_t id() const = 0;
};

inline Result<std::unique_ptr<Mapping>> Link::map(const RemoteRegion&) {
  return fail(Errc::unsupported, "this fabric maps no memory of its peers");
}

// A put ended: its source may be written again.  ok: its bytes are (or will be, with its notice) at the peer,
// as far as the fabric can tell.  peer_gone, timed_out: they may or may not have landed.
struct Ended {
  std::uint64_t token = 0;
  Errc status = Errc::ok;
};

struct Notice {
  Notice() {}  // else emplace_back() would set all bytes
  std::uint16_t size = 0;
  std::array<std::byte, kNoticeSizeMax> data;  // only the first `size` bytes are set
  std::span<const std::byte> bytes() const { return {data.data(), size}; }
};

struct FabricEvents {
  std::vector<Ended> ended;
  std::vector<Notice> notices;
  std::vector<std::uint32_t> down;  // links that will accept nothing any more, each named once

  bool empty() const { return ended.empty() && notices.empty() && down.empty(); }
  void clear() {
    ended.clear();
    notices.clear();
    down.clear();
  }
};

struct FabricLimits {
  std::size_t put_size_max = 0;
  std::size_t puts_in_flight_max = 0;  // per link
  bool device_memory = false;  // it has a device, see allocate_device()
  bool reliable = true;
};

// Bytes that this fabric was asked to move and that left, notices included.
struct Traffic {
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t puts_sent = 0;
  std::uint64_t notices_sent = 0;
};

class Fabric {
 public:
  virtual ~Fabric() = default;

  virtual std::string_view name() const = 0;
  // What was chosen under the hood (devices, protocols), one line, for --verbose.
  virtual std::string description() const = 0;
  virtual FabricLimits limits() const = 0;
  virtual Traffic traffic() const = 0;
  // Whose memory allocate_device() hands out; it lives as long as the fabric.  Null: there is none.
  virtual DeviceMemory* device() const { return nullptr; }

  // What another fabric of the same kind needs to connect() to this one.  Opaque bytes.
  virtual std::string address() const = 0;

  // Memory that the fabric allocates where it likes best, zeroed, registered for sending and for receiving puts.
  virtual Result<std::unique_ptr<Region>> allocate(std::size_t size) = 0;
  // The same on the device that the fabric was made with (transports/device_memory.h).  Its addresses are not for the CPU:
  // DeviceMemory::copy() takes bytes in and out.  Work of the device that writes a put's source has ended before the put;
  // work that begins after a notice sees the bytes.  Notices are host memory always.  Errors: unsupported without a device.
  virtual Result<std::unique_ptr<Region>> allocate_device(std::size_t size);
  // Registers the caller's memory, which must outlive the Region; the host's, or that device's.
  virtual Result<std::unique_ptr<Region>> add_region(MemoryView memory) = 0;

  // Starts connecting; puts may follow at once.  A peer that cannot be reached shows as a link that goes down.
  virtual Result<std::unique_ptr<Link>> connect(std::string_view address) = 0;

  // Moves everything under way forward and appends what happened.  Never blocks.
  virtual void poll(FabricEvents* events) = 0;

  // A descriptor that becomes readable when poll() may have something to do.  -1: this fabric has none and
  // its user waits by other means (the simulator).
  virtual int wait_fd() const = 0;
  // Prepares for sleeping on wait_fd().  False: something is pending, poll() again first.
  virtual bool arm() = 0;
};

inline Result<std::unique_ptr<Region>> Fabric::allocate_device(std::size_t) {
  return fail(Errc::unsupported, "the " + std::string(name()) + " fabric has no device: it was made for host memory only");
}

}  // namespace gossamer
