// The promises of transports/fabric.h, over every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/random.h"
#include "tests/transports/fabric_fixture.h"

namespace gossamer::testing {
namespace {

class FabricPromise : public FabricFixture {
 protected:
  void hammer(std::uint64_t puts, std::uint64_t seed);
  void one_put(Side& sender, Side& receiver, const Region& source, const Region& sink, Link& link, const Target& target, std::size_t from,
               std::size_t to, std::size_t size, std::uint64_t number);
};

// So many puts of all sizes through a few slots that are written again and again.
void FabricPromise::hammer(std::uint64_t puts, std::uint64_t seed) {
  Side sender = make_side(), receiver = make_side();
  constexpr std::size_t kSlots = 16, kSlotSize = 64 << 10;
  auto source = allocate(sender, kSlots * kSlotSize);
  auto sink = allocate(receiver, kSlots * kSlotSize);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());

  struct Label {
    std::uint64_t number, slot, size;
  };
  // A slot is free when the sender knows the put ended and the receiver has checked its bytes.
  std::vector<std::size_t> free_slots(kSlots);
  std::iota(free_slots.begin(), free_slots.end(), 0);
  std::array<int, kSlots> half_done{};
  const auto half = [&](std::size_t slot) {
    if (++half_done[slot] == 2) {
      half_done[slot] = 0;
      free_slots.push_back(slot);
    }
  };
  Random random(seed, Purpose::test);
  std::uint64_t sent = 0, seen = 0, ended = 0;
  const bool finished = wait_until({&sender, &receiver}, [&] {
    for (const Notice& notice : receiver.events.notices) {
      const auto label = from_notice<Label>(notice);
      if (first_wrong(*sink, label.slot * kSlotSize, label.size, label.number) != label.size) ADD_FAILURE() << "put " << label.number;
      ++seen;
      half(label.slot);
    }
    for (const Ended& end : sender.events.ended) {
      EXPECT_EQ(end.status, Errc::ok);
      ++ended;
      half(end.token);
    }
    receiver.events.clear();
    sender.events.clear();
    while (sent < puts && !free_slots.empty()) {
      const std::size_t slot = free_slots.back();
      // Mostly small, some around the sizes where protocols change, a few that fill the slot.
      const std::size_t size = random.below(100) == 0 ? kSlotSize - random.below(64)
                               : random.below(8) == 0 ? random.below(16 << 10)
                                                      : random.below(600);
      const Label label{sent, slot, size};
      fill_region(*source, slot * kSlotSize, size, sent);
      const Errc status = link->put({.source = source.get(),
                                     .source_offset = slot * kSlotSize,
                                     .size = size,
                                     .target = target.get(),
                                     .target_offset = slot * kSlotSize,
                                     .notice = as_notice(label),
                                     .token = slot});
      if (status == Errc::would_block) break;
      EXPECT_EQ(status, Errc::ok);
      free_slots.pop_back();
      ++sent;
    }
    return seen == puts && ended == puts;
  });
  EXPECT_TRUE(finished) << "sent " << sent << ", ended " << ended << ", seen " << seen;
}

// One, all of its bytes, and none beside them.
void FabricPromise::one_put(Side& sender, Side& receiver, const Region& source, const Region& sink, Link& link, const Target& target,
                            std::size_t from, std::size_t to, std::size_t size, std::uint64_t number) {
  fill_region(source, from, size, number);
  const auto before = read(sink, to + size, 1);
  ASSERT_EQ(put_patiently(link,
                          {.source = &source,
                           .source_offset = from,
                           .size = size,
                           .target = &target,
                           .target_offset = to,
                           .notice = as_notice(number),
                           .token = number},
                          {&sender, &receiver}),
            Errc::ok);
  ASSERT_TRUE(wait_until({&sender, &receiver}, [&] {
    return !receiver.events.notices.empty() && !sender.events.ended.empty();
  })) << size;
  EXPECT_EQ(from_notice<std::uint64_t>(receiver.events.notices[0]), number);
  EXPECT_EQ(sender.events.ended[0].token, number);
  EXPECT_EQ(first_wrong(sink, to, size, number), size) << size;
  EXPECT_EQ(read(sink, to + size, 1), before) << "a byte behind the put changed, size " << size;
  receiver.events.clear();
  sender.events.clear();
}

TEST_P(FabricPromise, PayloadIsVisibleBeforeItsNotice) { hammer(10'000, 1); }

TEST_P(FabricPromise, SizesFromNothingTo64MiBArriveAtUnalignedOffsets) {
  Side sender = make_side(), receiver = make_side();
  constexpr std::size_t kLargest = 64 << 20;
  auto source = allocate(sender, kLargest + 16);
  auto sink = allocate(receiver, kLargest + 16);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  std::uint64_t number = 0;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{1000}, std::size_t{8191},
        std::size_t{8193}, std::size_t{65'537}, std::size_t{1'000'003}, kLargest}) {
    if (size > sender.fabric->limits().put_size_max) continue;
    ++number;
    one_put(sender, receiver, *source, *sink, *link, *target, number % 8, (number * 3) % 8, size, number);
  }
}

TEST_P(FabricPromise, MemoryOfTheCallerWorksLikeAllocatedMemory) {
  Side sender = make_side(), receiver = make_side();
  constexpr std::size_t kSize = 300'000;
  Own mine(kSize), theirs(kSize);
  auto source = sender.fabric->add_region(mine.view());
  auto sink = receiver.fabric->add_region(theirs.view());
  ASSERT_TRUE(source && sink);
  fill_region(**source, 0, kSize, 5);
  auto link = connect(sender, receiver);
  auto target = open(*link, (*sink)->remote());
  const std::uint64_t label = 5;
  ASSERT_EQ(link->put({.source = source->get(),
                       .size = kSize,
                       .target = target.get(),
                       .notice = as_notice(label),
                       .token = 1}),
            Errc::ok);
  ASSERT_TRUE(wait_until({&sender, &receiver},
                         [&] { return !receiver.events.notices.empty() && !sender.events.ended.empty(); }));
  EXPECT_EQ(first_wrong(**sink, 0, kSize, 5), kSize);
}

TEST_P(FabricPromise, AllocatedMemoryIsZeroed) {
  Side side = make_side();
  for (const std::size_t size : {1, 4096, 100'000}) {
    auto region = allocate(side, size);
    ASSERT_EQ(region->memory().size, size);
    const auto bytes = read(*region, 0, size);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    fill_region(*region, 0, size, 3);  // so that memory that is reused would show
  }
}

TEST_P(FabricPromise, BareNoticesArriveOnceEach) {
  Side sender = make_side(), receiver = make_side();
  auto link = connect(sender, receiver);
  constexpr std::size_t kCount = 3'000;
  std::vector<int> times(kCount);
  std::size_t sent = 0, seen = 0;
  EXPECT_TRUE(wait_until({&sender, &receiver}, [&] {
    while (sent < kCount) {
      std::vector<std::byte> notice(8 + sent % (kNoticeSizeMax - 7));
      std::memcpy(notice.data(), &sent, 8);
      const Errc status = link->notify(notice);
      if (status == Errc::would_block) break;
      EXPECT_EQ(status, Errc::ok);
      ++sent;
    }
    for (const Notice& notice : receiver.events.notices) {
      std::size_t number = kCount;
      std::memcpy(&number, notice.data.data(), 8);
      if (number >= kCount || notice.size != 8 + number % (kNoticeSizeMax - 7)) {
        ADD_FAILURE() << "a notice of " << notice.size << " bytes says it is " << number;
        continue;
      }
      ++times[number];
      ++seen;
    }
    receiver.events.clear();
    return seen == kCount;
  }));
  EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
  EXPECT_TRUE(sender.events.ended.empty()) << "a bare notice has no completion";
}

TEST_P(FabricPromise, AFullQueueRefusesAndThenRecovers) {
  Side sender = make_side(), receiver = make_side();
  const std::size_t limit = sender.fabric->limits().puts_in_flight_max;
  ASSERT_GT(limit, 0u);
  constexpr std::size_t kSize = 100'000;
  auto source = allocate(sender, kSize);
  auto sink = allocate(receiver, kSize);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  std::uint64_t started = 0;
  const auto start = [&] {
    return link->put({.source = source.get(),
                      .size = kSize,
                      .target = target.get(),
                      .notice = as_notice(started),
                      .token = started});
  };
  while (started <= limit) {  // nobody polls, so this ends
    const Errc status = start();
    if (status == Errc::would_block) break;
    ASSERT_EQ(status, Errc::ok);
    ++started;
  }
  EXPECT_LE(started, limit);
  EXPECT_GE(started, 1u);
  EXPECT_EQ(start(), Errc::would_block) << "still full";
  EXPECT_TRUE(wait_until({&sender, &receiver}, [&] {
    return sender.events.ended.size() == started && receiver.events.notices.size() == started;
  }));
  EXPECT_EQ(start(), Errc::ok) << "the queue has drained";
  ++started;
  EXPECT_TRUE(wait_until({&sender, &receiver}, [&] {
    return sender.events.ended.size() == started && receiver.events.notices.size() == started;
  }));
}

TEST_P(FabricPromise, PutsThatReachOutsideAreRefused) {
  Side sender = make_side(), receiver = make_side();
  auto source = allocate(sender, 1000);
  auto sink = allocate(receiver, 1000);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  EXPECT_EQ(target->size(), 1000u);
  const auto put = [&](std::size_t from, std::size_t size, std::size_t to) {
    return link->put({.source = source.get(),
                      .source_offset = from,
                      .size = size,
                      .target = target.get(),
                      .target_offset = to,
                      .token = 1});
  };
  EXPECT_EQ(put(0, 1001, 0), Errc::invalid_argument);
  EXPECT_EQ(put(1, 1000, 0), Errc::invalid_argument);
  EXPECT_EQ(put(0, 1000, 1), Errc::invalid_argument);
  EXPECT_EQ(put(1001, 0, 0), Errc::invalid_argument);
  EXPECT_EQ(put(0, 2, ~std::size_t{0}), Errc::invalid_argument) << "offset + size wraps around";
  EXPECT_EQ(put(~std::size_t{0}, 2, 0), Errc::invalid_argument);
  std::vector<std::byte> long_notice(kNoticeSizeMax + 1);
  EXPECT_EQ(link->put({.source = source.get(), .size = 1, .target = target.get(), .notice = long_notice}),
            Errc::invalid_argument);
  EXPECT_EQ(link->notify(long_notice), Errc::invalid_argument);
  EXPECT_EQ(put(0, 1000, 0), Errc::ok) << "and a good one still goes";
  EXPECT_TRUE(wait_until({&sender, &receiver}, [&] {
    return sender.events.ended.size() == 1 && receiver.events.notices.size() == 1;
  }));
}

TEST_P(FabricPromise, TheKeyOfAPreviousLifeIsRefused) {
  Side sender = make_side(), first = make_side();
  auto old_region = allocate(first, 100);
  const RemoteRegion old_key = old_region->remote();
  EXPECT_LE(old_key.key.size(), 256u);
  Side second = make_side();
  auto region = allocate(second, 100);
  auto link = connect(sender, second);
  const auto refused = link->open(old_key);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::corrupt);
  EXPECT_EQ(link->open({"", 0, 100}).error().code, Errc::corrupt);
  EXPECT_EQ(link->open({std::string(200, 'x'), 0, 100}).error().code, Errc::corrupt);
  RemoteRegion larger = region->remote();
  larger.size += 1;
  EXPECT_EQ(link->open(larger).error().code, Errc::corrupt)
      << "a key does not fit a size that it was not made for";
  RemoteRegion bent = region->remote();
  bent.key[bent.key.size() / 2] ^= 1;
  EXPECT_EQ(link->open(bent).error().code, Errc::corrupt);
  EXPECT_TRUE(link->open(region->remote()));
}

TEST_P(FabricPromise, AddressesThatAreNoneAreRefused) {
  Side side = make_side();
  for (const std::string address :
       {"", "loopback:", "loopback:7x", "nonsense", "loopback:99999999999999999999999"}) {
    const auto link = side.fabric->connect(address);
    ASSERT_FALSE(link) << address;
    EXPECT_EQ(link.error().code, Errc::corrupt) << address;
  }
}

// The same at length; the suite `long` runs these.
class FabricAtLength : public FabricPromise {};

TEST_P(FabricAtLength, EveryPayloadOfAHundredThousandPutsIsVisibleBeforeItsNotice) {
  for (std::uint64_t seed = 2; seed < 12; ++seed) hammer(10'000, seed);
}

TEST_P(FabricAtLength, AGibibyteArrives) {
  Side sender = make_side(), receiver = make_side();
  constexpr std::size_t kSize = (1 << 30) + 5;
  ASSERT_GE(sender.fabric->limits().put_size_max, kSize);
  auto source = allocate(sender, kSize + 16);
  auto sink = allocate(receiver, kSize + 16);
  auto link = connect(sender, receiver);
  auto target = open(*link, sink->remote());
  one_put(sender, receiver, *source, *sink, *link, *target, 3, 5, kSize, 1);
}

INSTANTIATE_TEST_SUITE_P(Over, FabricAtLength, ::testing::ValuesIn(all_backends()), [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Over, FabricPromise, ::testing::ValuesIn(all_backends()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(OnDevice, FabricPromise, ::testing::ValuesIn(device_backends()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
