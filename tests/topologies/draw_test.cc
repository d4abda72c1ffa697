// Pictures of topologies.
#include "topologies/draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <pugixml.hpp>

#include "tests/topologies/all_families.h"

namespace gossamer {
namespace {

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

std::string draw(const TopologySpec& spec, const DrawOptions& options = {}) {
  const auto t = make_topology(spec);
  EXPECT_TRUE(t) << t.error().message;
  return draw_svg(**t, options);
}

TEST(Draw, IsWellFormedForEveryFamilyAndShowsEveryPeerInEveryRound) {
  for (const std::size_t n : {1, 2, 3, 5, 8, 16, 30, 64})
    for (const auto& [what, spec] : all_families(n, false)) {
      SCOPED_TRACE(what);
      const auto t = make_topology(spec);
      ASSERT_TRUE(t);
      const std::string svg = draw_svg(**t);
      pugi::xml_document xml;
      ASSERT_TRUE(xml.load_string(svg.c_str())) << svg.substr(0, 400);
      for (const char* wrong : {"\"nan", " nan", "-nan", "\"inf", " inf", "-inf"})
        ASSERT_EQ(svg.find(wrong), std::string::npos) << wrong;
      const std::size_t rounds = std::min<std::size_t>((*t)->period(), DrawOptions{}.rounds_max);
      EXPECT_EQ(count(svg, "<circle class=\"node"), n * rounds);
    }
}

TEST(Layout, KeepsPeersInsideAndApart) {
  for (const std::size_t n : {2, 4, 7, 8, 16, 31, 32, 64, 128})
    for (const auto& [what, spec] : all_families(n, false)) {
      SCOPED_TRACE(what);
      const auto t = make_topology(spec);
      ASSERT_TRUE(t);
      const auto places = layout_peers(**t);
      ASSERT_EQ(places.size(), n);
      double nearest = 1;
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_TRUE(places[i].x >= -1e-9 && places[i].x <= 1 + 1e-9 && places[i].y >= -1e-9 &&
                    places[i].y <= 1 + 1e-9);
        for (std::size_t j = 0; j < i; ++j)
          nearest = std::min(nearest, std::hypot(places[i].x - places[j].x, places[i].y - places[j].y));
      }
      EXPECT_GT(nearest, 0.12 / static_cast<double>(n));
    }
}

TEST(Draw, ShowsDirectionAndWeight) {
  const std::string one_way = draw(family_spec("static-exponential", 8));
  const std::string both_ways = draw(family_spec("ring", 8));
  // Hops 1 and 2 are arrows; hop 4 of 8 goes both ways.  One more in the legend.
  EXPECT_EQ(count(one_way, "marker-end"), 8u * 2 + 1);
  EXPECT_EQ(count(one_way, "class=\"edge\""), 8u * 2 + 4 + 1);
  EXPECT_EQ(count(both_ways, "marker-end"), 0u);
  TopologySpec spec;
  spec.peers = 3;
  spec.weights = WeightRule::given;
  spec.schedule.push_back({.edges = {{0, 1, 0.4}, {1, 2, 0.1}}});
  const std::string weighted = draw(spec);
  EXPECT_NE(weighted.find("stroke-width=\"4.00\""), std::string::npos);
  EXPECT_NE(weighted.find("stroke-width=\"1.00\""), std::string::npos);
  EXPECT_NE(weighted.find("weight 0.4"), std::string::npos);
  EXPECT_NE(weighted.find("weight 0.1"), std::string::npos);
}

TEST(Draw, ShowsAScheduleRoundByRoundUpToALimit) {
  const std::string all = draw(family_spec("one-peer-hypercube", 16));
  EXPECT_EQ(count(all, ">round "), 4u);
  const std::string some = draw(family_spec("one-peer-hypercube", 16), {.rounds_max = 2});
  EXPECT_EQ(count(some, ">round "), 2u);
  EXPECT_NE(some.find("the first 2 are shown"), std::string::npos);
}

TEST(Draw, EscapesWhatPeopleWrite) {
  const std::string svg =
      draw(family_spec("ring", 3), {.title = "<script>&\"\x01", .labels = {"<a>", "b&c", "d"}});
  pugi::xml_document xml;
  ASSERT_TRUE(xml.load_string(svg.c_str()));
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_EQ(std::string(xml.child("svg").child_value("title")), "<script>&\"");
}

TEST(Draw, IsTheSamePictureForTheSameGraphAndFollowsTheReadersColours) {
  const auto spec = family_spec("random-regular", 40);
  EXPECT_EQ(draw(spec), draw(spec));
  EXPECT_NE(draw(spec).find("prefers-color-scheme: dark"), std::string::npos);
}

TEST(Draw, SaysThatATopologyIsTooLargeToSee) {
  const std::string svg = draw(family_spec("ring", 100'000));
  EXPECT_NE(svg.find("too many to draw"), std::string::npos);
  EXPECT_LT(svg.size(), 5000u);
  EXPECT_LT(draw(family_spec("complete", 1500)).size(), 5000u);
}

}  // namespace
}  // namespace gossamer
