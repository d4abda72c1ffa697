// The compressed gossip traces of consensus_test.cc over UCX: a wire changes nothing, not one bit of any
// model.
#include <gtest/gtest.h>

#include "tests/gossip/network.h"
#include "topologies/topology_spec.h"
#include "transports/ucx.h"

namespace gossamer {
namespace {

using testing_support::Network;
using testing_support::NetworkOptions;

struct Wire {
  std::string name;
  UcxOptions options;
};

struct Case {
  Wire wire;
  std::string name;
  CompressionOptions compression;
  double gamma;
  int rounds;
  double expected;  // sum_i |x_i - mean_0|^2 / initial after `rounds`
};

class ConsensusOverUcx : public testing::TestWithParam<Case> {};

TEST_P(ConsensusOverUcx, IsLoopbacksToTheBit) {
  if (ucx_version().empty()) GTEST_SKIP() << "this build has no UCX (libucx-dev)";
  const Case& c = GetParam();
  const auto ring = make_topology(family_spec("ring", 25)).value();
  NetworkOptions options{
      .algorithm = "choco-sgd", .compression = c.compression, .step_size = c.gamma, .dimension = 2000};
  Network loopback(*ring, options);
  options.make_fabric = [&](PeerId) {
    auto fabric = make_ucx(c.wire.options);
    EXPECT_TRUE(fabric) << fabric.error().message;
    return std::move(*fabric);
  };
  Network ucx(*ring, options);
  loopback.randomise_as_traced();
  ucx.randomise_as_traced();
  const auto mean = ucx.mean();
  const double start = ucx.spread(mean);
  for (int round = 0; round < c.rounds; ++round) {
    for (Network* network : {&loopback, &ucx}) {
      const auto result = network->round();
      ASSERT_TRUE(result) << "round " << round << ": " << result.error().message;
    }
    if (round % 10 != 0 && round + 1 != c.rounds) continue;
    for (PeerId id = 0; id < ucx.size(); ++id)
      ASSERT_EQ(ucx.model(id), loopback.model(id)) << "peer " << id << " after round " << round;
  }
  const double value = ucx.spread(mean) / start;
  EXPECT_LT(value, 2 * c.expected);
  EXPECT_GT(value, c.expected / 2);
  EXPECT_GT(ucx.fabric(0).traffic().bytes_sent, 0u) << "nothing went over UCX";
}

std::vector<Case> cases() {
  const Wire tcp{"tcp", {.tls = "tcp,self", .net_devices = "lo"}};
  const Wire memory{"shared_memory", {.tls = "posix,sysv,self"}};
  const CompressionOptions qsgd{.codec = CodecId::qsgd, .scope = Scope::model, .levels = 16, .norm = Norm::two, .one_scale = true};
  return {
      {tcp, "identity", {.codec = CodecId::none}, 1, 100, 1.20e-3},
      {tcp, "qsgd16", qsgd, .34, 100, 2.03e-2},
      {memory, "identity", {.codec = CodecId::none}, 1, 100, 1.20e-3},
      {memory, "qsgd16", qsgd, .34, 500, 5.9e-5},
      {memory, "top1percent", {.codec = CodecId::top_k, .ratio = .01}, .046, 1000, 1.28e-2},
      {memory, "sign", {.codec = CodecId::sign, .one_scale = true}, .45, 500, 2.3e-4},
  };
}

INSTANTIATE_TEST_SUITE_P(Ring25, ConsensusOverUcx, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.wire.name + "_" + info.param.name; });

}  // namespace
}  // namespace gossamer
