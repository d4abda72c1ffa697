// Peers of an asynchronous algorithm that go on in random order, each at its own pace, over a Network.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "tests/gossip/network.h"

namespace gossamer::testing_support {

struct Outcome {
  std::vector<double> expected;  // what the mean must be: the start and the gradients
  std::uint64_t exchanges = 0;
};

// Lends random peers time.  A peer of `pace` 1 takes a step at every third of its turns, one of pace k at one of 3k.
// A step is a gradient, then the corrections that came meanwhile, then the publication, as in training.
inline Outcome run_free(Network& network, std::uint64_t exchanges_wanted, double gradient, const std::vector<unsigned>& pace, std::uint64_t seed) {
  const std::size_t n = network.size();
  Random random(seed, Purpose::test);
  Outcome outcome{.expected = network.mean()};
  const auto peer_step = [&](PeerId p) {
    const auto stepped = network.engine(p).step();
    ASSERT_TRUE(stepped) << stepped.error().message;
  };
  for (PeerId p = 0; p < n; ++p) network.engine(p).publish(network.model(p), 0);
  for (std::uint64_t turn = 0; outcome.exchanges < exchanges_wanted; ++turn) {
    if (turn >= 200 * exchanges_wanted) {
      ADD_FAILURE() << "stuck after " << outcome.exchanges << " exchanges";
      return outcome;
    }
    const auto p = static_cast<PeerId>(random.below(n));
    peer_step(p);
    if (testing::Test::HasFatalFailure()) return outcome;
    if (network.engine(p).can_publish() && random.below(3 * pace[p]) == 0) {
      auto& model = network.model(p);
      for (std::size_t i = 0; i < model.size(); ++i) {
        const float before = model[i];
        model[i] += static_cast<float>(gradient * (1 + p) * (1 + random.uniform()));
        outcome.expected[i] += (static_cast<double>(model[i]) - before) / static_cast<double>(n);
      }
      network.engine(p).apply(model);
      network.engine(p).publish(model, 0);
    }
    if (turn % 64 == 0) {
      outcome.exchanges = 0;
      for (PeerId q = 0; q < n; ++q) outcome.exchanges += network.engine(q).stats().rounds;
    }
  }
  // Nobody asks any more, everybody still answers.
  for (int quiet = 0, turn = 0; quiet < 3 && turn < 100000; ++turn) {
    bool open = false;
    for (PeerId p = 0; p < n; ++p) {
      peer_step(p);
      open |= network.engine(p).open_rounds() > 0 || !network.engine(p).drained();
    }
    quiet = open ? 0 : quiet + 1;
  }
  for (PeerId p = 0; p < n; ++p) {
    EXPECT_EQ(network.engine(p).open_rounds(), 0u) << "peer " << p << " still waits for an answer";
    network.engine(p).apply(network.model(p));
  }
  return outcome;
}

inline double drift(const Network& network, const Outcome& outcome) {
  double most = 0;
  const auto mean = network.mean();
  for (std::size_t i = 0; i < mean.size(); ++i) most = std::max(most, std::abs(mean[i] - outcome.expected[i]));
  return most;
}

}  // namespace gossamer::testing_support
