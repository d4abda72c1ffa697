// One peer as a process, for fabric_processes_test.
//
// Usage: fabric_process KIND TRANSPORT NETWORK MAPS ROLE, the first four as in Wire.  Standard input and output are pipes to the test; every message
// on them is a length (u32) and that many bytes.
//   ROLE sink:   sends its address and its region's key, then answers each put with a notice "<number> good"
//   or
//                "<number> bad" over its own link, until standard input closes.
//   ROLE mesh:   see below: connects to many others, of which some are killed.
//   ROLE stuck:  like sink, but after the first put it never polls again.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/transports/fabric_harness.h"
#include "tests/transports/pipe_messages.h"
#include "tests/transports/wires.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kRegionSize = 8 << 20;

struct Label {
  std::uint64_t number, size;
};

void say_who(const Fabric& fabric, const Region& region) {
  const RemoteRegion remote = region.remote();
  write_message(STDOUT_FILENO, fabric.address());
  write_message(STDOUT_FILENO, remote.key);
  write_message(STDOUT_FILENO, std::string(reinterpret_cast<const char*>(&remote.address), 8));
  write_message(STDOUT_FILENO, std::string(reinterpret_cast<const char*>(&remote.size), 8));
}

int sink(Fabric& fabric, bool gets_stuck) {
  auto region = fabric.allocate(kRegionSize);
  if (!region) return 2;
  say_who(fabric, **region);
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

// After its address and its region's key it is told, in one message, how many other peers there are, and then of
// each its address, key, where and size.  It connects to all of them and puts into each region at once.  Then each
// "NUMBER PEERS", PEERS a 0 or a 1 for each of the others in their order, makes it send NUMBER to those with a 1,
// and it says "ok" as soon as it has heard NUMBER from each of them.
class Mesh {
 public:
  explicit Mesh(std::unique_ptr<Fabric> fabric) : fabric_(std::move(fabric)) {}

  int run() {
    auto region = fabric_->allocate(kRegionSize);
    auto source = fabric_->allocate(kPutSize);
    if (!region || !source) return 2;
    say_who(*fabric_, **region);
    std::string text;
    if (!read_message(STDIN_FILENO, &text)) return 0;
    std::vector<Peer> peers(std::stoul(text));
    const std::uint64_t hello = 0;
    for (Peer& peer : peers) {
      RemoteRegion remote;
      if (!read_message(STDIN_FILENO, &peer.address) || !read_message(STDIN_FILENO, &remote.key) ||
          !read_message(STDIN_FILENO, &text) || text.size() != 8)
        return 0;
      std::memcpy(&remote.address, text.data(), 8);
      if (!read_message(STDIN_FILENO, &text) || text.size() != 8) return 0;
      std::memcpy(&remote.size, text.data(), 8);
      auto link = fabric_->connect(peer.address);
      if (!link) return 4;
      peer.link = std::move(*link);
      auto target = peer.link->open(remote);
      if (!target) continue;  // it is dead already
      peer.target = std::move(*target);
      (void)peer.link->put({.source = source->get(), .size = kPutSize, .target = peer.target.get(), .notice = as_notice(hello)});
    }
    for (;;) {
      serve(peers);
      pollfd descriptors[2] = {{fabric_->wait_fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
      ::poll(descriptors, 2, fabric_->arm() ? 1000 : 0);
      if (descriptors[1].revents == 0) continue;
      if (!read_message(STDIN_FILENO, &text)) break;
      const std::size_t space = text.find(' ');
      const std::uint64_t number = std::stoull(text.substr(0, space));
      if (text.size() != space + 1 + peers.size()) return 5;
      for (std::size_t i = 0; i < peers.size(); ++i) peers[i].asked = text[space + 1 + i] == '1' ? number : 0;
    }
    fabric_.reset();  // before the source of puts that may never end
    for (Peer& peer : peers) peer.target.reset();
    return 0;
  }

 private:
  static constexpr std::size_t kPutSize = 40'000;

  struct Peer {
    std::string address;
    std::unique_ptr<Link> link;
    std::unique_ptr<Target> target;
    std::uint64_t asked = 0;  // this number is still to be sent; 0: none
  };

  void serve(std::vector<Peer>& peers) {
    fabric_->poll(&events_);
    for (const Notice& notice : events_.notices) ++heard_[from_notice<std::uint64_t>(notice)];
    events_.clear();
    for (Peer& peer : peers) {
      if (peer.asked == 0) continue;
      const Errc status = peer.link->notify(as_notice(peer.asked));
      if (status == Errc::would_block) continue;
      if (status != Errc::ok) write_message(STDOUT_FILENO, "a living peer is not reached: " + std::string(name(status)));
      wanted_ = {peer.asked, wanted_.first == peer.asked ? wanted_.second + 1 : 1};
      peer.asked = 0;
    }
    const bool all_sent = std::ranges::all_of(peers, [](const Peer& peer) { return peer.asked == 0; });
    if (wanted_.first == 0 || !all_sent || heard_[wanted_.first] < wanted_.second) return;
    write_message(STDOUT_FILENO, "ok");
    wanted_ = {};
  }

  std::unique_ptr<Fabric> fabric_;
  FabricEvents events_;
  std::map<std::uint64_t, std::size_t> heard_;
  std::pair<std::uint64_t, std::size_t> wanted_;  // a number, and from how many
};

}  // namespace
}  // namespace gossamer::testing

int main(int argc, char** argv) {
  if (argc != 6) return 64;
  ::alarm(60);  // whatever happens to the test, no process stays behind
  auto fabric = gossamer::testing::make_fabric(
      {.name = "", .kind = argv[1], .transport = argv[2], .network = argv[3], .maps = *argv[4] != '\0'});
  if (!fabric) {
    std::fprintf(stderr, "%s\n", fabric.error().message.c_str());
    return 1;
  }
  if (std::strcmp(argv[5], "mesh") == 0) return gossamer::testing::Mesh(std::move(*fabric)).run();
  return gossamer::testing::sink(**fabric, std::strcmp(argv[5], "stuck") == 0);
}
