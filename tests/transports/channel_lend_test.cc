// Payloads that are lent: they stay in the sender's memory, and nobody writes there while somebody may read.
#include <algorithm>
#include <array>
#include <vector>

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {
namespace {

TransportSetup lending(PeerId self, std::size_t peers = 2) {
  TransportSetup setup = ChannelWorld::setup(self, peers);
  setup.lend_size_min = 20;
  return setup;
}

bool lies_in(std::span<const std::byte> bytes, MemoryView memory) {
  return bytes.data() >= memory.data && bytes.data() + bytes.size() <= memory.data + memory.size;
}

// A fabric that counts what its links have mapped, or whose links map nothing although its own mailboxes can be mapped.
class MappingFabric final : public ForwardingFabric {
 public:
  MappingFabric(std::unique_ptr<Fabric> inner, bool blind, std::size_t* mapped = nullptr)
      : ForwardingFabric(std::move(inner)), blind_(blind), mapped_(mapped) {}
  Result<std::unique_ptr<Link>> connect(std::string_view address) override {
    GOSSAMER_TRY_ASSIGN(auto link, ForwardingFabric::connect(address));
    return std::make_unique<MappingLink>(std::move(link), blind_, mapped_);
  }

 private:
  class Counted final : public Mapping {
   public:
    Counted(std::unique_ptr<Mapping> inner, std::size_t* mapped) : inner_(std::move(inner)), mapped_(mapped) { ++*mapped_; }
    ~Counted() override { --*mapped_; }
    std::span<const std::byte> bytes() const override { return inner_->bytes(); }

   private:
    std::unique_ptr<Mapping> inner_;
    std::size_t* mapped_;
  };
  class MappingLink final : public Link {
   public:
    MappingLink(std::unique_ptr<Link> inner, bool blind, std::size_t* mapped) : inner_(std::move(inner)), blind_(blind), mapped_(mapped) {}
    Result<std::unique_ptr<Target>> open(const RemoteRegion& region) override { return inner_->open(region); }
    Result<std::unique_ptr<Mapping>> map(const RemoteRegion& region) override {
      if (blind_) return Link::map(region);
      GOSSAMER_TRY_ASSIGN(auto mapping, inner_->map(region));
      return std::make_unique<Counted>(std::move(mapping), mapped_);
    }
    Errc put(const Put& put) override { return inner_->put(put); }
    Errc notify(std::span<const std::byte> notice) override { return inner_->notify(notice); }
    std::uint32_t id() const override { return inner_->id(); }

   private:
    std::unique_ptr<Link> inner_;
    bool blind_;
    std::size_t* mapped_;
  };

  bool blind_;
  std::size_t* mapped_;
};

class ChannelLend : public ::testing::Test {
 protected:
  // Of a node that was made with hook().
  Node hooked(PeerId id, HookedFabric** hooks, TransportSetup setup) {
    setup.self = id;
    return world_.make(setup, [hooks](std::unique_ptr<Fabric> inner) {
      auto made = std::make_unique<HookedFabric>(std::move(inner));
      *hooks = made.get();
      return made;
    });
  }

  ChannelWorld world_;
};

TEST_F(ChannelLend, ALargePayloadIsReadWhereTheSenderWroteIt) {
  HookedFabric* hooks = nullptr;
  Node a = hooked(0, &hooks, lending(0)), b = world_.make(lending(1));
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  const auto before = a.fabric->traffic().bytes_sent;
  a.send(1, 100, 1);
  a.send(2, 19, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 2; }));
  EXPECT_EQ(hooks->allocated.size(), 2u) << "a buffer for each";
  EXPECT_TRUE(lies_in(b.events.arrivals[0].bytes, hooks->allocated[0]));
  EXPECT_FALSE(lies_in(b.events.arrivals[1].bytes, hooks->allocated[1])) << "small ones are copied";
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 1), 100u);
  EXPECT_EQ(first_difference(b.events.arrivals[1].bytes, 2), 19u);
  const auto notices = a.fabric->traffic().bytes_sent - before - 19;
  EXPECT_EQ(a.transport->traffic().bytes_sent - before, notices + 119) << "what is lent counts as sent";
  EXPECT_EQ(b.transport->traffic().bytes_received - b.fabric->traffic().bytes_received, 100u);
}

TEST_F(ChannelLend, OneBufferServesAllItsReceiversAndComesBackAfterTheLast) {
  constexpr std::size_t n = 4;
  HookedFabric* hooks = nullptr;
  std::vector<Node> nodes;
  TransportSetup setup = lending(0, n);
  setup.send_buffers_max = 2;
  nodes.push_back(hooked(0, &hooks, setup));
  for (PeerId id = 1; id < n; ++id) nodes.push_back(world_.make(lending(id, n)));
  const std::array<PeerId, 3> others{1, 2, 3};
  std::vector<Node*> all;
  for (Node& node : nodes) all.push_back(&node);
  for (const PeerId id : others) {
    ChannelWorld::introduce_both(nodes[0], nodes[id]);
    world_.connect(nodes[0], nodes[id]);
  }
  for (std::uint64_t round = 1; round <= 20; ++round) {
    nodes[0].send(round, 100, others);
    world_.settle(all, 3);
    for (const PeerId id : others) {
      ASSERT_EQ(nodes[id].events.arrivals.size(), 1u);
      EXPECT_TRUE(lies_in(nodes[id].events.arrivals[0].bytes, hooks->allocated[0])) << "the same memory for everybody";
    }
    for (std::size_t i = 0; i < others.size(); ++i) {
      // Until the last one has released it whoever wants to write gets other memory.
      const auto buffer = nodes[0].transport->lease();
      ASSERT_TRUE(buffer);
      EXPECT_NE(buffer->bytes.data(), hooks->allocated[0].data);
      std::ranges::fill(buffer->bytes, std::byte{0});
      nodes[0].transport->give_back(*buffer);
      Node& reader = nodes[others[(i + round) % 3]];
      EXPECT_EQ(first_difference(reader.events.arrivals[0].bytes, round), 100u);
      reader.transport->release(reader.events.arrivals[0]);
      reader.events.clear();
      world_.settle(all, 3);
    }
    const auto again = nodes[0].transport->lease();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->bytes.data(), hooks->allocated[0].data) << "nobody reads it any more";
    nodes[0].transport->give_back(*again);
  }
  EXPECT_EQ(hooks->allocated.size(), 2u);
}

TEST_F(ChannelLend, WhatIsReadOutlivesItsSender) {
  Node a = world_.make(lending(0)), b = world_.make(lending(1));
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 100, 1);
  a.send(2, 90, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 2; }));
  const auto arrivals = b.events.arrivals;
  a.transport.reset();
  a.fabric.reset();
  ASSERT_TRUE(world_.until({&b}, [&] { return !b.events.gone.empty(); }));
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 100u);
  b.transport->drop_peer(0);
  b.transport->release(arrivals[1]);
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 100u) << "its neighbour was released, not this";
  // It comes back, and lends again under the same numbers.
  TransportSetup setup = lending(0);
  setup.incarnation = 2;
  Node second = world_.make(setup);
  ChannelWorld::introduce(second, b);
  ChannelWorld::introduce(b, second, 2);
  world_.connect(second, b);
  b.events.clear();
  second.send(7, 80, 1);
  ASSERT_TRUE(world_.until({&second, &b}, [&] { return b.events.arrivals.size() == 1; }));
  EXPECT_EQ(first_difference(arrivals[0].bytes, 1), 100u);
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 7), 80u);
  b.transport->release(arrivals[0]);
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 7), 80u);
  b.transport->release(b.events.arrivals[0]);
  EXPECT_TRUE(world_.until({&second, &b}, [&] { return second.transport->drained() && !second.events.deliveries.empty(); }));
}

// Its sender has given it up, and it does not know.
TEST_F(ChannelLend, WhoeverWasGivenUpStillReadsWhatItWasLent) {
  HookedFabric* hooks = nullptr;
  TransportSetup setup = lending(0);
  setup.send_buffers_max = 4;
  Node a = hooked(0, &hooks, setup), b = world_.make(lending(1));
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 100, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return b.events.arrivals.size() == 1; }));
  a.transport->drop_peer(1);
  a.poll();
  ASSERT_EQ(a.events.deliveries.size(), 1u);
  EXPECT_EQ(a.events.deliveries[0].status, Errc::peer_gone);
  // Everything that can be had is written over.
  std::vector<SendBuffer> all;
  for (;;) {
    const auto buffer = a.transport->lease();
    if (!buffer) break;
    std::ranges::fill(buffer->bytes, std::byte{0xee});
    all.push_back(*buffer);
  }
  EXPECT_EQ(all.size(), 4u) << "the buffer of the dead is missed by nobody";
  EXPECT_EQ(first_difference(b.events.arrivals[0].bytes, 1), 100u);
  b.transport->release(b.events.arrivals[0]);
}

TEST_F(ChannelLend, WhoCannotMapGetsACopyOfTheVeryPayload) {
  for (const bool reliable : {true, false}) {
    SCOPED_TRACE(reliable);
    HookedFabric* hooks = nullptr;
    Node a = hooked(0, &hooks, lending(0));
    hooks->reliable = reliable;
    Node b = world_.make(lending(1), [](std::unique_ptr<Fabric> inner) { return std::make_unique<MappingFabric>(std::move(inner), true); });
    ChannelWorld::introduce_both(a, b);
    world_.connect(a, b);
    const auto before = a.transport->traffic().bytes_sent;
    std::uint64_t sent = 0, came = 0, told = 0;
    ASSERT_TRUE(world_.until({&a, &b}, [&] {
      while (sent < 20 && a.transport->has_credit(1)) {
        ++sent;
        a.send(sent, 50 + sent, 1);
      }
      for (const Arrival& arrival : b.events.arrivals) {
        EXPECT_EQ(arrival.header.sequence, ++came);
        EXPECT_EQ(first_difference(arrival.bytes, came), 50 + came);
        b.transport->release(arrival);
      }
      b.events.arrivals.clear();
      for (const Delivery& delivery : a.events.deliveries) EXPECT_EQ(delivery.sequence, ++told);
      a.events.deliveries.clear();
      return told == 20;
    }));
    EXPECT_TRUE(a.events.faults.empty() && b.events.faults.empty());
    EXPECT_TRUE(world_.until({&a, &b}, [&] { return a.transport->drained() && b.transport->drained(); }));
    EXPECT_EQ(a.transport->traffic().bytes_sent, a.fabric->traffic().bytes_sent) << "nothing counts as lent";
    EXPECT_GT(a.transport->traffic().bytes_sent, before + 20 * 50);
    // All buffers are back.
    for (std::size_t i = 0; i < TransportSetup{}.send_buffers_max; ++i) ASSERT_TRUE(a.transport->lease()) << i;
  }
}

// Peer 1 reads nothing; what peer 2 gets does not depend on it.
TEST_F(ChannelLend, ASlowReaderKeepsNoBufferFromTheOthers) {
  TransportSetup setup = lending(0, 3);
  setup.window = 8;
  setup.send_buffers_max = 4;
  Node a = world_.make(setup);
  setup.self = 1;
  Node slow = world_.make(setup);
  setup.self = 2;
  Node quick = world_.make(setup);
  for (Node* other : {&slow, &quick}) {
    ChannelWorld::introduce_both(a, *other);
    world_.connect(a, *other);
  }
  std::uint64_t number = 0;
  for (; a.transport->has_credit(1); world_.settle({&a, &slow}, 2)) a.send(++number, 100, 1);
  EXPECT_EQ(number, 8u) << "a window's worth was taken, lent or not";
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(a.transport->has_credit(2));
    a.send(100 + i, 100, 2);
    ASSERT_TRUE(world_.until({&a, &quick}, [&] { return !quick.events.arrivals.empty(); }));
    EXPECT_EQ(first_difference(quick.events.arrivals[0].bytes, 100 + i), 100u);
    quick.transport->release(quick.events.arrivals[0]);
    quick.events.clear();
    world_.settle({&a, &quick}, 2);
  }
  ASSERT_EQ(slow.events.arrivals.size(), 8u);
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(first_difference(slow.events.arrivals[i].bytes, i + 1), 100u);
}

// Or senders whose buffers come and go would fill this peer's memory with what is not even theirs any more.
TEST_F(ChannelLend, OnlySoMuchStaysMapped) {
  std::size_t mapped = 0;
  Node b = world_.make(lending(1), [&](std::unique_ptr<Fabric> inner) { return std::make_unique<MappingFabric>(std::move(inner), false, &mapped); });
  Puppet p(0, world_.hub);
  must(b.transport->set_peer(0, p.fabric->address(), 1));
  must(b.transport->open(0, true));
  p.reach(b);
  p.say(p.hello());
  b.poll();
  p.poll();
  const auto once = p.fabric->allocate(128).value();
  fill(once->memory().bytes(), 99);
  std::size_t most = 0;
  for (Sequence s = 1; s <= 60; s += 2) {
    auto region = p.fabric->allocate(128).value();
    fill(region->memory().bytes(), s);
    p.say(p.lent(s, 100, 0, region->remote()));
    p.say(p.lent(s + 1, 80, 16, once->remote()));
    b.poll();
    region.reset();  // its memory stays while it is mapped
    ASSERT_EQ(b.events.arrivals.size(), 2u) << s;
    for (const Arrival& arrival : b.events.arrivals) {
      if (arrival.header.sequence == s) {
        EXPECT_EQ(first_difference(arrival.bytes, s), 100u);
      }
      b.transport->release(arrival);
    }
    b.events.arrivals.clear();
    most = std::max(most, mapped);
    p.poll();
  }
  EXPECT_TRUE(b.events.faults.empty());
  EXPECT_GT(most, 2u) << "what is used again is mapped once";
  EXPECT_LE(most, 2 * TransportSetup{}.window + 3);
  b.transport->drop_peer(0);
  EXPECT_EQ(mapped, 0u);
}

// The acknowledgement by which the only buffer would come back is lost.
TEST_F(ChannelLend, ABufferComesBackAlthoughTheAcknowledgementIsLost) {
  HookedFabric* hooks = nullptr;
  TransportSetup setup = lending(0);
  setup.window = 4;
  setup.send_buffers_max = 2;
  Node a = hooked(0, &hooks, setup);
  HookedFabric* other = nullptr;
  Node b = hooked(1, &other, setup);
  // Transports look at it when they are made.
  hooks->reliable = other->reliable = false;
  setup.self = 0;
  a.transport = std::make_unique<Transport>(setup, *a.fabric, world_.clock);
  setup.self = 1;
  b.transport = std::make_unique<Transport>(setup, *b.fabric, world_.clock);
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 100, 1);
  ASSERT_TRUE(world_.until({&a, &b}, [&] { return a.events.deliveries.size() == 1; }));
  hooks->after_poll = [](FabricEvents* events) { std::erase_if(events->notices, is_ack); };
  b.transport->release(b.events.arrivals[0]);
  world_.settle({&a, &b}, 50);
  hooks->after_poll = {};
  const auto both = [&] {
    const auto first = a.transport->lease();
    const auto second = a.transport->lease();
    if (first) a.transport->give_back(*first);
    if (second) a.transport->give_back(*second);
    return first && second;
  };
  EXPECT_FALSE(both());
  EXPECT_TRUE(world_.until({&a, &b}, both, 1000));
  EXPECT_EQ(b.events.arrivals.size(), 1u) << "asking delivers nothing twice";
}

class ChannelLendHostile : public ChannelLend {
 protected:
  void SetUp() override {
    must(victim_.transport->set_peer(0, puppet_.fabric->address(), 1));
    must(victim_.transport->open(0, true));
    puppet_.reach(victim_);
    puppet_.say(puppet_.hello());
    victim_.poll();
    puppet_.poll();
    region_ = puppet_.fabric->allocate(128).value();
  }
  void expect_fault(std::span<const std::byte> notice, std::string_view text) {
    puppet_.say(notice);
    victim_.poll();
    EXPECT_TRUE(victim_.events.arrivals.empty());
    ASSERT_EQ(victim_.events.faults.size(), 1u) << text;
    EXPECT_EQ(victim_.events.faults[0].error.code, Errc::corrupt);
    EXPECT_NE(victim_.events.faults[0].error.message.find(text), std::string::npos) << victim_.events.faults[0].error.message;
    victim_.events.clear();
  }

  Node victim_ = world_.make(lending(1));
  Puppet puppet_{0, world_.hub};
  std::unique_ptr<Region> region_;
};

TEST_F(ChannelLendHostile, ANoticeThatDoesNotFitIsAFault) {
  const RemoteRegion good = region_->remote();
  RemoteRegion large = good;
  large.size = std::uint64_t{1} << 40;
  expect_fault(puppet_.lent(1, 100, 0, large), "send buffers have 128");
  expect_fault(puppet_.lent(1, 100, 64, good), "lends 100 bytes at 64");
  expect_fault(puppet_.lent(1, 100, ~std::uint64_t{0} - 15, good), "send buffers have 128");
  expect_fault(puppet_.lent(1, 50, 3, good), "lends 50 bytes at 3");
  expect_fault(puppet_.lent(1, 101, 0, good), "100 is the most");
  expect_fault(puppet_.lent(3, 100, 0, good), "without credit");
  expect_fault(puppet_.lent(0, 100, 0, good), "without credit");
  const auto whole = puppet_.lent(1, 100, 0, good);
  for (const std::size_t size : {std::size_t{20}, std::size_t{83}, std::size_t{90}, whole.size() - 1})
    expect_fault(cut(whole, size), "does not parse");
  auto longer = whole;
  longer.push_back(std::byte{0});
  expect_fault(longer, "does not parse");
  puppet_.say(whole);
  victim_.poll();
  EXPECT_EQ(victim_.events.arrivals.size(), 1u) << "the same, as it should be";
}

TEST_F(ChannelLendHostile, MemoryThatIsNotThereIsDeclinedAndNeverRead) {
  RemoteRegion other = puppet_.fabric->allocate(128).value()->remote();  // gone at once
  puppet_.say(puppet_.lent(1, 100, 0, other));
  other.key = "no key of anybody";
  puppet_.say(puppet_.lent(2, 100, 0, other));
  victim_.poll();
  EXPECT_TRUE(victim_.events.arrivals.empty());
  EXPECT_TRUE(victim_.events.faults.empty());
  puppet_.poll();
  std::size_t declined = 0;
  for (const Notice& notice : puppet_.events.notices) declined += is_control(notice, 4);
  EXPECT_EQ(declined, 2u);
  // What is declined may still come as a copy.
  puppet_.say(puppet_.payload(1, 10));
  puppet_.say(puppet_.payload(2, 10));
  victim_.poll();
  EXPECT_EQ(victim_.events.arrivals.size(), 2u);
}

TEST_F(ChannelLendHostile, DecliningWhatWasNeverSentIsAFault) {
  Writer writer = puppet_.prefix(4);
  writer.put<Sequence>(5);
  expect_fault(writer.view(), "declines payload 5 of 0");
  expect_fault(puppet_.prefix(4).view(), "declines payload 0");
}

}  // namespace
}  // namespace gossamer::testing
