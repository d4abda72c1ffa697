#include "base/reserved_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <random>

#include "base/file.h"

namespace gossamer {
namespace {

constexpr int kPortMin = 10000, kPortMax = 65535;
constexpr int kAttempts = 500;

}  // namespace

Result<ReservedPort> reserve_port() {
  int ephemeral_first = 32768, ephemeral_last = 60999;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> ephemeral_first >> ephemeral_last;
  const int below = ephemeral_first - kPortMin, above = kPortMax - ephemeral_last;
  int first = kPortMin, last = kPortMax;
  if (below >= 1000 && below >= above) {
    last = ephemeral_first - 1;
  } else if (above >= 1000) {
    first = ephemeral_last + 1;
  }
  std::random_device random;
  int error = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    ReservedPort port;
    port.number = static_cast<std::uint16_t>(std::uniform_int_distribution<int>(first, last)(random));
    port.socket = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!port.socket) return system_failure("cannot make a socket on", "127.0.0.1", errno);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port.number);
    const int yes = 1;
    // SO_REUSEADDR comes after: with it bind() would share the port with somebody else's reservation.
    if (::bind(port.socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::setsockopt(port.socket.number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0)
      return port;
    error = errno;
    if (error != EADDRINUSE && error != EACCES) break;
  }
  return system_failure("cannot find a free port on", "127.0.0.1", error);
}

}  // namespace gossamer
