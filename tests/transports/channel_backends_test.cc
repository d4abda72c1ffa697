// The basics of channels over every backend of this build, peers on one thread.
#include <random>

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {
namespace {

class ChannelBackends : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    world_ = GetParam().world();
  }
  Node make(PeerId id, std::size_t payload_size_max) {
    Node node;
    node.id = id;
    auto fabric = world_->make();
    EXPECT_TRUE(fabric) << fabric.error().message;
    node.fabric = std::move(*fabric);
    node.transport = std::make_unique<Transport>(TransportSetup{.self = id,
                                                                .peers = 2,
                                                                .run = 7,
                                                                .payload_size_max = payload_size_max,
                                                                .window = 3,
                                                                .checksum = true},
                                                 *node.fabric, clock_);
    return node;
  }
  bool until(std::vector<Node*> nodes, const std::function<bool()>& done) {
    const Time deadline = clock_.now() + 2 * kPatience;
    while (!done()) {
      if (clock_.now() > deadline) return false;
      for (Node* node : nodes) node->poll();
    }
    return true;
  }

  SteadyClock clock_;
  std::unique_ptr<World> world_;
};

TEST_P(ChannelBackends, CarryPayloadsBothWaysInOrder) {
  constexpr std::size_t size_max = 300'000;  // over the limit where a backend goes from eager to rendezvous
  constexpr std::uint64_t payloads = 300;
  Node nodes[2] = {make(0, size_max), make(1, size_max)};
  ChannelWorld::introduce_both(nodes[0], nodes[1]);
  for (PeerId id : {0u, 1u}) ASSERT_TRUE(nodes[id].transport->open(1 - id, true));
  std::uint64_t sent[2] = {}, came[2] = {}, delivered[2] = {};
  std::mt19937 random(3);
  EXPECT_TRUE(until({&nodes[0], &nodes[1]},
                    [&] {
                      for (PeerId id : {0u, 1u}) {
                        Node& node = nodes[id];
                        while (sent[id] < payloads && node.transport->has_credit(1 - id))
                          node.send(++sent[id],
                                    random() % 10 == 0 ? size_max - random() % 100 : random() % 3000, 1 - id);
                        for (const Arrival& arrival : node.events.arrivals) {
                          EXPECT_EQ(arrival.header.sequence, ++came[id]);
                          EXPECT_EQ(first_difference(arrival.bytes, came[id]), arrival.bytes.size());
                          node.transport->release(arrival);
                        }
                        for (const Delivery& delivery : node.events.deliveries)
                          EXPECT_EQ(delivery.sequence, ++delivered[id]);
                        for (const Fault& fault : node.events.faults) ADD_FAILURE() << fault.error.message;
                        node.events.clear();
                      }
                      return delivered[0] == payloads && delivered[1] == payloads &&
                             nodes[0].transport->drained() && nodes[1].transport->drained();
                    }))
      << "came: " << came[0] << " and " << came[1];
  EXPECT_EQ(came[0], payloads);
  EXPECT_EQ(came[1], payloads);
}

// A peer leaves in good order with payloads under way to it: each ends once.
TEST_P(ChannelBackends, EndWhatWasUnderWayToAPeerThatLeft) {
  Node a = make(0, 100'000), b = make(1, 100'000);
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

INSTANTIATE_TEST_SUITE_P(Every, ChannelBackends, ::testing::ValuesIn(all_backends()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
