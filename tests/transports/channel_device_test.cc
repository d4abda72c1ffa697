// Payloads in memory of a device: what the suites of all memories and backends do not say.
#include "tests/transports/channel_backends_fixture.h"

namespace gossamer::testing {
namespace {

class ChannelDevice : public ChannelBackendsFixture {
 protected:
  static TransportSetup in(MemoryKind memory, PeerId id, std::size_t payload_size_max) {
    TransportSetup one = setup(id, payload_size_max);
    one.memory = memory;
    one.lend_size_min = 20;
    return one;
  }
  bool is_fake() const { return GetParam().device == fake_cuda::device(); }
};

TEST_P(ChannelDevice, IsPutAndNeverLent) {
  Node a = make(in(MemoryKind::cuda, 0, 100'000)), b = make(in(MemoryKind::cuda, 1, 100'000));
  connect(a, b);
  for (const std::size_t size : {19, 20, 5'000, 100'000}) exchange(a, b, size, size);
  EXPECT_EQ(a.transport->traffic().bytes_sent, a.fabric->traffic().bytes_sent);
  EXPECT_GT(a.fabric->traffic().bytes_sent, 105'039u);
}

// Either kind sends to the other, and one buffer goes to both.
TEST_P(ChannelDevice, UnderstandsPeersInTheHostsMemory) {
  Node host = make(in(MemoryKind::host, 0, 100'000)), device = make(in(MemoryKind::cuda, 1, 100'000));
  connect(host, device);
  for (const std::size_t size : {0, 1, 19, 500, 5'000, 100'000}) {
    exchange(host, device, size + 1, size);
    EXPECT_EQ(device.events.arrivals[0].bytes.device(), GetParam().device.get());
    exchange(device, host, size + 2, size);
    EXPECT_EQ(host.events.arrivals[0].bytes.device(), nullptr);
  }
  for (Node* node : {&host, &device}) EXPECT_EQ(node->transport->traffic().bytes_sent, node->fabric->traffic().bytes_sent) << "nothing was lent";
}

// It is told once, by its name, and a device that comes back takes up where it stopped.
TEST_P(ChannelDevice, ThatCannotBeReadIsAFaultAndNothingIsLost) {
  if (!is_fake()) GTEST_SKIP() << "a GPU cannot be made to fail";
  for (const bool checksum : {false, true}) {
    SCOPED_TRACE(checksum);
    TransportSetup one = in(MemoryKind::cuda, 0, 50'000);
    one.checksum = checksum;
    one.resend_after = std::chrono::milliseconds(5);
    Node a = make(one);
    one.self = 1;
    Node b = make(one);
    connect(a, b);
    const auto buffer = a.transport->lease();
    ASSERT_TRUE(buffer);
    fill(buffer->bytes.first(50'000), 1);
    PayloadHeader header;
    header.round = 1;
    header.used = 50'000;
    const PeerId to = 1;
    {
      const fake_cuda::Broken broken;
      a.transport->send(*buffer, header, {&to, 1}, true);
      wait({&a, &b});
    }
    ASSERT_EQ(a.events.faults.size(), 1u);
    EXPECT_EQ(a.events.faults[0].peer, 0u) << "its own device";
    EXPECT_EQ(a.events.faults[0].error.code, Errc::io);
    for (const char* words : {"payload 1 to peer 1 cannot be read from the device", "unspecified launch failure"})
      EXPECT_NE(a.events.faults[0].error.message.find(words), std::string::npos) << a.events.faults[0].error.message;
    EXPECT_TRUE(b.events.arrivals.empty() && a.events.deliveries.empty());
    ASSERT_TRUE(until({&a, &b}, [&] { return !b.events.arrivals.empty(); }));
    EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 1), 50'000u);
    b.transport->release(b.events.arrivals[0]);
    EXPECT_TRUE(until({&a, &b}, [&] { return a.events.deliveries.size() == 1 && a.transport->drained(); }));
    EXPECT_EQ(a.events.faults.size(), 1u);
    EXPECT_TRUE(b.events.faults.empty());
  }
}

constexpr auto kName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(OnDevice, ChannelDevice, ::testing::ValuesIn(device_backends()), kName);

class ChannelWithoutDevice : public ChannelBackendsFixture {};

TEST_P(ChannelWithoutDevice, RefusesItsMemoryInWords) {
  TransportSetup wrong = setup(0, 100);
  wrong.memory = MemoryKind::cuda;
  Node a = make(wrong), b = make(setup(1, 100));
  ChannelWorld::introduce_both(a, b);
  const auto leased = a.transport->lease();
  ASSERT_FALSE(leased);
  for (const bool receive : {false, true}) {
    const auto opened = a.transport->open(1, receive);
    ASSERT_FALSE(opened);
    for (const Error& error : {leased.error(), opened.error()}) {
      EXPECT_EQ(error.code, Errc::unsupported);
      for (const char* words : {"has no device", "make it with one", "host's memory"})
        EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, ChannelWithoutDevice, ::testing::ValuesIn(all_backends()), kName);

class DeviceLoopback : public ::testing::Test {
 protected:
  ChannelWorld world_{{"device", fake_cuda::device(), ""}};
};

// It has been paid for: the slot goes back, and what follows is served.
TEST_F(DeviceLoopback, APayloadThatCannotBeCheckedIsAFaultOfTheReceiversDevice) {
  TransportSetup setup = ChannelWorld::setup(0);
  setup.checksum = true;
  setup.window = 1;
  Node a = world_.make(setup);
  setup.self = 1;
  Node b = world_.make(setup);
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  const auto buffer = a.transport->lease();
  ASSERT_TRUE(buffer);
  PayloadHeader header;
  header.used = 100;
  const PeerId to = 1;
  fake_cuda::fail_after(2);  // the sender's checksum, the put; not the receiver's checksum
  a.transport->send(*buffer, header, {&to, 1}, true);
  b.poll();
  fake_cuda::fail_after(-1);
  EXPECT_TRUE(b.events.arrivals.empty());
  ASSERT_EQ(b.events.faults.size(), 1u);
  EXPECT_EQ(b.events.faults[0].peer, 1u);
  EXPECT_EQ(b.events.faults[0].error.code, Errc::io);
  EXPECT_EQ(b.events.faults[0].error.message, "payload 1 of peer 0 cannot be checked: CUDA device 0, copying 100 bytes: unspecified launch failure (719)");
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return a.transport->has_credit(1); }));
  a.send(2, 100, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 1; }));
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 2), 100u);
}

TEST_F(DeviceLoopback, ChecksumsAreThoseOfTheHostWhateverTheLength) {
  // Over more than one piece; a peer in the host's memory would find any difference.
  constexpr std::size_t kSize = 2'500'001;
  TransportSetup setup = ChannelWorld::setup(0);
  setup.checksum = true;
  setup.payload_size_max = kSize;
  Node device = world_.make(setup);
  ChannelWorld of_host;
  of_host.hub = world_.hub;
  setup.self = 1;
  Node host = of_host.make(setup);
  ChannelWorld::introduce_both(device, host);
  world_.connect(device, host);
  world_.connect(host, device);
  device.send(1, kSize, 1);
  host.send(2, kSize, 0);
  ASSERT_TRUE(world_.until({&device, &host}, [&] { return host.events.arrivals.size() + device.events.arrivals.size() == 2; }));
  EXPECT_TRUE(device.events.faults.empty() && host.events.faults.empty());
  EXPECT_EQ(first_difference(host.events.arrivals.at(0).bytes, 1), kSize);
  EXPECT_EQ(first_difference(device.events.arrivals.at(0).bytes, 2), kSize);
}

TEST_F(DeviceLoopback, WhatIsLentToItIsDeclinedAndComesAsACopy) {
  Node victim = world_.make(ChannelWorld::setup(1));
  Puppet p(0, world_.hub);
  must(victim.transport->set_peer(0, p.fabric->address(), 1));
  must(victim.transport->open(0, true));
  p.reach(victim);
  p.say(p.hello());
  victim.poll();
  p.poll();
  const auto region = p.fabric->allocate(128).value();
  p.say(p.lent(1, 100, 0, region->remote()));
  victim.poll();
  EXPECT_TRUE(victim.events.arrivals.empty()) << "in the host's memory";
  EXPECT_TRUE(victim.events.faults.empty());
  p.poll();
  EXPECT_EQ(std::ranges::count_if(p.events.notices, [](const Notice& notice) { return is_control(notice, 4); }), 1);
  p.say(p.payload(1, 10));
  victim.poll();
  ASSERT_EQ(victim.events.arrivals.size(), 1u);
  EXPECT_EQ(victim.events.arrivals[0].bytes.device(), fake_cuda::device().get());
}

using DeviceDeathTest = DeviceLoopback;

TEST_F(DeviceDeathTest, WhoeverTakesItForTheHostsIsStoppedInWords) {
  Node a = world_.make(ChannelWorld::setup(0)), b = world_.make(ChannelWorld::setup(1));
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 100, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 1; }));
  const auto buffer = a.transport->lease();
  ASSERT_TRUE(buffer);
  const Arrival arrival = b.events.arrivals[0];
  EXPECT_EQ(arrival.bytes.size(), 100u) << "which anybody may know";
  const char* const words = "memory of a device is not for the CPU";
  EXPECT_DEATH((void)arrival.bytes.data(), words);
  EXPECT_DEATH((void)arrival.bytes[3], words);
  EXPECT_DEATH((void)std::span<const std::byte>(arrival.bytes.subspan(5)), words);
  EXPECT_DEATH(std::ranges::fill(buffer->bytes, std::byte{0}), words);
}

}  // namespace
}  // namespace gossamer::testing
