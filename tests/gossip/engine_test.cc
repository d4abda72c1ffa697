// What engines promise of rounds together: matrices, means, what overlapping rounds add up to, memory.
#include "gossip/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "tests/transports/channel_fixture.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing::ChannelWorld;
using testing::HookedFabric;
using testing::Node;

// A fresh matching every round, for ever: what a schedule without period looks like.
class RandomMatching final : public Topology {
 public:
  explicit RandomMatching(std::size_t peers) : peers_(peers) {}
  std::string_view name() const override { return "random-matching"; }
  std::size_t peer_count() const override { return peers_; }
  std::size_t period() const override { return 0; }
  Neighbourhood at(Round round, PeerId self) const override {
    std::mt19937_64 random(round + 1);
    std::vector<PeerId> order(peers_);
    std::iota(order.begin(), order.end(), PeerId{0});
    std::shuffle(order.begin(), order.end(), random);
    const auto place = static_cast<std::size_t>(std::find(order.begin(), order.end(), self) - order.begin());
    if ((place ^ 1) >= peers_) return {};
    const std::vector<Edge> edges = {{order[place ^ 1], 0.5}};
    return {0.5, edges, edges};
  }

 private:
  std::size_t peers_;
};

std::unique_ptr<Topology> graph(const std::string& family, std::size_t peers) {
  if (family == "random-matching") return std::make_unique<RandomMatching>(peers);
  auto topology = make_topology(family_spec(family, peers));
  EXPECT_TRUE(topology) << topology.error().message;
  return std::move(*topology);
}

struct CrowdOptions {
  std::string algorithm = "d-psgd";
  std::size_t dimension = 16;
  std::size_t rounds_open = 1;
  std::uint32_t window = 2;
  CompressionOptions compression;
  std::uint64_t seed = 1;
  Duration round_deadline = std::chrono::seconds(60);
  bool trainer_waits = false;
  std::size_t lend_size_min = kNeverLend;
  std::size_t send_buffers_max = TransportSetup{}.send_buffers_max;
};

// Peers on one thread, each stepped when the test says so.  Each has a model; nothing but gossip moves it.
class Crowd {
 public:
  struct Peer {
    Node node;
    HookedFabric* hooks = nullptr;
    std::unique_ptr<Mixer> mixer;
    std::unique_ptr<Engine> engine;
    std::vector<float> model;   // as it was at first, and later unless the trainer waits
    std::span<float> at;        // where it lies
  };

  Crowd(const Topology& topology, const CrowdOptions& options)
      : topology_(topology),
        options_(options),
        layout_(Layout::flat(options.dimension)),
        compressor_(make_compressor(options.compression).value()) {
    const std::size_t n = topology.peer_count();
    for (PeerId id = 0; id < n; ++id) {
      Peer& peer = *peers_.emplace_back(std::make_unique<Peer>());
      auto mixer = make_mixer(options.algorithm, {.self = id,
                                                  .peers = n,
                                                  .layout = &layout_,
                                                  .topology = &topology,
                                                  .compressor = compressor_.get(),
                                                  .step_size = 0.3,
                                                  .rounds_open = options.rounds_open,
                                                  .seed = options.seed});
      EXPECT_TRUE(mixer) << mixer.error().message;
      peer.mixer = std::move(*mixer);
      peer.node = world_.make({.self = id,
                               .peers = n,
                               .run = 7,
                               .payload_size_max = peer.mixer->payload_capacity(),
                               .window = options.window,
                               .send_buffers_max = options.send_buffers_max,
                               .lend_size_min = options.lend_size_min},
                              [&](std::unique_ptr<Fabric> inner) {
                                auto made = std::make_unique<HookedFabric>(std::move(inner));
                                peer.hooks = made.get();
                                return made;
                              });
      peer.engine =
          std::make_unique<Engine>(EngineSetup{.self = id,
                                               .peers = n,
                                               .vector_size = options.dimension,
                                               .rounds_open = options.rounds_open,
                                               .trainer_waits = options.trainer_waits,
                                               .round_deadline = options.round_deadline},
                                   world_.clock, topology_, *peer.mixer, *peer.node.transport, stream_);
      peer.model.resize(options.dimension);
      Random random(options.seed, Purpose::test, id);
      for (float& value : peer.model) value = static_cast<float>(random.normal());
      peer.at = peer.model;
    }
    for (auto& a : peers_)
      for (auto& b : peers_)
        if (a != b) ChannelWorld::introduce(a->node, b->node);
  }

  std::size_t size() const { return peers_.size(); }
  Peer& operator[](PeerId id) { return *peers_[id]; }
  ManualClock& clock() { return world_.clock; }

  // Lends time to a peer, which goes on to its next round where it may; `rounds` is where it stops.
  void lend(PeerId id, Round rounds) {
    Peer& peer = *peers_[id];
    const auto stepped = peer.engine->step();
    ASSERT_TRUE(stepped) << "peer " << id << ": " << stepped.error().message;
    peer.at = peer.engine->apply(peer.at);
    if (peer.engine->can_publish() && peer.engine->next_round() < rounds) peer.engine->publish(peer.at, 0);
  }

  // All peers in a random order until each has closed `rounds` rounds; the most that anybody ran ahead of
  // anybody.
  Round run(Round rounds, std::uint64_t order) {
    std::mt19937_64 random(order);
    Round ahead = 0;
    for (std::uint64_t turn = 0; turn < 4000 * rounds; ++turn) {
      // Bursts, so that one peer goes as far as it can before the others move.
      const auto id = static_cast<PeerId>(random() % size());
      for (auto burst = random() % 8; burst > 0; --burst) lend(id, rounds);
      if (::testing::Test::HasFatalFailure()) return ahead;
      world_.clock.advance(std::chrono::microseconds(10));
      Round least = rounds, most = 0;
      bool done = true;
      for (auto& peer : peers_) {
        least = std::min(least, peer->engine->next_round());
        most = std::max(most, peer->engine->next_round());
        done &= peer->engine->next_round() == rounds && peer->engine->open_rounds() == 0;
      }
      ahead = std::max(ahead, most - least);
      if (done) {
        for (auto& peer : peers_) peer->at = peer->engine->apply(peer->at);
        return ahead;
      }
    }
    ADD_FAILURE() << "the rounds do not close";
    return ahead;
  }

  std::vector<double> mean() const {
    std::vector<double> mean(options_.dimension);
    for (const auto& peer : peers_)
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += peer->model[i];
    for (double& value : mean) value /= static_cast<double>(peers_.size());
    return mean;
  }

 private:
  const Topology& topology_;
  CrowdOptions options_;
  Layout layout_;
  std::unique_ptr<Compressor> compressor_;
  ChannelWorld world_;
  Stream stream_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

double relative_distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

class EngineGraphs : public ::testing::TestWithParam<std::string> {};

// Where a payload lies and when it is mixed is nobody's business but the engine's.
TEST_P(EngineGraphs, LendingAndMixingInPlaceChangeNoBit) {
  constexpr std::size_t n = 8;
  constexpr Round rounds = 30;
  const auto topology = graph(GetParam(), n);
  for (const std::size_t rounds_open : {1, 3})
    for (const CodecId codec : {CodecId::none, CodecId::bf16}) {
      CrowdOptions options{.dimension = 5000, .rounds_open = rounds_open, .compression = {.codec = codec}};
      Crowd plain(*topology, options);
      options.trainer_waits = true;
      options.lend_size_min = 1;
      Crowd lent(*topology, options);
      plain.run(rounds, 5);
      lent.run(rounds, 5);  // where rounds overlap it matters who was when
      for (PeerId id = 0; id < n; ++id) {
        EXPECT_TRUE(std::ranges::equal(lent[id].at, plain[id].at)) << "peer " << id << ", " << rounds_open << " rounds open";
        const EngineStats a = lent[id].engine->stats(), b = plain[id].engine->stats();
        EXPECT_EQ(a.correction_norm, b.correction_norm);
        EXPECT_EQ(a.payloads_received, b.payloads_received);
        EXPECT_EQ(a.rounds, b.rounds);
        EXPECT_GT(lent[id].node.transport->traffic().bytes_sent, lent[id].node.fabric->traffic().bytes_sent) << "nothing was lent";
      }
    }
}

TEST(EngineInPlace, KeepsOneVectorBesideTheModelAndNoMailboxIsWritten) {
  const auto topology = graph("ring", 4);
  Crowd crowd(*topology, {.dimension = 5000, .trainer_waits = true, .lend_size_min = 1});
  crowd.run(20, 3);
  for (PeerId id = 0; id < crowd.size(); ++id) {
    std::size_t written = 0;
    for (const MemoryView memory : crowd[id].hooks->allocated) {
      const auto bytes = memory.bytes();
      written += static_cast<std::size_t>(std::ranges::any_of(bytes, [](std::byte b) { return b != std::byte{0}; }));
    }
    // A neighbour may still read the last round's while this peer publishes the next one, and that neighbour's the one before.
    EXPECT_LE(written, 3u) << "send buffers; the mailboxes are still all zero";
  }
}

TEST(EngineInPlace, ANumberThatIsNoneEndsTheRunWithTheNameOfItsSender) {
  const auto topology = graph("ring", 3);
  Crowd crowd(*topology, {.dimension = 100, .trainer_waits = true, .lend_size_min = 1});
  for (PeerId id = 0; id < 3; ++id) crowd.lend(id, 1);
  for (int turn = 0; turn < 10; ++turn)
    for (PeerId id = 0; id < 3; ++id) ASSERT_TRUE(crowd[id].engine->step());
  ASSERT_EQ(crowd[0].engine->open_rounds(), 0u);
  ASSERT_TRUE(crowd[0].engine->correction_ready());
  // Peer 1 is an enemy, and writes where peer 0 is about to read.
  for (const MemoryView memory : crowd[1].hooks->allocated) {
    const float nan = std::nanf("");
    std::memcpy(memory.data + 40, &nan, sizeof nan);
  }
  crowd[0].at = crowd[0].engine->apply(crowd[0].at);
  const auto stepped = crowd[0].engine->step();
  ASSERT_FALSE(stepped);
  EXPECT_EQ(stepped.error().code, Errc::corrupt);
  EXPECT_NE(stepped.error().message.find("peer 1 sent a value that is NaN"), std::string::npos) << stepped.error().message;
}

TEST(EngineInPlace, WhoeverPublishesANumberThatIsNoneHearsOfIt) {
  const auto topology = graph("ring", 3);
  for (const bool later : {false, true}) {
    Crowd crowd(*topology, {.dimension = 100, .trainer_waits = true, .lend_size_min = 1});
    if (later) crowd.run(2, 3);  // the vector lies where it is published from
    crowd[2].at[7] = std::numeric_limits<float>::infinity();
    crowd[2].engine->publish(crowd[2].at, 0);
    for (const PeerId id : {0u, 1u}) crowd[id].engine->publish(crowd[id].at, 0);
    for (PeerId id = 0; id < 2; ++id)
      for (int turn = 0; turn < 10; ++turn) {
        ASSERT_TRUE(crowd[id].engine->step());
        if (later || turn == 0) static_cast<void>(crowd[2].engine->step());
      }
    crowd[2].engine->apply(crowd[2].at);
    const auto own = crowd[2].engine->step();
    ASSERT_FALSE(own);
    EXPECT_EQ(own.error().code, Errc::diverged) << own.error().message;
  }
}

// Once it has been mixed, the model lies where it is published from.
TEST(EngineInPlace, AModelIsPublishedFromWhereItWasMixed) {
  const auto topology = graph("ring", 4);
  for (const std::size_t buffers : {2, 256}) {  // too few, and a model goes home in between
    Crowd crowd(*topology, {.dimension = 5000, .trainer_waits = true, .lend_size_min = 1, .send_buffers_max = buffers});
    Crowd plain(*topology, {.dimension = 5000});
    crowd.run(20, 3);
    plain.run(20, 3);
    for (PeerId id = 0; id < crowd.size(); ++id) {
      EXPECT_TRUE(std::ranges::equal(crowd[id].at, plain[id].at));
      if (buffers > 2) {
        EXPECT_NE(crowd[id].at.data(), crowd[id].model.data());
      }
      // What is published may be read by others, and what they read stays.
      const std::vector<float> before(crowd[id].at.begin(), crowd[id].at.end());
      crowd[id].engine->publish(crowd[id].at, 0);
      EXPECT_EQ(crowd[id].engine->apply(crowd[id].at).data(), crowd[id].at.data()) << "nothing to apply yet";
      EXPECT_TRUE(std::ranges::equal(crowd[id].at, before));
    }
  }
}

// Bulk rounds do not depend on who was fast: the models are those of x <- W_t x, computed in the same order
// of peers.
TEST_P(EngineGraphs, RoundsAreTheMixingMatricesWhoeverRunsAhead) {
  constexpr std::size_t n = 8, rounds = 40, d = 16;
  const auto topology = graph(GetParam(), n);
  std::vector<std::vector<float>> expected(n, std::vector<float>(d));
  for (PeerId i = 0; i < n; ++i) {
    Random random(1, Purpose::test, i);
    for (float& value : expected[i]) value = static_cast<float>(random.normal());
  }
  for (Round t = 0; t < rounds; ++t) {
    const auto before = expected;
    for (PeerId i = 0; i < n; ++i) {
      std::vector<float> sum(d);
      for (const Edge& edge : topology->at(t, i).in)
        for (std::size_t k = 0; k < d; ++k)
          sum[k] += static_cast<float>(edge.weight) * (before[edge.peer][k] - before[i][k]);
      for (std::size_t k = 0; k < d; ++k) expected[i][k] += sum[k];
    }
  }
  Round ahead = 0;
  for (const std::uint64_t order : {1u, 2u, 3u}) {
    Crowd crowd(*topology, {.dimension = d});
    ahead = std::max(ahead, crowd.run(rounds, order));
    ASSERT_FALSE(HasFatalFailure());
    for (PeerId i = 0; i < n; ++i)
      for (std::size_t k = 0; k < d; ++k)
        ASSERT_NEAR(crowd[i].model[k], expected[i][k], 2e-6) << "peer " << i;
  }
  EXPECT_GT(ahead, 1u) << "nobody ran ahead, and so nothing was tried";
}

// Two runs in different orders are the same to the bit, with a lossy codec and replicas.
TEST_P(EngineGraphs, BulkRoundsAreReproducibleToTheBit) {
  const auto topology = graph(GetParam(), 8);
  const CrowdOptions options{
      .algorithm = "choco-sgd", .dimension = 200, .compression = {.codec = CodecId::qsgd, .levels = 15}};
  Crowd one(*topology, options), other(*topology, options);
  one.run(30, 1);
  other.run(30, 99);
  for (PeerId i = 0; i < one.size(); ++i) EXPECT_EQ(one[i].model, other[i].model) << "peer " << i;
}

INSTANTIATE_TEST_SUITE_P(StaticAndChanging, EngineGraphs,
                         ::testing::Values("ring", "star", "static-exponential", "one-peer-exponential",
                                           "one-peer-hypercube", "random-matching"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// E6: each engine asks the schedule for itself, at its own time; all agree on who meets whom.
TEST(EngineSchedule, PartnersOfARandomMatchingFindEachOtherInAnyOrder) {
  constexpr std::size_t n = 10, rounds = 60;
  const auto topology = graph("random-matching", n);
  Crowd crowd(*topology, {.dimension = 1});
  std::vector<double> expected(n);
  for (PeerId i = 0; i < n; ++i) expected[i] = crowd[i].model[0] = static_cast<float>(1u << i);
  crowd.run(rounds, 5);
  for (Round t = 0; t < rounds; ++t) {
    // Asked again, from the last peer to the first, long after.
    auto next = expected;
    for (PeerId i = n; i-- > 0;) {
      const auto in = topology->at(t, i).in;
      ASSERT_LE(in.size(), 1u);
      if (in.empty()) continue;
      const auto back = topology->at(t, in[0].peer).in;
      ASSERT_EQ(back.size(), 1u);
      EXPECT_EQ(back[0].peer, i) << "partner of a partner";
      next[i] = expected[i] + in[0].weight * (expected[in[0].peer] - expected[i]);
    }
    expected = next;
  }
  for (PeerId i = 0; i < n; ++i) EXPECT_NEAR(crowd[i].model[0], expected[i], 1e-4 * std::abs(expected[i]));
}

// E2, exact part: integers and weights of one half leave no rounding.
TEST(EngineMean, OfIntegersIsKeptExactly) {
  const auto topology = graph("one-peer-hypercube", 8);
  Crowd crowd(*topology, {.dimension = 64});
  std::mt19937 random(3);
  for (PeerId i = 0; i < 8; ++i)
    for (float& value : crowd[i].model)
      value = static_cast<float>(static_cast<int>(random() % 20001) - 10000);
  const auto mean = crowd.mean();
  crowd.run(9, 1);
  EXPECT_EQ(crowd.mean(), mean);
  for (PeerId i = 1; i < 8; ++i)
    EXPECT_EQ(crowd[i].model, crowd[0].model) << "three rounds average exactly, and nine do";
}

// E2, the large part: a million floats.
TEST(EngineMean, OfAMillionFloatsIsKeptToOneInAMillion) {
  const auto topology = graph("ring", 3);
  Crowd crowd(*topology, {.dimension = 1'000'000});
  const auto mean = crowd.mean();
  crowd.run(2, 1);
  EXPECT_LT(relative_distance(crowd.mean(), mean), 1e-6);
}

class EngineStale : public ::testing::TestWithParam<std::size_t> {};

// Several rounds at once: every correction is exchanged in full, so that the mean is what it was once all
// have closed.
TEST_P(EngineStale, KeepsTheMeanWhenAllRoundsHaveClosed) {
  for (const char* family : {"ring", "one-peer-exponential"}) {
    const auto topology = graph(family, 8);
    Crowd crowd(*topology, {.rounds_open = GetParam(), .window = static_cast<std::uint32_t>(GetParam()) + 1});
    const auto mean = crowd.mean();
    bool overlapped = false;
    std::mt19937_64 random(4);
    constexpr Round rounds = 30;
    for (int turn = 0; turn < 200000; ++turn) {
      crowd.lend(static_cast<PeerId>(random() % 8), rounds);
      ASSERT_FALSE(HasFatalFailure());
      bool done = true;
      for (PeerId i = 0; i < 8; ++i) {
        EXPECT_LE(crowd[i].engine->open_rounds(), GetParam());
        overlapped |= crowd[i].engine->open_rounds() > 1;
        done &= crowd[i].engine->next_round() == rounds && crowd[i].engine->open_rounds() == 0;
      }
      if (done) break;
    }
    EXPECT_TRUE(overlapped);
    for (PeerId i = 0; i < 8; ++i) {
      ASSERT_EQ(crowd[i].engine->stats().rounds, rounds);
      crowd[i].engine->apply(crowd[i].model);
    }
    EXPECT_LT(relative_distance(crowd.mean(), mean), 1e-5) << family;
  }
}

// A correction that may come s rounds late is damped, whether it is late or not: by sin(pi / (2 (2s + 1))).
TEST_P(EngineStale, GivesTheBulkCorrectionsDampedWhenNothingOverlaps) {
  const auto topology = graph("ring", 6);
  Crowd stale(*topology, {.rounds_open = GetParam()}), bulk(*topology, {});
  const double damping = std::map<std::size_t, double>{{2, 0.5}, {3, 0.309017}, {4, 0.222521}}.at(GetParam());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<float>> before;
    for (PeerId i = 0; i < 6; ++i) before.push_back(bulk[i].model = stale[i].model);
    for (Crowd* crowd : {&stale, &bulk}) {
      for (PeerId i = 0; i < 6; ++i) (*crowd)[i].engine->publish((*crowd)[i].model, 0);
      for (int turn = 0; turn < 20; ++turn)
        for (PeerId i = 0; i < 6; ++i) ASSERT_TRUE((*crowd)[i].engine->step());
      for (PeerId i = 0; i < 6; ++i) {
        ASSERT_EQ((*crowd)[i].engine->open_rounds(), 0u);
        (*crowd)[i].engine->apply((*crowd)[i].model);
      }
    }
    for (PeerId i = 0; i < 6; ++i)
      for (std::size_t k = 0; k < before[i].size(); ++k)
        EXPECT_NEAR(stale[i].model[k] - before[i][k], damping * (bulk[i].model[k] - before[i][k]), 1e-5) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(RoundsOpen, EngineStale, ::testing::Values(2, 3, 4),
                         ::testing::PrintToStringParamName());

TEST(EngineMemory, StaysWhatItIsOverTenThousandRounds) {
  const auto topology = graph("ring", 4);
  Crowd crowd(*topology, {.dimension = 4, .rounds_open = 2, .window = 3});
  crowd.run(100, 1);
  std::vector<std::size_t> regions;
  for (PeerId i = 0; i < 4; ++i) regions.push_back(crowd[i].hooks->allocated.size());
  crowd.run(10'000, 2);
  for (PeerId i = 0; i < 4; ++i) {
    EXPECT_LE(crowd[i].hooks->allocated.size(), regions[i] + 2) << "peer " << i << " keeps allocating";
    EXPECT_LE(regions[i], 2u + 2 * 2)
        << "a mailbox per neighbour, a buffer per round that is open or under way";
    EXPECT_EQ(crowd[i].engine->stats().rounds, 10'000u);
    EXPECT_EQ(crowd[i].engine->stats().payloads_sent, 20'000u);
    EXPECT_EQ(crowd[i].engine->stats().payloads_received, 20'000u);
  }
}

}  // namespace
}  // namespace gossamer
