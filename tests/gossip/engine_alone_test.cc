// What one engine promises while the test plays its neighbours: who is waited for and how long, and what is refused.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gossip/algorithms.h"
#include "gossip/engine.h"
#include "tests/transports/channel_fixture.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing::ChannelWorld;
using testing::Node;

// One engine among neighbours that the test plays: a ring of 3, the engine is peer 0.
class EngineAlone : public ::testing::Test {
 protected:
  void SetUp() override {
    mixer_ =
        make_mixer(
            "d-psgd",
            {.self = 0, .peers = 4, .layout = &layout_, .topology = ring_.get(), .compressor = none_.get()})
            .value();
    for (PeerId id = 0; id < 4; ++id)
      nodes_.push_back(world_.make(
          {.self = id, .peers = 4, .run = 7, .payload_size_max = mixer_->payload_capacity(), .window = 8}));
    for (PeerId id = 1; id < 4; ++id) ChannelWorld::introduce_both(nodes_[0], nodes_[id]);
    engine_ = std::make_unique<Engine>(
        EngineSetup{.self = 0, .peers = 4, .vector_size = 4, .round_deadline = std::chrono::seconds(5)},
        world_.clock, *ring_, *mixer_, *nodes_[0].transport, stream_);
    for (PeerId id : {1u, 2u, 3u}) {
      ASSERT_TRUE(nodes_[id].transport->open(0, true));
      ASSERT_TRUE(nodes_[0].transport->open(id, true));
    }
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(turn());
    for (PeerId id : {1u, 2u, 3u}) ASSERT_TRUE(nodes_[id].transport->has_credit(0));
  }

  Result<> turn() {
    for (PeerId id = 1; id < 4; ++id)
      if (nodes_[id].transport) nodes_[id].poll();
    world_.clock.advance(std::chrono::milliseconds(1));
    return engine_->step();
  }
  Result<> turns(int count) {
    for (int i = 0; i < count; ++i) GOSSAMER_TRY(turn());
    return {};
  }

  // A model of `value`s from a neighbour.
  void send(PeerId from, Round round, Phase phase = 0, float value = 1) {
    auto buffer = nodes_[from].transport->lease();
    ASSERT_TRUE(buffer);
    const std::vector<float> model(4, value);
    std::memcpy(buffer->bytes.data(), model.data(), 16);
    PayloadHeader header;
    header.codec = static_cast<std::uint16_t>(CodecId::none);
    header.phase = phase;
    header.round = round;
    header.count = 4;
    header.used = 16;
    const PeerId to[] = {0};
    nodes_[from].transport->send(*buffer, header, to, true);
  }
  // From peer 3.
  void forge(PayloadHeader header) {
    const auto buffer = nodes_[3].transport->lease();
    ASSERT_TRUE(buffer);
    header.codec = static_cast<std::uint16_t>(CodecId::none);
    const PeerId to[] = {0};
    nodes_[3].transport->send(*buffer, header, to, true);
  }

  void expect_corrupt(const Result<>& result, const std::string& who) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::corrupt) << result.error().message;
    EXPECT_NE(result.error().message.find(who), std::string::npos) << result.error().message;
  }

  ChannelWorld world_;
  std::unique_ptr<Topology> ring_ = make_topology(family_spec("ring", 4)).value();  // peer 0 has neighbours 1 and 3
  Layout layout_ = Layout::flat(4);
  std::unique_ptr<Compressor> none_ = make_compressor({}).value();
  Stream stream_;
  std::unique_ptr<Mixer> mixer_;
  std::vector<Node> nodes_;
  std::unique_ptr<Engine> engine_;
  std::vector<float> model_ = std::vector<float>(4, 0);
};

TEST_F(EngineAlone, WaitsForItsNeighboursAndForNobodyElse) {
  engine_->publish(model_, 0);
  EXPECT_FALSE(engine_->can_publish());
  ASSERT_TRUE(turns(20));
  EXPECT_EQ(engine_->waiting_for(), (std::vector<PeerId>{1, 3}));
  send(3, 0, 0, 3);
  ASSERT_TRUE(turns(5));
  EXPECT_EQ(engine_->waiting_for(), std::vector<PeerId>{1});
  EXPECT_FALSE(engine_->correction_ready());
  send(1, 0, 0, 6);
  ASSERT_TRUE(turns(5));
  EXPECT_EQ(engine_->open_rounds(), 0u);
  ASSERT_TRUE(engine_->correction_ready());
  engine_->apply(model_);
  EXPECT_FLOAT_EQ(model_[0], 3.f);
  EXPECT_FALSE(engine_->correction_ready());
  engine_->apply(model_);
  EXPECT_FLOAT_EQ(model_[0], 3.f) << "a correction is applied once";
}

TEST_F(EngineAlone, UsesWhatANeighbourSentAhead) {
  for (Round round = 0; round < 4; ++round)
    for (PeerId from : {1u, 3u}) send(from, round, 0, static_cast<float>(round));
  ASSERT_TRUE(turns(5));
  EXPECT_EQ(engine_->stats().payloads_received, 8u);
  for (Round round = 0; round < 4; ++round) {
    std::fill(model_.begin(), model_.end(), 0.f);
    engine_->publish(model_, 0);
    ASSERT_TRUE(turns(5));
    engine_->apply(model_);
    EXPECT_FLOAT_EQ(model_[0], static_cast<float>(round) * 2 / 3);
  }
}

TEST_F(EngineAlone, APeerThatNeverPublishesIsNamedAtTheDeadline) {
  engine_->publish(model_, 0);
  send(1, 0);
  ASSERT_TRUE(turns(5));
  EXPECT_LE(engine_->next_deadline(), world_.clock.now() + std::chrono::seconds(5));
  world_.clock.advance(std::chrono::seconds(6));
  const auto late = engine_->step();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timed_out);
  EXPECT_NE(late.error().message.find("nothing came from peer 3"), std::string::npos) << late.error().message;
  EXPECT_EQ(late.error().message.find("peer 1"), std::string::npos) << late.error().message;
}

TEST_F(EngineAlone, TheDeadlineHasPassedWhenItsTimeHasCome) {
  engine_->publish(model_, 0);
  const Time opened = world_.clock.now();
  ASSERT_TRUE(turns(5));
  world_.clock.set(opened + std::chrono::nanoseconds(std::chrono::seconds(5)));
  const auto late = engine_->step();
  ASSERT_FALSE(late) << "step() at next_deadline() did nothing";
  EXPECT_EQ(late.error().code, Errc::timed_out);
}

TEST_F(EngineAlone, APeerThatGrantsNoMailboxIsNamed) {
  // Peer 3's window of 8 is full when it consumes nothing; the engine then waits to send.
  for (Round round = 0; round < 9; ++round) {
    send(1, round);
    send(3, round);
    engine_->publish(model_, 0);
    if (round == 8) break;
    ASSERT_TRUE(turns(5));
    ASSERT_EQ(engine_->open_rounds(), 0u) << round;
    engine_->apply(model_);
    for (const Arrival& arrival : nodes_[1].events.arrivals) nodes_[1].transport->release(arrival);
    nodes_[1].events.clear();
  }
  ASSERT_TRUE(turns(5));
  EXPECT_EQ(engine_->waiting_for(), std::vector<PeerId>{3});
  world_.clock.advance(std::chrono::seconds(6));
  const auto late = engine_->step();
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("peer 3 takes no payload"), std::string::npos) << late.error().message;
}

TEST_F(EngineAlone, AGonePeerEndsTheRunOnlyWhenItIsWaitedFor) {
  const auto leave = [&](PeerId id) {
    nodes_[id].transport.reset();
    nodes_[id].fabric.reset();
  };
  leave(2);  // no neighbour
  engine_->publish(model_, 0);
  send(1, 0);
  send(3, 0);
  ASSERT_TRUE(turns(3));
  ASSERT_EQ(engine_->open_rounds(), 0u);
  engine_->apply(model_);
  // It sent what round 1 needs and left: that round closes, the next one cannot.
  send(3, 1);
  send(1, 1);
  ASSERT_TRUE(turns(3));
  engine_->publish(model_, 0);
  ASSERT_TRUE(turns(1));
  ASSERT_EQ(engine_->open_rounds(), 0u);
  engine_->apply(model_);
  leave(3);
  ASSERT_TRUE(turns(20)) << "between rounds nobody is waited for";
  engine_->publish(model_, 0);
  const auto lost = turns(20);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Errc::peer_gone);
  EXPECT_NE(lost.error().message.find("peer 3"), std::string::npos) << lost.error().message;
}

TEST_F(EngineAlone, APayloadOfAClosedRoundIsCorrupt) {
  engine_->publish(model_, 0);
  send(1, 0);
  send(3, 0);
  ASSERT_TRUE(turns(5));
  ASSERT_EQ(engine_->open_rounds(), 0u);
  send(3, 0);
  expect_corrupt(turns(5), "peer 3");
}

TEST_F(EngineAlone, TheSamePayloadTwiceIsCorrupt) {
  engine_->publish(model_, 0);
  send(3, 0);
  send(3, 0);
  expect_corrupt(turns(5), "peer 3");
}

TEST_F(EngineAlone, AnUnknownPhaseIsCorruptWhenItsRoundCloses) {
  engine_->publish(model_, 0);
  send(3, 0, 7);
  send(1, 0);
  ASSERT_TRUE(turns(5));
  send(3, 0);
  expect_corrupt(turns(5), "peer 3 sent a payload of round 0 phase 7");
}

TEST_F(EngineAlone, AStrangersPayloadIsCorruptWhenItsRoundCloses) {
  send(2, 0);  // a peer of the run, but no neighbour
  engine_->publish(model_, 0);
  send(1, 0);
  send(3, 0);
  expect_corrupt(turns(5), "peer 2");
}

TEST_F(EngineAlone, APartThatTheVectorDoesNotHaveIsCorrupt) {
  engine_->publish(model_, 0);
  send(1, 0);
  forge({.count = 4, .used = 16, .bucket = 1});
  expect_corrupt(turns(5), "peer 3 sent a payload of part 1");
}

TEST_F(EngineAlone, ADamagedPayloadIsCorruptAndNamed) {
  engine_->publish(model_, 0);
  send(1, 0);
  forge({.count = 4, .used = 15});
  expect_corrupt(turns(5), "peer 3");
}

}  // namespace
}  // namespace gossamer
