// The promises of channels over every backend of this build, in the host's memory and in a device's.
#include <array>
#include <atomic>
#include <random>
#include <thread>

#include "tests/transports/channel_backends_fixture.h"

namespace gossamer::testing {
namespace {

class ChannelBackends : public ChannelBackendsFixture {
 protected:
  // Payloads of random sizes both ways at once, until all are known to have come.
  void stream(Node (&nodes)[2], std::uint64_t payloads, std::size_t size_max) {
    std::uint64_t sent[2] = {}, came[2] = {}, delivered[2] = {};
    std::mt19937 random(3);
    EXPECT_TRUE(until({&nodes[0], &nodes[1]},
                      [&] {
                        for (PeerId id : {0u, 1u}) {
                          Node& node = nodes[id];
                          while (sent[id] < payloads && node.transport->has_credit(1 - id))
                            node.send(++sent[id], random() % 10 == 0 ? size_max - random() % 100 : random() % 3000, 1 - id);
                          for (const Arrival& arrival : node.events.arrivals) {
                            EXPECT_EQ(arrival.header.sequence, ++came[id]);
                            EXPECT_EQ(arrival.bytes.device(), GetParam().device.get()) << "in somebody else's memory";
                            EXPECT_EQ(first_difference(arrival.bytes, came[id]), arrival.bytes.size());
                            node.transport->release(arrival);
                          }
                          for (const Delivery& delivery : node.events.deliveries) EXPECT_EQ(delivery.sequence, ++delivered[id]);
                          for (const Fault& fault : node.events.faults) ADD_FAILURE() << fault.error.message;
                          node.events.clear();
                        }
                        return delivered[0] == payloads && delivered[1] == payloads && nodes[0].transport->drained() &&
                               nodes[1].transport->drained();
                      }))
        << "came: " << came[0] << " and " << came[1];
    EXPECT_EQ(came[0], payloads);
    EXPECT_EQ(came[1], payloads);
  }
};

TEST_P(ChannelBackends, CarryPayloadsBothWaysInOrder) {
  constexpr std::size_t kSizeMax = 300'000;  // over the limit where a backend goes from eager to rendezvous
  Node nodes[2] = {make(setup(0, kSizeMax)), make(setup(1, kSizeMax))};
  ChannelWorld::introduce_both(nodes[0], nodes[1]);
  for (PeerId id : {0u, 1u}) ASSERT_TRUE(nodes[id].transport->open(1 - id, true));
  stream(nodes, 300, kSizeMax);
}

// Lost, repeated, reordered, late, refused: what a fabric may do that is not reliable.
TEST_P(ChannelBackends, SendAgainWhatIsLost) {
  constexpr std::size_t kSizeMax = 30'000;
  FaultyFabric* faulty[2] = {};
  Node nodes[2];
  for (PeerId id : {0u, 1u}) {
    TransportSetup lossy = setup(id, kSizeMax);
    lossy.resend_after = std::chrono::milliseconds(5);
    const FaultOptions faults{.seed = 20 + id, .refuse = .1, .delay_ended = .1, .delay_notice = .1, .reorder = .3, .drop_put = .05, .drop_notice = .05, .duplicate_notice = .1};
    nodes[id] = make(lossy, [&](std::unique_ptr<Fabric> inner) {
      auto made = std::make_unique<FaultyFabric>(std::move(inner), faults);
      faulty[id] = made.get();
      return made;
    });
  }
  ChannelWorld::introduce_both(nodes[0], nodes[1]);
  for (PeerId id : {0u, 1u}) ASSERT_TRUE(nodes[id].transport->open(1 - id, true));
  stream(nodes, 100, kSizeMax);
  for (PeerId id : {0u, 1u}) EXPECT_TRUE(faulty[id]->counts().dropped > 0 && faulty[id]->counts().duplicated > 0);
}

TEST_P(ChannelBackends, GrantWhatTheWindowIsAndGetItBackInOrder) {
  Node a = make(setup(0, 5000)), b = make(setup(1, 5000));
  connect(a, b);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(a.transport->has_credit(1)) << i;
    a.send(i, 5000 - i, 1);
  }
  EXPECT_FALSE(a.transport->has_credit(1));
  ASSERT_TRUE(until({&a, &b}, [&] { return b.events.arrivals.size() == 3; }));
  const auto arrivals = b.events.arrivals;
  b.transport->release(arrivals[2]);
  b.transport->release(arrivals[1]);
  wait({&a, &b});
  EXPECT_FALSE(a.transport->has_credit(1)) << "the slots come after that of payload 1";
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 4999u);
  b.transport->release(arrivals[0]);
  EXPECT_TRUE(until({&a, &b}, [&] { return a.transport->has_credit(1) && a.events.deliveries.size() == 3; }));
}

TEST_P(ChannelBackends, SendOneBufferToManyAndGetItBackOnce) {
  constexpr std::size_t kPeers = 4;
  const std::array<PeerId, 3> others{1, 2, 3};
  std::vector<Node> nodes;
  for (PeerId id = 0; id < kPeers; ++id) {
    TransportSetup one = setup(id, 70'000, kPeers);
    one.send_buffers_max = 1;
    one.lend_size_min = kNeverLend;  // else it returns when it has been read
    nodes.push_back(make(one));
  }
  std::vector<Node*> all;
  for (Node& node : nodes) all.push_back(&node);
  for (const PeerId id : others) connect(nodes[0], nodes[id]);
  for (std::uint64_t round = 1; round <= 5; ++round) {
    SendBuffer buffer;
    ASSERT_TRUE(until(all, [&] {
      const auto leased = nodes[0].transport->lease();
      if (leased) buffer = *leased;
      else EXPECT_EQ(leased.error().code, Errc::would_block);
      return leased.has_value();
    }));
    EXPECT_EQ(buffer.bytes.device(), GetParam().device.get());
    EXPECT_EQ(buffer.bytes.size(), 70'000u);
    EXPECT_FALSE(nodes[0].transport->lease()) << "the buffer is in the pool twice";
    ASSERT_TRUE(until(all, [&] { return std::ranges::all_of(others, [&](PeerId id) { return nodes[0].transport->has_credit(id); }); }));
    fill(buffer.bytes, round);
    PayloadHeader header;
    header.round = round;
    header.used = 70'000;
    nodes[0].transport->send(buffer, header, std::span(others).first(2), false);
    wait(all);
    EXPECT_FALSE(nodes[0].transport->lease()) << "returned before the last receiver";
    nodes[0].transport->send(buffer, header, std::span(others).subspan(2), true);
    ASSERT_TRUE(until(all, [&] { return std::ranges::all_of(others, [&](PeerId id) { return nodes[id].events.arrivals.size() == 1; }); }));
    for (const PeerId id : others) {
      EXPECT_EQ(first_difference(nodes[id].events.arrivals[0].bytes, round), 70'000u);
      nodes[id].transport->release(nodes[id].events.arrivals[0]);
      nodes[id].events.clear();
    }
  }
}

// A peer leaves in good order with payloads under way to it: each ends once.
TEST_P(ChannelBackends, EndWhatWasUnderWayToAPeerThatLeft) {
  Node a = make(setup(0, 100'000)), b = make(setup(1, 100'000));
  ChannelWorld::introduce_both(a, b);
  ASSERT_TRUE(a.transport->open(1, false));
  ASSERT_TRUE(b.transport->open(0, true));
  ASSERT_TRUE(until({&a, &b}, [&] { return a.transport->has_credit(1); }));
  for (std::uint64_t i = 1; i <= 3; ++i) a.send(i, 100'000, 1);
  b.transport.reset();
  b.fabric.reset();
  EXPECT_TRUE(until({&a}, [&] { return !a.events.gone.empty() && a.transport->drained(); }));
  EXPECT_EQ(a.events.gone, std::vector<PeerId>{1});
  ASSERT_EQ(a.events.deliveries.size(), 3u);
  for (const Delivery& delivery : a.events.deliveries) EXPECT_EQ(delivery.status, Errc::peer_gone);
}

TEST_P(ChannelBackends, KeepWhatIsReadThoughItsSenderIsDroppedAndDies) {
  Node a = make(setup(0, 100'000)), b = make(setup(1, 100'000));
  connect(a, b);
  b.send(1, 100'000, 0);
  b.send(2, 70'000, 0);
  ASSERT_TRUE(until({&a, &b}, [&] { return a.events.arrivals.size() == 2; }));
  const auto arrivals = a.events.arrivals;
  b.send(3, 99'000, 0);  // may be under way into the mailbox that is dropped
  a.transport->drop_peer(1);
  wait({&a, &b});
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 100'000u);
  b.transport.reset();
  b.fabric.reset();
  wait({&a});
  EXPECT_EQ(first_difference(arrivals[1].bytes, 2), 70'000u);
  a.transport->release(arrivals[1]);
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 100'000u) << "its neighbour was released, not this";
  a.transport->release(arrivals[0]);
}

TEST_P(ChannelBackends, StartAgainFromOneWithANewLife) {
  Node a = make(setup(0, 50'000)), b = make(setup(1, 50'000));
  connect(a, b);
  b.send(1, 40'000, 0);
  ASSERT_TRUE(until({&a, &b}, [&] { return a.events.arrivals.size() == 1; }));
  const Arrival old = a.events.arrivals[0];
  a.events.clear();
  TransportSetup again = setup(1, 50'000);
  again.incarnation = 5;
  again.resend_after = std::chrono::milliseconds(20);  // hellos, which a does not answer before it knows where they come from
  Node second = make(again);
  ChannelWorld::introduce(second, a);
  must(second.transport->open(0, true));
  ASSERT_TRUE(until({&a, &second}, [&] { return !a.events.restarted.empty(); }));
  wait({&a, &second});
  EXPECT_EQ(a.events.restarted, std::vector<PeerId>{1}) << "told once, though hellos are repeated";
  EXPECT_EQ(a.events.gone, std::vector<PeerId>{1});
  ChannelWorld::introduce(a, second, 5);
  must(a.transport->open(1, true));
  for (std::uint64_t i = 1; i <= 4; ++i) {
    exchange(a, second, 10 + i, 45'000);
    EXPECT_EQ(second.events.arrivals.at(0).header.sequence, i);
    exchange(second, a, 20 + i, 45'000);
    EXPECT_EQ(a.events.arrivals.at(0).header.sequence, i);
  }
  EXPECT_EQ(first_difference(old.bytes, 1), 40'000u) << "an arrival of the first life is still being read";
  a.transport->release(old);
}

TEST_P(ChannelBackends, MayBeDestroyedWithPayloadsUnderWay) {
  Node a = make(setup(0, 200'000)), b = make(setup(1, 200'000));
  connect(a, b);
  for (std::uint64_t i = 1; i <= 3; ++i) a.send(i, 200'000, 1);
  std::atomic<bool> ended{false};
  std::thread other([&] {  // whose polls some fabrics need to end a put
    while (!ended) b.poll();
  });
  a.transport.reset();
  ended = true;
  other.join();
  FabricEvents left;
  a.fabric->poll(&left);
  EXPECT_TRUE(left.ended.empty()) << "the transport is gone before its puts ended";
}

constexpr auto kName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Every, ChannelBackends, ::testing::ValuesIn(all_backends()), kName);
INSTANTIATE_TEST_SUITE_P(OnDevice, ChannelBackends, ::testing::ValuesIn(device_backends()), kName);

}  // namespace
}  // namespace gossamer::testing
