// What UCX fabrics say to each other.  Private to the UCX backend.
//
// Every message is an active message whose header is a UcxWire and then `notice_size` bytes of notice; the
// data of a put is the message's body.  A fabric names itself by a random number, its nonce, so that nothing
// meant for an earlier life of a peer is taken by a later one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "transports/shared_memory.h"

namespace gossamer::ucx {

inline constexpr unsigned kMessageId = 17;  // of the active message; ours alone, since the worker is
inline constexpr std::uint32_t kWireMagic = 0x31585547;  // "GUX1"; the digit is the version

enum class Kind : std::uint16_t {
  put = 1,      // bytes for a region, and then a notice
  notice = 2,   // a notice alone
  hello = 3,    // the sender has connected; the first `size` bytes of the body are its address
  refused = 4,  // a put named memory that the sender does not have: the link is broken
  bye = 5,      // the sender is being destroyed
  landed = 6,   // the sender has written `size` bytes into the region itself (shared memory), and a notice
};

struct UcxWire {
  std::uint32_t magic = kWireMagic;
  Kind kind = Kind::notice;
  std::uint16_t notice_size = 0;
  std::uint64_t to = 0;    // nonce of the fabric that is meant
  std::uint64_t from = 0;  // nonce of the sender
  std::uint64_t region = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};
static_assert(sizeof(UcxWire) == 48 && std::is_trivially_copyable_v<UcxWire>);
static_assert(std::has_unique_object_representations_v<UcxWire>, "no padding");

// What address() packs: who the fabric is, on which machine, and UCX's own worker address.
struct Address {
  std::uint64_t nonce = 0;
  std::uint64_t machine = 0;  // equal where two processes can share memory; 0 when unknown or not wanted
  std::string worker;
};

std::string pack(const Address& address);
Result<Address> unpack(std::string_view bytes);

struct RegionKey {
  std::uint64_t nonce = 0;
  std::uint64_t region = 0;
  std::uint64_t address = 0;  // where and how large the region is, so that nobody else can say otherwise
  std::uint64_t size = 0;
  SharedHandle memory;  // for peers that can map the region; of size 0 where nobody can
};

std::string pack(const RegionKey& key);
std::optional<RegionKey> unpack_region_key(std::string_view bytes);

// Names this machine as far as sharing memory is concerned: its boot, and the IPC and PID namespaces.
std::uint64_t this_machine();

// Whether this machine has RDMA devices that a UCX_TLS value lets UCX use.
bool may_use_rdma(std::string_view tls);

// Whether a UCX_TLS value lets UCX use shared memory.
bool allows_shared_memory(std::string_view tls);

}  // namespace gossamer::ucx
