#include "base/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace gossamer {
namespace {

std::vector<std::pair<std::size_t, std::size_t>> ranges(const std::vector<LayoutPart>& parts) {
  std::vector<std::pair<std::size_t, std::size_t>> all;
  for (const LayoutPart& part : parts) all.emplace_back(part.offset, part.layout.size());
  return all;
}

TEST(Cut, CollectsTensorsFromTheLastOnUntilThereIsEnough) {
  Layout layout;
  for (const std::size_t count : {5, 3, 2, 8, 1, 1, 2}) layout.add("t", {count});
  EXPECT_EQ(ranges(cut(layout, 4, 100)), (std::vector<std::pair<std::size_t, std::size_t>>{{0, 5}, {5, 5}, {10, 8}, {18, 4}}));
  EXPECT_EQ(ranges(cut(layout, 1, 100)).size(), 7u);
  EXPECT_EQ(ranges(cut(layout, 1000, 100)).size(), 1u);
  EXPECT_EQ(ranges(cut(layout, 1, 1)).size(), 1u);
}

TEST(Cut, KeepsNamesAndShapesAndCountsOffsetsFromZero) {
  Layout layout;
  layout.add("a", {2, 3});
  layout.add("b", {4});
  layout.add("c", {5, 1});
  const auto parts = cut(layout, 9, 8);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].offset, 6u);
  ASSERT_EQ(parts[1].layout.tensors().size(), 2u);
  EXPECT_EQ(parts[1].layout.tensors()[1].name, "c");
  EXPECT_EQ(parts[1].layout.tensors()[1].shape, (std::vector<std::size_t>{5, 1}));
  EXPECT_EQ(parts[1].layout.tensors()[1].offset, 4u);
}

TEST(Cut, CoversEveryLayoutWithoutAGapInFewEnoughParts) {
  Random random(1, Purpose::test);
  for (int round = 0; round < 2000; ++round) {
    Layout layout;
    for (std::uint64_t tensors = 1 + random.below(50); tensors > 0; --tensors) layout.add("t", {random.below(round % 2 ? 100 : 3)});
    const std::size_t least = 1 + random.below(200), most = 1 + random.below(40);
    const auto parts = cut(layout, least, most);
    ASSERT_GE(parts.size(), 1u);
    ASSERT_LE(parts.size(), most);
    std::size_t end = 0, tensors = 0;
    for (const LayoutPart& part : parts) {
      ASSERT_EQ(part.offset, end);
      end += part.layout.size();
      tensors += part.layout.tensors().size();
      if (&part != &parts.front()) {
        EXPECT_GE(part.layout.size(), least);
      }
      if (parts.size() > 1) {
        EXPECT_GT(part.layout.size(), 0u);
      }
    }
    ASSERT_EQ(end, layout.size());
    ASSERT_EQ(tensors, layout.tensors().size());
  }
}

}  // namespace
}  // namespace gossamer
