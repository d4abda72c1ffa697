// What the tests of channels share: peers on one thread and a clock that the test moves, a fabric with hooks,
// and a puppet that speaks raw notices.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/payload.h"
#include "base/serial.h"
#include "tests/transports/fabric_harness.h"
#include "tests/transports/fake_cuda.h"
#include "tests/transports/forwarding_fabric.h"
#include "transports/channel.h"
#include "transports/faulty.h"
#include "transports/loopback.h"

namespace gossamer::testing {

// Shows a test what its owner allocated, and lets it change what a poll hands out.
class HookedFabric final : public ForwardingFabric {
 public:
  using ForwardingFabric::ForwardingFabric;

  bool reliable = true;
  std::function<void(FabricEvents*)> after_poll;
  std::vector<MemoryView> allocated;

  std::string_view name() const override { return "hooked"; }
  FabricLimits limits() const override {
    FabricLimits limits = ForwardingFabric::limits();
    limits.reliable = reliable;
    return limits;
  }
  Result<std::unique_ptr<Region>> allocate(std::size_t size) override { return noted(ForwardingFabric::allocate(size)); }
  Result<std::unique_ptr<Region>> allocate_device(std::size_t size) override { return noted(ForwardingFabric::allocate_device(size)); }
  void poll(FabricEvents* events) override {
    ForwardingFabric::poll(events);
    if (after_poll) after_poll(events);
  }

 private:
  Result<std::unique_ptr<Region>> noted(Result<std::unique_ptr<Region>> region) {
    if (region) allocated.push_back((*region)->memory());
    return region;
  }
};

// Whose memory the payloads of a test lie in.
struct PayloadMemory {
  std::string name;
  std::shared_ptr<DeviceMemory> device;  // null: the host's
  std::string missing;                   // why it cannot be tested here
};
inline std::vector<PayloadMemory> payload_memories() {
  const auto gpu = make_cuda_memory();
  return {{"host", nullptr, ""}, {"device", fake_cuda::device(), ""}, {"GPU", gpu ? *gpu : nullptr, gpu ? "" : gpu.error().message}};
}

// A payload's bytes, wherever they lie; the same as for those of the host.
template <class Byte>
std::vector<std::byte> copied(PayloadBytes<Byte> bytes) {
  std::vector<std::byte> copy(bytes.size());
  std::string why_not;
  EXPECT_TRUE(copy_bytes(bytes.device(), bytes.address(), copy.data(), copy.size(), &why_not)) << why_not;
  return copy;
}
inline void fill(PayloadBytes<std::byte> to, std::uint64_t seed) {
  std::vector<std::byte> bytes(to.size());
  fill(std::span(bytes), seed);
  std::string why_not;
  ASSERT_TRUE(copy_bytes(to.device(), bytes.data(), to.address(), bytes.size(), &why_not)) << why_not;
}
template <class Byte>
std::size_t first_difference(PayloadBytes<Byte> in, std::uint64_t seed) {
  return first_difference(std::span<const std::byte>(copied(in)), seed);
}

inline void must(const Result<>& result) {
  ASSERT_TRUE(result) << result.error().message;
}

inline std::vector<std::byte> cut(std::vector<std::byte> notice, std::size_t size) {
  notice.resize(size);
  return notice;
}

inline std::uint32_t magic_of(const Notice& notice) {
  std::uint32_t magic = 0;
  if (notice.size >= sizeof magic) std::memcpy(&magic, notice.data.data(), sizeof magic);
  return magic;
}
inline bool is_payload(const Notice& notice) {
  return magic_of(notice) == kPayloadMagic;
}
// Control notices: the kind follows magic and version.
inline bool is_control(const Notice& notice, std::uint16_t kind) {
  std::uint16_t found = 0;
  if (is_payload(notice) || notice.size < 8) return false;
  std::memcpy(&found, notice.data.data() + 6, sizeof found);
  return found == kind;
}
inline bool is_hello(const Notice& notice) {
  return is_control(notice, 1);
}
inline bool is_ack(const Notice& notice) {
  return is_control(notice, 2);
}

// A Transport and everything that it reported.
struct Node {
  PeerId id = 0;
  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<Transport> transport;
  TransportEvents events;

  void poll() { transport->poll(&events); }

  // Encodes payload `number` and sends it to each of `to`.
  void send(std::uint64_t number, std::size_t size, std::span<const PeerId> to) {
    auto buffer = transport->lease();
    ASSERT_TRUE(buffer) << buffer.error().message;
    fill(buffer->bytes.first(size), number);
    PayloadHeader header;
    header.round = number;
    header.used = size;
    transport->send(*buffer, header, to, true);
  }
  void send(std::uint64_t number, std::size_t size, PeerId to) { send(number, size, {&to, 1}); }
};

class ChannelWorld {
 public:
  using Wrap = std::function<std::unique_ptr<Fabric>(std::unique_ptr<Fabric>)>;

  explicit ChannelWorld(const PayloadMemory& memory = {}) { loopback.device.memory = memory.device; }

  // Its payloads lie in the memory of this world.
  Node make(TransportSetup setup, const Wrap& wrap = {}) {
    Node node;
    node.id = setup.self;
    if (loopback.device.memory) setup.memory = MemoryKind::cuda;
    auto fabric = make_loopback(hub, loopback).value();
    node.fabric = wrap ? wrap(std::move(fabric)) : std::move(fabric);
    node.transport = std::make_unique<Transport>(setup, *node.fabric, clock);
    return node;
  }
  static TransportSetup setup(PeerId self, std::size_t peers = 2) {
    return {.self = self, .peers = peers, .run = 7, .payload_size_max = 100};
  }

  // `of` learns where `other` is.
  static void introduce(Node& of, const Node& other, Incarnation incarnation = 1) {
    const auto set = of.transport->set_peer(other.id, other.fabric->address(), incarnation);
    ASSERT_TRUE(set) << set.error().message;
  }
  static void introduce_both(Node& a, Node& b) {
    introduce(a, b);
    introduce(b, a);
  }
  // A channel from `from` to `to`, with credit.
  void connect(Node& from, Node& to) {
    ASSERT_TRUE(from.transport->open(to.id, false));
    ASSERT_TRUE(to.transport->open(from.id, true));
    ASSERT_TRUE(until({&from, &to}, [&] { return from.transport->has_credit(to.id); }))
        << "no mailbox was granted";
  }

  // Polls in turn, one millisecond apart, until `done`.
  bool until(std::vector<Node*> nodes, const std::function<bool()>& done, int turns = 20000) {
    for (; turns > 0; --turns) {
      if (done()) return true;
      for (Node* node : nodes) node->poll();
      clock.advance(std::chrono::milliseconds(1));
    }
    return done();
  }
  void settle(std::vector<Node*> nodes, int turns = 10) {
    until(
        std::move(nodes), [] { return false; }, turns);
  }

  std::shared_ptr<LoopbackHub> hub = std::make_shared<LoopbackHub>();
  LoopbackOptions loopback;
  ManualClock clock;
};

// What holds wherever payloads lie.
class ChannelFixture : public ::testing::TestWithParam<PayloadMemory> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
  }

  ChannelWorld world_{GetParam()};
};

#define IN_EVERY_MEMORY(Suite) \
  INSTANTIATE_TEST_SUITE_P(In, Suite, ::testing::ValuesIn(payload_memories()), [](const auto& info) { return info.param.name; })

// A peer without a Transport: says whatever the test wants, well formed or not.
struct Puppet {
  PeerId id;
  Incarnation incarnation = 1;
  Incarnation to = 1;
  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<Region> mailbox;
  std::unique_ptr<Region> source;
  std::unique_ptr<Link> link;
  std::unique_ptr<Target> target;
  FabricEvents events;
  RemoteRegion granted;  // from the last hello seen
  std::uint32_t slots = 0;
  std::uint64_t slot_size = 0;

  Puppet(PeerId rank, const std::shared_ptr<LoopbackHub>& hub)
      : id(rank), fabric(make_loopback(hub).value()) {
    mailbox = fabric->allocate(1024).value();
    source = fabric->allocate(1024).value();
  }
  void reach(const Node& victim) { link = fabric->connect(victim.fabric->address()).value(); }

  Writer prefix(std::uint16_t kind, std::uint16_t version = kWireVersion) const {
    Writer writer;
    writer.put<std::uint32_t>(0x43535347);
    writer.put<std::uint16_t>(version);
    writer.put<std::uint16_t>(kind);
    writer.put(id);
    writer.put(incarnation);
    writer.put(to);
    return writer;
  }
  struct Hello {
    std::uint64_t run = 7;
    std::uint64_t payload_size_max = 100;
    std::uint32_t flags = 2;
    std::uint32_t slots = 2;
    std::uint64_t slot_size = 128;
    std::uint16_t version = kWireVersion;
  };
  std::vector<std::byte> hello(const Hello& h) const {
    Writer writer = prefix(1, h.version);
    writer.put(h.run);
    writer.put(h.payload_size_max);
    writer.put(h.flags);
    writer.put(h.slots);
    writer.put(h.slot_size);
    const RemoteRegion region = mailbox->remote();
    writer.put(region.address);
    writer.put(region.size);
    writer.text(region.key);
    return writer.take();
  }
  std::vector<std::byte> hello() const { return hello(Hello{}); }
  std::vector<std::byte> ack(Sequence received, Sequence consumed) const {
    Writer writer = prefix(2);
    writer.put(received);
    writer.put(consumed);
    return writer.take();
  }
  std::vector<std::byte> payload(Sequence sequence, std::uint64_t used = 0,
                                 std::uint32_t checksum = 0) const {
    PayloadHeader header;
    header.sender = id;
    header.incarnation = incarnation;
    header.sequence = sequence;
    header.round = sequence;
    header.used = used;
    header.checksum = checksum;
    std::vector<std::byte> bytes(kPayloadHeaderSize);
    store(header, std::span<std::byte, kPayloadHeaderSize>(bytes.data(), kPayloadHeaderSize));
    return bytes;
  }
  std::vector<std::byte> lent(Sequence sequence, std::uint64_t used, std::uint64_t offset, const RemoteRegion& region) const {
    Writer writer = prefix(3);
    writer.bytes(payload(sequence, used));
    writer.put(offset);
    writer.put(region.address);
    writer.put(region.size);
    writer.text(region.key);
    return writer.take();
  }
  void say(std::span<const std::byte> notice) {
    ASSERT_EQ(link->notify(notice), Errc::ok);
    poll();
  }
  // Reads what came, remembering the mailbox that a hello grants.
  void poll() {
    events.clear();
    fabric->poll(&events);
    for (const Notice& notice : events.notices) {
      if (!is_hello(notice)) continue;
      Reader reader(notice.bytes());
      reader.bytes(20 + 8 + 8 + 4);
      slots = reader.get<std::uint32_t>();
      slot_size = reader.get<std::uint64_t>();
      granted.address = reader.get<std::uint64_t>();
      granted.size = reader.get<std::uint64_t>();
      granted.key = reader.text();
    }
  }
};

}  // namespace gossamer::testing
