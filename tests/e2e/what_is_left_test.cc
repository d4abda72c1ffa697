// What a run leaves behind is what docs/report.md says, and its bytes are those that the formats predict.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <regex>

#include "tests/e2e/command.h"

namespace gossamer::e2e {
namespace {

// Elements of the tensors of the digits' perceptron: 64 -> 128 -> 64 -> 10, weights and biases.
const std::vector<std::size_t> kTensors = {64 * 128, 128, 128 * 64, 64, 64 * 10, 10};
constexpr double kParameters = 17226;
constexpr double kHeader = 64;

struct Traffic {
  const char* label;
  const char* example;
  Words sets;
  double payloads;      // that a peer sends per round
  double payload;       // bytes of one, without its header; mean over peers
  std::size_t partners;  // that it ever sends to
  std::size_t rounds;
};

void PrintTo(const Traffic& traffic, std::ostream* out) { *out << traffic.label; }

double qsgd4() {
  double scales = 0, codes = 0;
  for (const std::size_t n : kTensors) {
    scales += 4.0 * static_cast<double>((n + 255) / 256);
    codes += static_cast<double>((n / 256 * 128 + (n % 256 * 4 + 31) / 32 * 4 + 7) / 8 * 8);
  }
  return 64 + std::ceil(scales / 64) * 64 + codes;
}

double top_1_percent() {
  double bytes = 64;
  for (const std::size_t n : kTensors) {
    const auto k = std::max<std::size_t>(1, n / 100);
    const std::size_t positions = std::min({(n + 7) / 8, k + (n + 255) / 256, 2 * k + 4 * ((n + 65535) / 65536)});
    bytes += static_cast<double>(16 + (positions + 7) / 8 * 8 + (4 * k + 7) / 8 * 8);
  }
  return bytes;
}

class Bytes : public testing::TestWithParam<Traffic> {};

TEST_P(Bytes, AreThoseOfTheWireFormatAtEveryCounter) {
  const Traffic& expected = GetParam();
  const Scratch scratch;
  Words sets = {"trainer.steps=40", "report.evaluate_every_epochs=0"};
  sets.insert(sets.end(), expected.sets.begin(), expected.sets.end());
  const Ended run = gossamer(digits(expected.example, scratch / "out", sets), scratch);
  ASSERT_EQ(run.code, 0) << run.err;
  const Json all = summary(scratch / "out");
  ASSERT_EQ(all["parameters"], kParameters);
  const double rounds = all["peers"][0]["rounds"];
  EXPECT_EQ(rounds, static_cast<double>(expected.rounds));
  EXPECT_EQ(all["all_reduce_bytes_per_peer"].get<double>(), 2.0 * 7 / 8 * 4 * kParameters * rounds);

  double sum = 0, received = 0;
  for (std::size_t peer = 0; peer < 8; ++peer) {
    const Json& one = all["peers"][peer];
    EXPECT_EQ(one["peer"], peer);
    EXPECT_EQ(one["steps"], expected.rounds);
    sum += one["bytes_sent"].get<double>();
    received += one["bytes_received"].get<double>();
    // The last row is of the last step; acknowledgements of the last payloads follow.
    const double last = rows(scratch / "out", peer).back()["bytes_sent"];
    EXPECT_LE(last, one["bytes_sent"].get<double>());
    EXPECT_GE(last, one["bytes_sent"].get<double>() - 36 * 4 * expected.payloads);
  }
  const double per_peer = all["bytes_sent_per_peer"];
  EXPECT_EQ(per_peer, sum / 8);
  // Between payloads travel acknowledgements (36 bytes, at most two for each payload) and a few hellos, which hold
  // the key of a mailbox; what is lent to a neighbour says where it lies.
  const double where = expected.payload < (64 << 10) ? 0 : 200;
  const double payloads = rounds * expected.payloads;
  const double exact = payloads * (expected.payload + kHeader);
  EXPECT_GE(per_peer, exact);
  EXPECT_LE(per_peer, exact + payloads * (2 * 36 + where) + static_cast<double>(expected.partners) * 8 * 512);
  // Nothing is lost on the way, and only what was still under way at the end is not yet counted as received.
  EXPECT_LE(received, sum);
  EXPECT_GE(received, sum - 8 * static_cast<double>(expected.partners) * 3 * 512);
}

INSTANTIATE_TEST_SUITE_P(
    , Bytes,
    testing::Values(
        Traffic{"all_reduce", "all-reduce", {}, 14, 4 * kParameters / 8, 1, 40},
        Traffic{"d_psgd", "d-psgd", {}, 2, 4 * kParameters, 2, 40},
        Traffic{"qsgd_one_peer", "choco-sgd", {}, 1, qsgd4(), 3, 40},
        Traffic{"top_k_ring", "choco-sgd",
                {"topology={family: ring, peers: 8}", "compression={codec: top-k, ratio: 0.01}", "mixing.step_size=0.1"},
                2, top_1_percent(), 2, 40}),
    [](const auto& info) { return info.param.label; });

class Left : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = new Scratch;
    const Ended run = gossamer(digits("choco-sgd", out(), {"trainer.steps=10", "report.interval_steps=2"}), *scratch_);
    ASSERT_EQ(run.code, 0) << run.err;
  }
  static void TearDownTestSuite() { delete scratch_; }
  static std::string out() { return *scratch_ / "out"; }
  static Scratch* scratch_;
};

Scratch* Left::scratch_ = nullptr;

TEST_F(Left, IsEveryFileThatThePageNamesAndNothingElse) {
  std::vector<std::string> expected = {"model.safetensors", "report.html", "run.yaml", "summary.json", "topology.svg"};
  for (int peer = 0; peer < 8; ++peer) {
    expected.push_back("peer-" + std::to_string(peer) + ".jsonl");
    expected.push_back("model-" + std::to_string(peer) + ".safetensors");
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(names_in(out()), expected);
  EXPECT_NE(contents(out() + "/topology.svg").find("</svg>"), std::string::npos);
}

TEST_F(Left, RowsCountUpAndHoldEveryKeyOfThePage) {
  const std::string page = contents(source_root() + "/docs/report.md");
  for (std::size_t peer = 0; peer < 8; ++peer) {
    const auto all = rows(out(), peer);
    ASSERT_EQ(all.size(), 5u);  // steps 2, 4, .. 10
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i]["peer"], peer);
      EXPECT_EQ(all[i]["step"], 2 * (i + 1));
      for (const auto& item : all[i].items()) EXPECT_NE(page.find("`" + item.key() + "`"), std::string::npos) << item.key();
      if (i == 0) continue;
      for (const char* key : {"step", "round", "epoch", "seconds", "bytes_sent"})
        EXPECT_GT(all[i][key].get<double>(), all[i - 1][key].get<double>()) << key;
      // A neighbour may be a round ahead, and its payload already there.
      EXPECT_GE(all[i]["bytes_received"].get<double>(), all[i - 1]["bytes_received"].get<double>());
    }
    EXPECT_TRUE(all.back()["accuracy"].is_number());
    EXPECT_TRUE(all.back()["consensus_distance"].is_number());
  }
}

// Independent of the reader of the sources: 8 bytes length, a JSON header, then float32.
TEST_F(Left, MeanModelIsTheMeanOfThePeersModels) {
  const auto load = [](const std::string& path, Json* header) {
    const std::string bytes = contents(path);
    std::uint64_t size = 0;
    std::memcpy(&size, bytes.data(), sizeof size);
    *header = Json::parse(bytes.substr(8, size), nullptr, false);
    std::vector<float> values((bytes.size() - 8 - size) / 4);
    std::memcpy(values.data(), bytes.data() + 8 + size, values.size() * 4);
    return values;
  };
  Json header;
  const auto mean = load(out() + "/model.safetensors", &header);
  ASSERT_EQ(mean.size(), static_cast<std::size_t>(kParameters));
  std::size_t elements = 0;
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") continue;
    EXPECT_EQ(item.value()["dtype"], "F32");
    std::size_t count = 1;
    for (const std::size_t side : item.value()["shape"]) count *= side;
    elements += count;
    EXPECT_EQ(item.value()["data_offsets"][1].get<std::size_t>() - item.value()["data_offsets"][0].get<std::size_t>(), 4 * count);
  }
  EXPECT_EQ(elements, mean.size());
  std::vector<double> sum(mean.size());
  for (int peer = 0; peer < 8; ++peer) {
    const auto one = load(out() + "/model-" + std::to_string(peer) + ".safetensors", &header);
    ASSERT_EQ(one.size(), mean.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
  }
  for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(mean[i], static_cast<float>(sum[i] / 8));
}

TEST_F(Left, PageLoadsNothingFromAnywhere) {
  const std::string page = contents(out() + "/report.html");
  EXPECT_NE(page.find("</html>"), std::string::npos);
  // Whatever makes a browser fetch: attributes, style sheets, scripts.  Names of XML namespaces do not.
  const std::regex fetch(R"((src|href|srcset|poster|action|data)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import|fetch\(|XMLHttpRequest|<link|<iframe)",
                         std::regex::icase);
  std::smatch match;
  EXPECT_FALSE(std::regex_search(page, match, fetch)) << match.str();
}

TEST_F(Left, ReportCommandReadsTheFolder) {
  const Ended report = gossamer({"report", out(), "--json", "-o", *scratch_ / "again.html"}, *scratch_);
  ASSERT_EQ(report.code, 0) << report.err;
  const Json list = Json::parse(report.out, nullptr, false);
  ASSERT_TRUE(list.is_array()) << report.out;
  EXPECT_EQ(list[0]["summary"], summary(out()));
}

TEST_F(Left, RunFileGivesTheSameModelAgain) {
  const Ended run = gossamer(run_of(out() + "/run.yaml", *scratch_ / "again"), *scratch_);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(contents(out() + "/model.safetensors") == contents(*scratch_ / "again" + "/model.safetensors"));
  EXPECT_EQ(contents(out() + "/run.yaml"), contents(*scratch_ / "again" + "/run.yaml"));
}

}  // namespace
}  // namespace gossamer::e2e
