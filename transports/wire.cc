#include "transports/wire.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <random>
#include <utility>

#include "base/file.h"
#include "base/serial.h"

namespace gossamer::wire {
namespace {

constexpr std::uint64_t kAddressMagic = 0x3352444441465347;  // "GSFADDR3"
constexpr std::size_t kEndpointAddressMax = 64 << 10;
constexpr std::size_t kDialectMax = 256;
constexpr std::size_t kNeighboursMax = 256;

std::string to_string(const Writer& writer) {
  return {reinterpret_cast<const char*>(writer.view().data()), writer.view().size()};
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string seal(Writer writer) {
  const std::uint64_t checksum = XXH3_64bits(writer.view().data(), writer.view().size());
  writer.put(checksum);
  return to_string(writer);
}

// The last thing in `bytes` is their checksum.
bool sealed(Reader& reader, std::string_view bytes) {
  const auto checksum = reader.get<std::uint64_t>();
  return reader.ok() && reader.left() == 0 && checksum == XXH3_64bits(bytes.data(), bytes.size() - sizeof checksum);
}

}  // namespace

std::string pack(const Address& address) {
  Writer writer;
  writer.put(kAddressMagic);
  for (const std::uint64_t field :
       {address.nonce, address.machine, address.network, address.process.id, address.process.started})
    writer.put(field);
  writer.text(address.dialect);
  writer.text(address.endpoint);
  writer.text(address.neighbours);
  return seal(std::move(writer));
}

Result<Address> unpack(std::string_view bytes) {
  Reader reader(as_bytes(bytes));
  if (reader.get<std::uint64_t>() != kAddressMagic)
    return fail(Errc::corrupt, "not the address of a fabric between processes");
  Address address;
  for (std::uint64_t* field :
       {&address.nonce, &address.machine, &address.network, &address.process.id, &address.process.started})
    *field = reader.get<std::uint64_t>();
  address.dialect = reader.text();
  address.endpoint = reader.text();
  address.neighbours = reader.text();
  // The libraries believe every byte of an address of theirs, so none may reach them that was cut or changed on the way.
  if (!sealed(reader, bytes) || address.endpoint.empty() || address.endpoint.size() > kEndpointAddressMax ||
      address.dialect.size() > kDialectMax || address.neighbours.size() > kNeighboursMax)
    return fail(Errc::corrupt, "the address of a fabric was cut or changed on its way");
  return address;
}

Result<> check_reachable(const Address& address, std::string_view own) {
  if (address.dialect != own)
    return fail(Errc::version, "that peer's fabric is `" + address.dialect + "`, this peer's is `" + std::string(own) +
                                   "`: every peer of a run needs the same transport (kind, provider) and library version");
  if (address.network != 0 && address.network != this_network())
    return fail(Errc::invalid_argument,
                "that peer advertises a loopback address, and it is on another machine: name a network that both have "
                "(transport.interface)");
  return {};
}

std::string pack(const RegionKey& key) {
  Writer writer;
  for (const std::uint64_t field : {key.nonce, key.region, key.address, key.size, key.rma, key.rma_key, key.rma_base,
                                    key.memory.process, key.memory.descriptor, key.memory.device, key.memory.inode,
                                    key.memory.size})
    writer.put(field);
  return seal(std::move(writer));
}

std::optional<RegionKey> unpack_region_key(std::string_view bytes) {
  Reader reader(as_bytes(bytes));
  RegionKey key;
  for (std::uint64_t* field : {&key.nonce, &key.region, &key.address, &key.size, &key.rma, &key.rma_key, &key.rma_base,
                               &key.memory.process, &key.memory.descriptor, &key.memory.device, &key.memory.inode,
                               &key.memory.size})
    *field = reader.get<std::uint64_t>();
  if (!sealed(reader, bytes)) return std::nullopt;
  return key;
}

Result<RegionKey> check_key(const RemoteRegion& region, std::uint64_t nonce) {
  const auto key = unpack_region_key(region.key);
  if (!key) return fail(Errc::corrupt, "the region's key is not the key of a fabric between processes");
  if (key->nonce != nonce)
    return fail(Errc::corrupt, "the region's key belongs to another fabric, or to a previous life of this peer");
  if (key->address != region.address || key->size != region.size)
    return fail(Errc::corrupt, "the region's key and its size do not belong together");
  return *key;
}

namespace {

// Of this boot of this machine, seen from these namespaces; `who`: and by whom.
std::uint64_t identity(std::initializer_list<const char*> namespaces, const std::string& who = {}) {
  std::string text;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  if (!std::getline(file, text) || text.empty()) return 0;
  std::array<char, 128> space{};
  for (const char* name : namespaces)
    if (const ssize_t size = ::readlink(name, space.data(), space.size()); size > 0)
      text.append(space.data(), static_cast<std::size_t>(size));
  text += who;
  const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
  return hash == 0 ? 1 : hash;
}

}  // namespace

std::uint64_t this_machine() { return identity({"/proc/self/ns/ipc", "/proc/self/ns/pid"}); }
std::uint64_t this_user() {
  if (::prctl(PR_GET_DUMPABLE) != 1) return 0;
  std::string who;
  uid_t users[3];
  gid_t groups[3];
  if (::getresuid(&users[0], &users[1], &users[2]) != 0 || ::getresgid(&groups[0], &groups[1], &groups[2]) != 0) return 0;
  for (int i = 0; i < 3; ++i) {
    if (users[i] != users[0] || groups[i] != groups[0]) return 0;  // it is changing, and whom it may look at depends on which counts
    who += std::to_string(users[i]) + ' ' + std::to_string(groups[i]) + ' ';
  }
  return identity({"/proc/self/ns/user"}, who);
}
std::uint64_t this_network() { return identity({"/proc/self/ns/net"}); }

// In ticks since the boot: the 22nd field, counted from behind the name, which may hold anything.
std::uint64_t start_of(std::uint64_t process) {
  // Without a process of that number, or of one that ends while it is read, there is nothing to read; streams throw then.
  const std::string text = read_file("/proc/" + std::to_string(process) + "/stat", 4096).value_or("");
  std::size_t at = text.rfind(')');
  for (int field = 2; at != std::string::npos && field < 22; ++field) at = text.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at, nullptr, 10);
}

Process this_process() {
  const auto id = static_cast<std::uint64_t>(::getpid());
  return {id, start_of(id)};
}

FileDescriptor watch_process(const Process& process, bool* gone) {
  *gone = false;
  if (process.id == 0 || process.started == 0) return {};
  FileDescriptor watch(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(process.id), 0)));
  // Asked after the descriptor was opened, so that the start is that of the process which is watched.
  *gone = watch ? start_of(process.id) != process.started : errno == ESRCH;
  return *gone ? FileDescriptor() : std::move(watch);
}

std::uint64_t new_nonce() {
  std::random_device random;
  std::uint64_t nonce = 0;
  while (nonce == 0) nonce = (std::uint64_t{random()} << 32) | random();
  return nonce;
}

}  // namespace gossamer::wire
