// One peer as a process, for fabric_processes_test.
//
// Usage: fabric_process KIND TRANSPORT NETWORK MAPS ROLE, the first four as in Wire.  Standard input and output are pipes to the test; every message
// on them is a length (u32) and that many bytes.
//   ROLE sink:   sends its address and its region's key, then answers each put with a notice "<number> good"
//   or
//                "<number> bad" over its own link, until standard input closes.
//   ROLE hammer: sends the same, is told the same of a sink, and then sends it puts of all sizes for two seconds, eight at a
//                time.  Says "ok NUMBER BYTES", or what went wrong.
//   ROLE mesh:   see below: connects to many others, of which some are killed.
//   ROLE stuck:  like sink, but after the first put it never polls again.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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
  std::uint64_t number, size, offset;
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
      if (label.offset > kRegionSize || label.size > kRegionSize - label.offset) return 5;
      const bool good =
          first_difference((*region)->memory().bytes().subspan(label.offset, label.size), label.number) == label.size;
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

bool hear_who(std::string* address, RemoteRegion* remote) {
  std::string where, size;
  if (!read_message(STDIN_FILENO, address) || !read_message(STDIN_FILENO, &remote->key) || !read_message(STDIN_FILENO, &where) ||
      !read_message(STDIN_FILENO, &size) || where.size() != 8 || size.size() != 8)
    return false;
  std::memcpy(&remote->address, where.data(), 8);
  std::memcpy(&remote->size, size.data(), 8);
  return true;
}

std::string hammer(Fabric& fabric) {
  constexpr std::size_t kSlots = 8, kSlot = kRegionSize / kSlots;
  auto region = fabric.allocate(kRegionSize);
  if (!region) return region.error().message;
  say_who(fabric, **region);
  std::string address;
  RemoteRegion remote;
  if (!hear_who(&address, &remote)) return "nobody to send to";
  auto link = fabric.connect(address);
  if (!link) return link.error().message;
  auto target = (*link)->open(remote);
  if (!target) return target.error().message;
  std::vector<std::size_t> free_slots;
  for (std::size_t i = 0; i < kSlots; ++i) free_slots.push_back(i);
  std::map<std::uint64_t, std::size_t> under_way;  // number -> slot; free again when its verdict and its end are here
  std::map<std::uint64_t, int> halves;
  std::uint64_t number = 0, bytes = 0;
  FabricEvents events;
  const auto half = [&](std::uint64_t which) {
    if (++halves[which] < 2) return;
    halves.erase(which);
    free_slots.push_back(under_way.at(which));
    under_way.erase(which);
  };
  const auto start = std::chrono::steady_clock::now();
  std::string wrong;
  while (wrong.empty()) {
    const auto elapsed = std::chrono::steady_clock::now() - start;
    if (elapsed > 2 * kPatience) return std::to_string(under_way.size()) + " puts have not come back in time";
    const bool over = elapsed > std::chrono::seconds(2);
    if (over && under_way.empty()) break;
    while (!over && !free_slots.empty()) {
      const std::size_t slot = free_slots.back();
      const std::uint64_t size = number % 7 == 0 ? kSlot - number % 64 : number * 2654435761u % 20'000;
      const Label label{++number, size, slot * kSlot};
      const auto from = (*region)->memory().bytes().subspan(slot * kSlot, size);
      fill(from, number);
      const Errc status = (*link)->put({.source = region->get(), .source_offset = slot * kSlot, .size = size, .target = target->get(),
                                        .target_offset = slot * kSlot, .notice = as_notice(label), .token = number});
      if (status == Errc::would_block) {
        --number;
        break;
      }
      if (status != Errc::ok) return "a put was refused: " + std::string(name(status));
      free_slots.pop_back();
      under_way[number] = slot;
      bytes += size;
    }
    fabric.poll(&events);
    for (const Ended& end : events.ended) {
      if (end.status != Errc::ok) wrong = "a put ended with " + std::string(name(end.status));
      half(end.token);
    }
    for (const Notice& notice : events.notices) {
      const std::string verdict(reinterpret_cast<const char*>(notice.data.data()), notice.size);
      if (!verdict.ends_with(" good")) wrong = verdict;
      half(std::stoull(verdict));
    }
    if (!events.down.empty()) wrong = "the link went down";
    const bool idle = events.empty();
    events.clear();
    pollfd one{fabric.wait_fd(), POLLIN, 0};
    if (idle && fabric.arm()) ::poll(&one, 1, 100);
  }
  target->reset();
  return wrong.empty() ? "ok " + std::to_string(number) + " " + std::to_string(bytes) : wrong;
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
      if (!hear_who(&peer.address, &remote)) return 0;
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
  ::alarm(static_cast<unsigned>(60 * gossamer::testing::kSlowness));  // whatever happens to the test, no process stays behind
  auto fabric = gossamer::testing::make_fabric(
      {.name = "", .kind = argv[1], .transport = argv[2], .network = argv[3], .maps = *argv[4] != '\0'});
  if (!fabric) {
    std::fprintf(stderr, "%s\n", fabric.error().message.c_str());
    return 1;
  }
  if (std::strcmp(argv[5], "mesh") == 0) return gossamer::testing::Mesh(std::move(*fabric)).run();
  if (std::strcmp(argv[5], "hammer") == 0) {
    const std::string result = gossamer::testing::hammer(**fabric);
    gossamer::testing::write_message(STDOUT_FILENO, result);
    return result.starts_with("ok") ? 0 : 1;
  }
  return gossamer::testing::sink(**fabric, std::strcmp(argv[5], "stuck") == 0);
}
