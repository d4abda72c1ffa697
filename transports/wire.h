// What the fabrics between processes (UCX, libfabric) say to each other.  Private to these backends.
//
// Every message is a Header and then `notice_size` bytes of notice; the bytes of a put that travels as a message follow.
// A fabric names itself by a random number, its nonce, so that nothing meant for an earlier life of a peer is taken by
// a later one.
//
// Addresses and keys travel through the control plane and in notices.  Both carry a checksum: it guards against what was
// cut or changed on the way, not against malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "transports/fabric.h"
#include "transports/shared_memory.h"

namespace gossamer::wire {

inline constexpr std::uint32_t kMagic = 0x32465347;  // "GSF2"; the digit is the version

enum class Kind : std::uint16_t {
  put = 1,      // bytes for a region, and then a notice
  notice = 2,   // a notice alone
  hello = 3,    // the sender has connected; the first `size` bytes of the body are its address
  refused = 4,  // a put named memory that the sender does not have: the link is broken
  bye = 5,      // the sender is being destroyed
  landed = 6,   // the sender has written `size` bytes into the region itself, and a notice
  part = 7,     // bytes for a region; a put follows that ends them
};

struct Header {
  std::uint32_t magic = kMagic;
  Kind kind = Kind::notice;
  std::uint16_t notice_size = 0;
  std::uint64_t to = 0;    // nonce of the fabric that is meant
  std::uint64_t from = 0;  // nonce of the sender
  std::uint64_t region = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t sequence = 0;  // of the messages from this sender to this receiver, from 1; 0: not numbered
};
static_assert(sizeof(Header) == 56 && std::is_trivially_copyable_v<Header>);
static_assert(std::has_unique_object_representations_v<Header>, "no padding");

// A process of this machine.  The start tells it from a later one with the same number; 0: unknown.
struct Process {
  std::uint64_t id = 0;
  std::uint64_t started = 0;

  bool operator==(const Process&) const = default;
};

// What address() packs.
struct Address {
  std::uint64_t nonce = 0;
  std::uint64_t machine = 0;  // equal where two processes can share memory; 0 when unknown or not wanted
  std::uint64_t network = 0;  // equal where a loopback address means the same; 0 when it reaches further than that
  Process process;
  // Two fabrics understand each other when these are equal.  For people, too: "UCX 1.13".
  std::string dialect;
  std::string endpoint;  // the library's own address
  std::string neighbours;  // for processes of the same machine (neighbours.h); empty when they are to use the library, too
};

std::string pack(const Address& address);
Result<Address> unpack(std::string_view bytes);

// Errors: version, in words, when a fabric that speaks `own` cannot talk to that address; invalid_argument when it is a
// loopback address of another machine.
Result<> check_reachable(const Address& address, std::string_view own);

struct RegionKey {
  std::uint64_t nonce = 0;
  std::uint64_t region = 0;
  std::uint64_t address = 0;  // where and how large the region is, so that nobody else can say otherwise
  std::uint64_t size = 0;
  // For one-sided writes by the library's own means; `rma` is 0 where the region has to be reached by messages.
  std::uint64_t rma = 0;
  std::uint64_t rma_key = 0;
  std::uint64_t rma_base = 0;
  SharedHandle memory;  // for peers that can map the region; of size 0 where nobody can
};

std::string pack(const RegionKey& key);
std::optional<RegionKey> unpack_region_key(std::string_view bytes);

// The key of a region of the fabric with that nonce.  Errors: corrupt, in words.
Result<RegionKey> check_key(const RemoteRegion& region, std::uint64_t nonce);

// Names this machine as far as sharing memory is concerned: its boot, and the IPC and PID namespaces.
std::uint64_t this_machine();
// Names the network namespace of this machine.
std::uint64_t this_network();
// Names whoever may look into this process's /proc as this process may look into theirs: the user, its groups, its user
// namespace.  0 when nobody may.
std::uint64_t this_user();
Process this_process();
// When a process of this machine started; 0 where there is none, or it is hidden.
std::uint64_t start_of(std::uint64_t process);
// A descriptor that becomes readable when that process of this machine ends; none where it cannot be had.  `gone` is set
// when there is no such process any more.
FileDescriptor watch_process(const Process& process, bool* gone);

// A random number that is not 0.
std::uint64_t new_nonce();

}  // namespace gossamer::wire
