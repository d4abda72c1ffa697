// One peer as a process, for fabric_processes_test.
//
// Usage: fabric_process TLS NET_DEVICES ROLE.  Standard input and output are pipes to the test; every message
// on them is a length (u32) and that many bytes.
//   ROLE sink:   sends its address and its region's key, then answers each put with a notice "<number> good"
//   or
//                "<number> bad" over its own link, until standard input closes.
//   ROLE stuck:  like sink, but after the first put it never polls again.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/transports/fabric_harness.h"
#include "tests/transports/pipe_messages.h"
#include "transports/ucx.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kRegionSize = 8 << 20;

struct Label {
  std::uint64_t number, size;
};

int sink(Fabric& fabric, bool gets_stuck) {
  auto region = fabric.allocate(kRegionSize);
  if (!region) return 2;
  const RemoteRegion remote = (*region)->remote();
  write_message(STDOUT_FILENO, fabric.address());
  write_message(STDOUT_FILENO, remote.key);
  write_message(STDOUT_FILENO, std::string(reinterpret_cast<const char*>(&remote.address), 8));
  write_message(STDOUT_FILENO, std::string(reinterpret_cast<const char*>(&remote.size), 8));
  std::string address;
  if (!read_message(STDIN_FILENO, &address)) return 3;
  auto link = fabric.connect(address);
  if (!link) return 4;
  FabricEvents events;
  for (;;) {
    fabric.poll(&events);
    for (const Notice& notice : events.notices) {
      Label label{};
      if (notice.size != sizeof label) return 5;
      std::memcpy(&label, notice.data.data(), sizeof label);
      const bool good =
          first_difference((*region)->memory().bytes().first(label.size), label.number) == label.size;
      const std::string verdict = std::to_string(label.number) + (good ? " good" : " bad");
      if ((*link)->notify(std::as_bytes(std::span(verdict.data(), verdict.size()))) != Errc::ok) return 6;
      if (gets_stuck) {
        fabric.poll(&events);  // lets the verdict leave
        char byte = 0;
        while (::read(STDIN_FILENO, &byte, 1) > 0) {
        }
        return 0;
      }
    }
    events.clear();
    pollfd descriptors[2] = {{fabric.wait_fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ::poll(descriptors, 2, fabric.arm() ? 1000 : 0);
    if (descriptors[1].revents != 0) return 0;  // the test has closed the pipe
  }
}

}  // namespace
}  // namespace gossamer::testing

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  ::alarm(60);  // whatever happens to the test, no process stays behind
  gossamer::UcxOptions options;
  options.tls = argv[1];
  options.net_devices = argv[2];
  auto fabric = gossamer::make_ucx(options);
  if (!fabric) {
    std::fprintf(stderr, "%s\n", fabric.error().message.c_str());
    return 1;
  }
  return gossamer::testing::sink(**fabric, std::strcmp(argv[3], "stuck") == 0);
}
