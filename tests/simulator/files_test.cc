// The network and faults files: written and read back, and what is wrong in one is said with its place.
#include <gtest/gtest.h>

#include "runtime/simulator/network_options.h"

namespace gossamer::sim {
namespace {

TEST(Files, ANetworkReadsBackAsWritten) {
  constexpr std::string_view kText =
      "latency: {uniform: [10 us, 50 us]}\nbandwidth: 125 MB\ncard_bandwidth: 1 GB\nin_order: false\nputs_in_flight: 3\n"
      "resend_after: 20 ms\ncontrol: {exponential: 3 ms, least: 1 ms}\ncompute: {lognormal: 10 ms, sigma: 0.25}\nclocks: {offset: 2 s, drift: 2e-5}\n"
      "stragglers: [{peer: 1, factor: 2.5}]\nlinks: [{from: 0, to: 1, both_ways: false, latency: {exponential: 1 ms, least: 5 us}, loss: 0.5}]\n";
  const auto network = parse_network(kText, "net.yaml");
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_EQ(network->latency.kind, Delay::Kind::uniform);
  EXPECT_EQ(network->latency.spread, std::chrono::microseconds(50));
  EXPECT_EQ(network->bandwidth, 125e6);
  EXPECT_EQ(network->links.at(0).latency->base, std::chrono::microseconds(5));
  EXPECT_EQ(network->links.at(0).loss, 0.5);
  ASSERT_TRUE(network->control);
  EXPECT_EQ(network->control->spread, std::chrono::milliseconds(3));
  EXPECT_FALSE(network->links.at(0).both_ways);
  const auto again = parse_network(to_yaml(*network), "again");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_yaml(*again), to_yaml(*network));
  EXPECT_EQ(to_yaml(parse_network("", "empty").value()), to_yaml(NetworkOptions{}));
}

TEST(Files, FaultsReadBackAsWritten) {
  constexpr std::string_view kText =
      "loss: 0.1\nduplicate: 0.2\nreorder: 0.3\nreorder_delay: 7 ms\nrefuse: 0.05\nrepair: false\n"
      "partitions: [{from: 1 s, until: 2 s, peers: [0, 2], one_way: true}]\npauses: [{peer: 1, at: 1 s, length: 500 ms, restart_after: 2 s}]\n"
      "crashes: [{peer: 0, at: 3 s, noticed_after: never}, {peer: 1, at: 4 s, restart_after: 70 ms}]\n";
  const auto faults = parse_faults(kText, "faults.yaml");
  ASSERT_TRUE(faults) << faults.error().message;
  EXPECT_EQ(faults->partitions.at(0).peers, (std::vector<PeerId>{0, 2}));
  EXPECT_FALSE(faults->crashes.at(0).noticed_after);
  EXPECT_EQ(faults->crashes.at(1).noticed_after, std::chrono::milliseconds(10));
  EXPECT_EQ(faults->pauses.at(0).restart_after, std::chrono::seconds(2));
  EXPECT_FALSE(faults->crashes.at(0).restart_after);
  EXPECT_EQ(faults->crashes.at(1).restart_after, std::chrono::milliseconds(70));
  const auto again = parse_faults(to_yaml(*faults), "again");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_yaml(*again), to_yaml(*faults));
  EXPECT_EQ(to_yaml(parse_faults("", "empty").value()), to_yaml(FaultPlan{}));
}

TEST(Files, MistakesAreSaidWithTheirPlace) {
  for (const auto& [text, says] : {std::pair{"latency: {uniform: [50 us, 10 us]}", "swap"}, {"latency: {normal: 1 s}", "no distribution"},
                                   {"latensy: 1 s", "latency"}, {"latency: {uniform: [1 s]}", "two times"}}) {
    const auto refused = parse_network(text, "net.yaml");
    ASSERT_FALSE(refused) << text;
    EXPECT_NE(refused.error().message.find(says), std::string::npos) << refused.error().message;
    EXPECT_EQ(refused.error().message.find("net.yaml:1:"), 0u) << refused.error().message;
  }
  for (const auto& [text, says] : {std::pair{"loss: 1", "0.9"}, {"partitions: [{until: 1 s}]", "no peers"},
                                   {"partitions: [{from: 2 s, until: 1 s, peers: [0]}]", "later"}}) {
    const auto refused = parse_faults(text, "faults.yaml");
    ASSERT_FALSE(refused) << text;
    EXPECT_NE(refused.error().message.find(says), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace gossamer::sim
