#include "base/reserved_port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <set>
#include <vector>

namespace gossamer {
namespace {

int listen_on(std::uint16_t port, FileDescriptor* socket) {
  *socket = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  ::setsockopt(socket->number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(socket->number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
  return ::listen(socket->number(), 1) == 0 ? 0 : errno;
}

TEST(ReservedPort, IsNobodyElsesAndCanBeListenedOn) {
  std::vector<ReservedPort> ports;
  std::set<int> numbers;
  for (int i = 0; i < 200; ++i) {
    auto port = reserve_port();
    ASSERT_TRUE(port) << port.error().message;
    EXPECT_TRUE(numbers.insert(port->number).second) << "port " << port->number << " was given twice";
    ports.push_back(std::move(*port));
  }
  FileDescriptor listener, second;
  EXPECT_EQ(listen_on(ports[0].number, &listener), 0);
  EXPECT_EQ(listen_on(ports[0].number, &second), EADDRINUSE);
}

TEST(ReservedPort, IsNoneThatAConnectionIsGiven) {
  int first = 0, last = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last;
  if (first < 12000) GTEST_SKIP() << "this machine gives connections nearly all ports";
  for (int i = 0; i < 50; ++i) {
    const auto port = reserve_port();
    ASSERT_TRUE(port) << port.error().message;
    EXPECT_TRUE(port->number < first || port->number > last) << port->number;
  }
}

}  // namespace
}  // namespace gossamer
