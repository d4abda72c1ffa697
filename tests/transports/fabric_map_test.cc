// Memory of a neighbour that is read where it lies (Link::map), over every backend; where there is no such thing it is said so.
#include <gtest/gtest.h>

#include <optional>

#include "tests/transports/fabric_fixture.h"

namespace gossamer::testing {
namespace {

class FabricMapPromise : public FabricFixture {
 protected:
  // Connected and heard of, as neighbours are before one lends the other anything.
  static void greet(Link& link, Side& to, Side& from) {
    ASSERT_TRUE(wait_until({&to, &from}, [&, said = false]() mutable {
      if (!said) said = link.notify(as_notice(std::uint64_t{7})) == Errc::ok;
      return !to.events.notices.empty();
    }));
    to.events.clear();
    from.events.clear();
  }

  // A region of its owner's; nothing where this backend maps none, which is checked.
  std::unique_ptr<Mapping> map(Link& to_owner, Region& region) {
    const auto target = open(to_owner, region.remote());
    auto mapping = to_owner.map(region.remote());
    EXPECT_EQ(target->mapped(), mapping.has_value()) << "who maps to write can map to read";
    if (mapping) return std::move(*mapping);
    EXPECT_EQ(mapping.error().code, Errc::unsupported) << mapping.error().message;
    EXPECT_FALSE(mapping.error().message.empty());
    return nullptr;
  }
};

TEST_P(FabricMapPromise, WhatWasWrittenBeforeANoticeIsVisibleWhenItComes) {
  Side owner = make_side(), reader = make_side();
  constexpr std::size_t kSize = 300'001;
  auto region = allocate(owner, kSize);
  auto to_reader = connect(owner, reader), to_owner = connect(reader, owner);
  greet(*to_reader, reader, owner);
  greet(*to_owner, owner, reader);
  const auto mapping = map(*to_owner, *region);
  if (!mapping) GTEST_SKIP() << "this backend maps no memory";
  ASSERT_EQ(mapping->bytes().size(), kSize);
  for (std::uint64_t round = 1; round <= 200; ++round) {
    const std::size_t size = round % 10 == 0 ? kSize : round * 7;
    fill(region->memory().bytes().first(size), round);
    Errc status = Errc::would_block;
    ASSERT_TRUE(wait_until({&owner, &reader}, [&] {
      if (status == Errc::would_block)
        status = round % 2 == 0 ? to_reader->notify(as_notice(round)) : to_reader->put({.notice = as_notice(round), .token = round});
      return !reader.events.notices.empty();
    }));
    EXPECT_EQ(from_notice<std::uint64_t>(reader.events.notices[0]), round);
    EXPECT_EQ(first_difference(mapping->bytes().first(size), round), size) << round;
    reader.events.clear();
    owner.events.clear();
  }
}

TEST_P(FabricMapPromise, AMappingOutlivesRegionLinkAndBothFabrics) {
  std::optional<Side> owner = make_side(), reader = make_side();
  auto region = allocate(*owner, 100'000);
  fill(region->memory().bytes(), 9);
  auto to_owner = connect(*reader, *owner);
  greet(*to_owner, *owner, *reader);
  const auto mapping = map(*to_owner, *region);
  if (!mapping) GTEST_SKIP() << "this backend maps no memory";
  const RemoteRegion remote = region->remote();
  region.reset();
  EXPECT_EQ(first_difference(mapping->bytes(), 9), 100'000u);
  // What is allocated now is other memory.
  auto next = allocate(*owner, 100'000);
  fill(next->memory().bytes(), 10);
  EXPECT_EQ(first_difference(mapping->bytes(), 9), 100'000u);
  EXPECT_FALSE(to_owner->map(remote)) << "it is not there any more";
  next.reset();
  owner.reset();
  to_owner.reset();
  reader.reset();
  EXPECT_EQ(first_difference(mapping->bytes(), 9), 100'000u);
}

TEST_P(FabricMapPromise, WhatIsNotAllocatedThereIsNotMapped) {
  Side owner = make_side(), reader = make_side(), third = make_side();
  auto region = allocate(owner, 10'000), of_third = allocate(third, 10'000);
  auto to_owner = connect(reader, owner);
  greet(*to_owner, owner, reader);
  const RemoteRegion good = region->remote();
  RemoteRegion large = good, cut = good, garbage = good;
  large.size += 4096;
  cut.key.pop_back();
  garbage.key.assign(40, 'x');
  for (const RemoteRegion& wrong : {large, cut, garbage, of_third->remote(), RemoteRegion{}}) {
    const auto mapping = to_owner->map(wrong);
    ASSERT_FALSE(mapping);
    EXPECT_TRUE(mapping.error().code == Errc::corrupt || mapping.error().code == Errc::unsupported) << mapping.error().message;
  }
  // Memory of the caller may go at any time.
  std::vector<std::byte> mine(10'000);
  auto of_caller = owner.fabric->add_region({mine.data(), mine.size()});
  ASSERT_TRUE(of_caller);
  const auto mapping = to_owner->map((*of_caller)->remote());
  ASSERT_FALSE(mapping);
  EXPECT_EQ(mapping.error().code, Errc::unsupported);
}

INSTANTIATE_TEST_SUITE_P(Every, FabricMapPromise, ::testing::ValuesIn(all_backends()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
