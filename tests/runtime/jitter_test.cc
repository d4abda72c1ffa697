// Tens of thousands of exchanges between real threads that are late at random moments: a trainer's and an engine's thread per
// peer, over loopback.  What an algorithm keeps, it keeps.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "runtime/engine_driver.h"
#include "tests/gossip/network.h"
#include "tests/simulator/wrong_mixer.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing_support::Network;
using testing_support::NetworkOptions;

constexpr std::size_t kDimension = 8;
constexpr double kNoise = 0.2, kStep = 1e-2;  // so that no correction is ever small, and the mean goes somewhere
constexpr auto kPatience = std::chrono::seconds(120);

// Mostly goes on, sometimes lets others go first, seldom sleeps.
void dawdle(Random& random) {
  const auto choice = random.below(64);
  if (choice == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(200)));
  } else if (choice < 12) {
    std::this_thread::yield();
  }
}

// The algorithm, on an engine's thread that is late now and then.
class Late final : public testing_support::Wrong {
 public:
  // One that forgets takes no notice of its hundredth correction.
  Late(std::unique_ptr<Mixer> inner, PeerId self, bool forgets) : Wrong(std::move(inner)), random_(11, Purpose::test, self), forgets_(forgets) {}
  Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) override {
    dawdle(random_);
    return inner_->begin(stream, info, shadow);
  }
  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    dawdle(random_);
    auto encoded = inner_->encode(stream, info, what, out);
    dawdle(random_);
    return encoded;
  }
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    dawdle(random_);
    auto plan = inner_->arrived(stream, info, arrivals);
    dawdle(random_);
    return plan;
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    const auto affine = inner_->result(stream, info, add);
    if (affine && ++corrections_ == 100 && forgets_) std::fill(add.begin(), add.end(), 0.f);
    return affine;
  }

 private:
  Random random_;
  bool forgets_;
  std::uint64_t corrections_ = 0;
};

struct Kind {
  std::string label, algorithm;
  TopologySpec graph;
  std::size_t rounds_open = 1;
  CompressionOptions compression = {};
  double step_size = 1;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.label; }

TopologySpec uneven() {
  GraphSpec graph{.directed = true};
  for (const auto& [from, to] : std::vector<std::pair<PeerId, PeerId>>{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}, {0, 3}, {4, 1}})
    graph.edges.push_back({.from = from, .to = to});
  TopologySpec spec{.peers = 6};
  spec.schedule = {graph};
  return spec;
}

std::vector<Kind> kinds() {
  return {{"ad_psgd_on_an_odd_ring", "ad-psgd", family_spec("ring", 5)},
          {"ad_psgd_on_a_complete_graph", "ad-psgd", family_spec("complete", 6)},
          {"choco_per_edge", "choco-sgd", family_spec("one-peer-hypercube", 8), 1, {.codec = CodecId::top_k, .ratio = 0.25}, 0.3},
          {"push_sum", "sgp", uneven()},
          {"overlapped_push_sum", "sgp", uneven(), 4}};
}

struct Kept {
  std::uint64_t exchanges = 0;
  double drift = 0;    // of the sum of all models from what it must be, in relation to it; the most of all coordinates
  double weights = 0;  // push-sum's
  std::size_t parted = 0;  // replicas that are not the same at both ends
};

// Trains until `wanted` payloads have been exchanged.
Kept exchange(const Kind& kind, std::uint64_t wanted, bool forgets = false) {
  const auto topology = make_topology(kind.graph).value();
  const std::size_t n = topology->peer_count();
  const Layout layout = Layout::flat(kDimension);
  Network network(*topology, {.compression = kind.compression,
                              .dimension = kDimension,
                              .rounds_open = kind.rounds_open,
                              .make = [&](const MixerSetup& setup) -> std::unique_ptr<Mixer> {
                                MixerSetup ours = setup;
                                ours.step_size = kind.step_size;
                                ours.verify_replicas = kind.algorithm == "choco-sgd";
                                return std::make_unique<Late>(make_mixer(kind.algorithm, ours).value(), setup.self, forgets && setup.self == 2);
                              }});
  network.randomise(5);
  const bool asynchronous = network.mixer(0).traits().asynchronous, push_sum = kind.algorithm == "sgp";
  std::vector<std::vector<double>> trained(n);  // what each has added to its start
  for (PeerId p = 0; p < n; ++p) trained[p].assign(network.model(p).begin(), network.model(p).end());
  const SteadyClock clock;
  std::vector<std::unique_ptr<EngineDriver>> drivers;
  for (PeerId p = 0; p < n; ++p) drivers.push_back(std::make_unique<EngineDriver>(network.engine(p), network.fabric(p), clock, -1, true));

  // Bulk peers have to do equally many rounds, so it is rounds that are counted.
  std::uint64_t each = wanted / n;
  if (!asynchronous) {
    std::size_t sent = 0;
    for (PeerId p = 0; p < n; ++p) sent += topology->at(0, p).out.size();
    each = wanted / sent;
  }
  std::atomic<std::size_t> ready{0};
  std::atomic<bool> failed{false};
  const auto until = std::chrono::steady_clock::now() + kPatience;
  const auto run = [&](PeerId self) -> Result<> {
    Random random(12, Purpose::test, self);
    Engine& engine = network.engine(self);
    EngineDriver& driver = *drivers[self];
    auto& model = network.model(self);
    const auto wait_for = [&](auto&& holds) -> Result<> {
      for (;;) {
        {
          const auto guard = driver.lock();
          if (holds()) return {};
        }
        if (failed || std::chrono::steady_clock::now() > until) return fail(Errc::timed_out, "it does not go on");
        GOSSAMER_TRY(driver.wait(std::chrono::milliseconds(20)));
      }
    };
    for (;;) {
      dawdle(random);
      GOSSAMER_TRY(wait_for([&] { return engine.can_publish(); }));
      {
        const auto guard = driver.lock();
        if (engine.next_round() >= each) break;
        for (std::size_t i = 0; i < kDimension; ++i) {
          const float before = model[i];
          model[i] += static_cast<float>(kStep + kNoise * random.normal());
          trained[self][i] += static_cast<double>(model[i]) - before;
        }
        engine.apply(model);
        engine.publish(model, 0);
      }
      GOSSAMER_TRY(driver.nudge());
    }
    GOSSAMER_TRY(wait_for([&] { return engine.open_rounds() == 0; }));
    ++ready;
    // Others may still ask; then what was the last to be said arrives.
    while (ready < n) {
      if (failed) return fail(Errc::interrupted, "another one failed");
      GOSSAMER_TRY(driver.nudge());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return wait_for([&] { return engine.drained(); });
  };
  std::vector<std::thread> trainers;
  std::vector<std::string> errors(n);
  for (PeerId p = 0; p < n; ++p)
    trainers.emplace_back([&, p] {
      if (const auto done = run(p); !done) {
        errors[p] = done.error().message;
        failed = true;
      }
    });
  for (std::thread& trainer : trainers) trainer.join();
  drivers.clear();
  for (PeerId p = 0; p < n; ++p) EXPECT_EQ(errors[p], "") << "peer " << p;

  Kept kept;
  std::vector<double> expected(kDimension), sum(kDimension);
  for (PeerId p = 0; p < n; ++p) {
    network.engine(p).apply(network.model(p));
    const EngineStats& stats = network.engine(p).stats();
    kept.exchanges += asynchronous ? stats.rounds : stats.payloads_received;
    const auto mass = network.mixer(p).mass();
    for (std::size_t i = 0; i < kDimension; ++i) {
      expected[i] += trained[p][i];
      sum[i] += push_sum && mass ? mass->x[i] : network.model(p)[i];
    }
    if (mass) kept.weights += mass->weight;
    for (const PeerId q : potential_neighbours(*topology, p)) {
      const auto here = network.mixer(p).replica(q, Replica::own), there = network.mixer(q).replica(p, Replica::theirs);
      kept.parted += !std::equal(here.begin(), here.end(), there.begin(), there.end());
      EXPECT_EQ(here.size(), kind.algorithm == "choco-sgd" ? kDimension : 0);
    }
  }
  for (std::size_t i = 0; i < kDimension; ++i) {
    EXPECT_GT(std::abs(expected[i]), 1) << "or nothing is shown";
    kept.drift = std::max(kept.drift, std::abs(sum[i] / expected[i] - 1));
  }
  return kept;
}

void expect_kept(const Kind& kind, std::uint64_t wanted) {
  const Kept kept = exchange(kind, wanted);
  EXPECT_GE(kept.exchanges, wanted - wanted / 100);
  EXPECT_LT(kept.drift, 2e-5);
  EXPECT_EQ(kept.parted, 0u);
  if (kind.algorithm == "sgp") {
    EXPECT_NEAR(kept.weights, static_cast<double>(kind.graph.peers), 1e-8);
  }
}

class Jitter : public testing::TestWithParam<Kind> {};
TEST_P(Jitter, TakesNothingFromTenThousandExchanges) { expect_kept(GetParam(), 10'000); }

class LongJitter : public testing::TestWithParam<Kind> {};
TEST_P(LongJitter, TakesNothingFromAHundredThousandExchanges) { expect_kept(GetParam(), 100'000); }

// The drift would show it.
TEST(JitterControl, OneCorrectionOfTenThousandThatIsForgottenIsSeen) { EXPECT_GT(exchange(kinds().front(), 10'000, true).drift, 1e-4); }

INSTANTIATE_TEST_SUITE_P(, Jitter, testing::ValuesIn(kinds()), [](const auto& info) { return info.param.label; });
INSTANTIATE_TEST_SUITE_P(, LongJitter, testing::ValuesIn(kinds()), [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace gossamer
