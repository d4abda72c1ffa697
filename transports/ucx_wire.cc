#include "transports/ucx_wire.h"

#include <sys/types.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <initializer_list>

#include "base/serial.h"

namespace gossamer::ucx {
namespace {

constexpr std::uint64_t kAddressMagic = 0x3152444441585547;  // "GUXADDR1"
constexpr std::size_t kWorkerAddressMax = 64 << 10;

std::string to_string(const Writer& writer) {
  return {reinterpret_cast<const char*>(writer.view().data()), writer.view().size()};
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

std::string pack(const Address& address) {
  Writer writer;
  writer.put(kAddressMagic);
  writer.put(address.nonce);
  writer.put(address.machine);
  writer.text(address.worker);
  const std::uint64_t checksum = XXH3_64bits(writer.view().data(), writer.view().size());
  writer.put(checksum);
  return to_string(writer);
}

Result<Address> unpack(std::string_view bytes) {
  Reader reader(as_bytes(bytes));
  if (reader.get<std::uint64_t>() != kAddressMagic)
    return fail(Errc::corrupt, "not the address of a UCX fabric");
  Address address;
  address.nonce = reader.get<std::uint64_t>();
  address.machine = reader.get<std::uint64_t>();
  address.worker = reader.text();
  const auto checksum = reader.get<std::uint64_t>();
  // UCX believes every byte of a worker address, so none may reach it that was cut or changed on the way.
  if (!reader.ok() || reader.left() != 0 || address.worker.empty() ||
      address.worker.size() > kWorkerAddressMax ||
      checksum != XXH3_64bits(bytes.data(), bytes.size() - sizeof checksum))
    return fail(Errc::corrupt, "the address of a UCX fabric was cut or changed on its way");
  return address;
}

std::string pack(const RegionKey& key) {
  Writer writer;
  writer.put(key.nonce);
  writer.put(key.region);
  writer.put(key.address);
  writer.put(key.size);
  for (const std::uint64_t field : {key.memory.process, key.memory.descriptor, key.memory.device,
                                    key.memory.inode, key.memory.size})
    writer.put(field);
  const std::uint64_t checksum = XXH3_64bits(writer.view().data(), writer.view().size());
  writer.put(checksum);
  return to_string(writer);
}

std::optional<RegionKey> unpack_region_key(std::string_view bytes) {
  Reader reader(as_bytes(bytes));
  RegionKey key;
  key.nonce = reader.get<std::uint64_t>();
  key.region = reader.get<std::uint64_t>();
  key.address = reader.get<std::uint64_t>();
  key.size = reader.get<std::uint64_t>();
  for (std::uint64_t* field : {&key.memory.process, &key.memory.descriptor, &key.memory.device,
                               &key.memory.inode, &key.memory.size})
    *field = reader.get<std::uint64_t>();
  const auto checksum = reader.get<std::uint64_t>();
  if (!reader.ok() || reader.left() != 0 ||
      checksum != XXH3_64bits(bytes.data(), bytes.size() - sizeof checksum))
    return std::nullopt;
  return key;
}

std::uint64_t this_machine() {
  std::string identity;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  if (!std::getline(file, identity) || identity.empty()) return 0;
  std::array<char, 128> space{};
  for (const char* name : {"/proc/self/ns/ipc", "/proc/self/ns/pid"})
    if (const ssize_t size = ::readlink(name, space.data(), space.size()); size > 0)
      identity.append(space.data(), static_cast<std::size_t>(size));
  const std::uint64_t hash = XXH3_64bits(identity.data(), identity.size());
  return hash == 0 ? 1 : hash;
}

namespace {

// Whether a UCX_TLS value names one of these transports, or excludes others.
bool names_one_of(std::string_view tls, std::initializer_list<std::string_view> transports) {
  if (tls.starts_with('^')) return true;
  while (!tls.empty()) {
    const std::size_t comma = tls.find(',');
    std::string_view name = tls.substr(0, comma);
    if (name.starts_with('\\')) name.remove_prefix(1);  // UCX's way to say "this very transport, no alias"
    if (std::find(transports.begin(), transports.end(), name) != transports.end()) return true;
    if (comma == std::string_view::npos) break;
    tls.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

bool allows_shared_memory(std::string_view tls) { return names_one_of(tls, {"all", "sm", "shm", "mm", "posix", "sysv", "xpmem"}); }

bool may_use_rdma(std::string_view tls) {
  std::error_code error;
  return names_one_of(tls, {"all", "ib", "rc", "rc_v", "rc_x", "rc_verbs", "rc_mlx5", "dc", "dc_x", "dc_mlx5", "ud", "ud_v", "ud_x", "ud_verbs", "ud_mlx5"}) &&
         !std::filesystem::is_empty("/sys/class/infiniband", error) && !error;
}

}  // namespace gossamer::ucx
