// The asynchronous parameter server against its equations, and what it keeps whatever the order of events.
#include <gtest/gtest.h>

#include "tests/gossip/free_running.h"
#include "tests/gossip/training.h"

namespace gossamer {
namespace {

using namespace testing_support;

constexpr PeerId kHub = 0;

NetworkOptions server(std::size_t dimension, CodecId codec = CodecId::none) {
  return {.algorithm = "parameter-server-async", .compression = {.codec = codec}, .dimension = dimension};
}

// As a run begins: one model at all peers.
void start_alike(Network& network, float value) {
  for (PeerId p = 0; p < network.size(); ++p) {
    std::fill(network.model(p).begin(), network.model(p).end(), value);
    network.mixer(p).start(network.model(p));
  }
}

// What is on its way reaches the hub, and then all leaves take what came of it.
void flush(Network& network) {
  for (int i = 0; i < 3; ++i) {
    const auto done = network.round();
    ASSERT_TRUE(done) << done.error().message;
  }
}

TEST(AsyncServer, AnExchangeIsItsEquations) {
  const auto topology = graph("star", 3);
  Network network(*topology, server(1));
  start_alike(network, 10);
  network.engine(kHub).publish(network.model(kHub), 0);

  network.model(1)[0] += 3;
  network.engine(1).publish(network.model(1), 0);
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(kHub)[0], 11) << "a third of the push";
  EXPECT_EQ(network.model(1)[0], 11) << "the leaf has the hub's model";
  EXPECT_EQ(network.model(2)[0], 10) << "and nobody else is concerned";

  network.model(1)[0] += 6;
  network.engine(1).publish(network.model(1), 0);
  network.model(1)[0] += 0.75f;  // a step that is taken while the exchange is under way
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(kHub)[0], 13);
  EXPECT_EQ(network.model(1)[0], 13.75f) << "the hub's model and the step that it has not seen";

  network.model(2)[0] -= 3;  // of a model that is two pushes old
  network.engine(2).publish(network.model(2), 0);
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(kHub)[0], 12);
  EXPECT_EQ(network.model(2)[0], 12);

  network.engine(1).publish(network.model(1), 0);
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(1)[0], 12.25f) << "the step of before is pushed once, and only now";

  network.model(kHub)[0] += 9;
  network.engine(kHub).publish(network.model(kHub), 0);
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(kHub)[0], 15.25f) << "the hub's own step counts like a leaf's";
}

struct Star {
  std::size_t peers;
  std::vector<unsigned> pace;
};

class AsyncServers : public testing::TestWithParam<Star> {};
INSTANTIATE_TEST_SUITE_P(, AsyncServers,
                         testing::Values(Star{2, {1, 1}}, Star{6, {1, 1, 1, 1, 1, 1}}, Star{6, {1, 20, 1, 1, 3, 1}}, Star{5, {20, 1, 1, 1, 1}}),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

// z = start + 1/n sum of all steps: none is lost, none counts twice, whoever is slow.
TEST_P(AsyncServers, TheHubsModelIsTheStartAndEveryStepOnce) {
  const auto topology = graph("star", GetParam().peers);
  Network network(*topology, server(3));
  start_alike(network, 1);
  const Outcome outcome = run_free(network, 3000, 1e-3, GetParam().pace, 11);
  EXPECT_GT(std::abs(outcome.expected[0] - 1), 1) << "the steps must have moved it, or nothing is shown";
  flush(network);
  for (PeerId p = 0; p < network.size(); ++p)
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(network.model(p)[i], outcome.expected[i], 1e-4 * std::abs(outcome.expected[i])) << "peer " << p;
}

// What rounding takes from a push is in the next one, and what it takes from an answer is in none.
TEST(AsyncServer, ARoundingCodecLosesNoStep) {
  const auto topology = graph("star", 6);
  Network network(*topology, server(20, CodecId::bf16));
  start_alike(network, 1);
  const Outcome outcome = run_free(network, 2000, 1e-3, std::vector<unsigned>(6, 1), 12);
  flush(network);
  for (std::size_t i = 0; i < 20; ++i)
    EXPECT_NEAR(network.model(kHub)[i], outcome.expected[i], 1e-4 * std::abs(outcome.expected[i]));
  for (std::size_t i = 0; i < 20; ++i)
    EXPECT_NEAR(network.model(1)[i], outcome.expected[i], std::ldexp(std::abs(outcome.expected[i]), -8)) << "a leaf has what bf16 left";
}

// Peers of one pace end at the optimum of the average loss.
TEST(AsyncServer, TrainsToTheOptimumOfAll) {
  const auto topology = graph("star", 6);
  Network network(*topology, server(4));
  start_alike(network, 0);
  train(network, 400, 0.02);
  EXPECT_LT(largest_error(network), 0.05);
}

// Peers that never had a common start (newcomers of an elastic run) take the hub's model before they push anything.
TEST(AsyncServer, WhoKnowsNoStartTakesTheHubsModelFirst) {
  const auto topology = graph("star", 3);
  Network network(*topology, server(2));
  network.model(kHub) = {5, 6};
  network.model(1) = {-50, 70};
  network.model(2) = {9, 9};
  flush(network);
  for (PeerId p = 0; p < 3; ++p) EXPECT_EQ(network.model(p), (std::vector<float>{5, 6})) << "peer " << p;
}

TEST(AsyncServer, WithoutALeafTheOthersSharesGrow) {
  const auto topology = graph("star", 4);
  Network network(*topology, server(1));
  start_alike(network, 0);
  flush(network);
  for (PeerId p = 0; p < 3; ++p) network.engine(p).install({.number = 1, .first_round = 0, .lives = {1, 1, 1, 0}});
  network.model(1)[0] += 3;
  network.engine(1).publish(network.model(1), 0);
  ASSERT_TRUE(network.finish());
  EXPECT_EQ(network.model(kHub)[0], 1);
  EXPECT_EQ(network.model(1)[0], 1);
}

TEST(AsyncServer, ACheckpointHoldsTheHubsModel) {
  const auto topology = graph("star", 3);
  Network network(*topology, server(2)), other(*topology, server(2));
  start_alike(network, 1);
  network.model(1)[0] += 3;
  flush(network);
  Writer writer;
  network.mixer(1).save(writer);
  Reader reader(writer.view());
  ASSERT_TRUE(other.mixer(1).load(reader));
  Writer again;
  other.mixer(1).save(again);
  EXPECT_TRUE(std::equal(writer.view().begin(), writer.view().end(), again.view().begin(), again.view().end()));
  Reader cut(writer.view().first(writer.view().size() - 1));
  EXPECT_FALSE(other.mixer(1).load(cut));
}

TEST(AsyncServer, RefusesWhatItCannotServe) {
  EXPECT_NE(refusal("parameter-server-async", *graph("ring", 4)).find("family: star"), std::string::npos);
  // A star around peer 1.
  const TopologySpec around{.peers = 4, .schedule = {{.edges = {{1, 0}, {1, 2}, {1, 3}}}}};
  const auto star = make_topology(around);
  ASSERT_TRUE(star) << star.error().message;
  EXPECT_EQ(refusal("parameter-server-async", **star), "");
}

TEST(AsyncServer, SaysWhoseModelTheResultIs) {
  const TopologySpec around{.peers = 4, .schedule = {{.edges = {{1, 0}, {1, 2}, {1, 3}}}}};
  const auto star = make_topology(around).value();
  Network network(*star, server(1));
  for (PeerId p = 0; p < 4; ++p) EXPECT_EQ(network.mixer(p).traits().hub, 1u);
}

// The hub hears pushes, leaves hear the hub's answers, and nobody else's word is taken for one.
TEST(AsyncServer, PayloadsThatAreNeitherPushNorAnswerAreErrors) {
  const auto topology = graph("star", 3);
  Network network(*topology, server(1));
  start_alike(network, 0);
  Stream stream;
  std::vector<std::byte> bytes(network.mixer(1).payload_capacity());
  const std::vector<float> shadow = {1};
  const RoundInfo info{.self = 1, .peers = 3};
  const Plan push = network.mixer(1).begin(stream, info, shadow);
  ASSERT_EQ(push.send.size(), 1u);
  const auto encoded = network.mixer(1).encode(stream, info, push.send[0], bytes);
  ASSERT_TRUE(encoded);
  Arrival arrival{.from = 1, .header = {}, .bytes = std::span(bytes).first(encoded->used)};
  arrival.header.codec = static_cast<std::uint16_t>(encoded->codec);
  arrival.header.count = encoded->count;
  network.mixer(kHub).begin(stream, {.self = kHub, .peers = 3}, shadow);
  EXPECT_FALSE(network.mixer(2).arrived(stream, info, {&arrival, 1})) << "a push to a leaf";
  arrival.header.kind = 1;
  EXPECT_FALSE(network.mixer(2).arrived(stream, info, {&arrival, 1})) << "an answer of a leaf";
  EXPECT_FALSE(network.mixer(kHub).arrived(stream, info, {&arrival, 1})) << "an answer to the hub";
  arrival.header.kind = 0;
  EXPECT_TRUE(network.mixer(kHub).arrived(stream, info, {&arrival, 1}));
  EXPECT_FALSE(network.mixer(kHub).arrived(stream, info, {&arrival, 1})) << "a second push before the first is answered";
}

}  // namespace
}  // namespace gossamer
