#include "runtime/report/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/report/temp_dir.h"

namespace gossamer {
namespace {

using test::contents;
using test::FileSizeLimit;
using test::TempDir;
using testing::HasSubstr;

RunSummary small_summary() {
  RunSummary s;
  s.algorithm = "choco-sgd";
  s.topology = "ring";
  s.codec = "top-k 1%";
  s.transport = "ucx";
  s.seed = 7;
  s.parameters = 1000;
  s.mean_model_loss = 0.25;
  s.mean_model_accuracy = 0.96875;
  s.bytes_sent_per_peer = 1234.5;
  s.all_reduce_bytes_per_peer = 600000;
  s.wall_s = 12.5;
  s.samples_per_s = 4096;
  PeerSummary peer;
  peer.peer = 0;
  peer.host = "node\"1\"";
  peer.steps = 100;
  peer.rounds = 99;
  peer.samples = 500;
  peer.accuracy = 0.9375;
  peer.bytes_sent = 1234;
  peer.bytes_received = 4321;
  peer.wall_s = 12.5;
  peer.compute_s = 10;
  peer.wait_s = 2;
  s.peers = {peer};
  return s;
}

TEST(Summary, HasEveryKeyInAStableOrder) {
  EXPECT_EQ(to_json(small_summary()), R"({
  "version": 1,
  "algorithm": "choco-sgd",
  "topology": "ring",
  "codec": "top-k 1%",
  "transport": "ucx",
  "seed": 7,
  "parameters": 1000,
  "mean_model": {
    "loss": 0.25,
    "accuracy": 0.96875
  },
  "consensus_distance": null,
  "bytes_sent_per_peer": 1234.5,
  "all_reduce_bytes_per_peer": 600000.0,
  "wall_s": 12.5,
  "samples_per_s": 4096.0,
  "peers": [
    {
      "peer": 0,
      "host": "node\"1\"",
      "steps": 100,
      "rounds": 99,
      "samples": 500,
      "loss": null,
      "accuracy": 0.9375,
      "bytes_sent": 1234,
      "bytes_received": 4321,
      "wall_s": 12.5,
      "compute_s": 10.0,
      "wait_s": 2.0
    }
  ]
}
)");
}

TEST(Summary, ComesBackFromItsFile) {
  const TempDir dir;
  ASSERT_TRUE(write_summary(dir / "summary.json", small_summary()));
  const auto back = read_summary(dir / "summary.json");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(to_json(*back), to_json(small_summary()));
  EXPECT_EQ(back->peers.at(0).host, "node\"1\"");
  EXPECT_TRUE(std::isnan(back->consensus_distance));
}

TEST(Summary, AFullDiskLeavesTheOldOne) {
  const TempDir dir;
  ASSERT_TRUE(write_summary(dir / "s", small_summary()));
  {
    const FileSizeLimit limit(100);
    EXPECT_EQ(write_summary(dir / "s", RunSummary()).error().code, Errc::io);
  }
  EXPECT_EQ(contents(dir / "s"), to_json(small_summary()));
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(Summary, SaysWhatIsWrongWithAFile) {
  EXPECT_EQ(parse_summary("{}").error().code, Errc::version);
  EXPECT_EQ(parse_summary(R"({"version": 2})").error().code, Errc::version);
  EXPECT_THAT(parse_summary(R"({"version": 1, "seed": "x"})").error().message, HasSubstr("'seed' should be"));
  EXPECT_THAT(parse_summary(R"({"version": 1, "mean_model": []})").error().message,
              HasSubstr("'mean_model' should be an object"));
  EXPECT_THAT(parse_summary(R"({"version": 1, "mean_model": {"loss": []}})").error().message,
              HasSubstr("mean_model: 'loss'"));
  EXPECT_FALSE(parse_summary(R"({"version": 1, "peers": [1]})"));
  EXPECT_FALSE(parse_summary(R"({"version": 1, "peers": {}})"));
  EXPECT_FALSE(parse_summary("{\"version\": 1, \"x\": " + std::string(1'000'000, '[')));
  EXPECT_FALSE(parse_summary(R"({"version": 1, "x": [[[[[[[1]]]]]]]})"));
  EXPECT_THAT(read_summary("/no/such/summary.json").error().message,
              HasSubstr("cannot read /no/such/summary.json"));
  EXPECT_TRUE(parse_summary(R"({"version": 1, "of_the_future": 1})"));
}

TEST(Summary, AHostNameThatIsNotUtf8DoesNotLoseTheSummary) {
  RunSummary summary = small_summary();
  summary.peers[0].host = "node\xff";
  EXPECT_TRUE(parse_summary(to_json(summary)));
}

}  // namespace
}  // namespace gossamer
