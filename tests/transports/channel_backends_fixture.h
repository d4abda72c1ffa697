// Channels over any backend, peers on one thread, and the clock of the machine.
#pragma once

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {

class ChannelBackendsFixture : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    in_use_ = fake_cuda::bytes_in_use();
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    world_ = GetParam().world();
  }
  void TearDown() override {
    world_.reset();
    EXPECT_EQ(fake_cuda::bytes_in_use(), in_use_) << "memory of the device was not given back";
  }

  // In memory of the backend's device, if it has one.
  static TransportSetup setup(PeerId id, std::size_t payload_size_max, std::size_t peers = 2) {
    return {.self = id,
            .peers = peers,
            .run = 7,
            .payload_size_max = payload_size_max,
            .window = 3,
            .checksum = true,
            .memory = GetParam().device ? MemoryKind::cuda : MemoryKind::host};
  }
  Node make(const TransportSetup& setup, const ChannelWorld::Wrap& wrap = {}) {
    Node node;
    node.id = setup.self;
    auto fabric = world_->make();
    EXPECT_TRUE(fabric) << fabric.error().message;
    node.fabric = wrap ? wrap(std::move(*fabric)) : std::move(*fabric);
    node.transport = std::make_unique<Transport>(setup, *node.fabric, clock_);
    return node;
  }

  // Polls until `done`, and sleeps as a peer does: on descriptors, and no longer than until the next deadline.
  bool until(const std::vector<Node*>& nodes, const std::function<bool()>& done, Duration patience = 2 * kPatience) {
    const Time deadline = clock_.now() + patience;
    std::vector<pollfd> fds(nodes.size());
    while (!done()) {
      const Time now = clock_.now();
      if (now > deadline) return false;
      Time wake = std::min(deadline, now + std::chrono::milliseconds(20));
      bool idle = true;
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        nodes[i]->poll();
        wake = std::min(wake, nodes[i]->transport->next_deadline());
        fds[i] = {nodes[i]->fabric->wait_fd(), POLLIN, 0};
      }
      if (done()) return true;
      for (Node* node : nodes) idle = node->fabric->arm() && idle;
      const auto sleep_ms = std::chrono::ceil<std::chrono::milliseconds>(std::max(Duration(0), wake - now)).count();
      if (idle) ::poll(fds.data(), fds.size(), static_cast<int>(sleep_ms));
    }
    return true;
  }
  // Long enough for what must not come.
  void wait(const std::vector<Node*>& nodes) {
    (void)until(nodes, [] { return false; }, std::chrono::milliseconds(20));
  }
  // Channels both ways between peers that have not met, with credit.
  void connect(Node& a, Node& b) {
    ChannelWorld::introduce_both(a, b);
    must(a.transport->open(b.id, true));
    must(b.transport->open(a.id, true));
    ASSERT_TRUE(until({&a, &b}, [&] { return a.transport->has_credit(b.id) && b.transport->has_credit(a.id); }));
  }
  // One payload, until it has been read and its sender knows it.
  void exchange(Node& from, Node& to, std::uint64_t number, std::size_t size) {
    from.events.clear();
    to.events.clear();
    ASSERT_TRUE(until({&from, &to}, [&] { return from.transport->has_credit(to.id); }));
    from.send(number, size, to.id);
    ASSERT_TRUE(until({&from, &to}, [&] { return !to.events.arrivals.empty(); })) << number;
    const Arrival arrival = to.events.arrivals[0];
    EXPECT_EQ(arrival.header.round, number);
    EXPECT_EQ(first_difference(arrival.bytes, number), size);
    to.transport->release(arrival);
    EXPECT_TRUE(until({&from, &to}, [&] { return !from.events.deliveries.empty(); })) << number;
    for (const Node* node : {&from, &to})
      for (const Fault& fault : node->events.faults) ADD_FAILURE() << fault.error.message;
  }

  SteadyClock clock_;
  std::unique_ptr<World> world_;
  std::size_t in_use_ = 0;
};

}  // namespace gossamer::testing
