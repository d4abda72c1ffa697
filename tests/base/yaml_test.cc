#include "base/yaml.h"

#include <gtest/gtest.h>

#include "base/nearest.h"

namespace gossamer {
namespace {

YamlDocument parsed(std::string_view text) {
  auto document = YamlDocument::parse(text, "run.yaml");
  EXPECT_TRUE(document) << document.error().message;
  return std::move(*document);
}

std::string message(const Result<>& result) {
  return result ? "no error" : result.error().message;
}

std::string refusal(std::string_view text) {
  auto document = YamlDocument::parse(text, "run.yaml");
  return document ? "no error" : document.error().message;
}

TEST(Yaml, ReadsEveryKindOfValue) {
  auto document = parsed(
      "name: ring of 8\ncount: 18446744073709551615\nnegative: -3\nrate: 1e-3\nflag: true\nwait: 1.5 "
      "s\nsize: 64 MiB\n"
      "hidden: [128, 64]\nweights: [0.5, 1]\nwords: [a, 'b c']\nnested: {deep: {x: 7}}\nedges: [{to: 1}, "
      "{to: 2}]\nmode: fast\n");
  const YamlMap top = document.root();
  EXPECT_EQ(top.text("name", ""), "ring of 8");
  EXPECT_EQ(top.count("count", 0), 18446744073709551615u);
  EXPECT_EQ(top.integer("negative", 0), -3);
  EXPECT_EQ(top.number("rate", 0), 1e-3);
  EXPECT_TRUE(top.boolean("flag", false));
  EXPECT_EQ(top.duration("wait", {}), std::chrono::milliseconds(1500));
  EXPECT_EQ(top.bytes("size", 0), 64u << 20);
  EXPECT_EQ(top.counts("hidden", {}), (std::vector<std::uint64_t>{128, 64}));
  EXPECT_EQ(top.numbers("weights", {}), (std::vector<double>{0.5, 1}));
  EXPECT_EQ(top.texts("words", {}), (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(top.map("nested").map("deep").count("x", 0), 7u);
  const auto edges = top.maps("edges");
  ASSERT_EQ(edges.size(), 2u);
  EXPECT_EQ(edges[1].count("to", 0), 2u);
  EXPECT_EQ(edges[0].count("to", 0), 1u);
  EXPECT_EQ(top.choice<int>("mode", {{"slow", 1}, {"fast", 2}}, 0), 2);
  EXPECT_EQ(message(document.finish()), "no error");
  const auto known = document.known_keys();
  EXPECT_NE(std::find(known.begin(), known.end(), "edges[].to"), known.end());
  EXPECT_NE(std::find(known.begin(), known.end(), "nested.deep.x"), known.end());
}

TEST(Yaml, WhatIsAbsentGivesItsFallback) {
  auto document = parsed("# only a comment\n");
  const YamlMap top = document.root();
  EXPECT_EQ(top.text("name", "none"), "none");
  EXPECT_EQ(top.map("trainer").map("optimizer").number("learning_rate", 0.1), 0.1);
  EXPECT_EQ(top.counts("hidden", {3}), std::vector<std::uint64_t>{3});
  EXPECT_TRUE(top.maps("edges").empty());
  EXPECT_EQ(message(document.finish()), "no error");
}

TEST(Yaml, AnUnknownKeyIsNamedWithItsPlaceAndTheNearestKnownOne) {
  auto document = parsed("trainer:\n  task: mlp\n  epocs: 3\n");
  const YamlMap trainer = document.root().map("trainer");
  trainer.text("task", "");
  trainer.number("epochs", 1);
  EXPECT_EQ(message(document.finish()), "run.yaml:3:3: trainer.epocs: unknown key; did you mean `epochs`?");
}

TEST(Yaml, AnUnknownKeyNearNothingListsTheKnownOnes) {
  auto document = parsed("zzzzzz: 1\n");
  document.root().text("task", "");
  document.root().text("seed", "");
  EXPECT_EQ(message(document.finish()), "run.yaml:1:1: zzzzzz: unknown key; known: task, seed");
}

TEST(Yaml, AMisspeltRequiredKeyIsCalledMisspelt) {
  auto document = parsed("familly: ring\n");
  EXPECT_EQ(document.root().require("family").text(), "");
  EXPECT_EQ(message(document.finish()), "run.yaml:1:1: familly: unknown key; did you mean `family`?");
}

TEST(Yaml, AMissingRequiredKeyIsNamed) {
  auto document = parsed("a: {peers: 8}\n");
  const YamlMap a = document.root().map("a");
  a.count("peers", 0);
  a.require("family");
  EXPECT_EQ(message(document.finish()), "run.yaml:1:4: a.family: is missing; add it");
}

TEST(Yaml, WhatIsMissingInAMissingMappingIsPlacedAtTheNearestOneThatIsThere) {
  auto document = parsed("trainer:\n  task: mlp\n");
  const YamlMap trainer = document.root().map("trainer");
  trainer.text("task", "");
  trainer.map("data").require("format");
  EXPECT_EQ(message(document.finish()), "run.yaml:2:3: trainer.data.format: is missing; add it");
}

struct Bad {
  const char* text;
  const char* message;
};

class YamlBadValue : public testing::TestWithParam<Bad> {};

TEST_P(YamlBadValue, CarriesPlaceCauseAndRemedy) {
  auto document = parsed(GetParam().text);
  const YamlMap top = document.root();
  top.count("count", 1, {.least = 1, .most = 9});
  top.integer("integer", 0, {.least = -5});
  top.number("ratio", 1, {.least = 0, .most = 1, .above_least = true});
  top.number("rate", 1, kPositive);
  top.boolean("flag", false);
  top.duration("wait", {}, {.least = 0, .above_least = true});
  top.bytes("size", 0);
  top.counts("list", {});
  top.map("map").count("x", 0);
  top.text("text", "");
  top.choice<int>("mode", {{"bulk", 1}, {"stale", 2}, {"async", 3}}, 1);
  const auto end = document.finish();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Errc::invalid_argument);
  EXPECT_EQ(end.error().message, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, YamlBadValue,
    testing::Values(
        Bad{"count: 0", "run.yaml:1:8: count: 0 is out of range; it must be in [1, 9]"},
        Bad{"count: -2", "run.yaml:1:8: count: -2 is out of range; it must be in [1, 9]"},
        Bad{"count: 1.5", "run.yaml:1:8: count: `1.5` is not a whole number; write one in [1, 9]"},
        Bad{"count: '4'",
            "run.yaml:1:8: count: the quoted text \"4\" is not a whole number; write one in [1, 9]"},
        Bad{"count: 99999999999999999999",
            "run.yaml:1:8: count: `99999999999999999999` is not a whole number; write one in [1, 9]"},
        Bad{"integer: -6", "run.yaml:1:10: integer: -6 is out of range; it must be at least -5"},
        Bad{"ratio: 0", "run.yaml:1:8: ratio: 0 is out of range; it must be in (0, 1]"},
        Bad{"ratio: 1.5", "run.yaml:1:8: ratio: 1.5 is out of range; it must be in (0, 1]"},
        Bad{"ratio: nan", "run.yaml:1:8: ratio: `nan` is not a number; write one in (0, 1]"},
        Bad{"rate: .inf", "run.yaml:1:7: rate: `.inf` is not a number; write one greater than 0"},
        Bad{"rate: 0.1x", "run.yaml:1:7: rate: `0.1x` is not a number; write one greater than 0"},
        Bad{"flag: yes", "run.yaml:1:7: flag: `yes` is neither true nor false; write one of them"},
        Bad{"wait: 10",
            "run.yaml:1:7: wait: 10 has no unit; write for instance `10 s` (units: ns, us, ms, s, min, h)"},
        Bad{"wait: 10 sec", "run.yaml:1:7: wait: `sec` is not a unit of time; use ns, us, ms, s, min or h"},
        Bad{"wait: 0 s", "run.yaml:1:7: wait: 0 s is out of range; it must be in (0, 9200000000] s"},
        Bad{"wait: soon",
            "run.yaml:1:7: wait: `soon` is not a duration; write a number and a unit, such as `10 s` or `500 "
            "ms`"},
        Bad{"size: 5 MO",
            "run.yaml:1:7: size: `MO` is not a unit of size; use B, kB, MB, GB, KiB, MiB or GiB"},
        Bad{"size: -5 MB",
            "run.yaml:1:7: size: `-5 MB` is not a size; write a number and a unit, such as `64 MiB`"},
        Bad{"list: 3", "run.yaml:1:7: list: is a single value; write a list such as [1, 2]"},
        Bad{"list:\n  - 1\n  - x", "run.yaml:3:5: list[1]: `x` is not a whole number; write one at least 0"},
        Bad{"map: 3", "run.yaml:1:6: map: is a single value; write a mapping such as {key: value}"},
        Bad{"text: [a]", "run.yaml:1:7: text: is a list; write text"},
        Bad{"text:\nflag: true", "run.yaml:1:1: text: has no value; write text behind it or remove the key"},
        Bad{"mode: bluk",
            "run.yaml:1:7: mode: `bluk` is not known here; did you mean `bulk`? choose one of: bulk, stale, "
            "async"},
        Bad{"mode: xyzzyx",
            "run.yaml:1:7: mode: `xyzzyx` is not known here; choose one of: bulk, stale, async"}));

TEST(Yaml, TheFirstErrorWins) {
  auto document = parsed("a: x\nb: y\n");
  document.root().count("b", 0);
  document.root().count("a", 0);
  EXPECT_EQ(message(document.finish()), "run.yaml:2:4: b: `y` is not a whole number; write one at least 0");
}

TEST(Yaml, SyntaxErrorsCarryLineAndColumn) {
  EXPECT_EQ(refusal("a: [1, 2\nb: 3\n").substr(0, 21), "run.yaml:2:2: not YAM")
      << refusal("a: [1, 2\nb: 3\n");
  EXPECT_EQ(refusal("a: 1\n\tb: 2\n").rfind("run.yaml:2:", 0), 0u) << refusal("a: 1\n\tb: 2\n");
  EXPECT_EQ(refusal("a: *nothing\n").rfind("run.yaml:1:4: not YAML: ", 0), 0u) << refusal("a: *nothing\n");
  EXPECT_EQ(refusal(std::string_view("a: \0", 4)), "run.yaml: not a text file; it holds a zero byte");
}

TEST(Yaml, DuplicateKeysSecondDocumentsTagsAndMergesAreRefused) {
  EXPECT_EQ(refusal("a: 1\nb: {x: 1, x: 2}\n"),
            "run.yaml:2:11: the key `x` occurs twice (first in line 2); keep one");
  EXPECT_EQ(refusal("a: 1\na: 2\n"), "run.yaml:2:1: the key `a` occurs twice (first in line 1); keep one");
  EXPECT_EQ(refusal("a: 1\n---\nb: 2\n").substr(0, 11), "run.yaml:2:");
  EXPECT_NE(refusal("a: !!binary x\n").find("tag"), std::string::npos);
  EXPECT_NE(refusal("x: &x {a: 1}\ny:\n  <<: *x\n").find("run.yaml:3:3: merge keys"), std::string::npos);
  EXPECT_NE(refusal("[a, b]: 1\n").find("stands where a key belongs"), std::string::npos);
}

TEST(Yaml, AliasesAreCopiesAndCannotExplode) {
  auto document = parsed("a: &a {x: 3}\nb: *a\n");
  EXPECT_EQ(document.root().map("b").count("x", 0), 3u);
  EXPECT_EQ(document.root().map("a").count("x", 0), 3u);
  EXPECT_EQ(message(document.finish()), "no error");
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int j = 1; j < 10; ++j) bomb += ", " + last;
    bomb += "]\n";
  }
  EXPECT_NE(refusal(bomb).find("too large"), std::string::npos);
  EXPECT_NE(refusal("a: &a [*a]\n").find("an alias inside of what it names"), std::string::npos);
  EXPECT_NE(refusal("a: " + std::string(100'000, '[')), "no error");
  EXPECT_NE(refusal("a: " + std::string(100'000, '[') + std::string(100'000, ']')), "no error")
      << "depth is bounded";
}

TEST(Yaml, SetGoesOverTheFileAndErrorsNameTheFlag) {
  auto document = parsed("trainer: {epochs: 3}\nseed: 1\n");
  ASSERT_TRUE(document.set("trainer.epochs", "5", "--set trainer.epochs=5"));
  ASSERT_TRUE(document.set("trainer.hidden", "[4, 5]", "--set"));
  ASSERT_TRUE(document.set("report.interval", "2 s", "--set"));
  EXPECT_EQ(document.root().map("trainer").count("epochs", 0), 5u);
  EXPECT_EQ(document.root().map("trainer").counts("hidden", {}), (std::vector<std::uint64_t>{4, 5}));
  EXPECT_EQ(document.root().map("report").duration("interval", {}), std::chrono::seconds(2));
  document.root().count("seed", 0);
  EXPECT_EQ(message(document.finish()), "no error");

  ASSERT_TRUE(document.set("trainer.epocs", "5", "--set trainer.epocs=5"));
  EXPECT_EQ(message(document.finish()),
            "--set trainer.epocs=5: trainer.epocs: unknown key; did you mean `epochs`?");
  EXPECT_EQ(message(document.set("seed.x", "5", "--set seed.x=5")),
            "--set seed.x=5: seed is a single value, so there is no `x` in it; set seed itself");
  EXPECT_EQ(message(document.set("trainer..x", "5", "--set trainer..x=5")),
            "--set trainer..x=5: `trainer..x` is not the path of a key; write for instance trainer.epochs");
  EXPECT_EQ(message(document.set("seed", "[1", "--set seed=[1")),
            "--set seed=[1: a list or mapping stands where a key belongs; is a bracket left open?");
}

TEST(Yaml, AnInapplicableKeyIsRefusedUnlessAHigherLayerSwitchedItOff) {
  auto document = parsed("codec: top-k\nbits: 4\n");
  document.root().text("codec", "");
  document.root().inapplicable("bits", "codec", "belongs to codec qsgd; remove it");
  EXPECT_EQ(message(document.finish()), "run.yaml:2:7: bits: belongs to codec qsgd; remove it");

  auto layered = parsed("codec: qsgd\nbits: 4\n");
  ASSERT_TRUE(layered.set("codec", "top-k", "--set codec=top-k"));
  layered.root().inapplicable("bits", "codec", "belongs to codec qsgd; remove it");
  EXPECT_EQ(message(layered.finish()), "no error");
}

TEST(Yaml, WhatIsWrittenReadsBack) {
  for (const std::string text :
       {"plain", "", "true", "null", "~", "7", "a: b", "#x", "quote\" and \\", "line\nbreak", "tab\t",
        "/a/b.gz", "[x]", "-", "ümlaut", " leading", "0.5", "*a", "no"}) {
    auto document = parsed("x: " + yaml_text(text) + "\n");
    EXPECT_EQ(document.root().text("x", "absent"), text);
    EXPECT_EQ(message(document.finish()), "no error") << text;
  }
  for (const double number : {0.1, 1.0 / 3, 1e-300, 12345678901234567890.0, -0.0, 5e-324, 1.0}) {
    auto document = parsed("x: " + yaml_number(number) + "\n");
    EXPECT_EQ(document.root().number("x", 7), number);
    EXPECT_EQ(message(document.finish()), "no error");
  }
  for (const std::int64_t ns : {0ll, 1ll, 1500000000ll, 60000000000ll, 250000ll, 123456789ll}) {
    auto document = parsed("x: " + yaml_duration(Duration(ns)) + "\n");
    EXPECT_EQ(document.root().duration("x", Duration(5)).count(), ns);
  }
}

TEST(Nearest, CountsSwapsAsOneEditAndFoldsCaseAndDashes) {
  EXPECT_EQ(edit_distance("bluk", "bulk"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("Local_Steps", "local-steps"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
}

TEST(Nearest, SaysNothingWhenNothingIsNear) {
  const std::vector<std::string> words = {"learning_rate", "momentum", "name"};
  EXPECT_EQ(nearest("momentu", words), "momentum");
  EXPECT_EQ(nearest("learning-rte", words), "learning_rate");
  EXPECT_EQ(nearest("learn", words), "learning_rate");
  EXPECT_EQ(nearest("qqqqqq", words), "");
  EXPECT_EQ(nearest("x", words), "");
}

}  // namespace
}  // namespace gossamer
