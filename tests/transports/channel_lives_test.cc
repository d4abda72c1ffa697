// Channels whose peers die, leave and come back.
#include <limits>

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {
namespace {

class ChannelLives : public ChannelFixture {
 protected:
  // Peer 1 starts again: a new fabric, a new Transport, a larger incarnation.
  Node reborn(Incarnation incarnation) {
    TransportSetup setup = ChannelWorld::setup(1);
    setup.incarnation = incarnation;
    Node node = world_.make(setup);
    must(node.transport->set_peer(0, a_.fabric->address(), 1));
    return node;
  }

  void SetUp() override {
    ChannelFixture::SetUp();
    if (IsSkipped()) return;
    ChannelWorld::introduce_both(a_, b_);
    world_.connect(a_, b_);
    world_.connect(b_, a_);
  }

  Node a_ = world_.make(ChannelWorld::setup(0));
  Node b_ = world_.make(ChannelWorld::setup(1));
};
class ChannelAgain : public ChannelFixture {};
class ChannelEnd : public ChannelFixture {};
IN_EVERY_MEMORY(ChannelLives);
IN_EVERY_MEMORY(ChannelAgain);
IN_EVERY_MEMORY(ChannelEnd);

TEST_P(ChannelLives, WhatWasUnderWayToTheDeadEndsOnce) {
  a_.send(1, 10, 1);
  world_.settle({&a_, &b_});  // b has it, and has not said so: on a reliable fabric releasing does
  b_.transport->release(b_.events.arrivals.at(0));
  world_.settle({&a_, &b_});
  a_.send(2, 10, 1);
  a_.send(3, 10, 1);
  a_.events.clear();
  b_.transport.reset();
  b_.fabric.reset();
  world_.settle({&a_}, 50);
  EXPECT_EQ(a_.events.gone, std::vector<PeerId>{1});
  ASSERT_EQ(a_.events.deliveries.size(), 2u);
  EXPECT_EQ(a_.events.deliveries[0].sequence, 2u);
  EXPECT_EQ(a_.events.deliveries[1].sequence, 3u);
  EXPECT_EQ(a_.events.deliveries[0].status, Errc::peer_gone);
  EXPECT_EQ(a_.events.deliveries[1].status, Errc::peer_gone);
  EXPECT_FALSE(a_.transport->has_credit(1));
  EXPECT_TRUE(a_.transport->drained()) << "nothing can be done for the dead";
  EXPECT_EQ(a_.transport->next_deadline().ns, std::numeric_limits<std::int64_t>::max());
  const auto opened = a_.transport->open(1, true);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::peer_gone);
}

// The link goes down while the acknowledgement is still on its way.
TEST_P(ChannelEnd, AnAcknowledgementAfterwardsTellsNothingNew) {
  Node a = world_.make(ChannelWorld::setup(0));
  Puppet p(1, world_.hub);
  must(a.transport->set_peer(1, p.fabric->address(), 1));
  must(a.transport->open(1, false));
  p.reach(a);
  p.say(p.hello());
  a.poll();
  ASSERT_TRUE(a.transport->has_credit(1));
  a.send(1, 10, 1);
  a.poll();
  // A second link of the puppet's carries what outlives the first.
  Puppet later(1, world_.hub);
  later.reach(a);
  p.link.reset();
  p.source.reset();
  p.mailbox.reset();
  p.fabric.reset();
  a.poll();
  ASSERT_EQ(a.events.deliveries.size(), 1u);
  EXPECT_EQ(a.events.deliveries[0].status, Errc::peer_gone);
  later.say(later.ack(1, 1));
  a.poll();
  EXPECT_EQ(a.events.deliveries.size(), 1u) << "the same payload ended twice";
}

TEST_P(ChannelLives, DroppingAPeerEndsItsSendsAtTheNextPoll) {
  a_.send(1, 10, 1);
  a_.send(2, 10, 1);
  a_.transport->drop_peer(1);
  EXPECT_FALSE(a_.transport->has_credit(1));
  world_.settle({&a_});
  ASSERT_EQ(a_.events.deliveries.size(), 2u);
  for (const Delivery& delivery : a_.events.deliveries) EXPECT_EQ(delivery.status, Errc::peer_gone);
  a_.transport->drop_peer(1);
  world_.settle({&a_});
  EXPECT_EQ(a_.events.deliveries.size(), 2u);
  // All buffers are back.
  std::vector<SendBuffer> all;
  for (std::size_t i = 0; i < TransportSetup{}.send_buffers_max; ++i) {
    auto buffer = a_.transport->lease();
    ASSERT_TRUE(buffer) << i;
    all.push_back(*buffer);
  }
  for (const SendBuffer& buffer : all) a_.transport->give_back(buffer);
}

TEST_P(ChannelLives, BytesStayUntilTheyAreReleasedEvenIfTheSenderIsDropped) {
  b_.send(1, 100, 0);
  b_.send(2, 100, 0);
  ASSERT_TRUE(world_.until({&a_, &b_}, [&] { return a_.events.arrivals.size() == 2; }));
  a_.transport->drop_peer(1);
  EXPECT_EQ(first_difference(a_.events.arrivals[0].bytes, 1), 100u);
  EXPECT_EQ(first_difference(a_.events.arrivals[1].bytes, 2), 100u);
  a_.transport->release(a_.events.arrivals[1]);
  EXPECT_EQ(first_difference(a_.events.arrivals[0].bytes, 1), 100u);
  a_.transport->release(a_.events.arrivals[0]);
}

TEST_P(ChannelLives, ANewLifeStartsAgainFromOne) {
  b_.send(1, 50, 0);
  a_.send(1, 50, 1);
  ASSERT_TRUE(world_.until({&a_, &b_},
                           [&] { return a_.events.arrivals.size() == 1 && b_.events.arrivals.size() == 1; }));
  b_.transport->release(b_.events.arrivals[0]);
  world_.settle({&a_, &b_});
  a_.send(2, 50, 1);
  const Arrival old = a_.events.arrivals[0];
  a_.events.clear();
  Node second = reborn(5);
  ASSERT_TRUE(second.transport->open(0, true));
  world_.settle({&a_, &second}, 1000);
  EXPECT_EQ(a_.events.restarted, std::vector<PeerId>{1}) << "told once, though hellos are repeated";
  EXPECT_EQ(a_.events.gone, std::vector<PeerId>{1});
  ASSERT_EQ(a_.events.deliveries.size(), 1u);
  EXPECT_EQ(a_.events.deliveries[0].sequence, 2u);
  EXPECT_EQ(a_.events.deliveries[0].status, Errc::peer_gone);
  a_.events.clear();

  ChannelWorld::introduce(a_, second, 5);
  ASSERT_TRUE(a_.transport->open(1, true));
  ASSERT_TRUE(world_.until({&a_, &second},
                           [&] { return a_.transport->has_credit(1) && second.transport->has_credit(0); }));
  // What is left of the first life speaks on, and nobody listens.
  if (b_.transport->has_credit(0)) b_.send(99, 50, 0);
  b_.transport->release(Arrival{.from = 0});  // no mailbox of that peer lies there: nothing happens
  second.send(10, 50, 0);
  a_.send(20, 50, 1);
  world_.settle({&a_, &b_, &second}, 500);
  ASSERT_EQ(a_.events.arrivals.size(), 1u);
  EXPECT_EQ(a_.events.arrivals[0].header.sequence, 1u);
  EXPECT_EQ(a_.events.arrivals[0].header.round, 10u);
  ASSERT_EQ(second.events.arrivals.size(), 1u);
  EXPECT_EQ(second.events.arrivals[0].header.sequence, 1u);
  EXPECT_TRUE(a_.events.faults.empty()) << a_.events.faults.front().error.message;
  EXPECT_EQ(first_difference(old.bytes, 1), 50u) << "an arrival of the first life is still being read";
  a_.transport->release(old);
  a_.transport->release(a_.events.arrivals[0]);
  EXPECT_TRUE(world_.until({&a_, &second}, [&] { return second.events.deliveries.size() == 1; }));
}

TEST_P(ChannelLives, OldNewsOfAPeerChangesNothing) {
  Node second = reborn(5);
  ChannelWorld::introduce(a_, second, 5);
  ASSERT_TRUE(second.transport->open(0, true));
  ASSERT_TRUE(a_.transport->open(1, true));
  ASSERT_TRUE(world_.until({&a_, &second}, [&] { return a_.transport->has_credit(1); }));
  ChannelWorld::introduce(a_, b_, 1);
  EXPECT_TRUE(a_.transport->has_credit(1));
  // Not even once the newer life has ended.
  second.transport.reset();
  second.fabric.reset();
  ASSERT_TRUE(world_.until({&a_, &b_}, [&] { return !a_.events.gone.empty(); }));
  ChannelWorld::introduce(a_, b_, 4);
  EXPECT_FALSE(a_.transport->open(1, true)) << "peer 1 came back as an earlier incarnation";
}

TEST_P(ChannelLives, AHelloOfAnEarlierLifeIsIgnored) {
  Node second = reborn(5);
  ChannelWorld::introduce(a_, second, 5);
  ASSERT_TRUE(a_.transport->open(1, true));
  // b_ is life 1: it says hello again, as it does after a restart of its channel.
  b_.transport->drop_peer(0);
  must(b_.transport->set_peer(0, a_.fabric->address(), 1));
  ASSERT_TRUE(b_.transport->open(0, true));
  a_.events.clear();
  world_.settle({&a_, &b_}, 300);
  EXPECT_TRUE(a_.events.restarted.empty());
  EXPECT_TRUE(a_.events.gone.empty());
  EXPECT_TRUE(a_.events.faults.empty());
  EXPECT_FALSE(a_.transport->has_credit(1));
}

// A put of the dropped channel ends after the peer was introduced again under the same incarnation.
TEST_P(ChannelAgain, AnOldPutDoesNotEndANewOne) {
  HookedFabric* hooks = nullptr;
  Node a = world_.make(ChannelWorld::setup(0), [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    made->reliable = false;
    hooks = made.get();
    return made;
  });
  Puppet p(1, world_.hub);
  const auto meet = [&] {
    must(a.transport->set_peer(1, p.fabric->address(), 1));
    must(a.transport->open(1, false));
    p.reach(a);
    p.say(p.hello());
    a.poll();
    ASSERT_TRUE(a.transport->has_credit(1));
  };
  meet();
  std::vector<Ended> withheld;
  hooks->after_poll = [&](FabricEvents* events) {
    withheld.insert(withheld.end(), events->ended.begin(), events->ended.end());
    events->ended.clear();
  };
  a.send(1, 10, 1);
  a.poll();
  ASSERT_EQ(withheld.size(), 1u);
  a.transport->drop_peer(1);
  meet();
  a.send(2, 10, 1);
  a.poll();
  ASSERT_EQ(withheld.size(), 2u);
  hooks->after_poll = [&](FabricEvents* events) {
    if (!withheld.empty()) events->ended.push_back(withheld.front());
    withheld.erase(withheld.begin());
    hooks->after_poll = [](FabricEvents*) {};
  };
  a.poll();  // the old one
  world_.clock.advance(std::chrono::seconds(10));
  const auto puts = a.fabric->traffic().puts_sent;
  a.poll();
  EXPECT_EQ(a.fabric->traffic().puts_sent, puts) << "put again while the first is under way";
  hooks->after_poll = [&](FabricEvents* events) {
    events->ended.insert(events->ended.end(), withheld.begin(), withheld.end());
    withheld.clear();
  };
  a.poll();
  hooks->after_poll = {};
}

TEST_P(ChannelEnd, DestructionWithPutsUnderWayWaitsForThem) {
  Node b = world_.make(ChannelWorld::setup(1));
  Node a = world_.make(ChannelWorld::setup(0));
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  a.send(1, 100, 1);
  a.send(2, 100, 1);
  a.transport.reset();
  FabricEvents left;
  a.fabric->poll(&left);
  EXPECT_TRUE(left.ended.empty()) << "the transport is gone before its puts ended";
}

// The clock of a simulation stands still in a destructor, and this fabric never ends a put.
TEST_P(ChannelEnd, DestructionEndsEvenIfAPutDoesNot) {
  HookedFabric* hooks = nullptr;
  Node b = world_.make(ChannelWorld::setup(1));
  Node a = world_.make(ChannelWorld::setup(0), [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    hooks = made.get();
    return made;
  });
  ChannelWorld::introduce_both(a, b);
  world_.connect(a, b);
  // Of one byte, and a payload of none, as the buffer is left to the fabric.
  std::vector<Ended> withheld;
  hooks->after_poll = [&](FabricEvents* events) {
    withheld.insert(withheld.end(), events->ended.begin(), events->ended.end());
    events->ended.clear();
  };
  int polls = 0;
  hooks->after_poll = [&](FabricEvents* events) {
    withheld.insert(withheld.end(), events->ended.begin(), events->ended.end());
    events->ended.clear();
    if (++polls == 200'000) events->ended = std::move(withheld);
  };
  a.send(1, 1, 1);
  a.transport.reset();
  EXPECT_EQ(polls, 200'000) << "patient for that long, and then finished";
}

}  // namespace
}  // namespace gossamer::testing
