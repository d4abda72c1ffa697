// Channels between honest peers: order, exactly-once, credits, buffers, over fabrics that behave and that do
// not.
#include <algorithm>
#include <array>
#include <limits>
#include <ostream>
#include <random>
#include <tuple>

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {
namespace {

// Receives everything in a random order of release, and checks that payloads come as 1, 2, 3, ...
struct Sink {
  std::uint64_t next = 1;
  std::vector<Arrival> held;
  std::size_t most_held = 0;

  void take(Node& node, std::mt19937& random, unsigned release_one_in) {
    for (const Arrival& arrival : node.events.arrivals) {
      EXPECT_EQ(arrival.header.sequence, next);
      EXPECT_EQ(arrival.header.round, next) << "another payload's header";
      held.push_back(arrival);
      ++next;
    }
    node.events.arrivals.clear();
    most_held = std::max(most_held, held.size());
    // Bytes are looked at late: a slot that was written over too early shows.
    while (!held.empty() && random() % release_one_in == 0) {
      const std::size_t at = random() % held.size();
      EXPECT_EQ(first_difference(held[at].bytes, held[at].header.round), held[at].bytes.size())
          << "damaged payload " << held[at].header.round;
      node.transport->release(held[at]);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
};

struct StreamCase {
  std::string name;
  FaultOptions faults;
  std::uint64_t payloads = 2000;
  std::uint32_t window = 4;
  bool checksum = false;
  bool lent = false;

  friend void PrintTo(const StreamCase& c, std::ostream* out) { *out << c.name; }
};

class ChannelStream : public ::testing::TestWithParam<std::tuple<StreamCase, PayloadMemory>> {};

// Both directions at once, so that acknowledgements and payloads share the faults.
TEST_P(ChannelStream, DeliversEachOnceAndInOrder) {
  const auto& [c, memory] = GetParam();
  if (!memory.missing.empty()) GTEST_SKIP() << memory.missing;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ChannelWorld world(memory);
    FaultyFabric* faulty[2] = {};
    Node nodes[2];
    for (PeerId id : {0u, 1u}) {
      TransportSetup setup = ChannelWorld::setup(id);
      setup.window = c.window;
      setup.checksum = c.checksum;
      setup.lend_size_min = c.lent ? 20 : kNeverLend;
      setup.send_buffers_max = 16;  // so that each is written again and again
      setup.resend_after = std::chrono::milliseconds(5);
      FaultOptions faults = c.faults;
      faults.seed = seed * 10 + id;
      nodes[id] = world.make(setup, [&](std::unique_ptr<Fabric> inner) {
        auto made = std::make_unique<FaultyFabric>(std::move(inner), faults);
        faulty[id] = made.get();
        return made;
      });
    }
    ChannelWorld::introduce_both(nodes[0], nodes[1]);
    for (PeerId id : {0u, 1u}) ASSERT_TRUE(nodes[id].transport->open(1 - id, true));
    std::mt19937 random(static_cast<unsigned>(seed));
    Sink sinks[2];
    std::uint64_t sent[2] = {}, delivered[2] = {};
    const auto done = [&] {
      for (PeerId id : {0u, 1u}) {
        Node& node = nodes[id];
        while (sent[id] < c.payloads && node.transport->has_credit(1 - id))
          node.send(++sent[id], random() % 101, 1 - id);
        sinks[id].take(node, random, 2);
        for (const Delivery& delivery : node.events.deliveries) {
          EXPECT_EQ(delivery.sequence, ++delivered[id]) << "deliveries are told once and in order";
          EXPECT_EQ(delivery.status, Errc::ok);
        }
        node.events.deliveries.clear();
      }
      return delivered[0] == c.payloads && delivered[1] == c.payloads && sinks[0].held.empty() &&
             sinks[1].held.empty();
    };
    ASSERT_TRUE(world.until({&nodes[0], &nodes[1]}, done, 200000))
        << "sent " << sent[0] << " and " << sent[1] << ", delivered " << delivered[0] << " and "
        << delivered[1];
    EXPECT_TRUE(world.until({&nodes[0], &nodes[1]},
                            [&] { return nodes[0].transport->drained() && nodes[1].transport->drained(); }));
    for (PeerId id : {0u, 1u}) {
      EXPECT_EQ(sinks[id].next, c.payloads + 1);
      EXPECT_LE(sinks[id].most_held, c.window) << "more unreleased than were granted";
      EXPECT_TRUE(nodes[id].events.faults.empty()) << nodes[id].events.faults.front().error.message;
      EXPECT_TRUE(nodes[id].events.gone.empty());
      EXPECT_EQ(nodes[id].transport->traffic().bytes_sent > nodes[id].fabric->traffic().bytes_sent, c.lent && !memory.device)
          << "of the host's memory it is lent, of a device's it never is";
    }
    const FaultCounts met = faulty[0]->counts();
    EXPECT_EQ(met.dropped > 0, c.faults.drop_put > 0 || c.faults.drop_notice > 0);
    EXPECT_EQ(met.duplicated > 0, c.faults.duplicate_notice > 0);
    EXPECT_EQ(met.refused > 0, c.faults.refuse > 0);
    EXPECT_EQ(met.delayed > 0, c.faults.delay_notice > 0 || c.faults.delay_ended > 0);
    EXPECT_EQ(met.reordered > 0, c.faults.reorder > 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, ChannelStream,
    ::testing::Combine(::testing::Values(StreamCase{"none", {}, 10000, 4, false}, StreamCase{"one_slot", {}, 1000, 1, true},
                      StreamCase{"refuse", {.refuse = .3}},
                      StreamCase{"delay", {.delay_ended = .2, .delay_notice = .3, .reorder = .5}},
                      StreamCase{"drop", {.drop_put = .05, .drop_notice = .05}},
                      StreamCase{"drop_one_slot", {.drop_put = .1, .drop_notice = .1}, 500, 1},
                      StreamCase{"duplicate", {.duplicate_notice = .2}},
                      StreamCase{"everything",
                                 {.refuse = .1,
                                  .delay_ended = .1,
                                  .delay_notice = .1,
                                  .reorder = .3,
                                  .drop_put = .03,
                                  .drop_notice = .03,
                                  .duplicate_notice = .1},
                                 2000,
                                 8,
                                 true},
                      StreamCase{"lent", {}, 10000, 4, true, true}, StreamCase{"lent_one_slot", {}, 1000, 1, false, true},
                      StreamCase{"lent_delay", {.delay_ended = .2, .delay_notice = .3, .reorder = .5}, 2000, 4, false, true},
                      StreamCase{"lent_everything",
                                 {.refuse = .1,
                                  .delay_ended = .1,
                                  .delay_notice = .1,
                                  .reorder = .3,
                                  .drop_put = .03,
                                  .drop_notice = .03,
                                  .duplicate_notice = .1},
                                 2000,
                                 7,
                                 true,
                                 true}),
                       ::testing::ValuesIn(payload_memories())),
    [](const auto& info) { return std::get<0>(info.param).name + "_in_" + std::get<1>(info.param).name; });

class ChannelCredits : public ChannelFixture {};
class ChannelTime : public ChannelFixture {};
class ChannelBuffers : public ChannelFixture {};
class ChannelShape : public ChannelFixture {};
IN_EVERY_MEMORY(ChannelCredits);
IN_EVERY_MEMORY(ChannelTime);
IN_EVERY_MEMORY(ChannelBuffers);
IN_EVERY_MEMORY(ChannelShape);

TEST_P(ChannelCredits, AreTheWindowAndComeBackWithReleases) {
  Node a = world_.make(ChannelWorld::setup(0)), b = world_.make(ChannelWorld::setup(1));
  EXPECT_FALSE(a.transport->has_credit(1)) << "a peer nobody heard of";
  ChannelWorld::introduce_both(a, b);
  EXPECT_FALSE(a.transport->has_credit(1));
  world_.connect(a, b);
  EXPECT_FALSE(b.transport->has_credit(0)) << "the other direction was granted nothing";
  a.send(1, 10, 1);
  EXPECT_TRUE(a.transport->has_credit(1));
  a.send(2, 10, 1);
  EXPECT_FALSE(a.transport->has_credit(1));
  world_.settle({&a, &b}, 500);
  ASSERT_EQ(b.events.arrivals.size(), 2u);
  EXPECT_FALSE(a.transport->has_credit(1)) << "reading takes no slot back, releasing does";
  // Released out of order: the slot of payload 2 comes after that of payload 1.
  b.transport->release(b.events.arrivals[1]);
  world_.settle({&a, &b});
  EXPECT_FALSE(a.transport->has_credit(1));
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 1), 10u);
  b.transport->release(b.events.arrivals[0]);
  world_.settle({&a, &b});
  EXPECT_TRUE(a.transport->has_credit(1));
  a.send(3, 10, 1);
  a.send(4, 10, 1);
  EXPECT_FALSE(a.transport->has_credit(1));
  EXPECT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 4; }));
}

// The acknowledgement that frees the last slot is lost, and nothing is left to repeat that would bring
// another.
TEST_P(ChannelCredits, SurviveTheLossOfTheLastAcknowledgement) {
  HookedFabric* hooks = nullptr;
  const auto unreliable = [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    made->reliable = false;
    hooks = made.get();
    return made;
  };
  TransportSetup setup = ChannelWorld::setup(1);
  setup.window = 1;
  Node b = world_.make(setup, unreliable);
  Node a = world_.make(ChannelWorld::setup(0), unreliable);
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 10, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return a.events.deliveries.size() == 1; }));
  EXPECT_FALSE(a.transport->has_credit(1));
  int lost = 0;
  hooks->after_poll = [&](FabricEvents* events) {
    lost += static_cast<int>(std::erase_if(events->notices, is_ack));
  };
  b.transport->release(b.events.arrivals[0]);
  world_.settle({&a, &b}, 50);
  ASSERT_EQ(lost, 1);
  EXPECT_FALSE(a.transport->has_credit(1));
  hooks->after_poll = {};
  EXPECT_NE(a.transport->next_deadline().ns, std::numeric_limits<std::int64_t>::max())
      << "somebody must wake to ask";
  EXPECT_TRUE(world_.until(
      {&a, &b}, [&] { return a.transport->has_credit(1); }, 1000));
  EXPECT_EQ(b.events.arrivals.size(), 1u) << "asking delivers nothing twice";
}

// A slot is free again, but the fabric has not yet ended a repetition of what lay in it.
TEST_P(ChannelCredits, WaitForRepetitionsUnderWay) {
  HookedFabric* hooks = nullptr;
  const auto unreliable = [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    made->reliable = false;
    hooks = made.get();
    return made;
  };
  TransportSetup setup = ChannelWorld::setup(1);
  setup.window = 1;
  Node b = world_.make(setup, unreliable);
  Node a = world_.make(ChannelWorld::setup(0), unreliable);
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 10, 1);
  a.poll();  // the put ends
  world_.clock.advance(std::chrono::milliseconds(250));
  std::vector<Ended> withheld;
  hooks->after_poll = [&](FabricEvents* events) {
    withheld.insert(withheld.end(), events->ended.begin(), events->ended.end());
    events->ended.clear();
  };
  a.poll();  // put again
  a.poll();
  ASSERT_EQ(withheld.size(), 1u);
  ASSERT_TRUE(world_.until({&b}, [&] { return !b.events.arrivals.empty(); }));
  b.transport->release(b.events.arrivals[0]);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return !a.events.deliveries.empty(); }));
  world_.settle({&a, &b});
  EXPECT_FALSE(a.transport->has_credit(1)) << "the repetition could overwrite payload 2";
  hooks->after_poll = [&](FabricEvents* events) {
    events->ended.insert(events->ended.end(), withheld.begin(), withheld.end());
    withheld.clear();
  };
  a.poll();
  EXPECT_TRUE(a.transport->has_credit(1));
}

// With a clock that starts at zero, time zero is a time like any other.
TEST_P(ChannelTime, ZeroIsAMomentAndNotNever) {
  TransportSetup setup = ChannelWorld::setup(0);
  Node b = world_.make(ChannelWorld::setup(1));
  HookedFabric* hooks = nullptr;
  Node a = world_.make(setup, [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    made->reliable = false;
    hooks = made.get();
    return made;
  });
  ChannelWorld::introduce(a, b);
  ASSERT_TRUE(a.transport->open(1, false));  // b does not know a yet and forgets this hello
  ASSERT_EQ(a.fabric->traffic().notices_sent, 1u);
  b.poll();
  ChannelWorld::introduce(b, a);
  EXPECT_LE(a.transport->next_deadline(), Time{} + setup.resend_after);
  ASSERT_TRUE(b.transport->open(0, true));
  for (int i = 0; i < 10; ++i) {
    a.poll();
    b.poll();
  }
  ASSERT_TRUE(a.transport->has_credit(1));
  a.send(1, 1, 1);
  const auto puts = a.fabric->traffic().puts_sent;
  hooks->after_poll = [](FabricEvents* events) { events->notices.clear(); };
  for (int i = 0; i < 10; ++i) a.poll();
  EXPECT_EQ(a.fabric->traffic().puts_sent, puts) << "put again at once";
  world_.clock.advance(setup.resend_after);
  a.poll();
  EXPECT_EQ(a.fabric->traffic().puts_sent, puts + 1);
}

TEST_P(ChannelTime, AHelloSaidAtZeroIsRepeated) {
  Node a = world_.make(ChannelWorld::setup(0)), b = world_.make(ChannelWorld::setup(1));
  ChannelWorld::introduce(a, b);
  ASSERT_TRUE(a.transport->open(1, true));
  b.poll();  // dropped: a is not known yet
  ChannelWorld::introduce(b, a);
  EXPECT_TRUE(world_.until(
      {&a, &b}, [&] { return b.transport->has_credit(0); }, 1000));
}

TEST(ChannelTime, NothingToDoMeansNoDeadline) {
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  ChannelWorld world;
  Node a = world.make(ChannelWorld::setup(0)), b = world.make(ChannelWorld::setup(1));
  EXPECT_EQ(a.transport->next_deadline().ns, never);
  ChannelWorld::introduce_both(a, b);
  EXPECT_EQ(a.transport->next_deadline().ns, never);
  ASSERT_TRUE(a.transport->open(1, true));
  EXPECT_GT(a.transport->next_deadline(), world.clock.now()) << "a deadline in the past is a busy loop";
  EXPECT_LE(a.transport->next_deadline(), world.clock.now() + std::chrono::milliseconds(200));
  ASSERT_TRUE(b.transport->open(0, true));
  world.settle({&a, &b}, 1000);
  EXPECT_EQ(a.transport->next_deadline().ns, never) << "both know all there is to know";
  a.send(1, 50, 1);
  world.settle({&a, &b});
  b.transport->release(b.events.arrivals[0]);
  world.settle({&a, &b});
  EXPECT_EQ(a.transport->next_deadline().ns, never);
  EXPECT_EQ(b.transport->next_deadline().ns, never);
}

TEST(ChannelBuffers, OneToManyReturnsOnce) {
  constexpr std::size_t n = 6;
  ChannelWorld world;
  std::vector<Node> nodes;
  std::vector<Node*> all;
  std::vector<PeerId> others;
  TransportSetup setup = ChannelWorld::setup(0, n);
  setup.send_buffers_max = 1;
  for (PeerId id = 0; id < n; ++id) {
    setup.self = id;
    nodes.push_back(world.make(setup));
    if (id > 0) others.push_back(id);
  }
  for (Node& node : nodes) all.push_back(&node);
  for (PeerId id : others) {
    ChannelWorld::introduce_both(nodes[0], nodes[id]);
    world.connect(nodes[0], nodes[id]);
  }
  for (std::uint64_t round = 1; round <= 50; ++round) {
    ASSERT_TRUE(world.until(all, [&] {
      auto buffer = nodes[0].transport->lease();
      if (!buffer) {
        EXPECT_EQ(buffer.error().code, Errc::would_block);
        return false;
      }
      const auto second = nodes[0].transport->lease();
      EXPECT_FALSE(second) << "the buffer is in the pool twice";
      nodes[0].transport->give_back(*buffer);
      return std::all_of(others.begin(), others.end(),
                         [&](PeerId id) { return nodes[0].transport->has_credit(id); });
    }));
    // Half of them at first, the rest later: the buffer stays until the last.
    auto buffer = nodes[0].transport->lease();
    ASSERT_TRUE(buffer);
    fill(buffer->bytes.first(64), round);
    PayloadHeader header;
    header.round = round;
    header.used = 64;
    nodes[0].transport->send(*buffer, header, std::span(others).first(3), false);
    world.settle(all, 3);
    EXPECT_FALSE(nodes[0].transport->lease()) << "returned before the last receiver";
    nodes[0].transport->send(*buffer, header, std::span(others).subspan(3), true);
    world.settle(all, 3);
    for (PeerId id : others) {
      ASSERT_EQ(nodes[id].events.arrivals.size(), 1u);
      EXPECT_EQ(first_difference(nodes[id].events.arrivals[0].bytes, round), 64u);
      nodes[id].transport->release(nodes[id].events.arrivals[0]);
      nodes[id].events.clear();
    }
  }
}

TEST_P(ChannelBuffers, RunOutAsWouldBlock) {
  TransportSetup setup = ChannelWorld::setup(0);
  setup.send_buffers_max = 3;
  Node a = world_.make(setup);
  std::vector<SendBuffer> leased;
  for (int i = 0; i < 3; ++i) {
    auto buffer = a.transport->lease();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->bytes.size(), 100u);
    leased.push_back(*buffer);
  }
  const auto none = a.transport->lease();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::would_block);
  a.transport->give_back(leased[1]);
  EXPECT_TRUE(a.transport->lease());
  a.transport->give_back(leased[0]);
  EXPECT_DEATH(a.transport->give_back(leased[0]), "given back twice");
}

TEST_P(ChannelShape, SilenceIsDrainedAndASendIsNot) {
  Node a = world_.make(ChannelWorld::setup(0)), b = world_.make(ChannelWorld::setup(1));
  EXPECT_TRUE(a.transport->drained());
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  world_.settle({&a, &b});
  EXPECT_TRUE(a.transport->drained());
  a.send(1, 10, 1);
  EXPECT_FALSE(a.transport->drained());
  a.poll();
  EXPECT_FALSE(a.transport->drained())
      << "the fabric ended the put, but the peer has not said that it has it";
  world_.settle({&a, &b});
  ASSERT_EQ(b.events.arrivals.size(), 1u);
  b.transport->release(b.events.arrivals[0]);
  world_.settle({&a, &b});
  EXPECT_TRUE(a.transport->drained());
  EXPECT_TRUE(b.transport->drained());
  ASSERT_EQ(a.events.deliveries.size(), 1u);
  EXPECT_EQ(a.events.deliveries[0].status, Errc::ok);
}

// Models of 2^k floats would lie so one behind the other, and inputs a multiple of 256 MiB apart are slow to mix (docs/measurements.md).
TEST(ChannelShape, SlotsOfLargePayloadsAreNoMultiplesOfLargePowersOfTwo) {
  for (const std::size_t payload : {std::size_t{1} << 20, std::size_t{1} << 22, (std::size_t{1} << 22) + 8, (std::size_t{1} << 22) - 8192}) {
    ChannelWorld world;
    TransportSetup setup = ChannelWorld::setup(0);
    setup.payload_size_max = payload;
    Node node = world.make(setup);
    Puppet puppet(1, world.hub);
    must(node.transport->set_peer(1, puppet.fabric->address(), 1));
    puppet.reach(node);
    must(node.transport->open(1, true));
    node.poll();
    puppet.poll();
    EXPECT_GE(puppet.slot_size, payload);
    EXPECT_LE(puppet.slot_size, payload + 16384);
    EXPECT_EQ(puppet.slot_size % 16384, 8192u);  // so no few of them are a multiple of more
  }
}

TEST(ChannelShape, TwoHundredPeersOpenLazily) {
  constexpr std::size_t n = 200;
  ChannelWorld world;
  std::vector<Node> nodes;
  std::vector<Node*> all;
  for (PeerId id = 0; id < n; ++id) {
    TransportSetup setup = ChannelWorld::setup(id, n);
    setup.payload_size_max = 16;
    nodes.push_back(world.make(setup));
  }
  for (Node& node : nodes) all.push_back(&node);
  for (Node& a : nodes)
    for (Node& b : nodes)
      if (a.id != b.id) ChannelWorld::introduce(a, b);
  // Round k: everybody sends to the peers k further on and k back; no channel opens before it is needed.
  for (std::size_t k = 1; k <= n / 2; ++k) {
    const auto partners = [&](PeerId id) {
      return std::array{static_cast<PeerId>((id + k) % n), static_cast<PeerId>((id + n - k) % n)};
    };
    for (PeerId id = 0; id < n; ++id)
      for (const PeerId partner : partners(id)) ASSERT_TRUE(nodes[id].transport->open(partner, true));
    std::vector<std::size_t> sent(n);
    ASSERT_TRUE(world.until(
        all,
        [&] {
          bool done = true;
          for (PeerId id = 0; id < n; ++id) {
            while (sent[id] < 2 && nodes[id].transport->has_credit(partners(id)[sent[id]])) {
              const PeerId to = partners(id)[sent[id]++];
              nodes[id].send(k * n + id, 16, to);
            }
            done &= sent[id] == 2 && nodes[id].events.arrivals.size() == 2;
          }
          return done;
        },
        100))
        << "round " << k;
    for (Node& node : nodes) {
      std::vector<PeerId> from;
      for (const Arrival& arrival : node.events.arrivals) {
        from.push_back(arrival.from);
        EXPECT_EQ(first_difference(arrival.bytes, k * n + arrival.from), 16u);
        node.transport->release(arrival);
      }
      const auto expected = partners(node.id);
      EXPECT_TRUE(std::is_permutation(from.begin(), from.end(), expected.begin(), expected.end()));
      EXPECT_TRUE(node.events.faults.empty());
      node.events.clear();
    }
  }
}

}  // namespace
}  // namespace gossamer::testing
