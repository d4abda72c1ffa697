// Rings between processes of one machine, and who may break them: nobody who dies, and nobody who lies.
#include "transports/ring.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "tests/transports/fabric_harness.h"

namespace gossamer::testing {
namespace {

class Ring : public ::testing::Test {
 protected:
  Ring() {
    auto memory = SharedMemory::create(ring::kSize);
    EXPECT_TRUE(memory) << memory.error().message;
    memory_ = std::move(*memory);
    writer_ = std::make_unique<ring::Writer>(memory_.bytes(), ring::Introduction{.from = 2, .to = 1, .process = {}, .bell = {}});
    reader_ = std::make_unique<ring::Reader>(memory_.bytes());
  }

  ring::Layout& layout() { return *reinterpret_cast<ring::Layout*>(memory_.bytes().data()); }

  static std::size_t notice_size(std::uint64_t number) { return number * 2654435761u % (kNoticeSizeMax + 1); }
  static std::size_t body_size(std::uint64_t number) { return number * 40503u % (ring::kBytesMax - notice_size(number) + 1); }

  // Message `number`, whose sizes and bytes follow from it.
  static Errc write(ring::Writer& writer, std::uint64_t number) {
    if (const Errc status = writer.room(); status != Errc::ok) return status;
    std::array<std::byte, ring::kBytesMax> bytes;
    const std::size_t notice = notice_size(number), body = body_size(number);
    fill(std::span(bytes).first(notice + body), number);
    writer.write({.kind = wire::Kind::put,
                  .notice_size = static_cast<std::uint16_t>(notice),
                  .body_size = static_cast<std::uint32_t>(body),
                  .region = number,
                  .offset = ~number,
                  .size = number + 1},
                 std::span(bytes).first(notice), std::span(bytes).subspan(notice, body));
    return Errc::ok;
  }

  static Errc read(ring::Reader& reader, std::uint64_t number) {
    ring::Message message;
    std::span<const std::byte> bytes;
    if (const Errc status = reader.look(&message, &bytes); status != Errc::ok) return status;
    const bool good = message.kind == wire::Kind::put && message.notice_size == notice_size(number) && message.body_size == body_size(number) &&
                      message.region == number && message.offset == ~number && message.size == number + 1 &&
                      first_difference(bytes, number) == notice_size(number) + body_size(number);
    reader.done();
    return good ? Errc::ok : Errc::internal;
  }

  SharedMemory memory_;
  std::unique_ptr<ring::Writer> writer_;
  std::unique_ptr<ring::Reader> reader_;
};

TEST_F(Ring, HandsOutWhatWasWrittenInOrderOverManyLaps) {
  std::uint64_t written = 0, read_ = 0;
  for (std::mt19937_64 random(1); read_ < 20 * ring::kSlots;) {
    for (std::uint64_t i = random() % (ring::kSlots + 1); i > 0 && write(*writer_, written) == Errc::ok; --i) ++written;
    for (std::uint64_t i = random() % (ring::kSlots + 1); i > 0 && read_ < written; --i) {
      ASSERT_TRUE(reader_->pending());
      ASSERT_EQ(read(*reader_, read_), Errc::ok) << read_;
      ++read_;
    }
    (void)reader_->give_room(true);
    ASSERT_EQ(reader_->pending(), read_ < written);
    if (read_ == written) {
      ASSERT_EQ(read(*reader_, read_), Errc::would_block);
    }
  }
}

TEST_F(Ring, WhenFullRefusesUntilTheReaderHasGivenRoomAndAsksToBeRung) {
  std::uint64_t written = 0;
  while (write(*writer_, written) == Errc::ok) ++written;
  EXPECT_EQ(written, ring::kSlots);
  EXPECT_EQ(read(*reader_, 0), Errc::ok);
  EXPECT_EQ(writer_->room(), Errc::would_block) << "the reader has not said yet that it is done";
  EXPECT_TRUE(reader_->give_room(false)) << "the writer waits";
  EXPECT_FALSE(reader_->give_room(true)) << "told once";
  EXPECT_EQ(write(*writer_, written++), Errc::ok);
  EXPECT_EQ(writer_->room(), Errc::would_block);
  for (std::uint64_t number = 1; number < written; ++number) ASSERT_EQ(read(*reader_, number), Errc::ok);
}

// As a writer leaves it that is killed between any two of its stores.
TEST_F(Ring, NothingOfAHalfWrittenMessageIsSeen) {
  for (std::uint64_t number = 0; number < 2 * ring::kSlots; ++number) {
    ring::Slot& next = layout().slots[number % ring::kSlots];
    next.message = {.notice_size = 1, .body_size = 2, .region = 3, .offset = 4, .size = 5};
    std::ranges::fill(next.bytes, std::byte{0xff});
    ASSERT_FALSE(reader_->pending());
    ASSERT_EQ(read(*reader_, number), Errc::would_block);
    ASSERT_EQ(write(*writer_, number), Errc::ok);
    ASSERT_EQ(read(*reader_, number), Errc::ok);
    (void)reader_->give_room(false);
  }
}

TEST_F(Ring, ASequenceThatIsNeitherThisLapsNorTheLastOnesIsCorrupt) {
  for (std::uint64_t number = 0; number < ring::kSlots + 5; ++number) {
    ASSERT_EQ(write(*writer_, number), Errc::ok);
    ASSERT_EQ(read(*reader_, number), Errc::ok);
    (void)reader_->give_room(false);
  }
  const std::uint64_t next = ring::kSlots + 6, last = 6;
  std::atomic<std::uint64_t>& sequence = layout().slots[5].sequence;
  EXPECT_EQ(sequence.load(), last);
  for (const std::uint64_t lie : {std::uint64_t{0}, last - 1, last + 1, next - 1, next + 1, next + ring::kSlots, ~std::uint64_t{0}}) {
    sequence = lie;
    EXPECT_TRUE(reader_->pending()) << lie;
    EXPECT_EQ(read(*reader_, 0), Errc::corrupt) << lie;
  }
}

TEST_F(Ring, SizesThatDoNotFitAreCorrupt) {
  const auto look = [&](std::uint16_t notice, std::uint32_t body) {
    layout().slots[0].message = {.notice_size = notice, .body_size = body};
    layout().slots[0].sequence = 1;
    ring::Message message;
    std::span<const std::byte> bytes;
    const Errc status = reader_->look(&message, &bytes);
    if (status == Errc::ok) {
      EXPECT_EQ(bytes.size(), std::size_t{notice} + body);
    }
    return status;
  };
  EXPECT_EQ(look(kNoticeSizeMax, ring::kBytesMax - kNoticeSizeMax), Errc::ok);
  EXPECT_EQ(look(0, ring::kBytesMax), Errc::ok);
  EXPECT_EQ(look(kNoticeSizeMax + 1, 0), Errc::corrupt);
  EXPECT_EQ(look(0xffff, 0), Errc::corrupt);
  EXPECT_EQ(look(0, ring::kBytesMax + 1), Errc::corrupt);
  EXPECT_EQ(look(1, ring::kBytesMax), Errc::corrupt);
  EXPECT_EQ(look(1, 0xffffffff), Errc::corrupt) << "the sum wraps around";
}

TEST_F(Ring, AReaderThatSaysItHasTakenWhatWasNeverWrittenIsCorrupt) {
  for (std::uint64_t number = 0; number < ring::kSlots; ++number) ASSERT_EQ(write(*writer_, number), Errc::ok);
  for (const std::uint64_t lie : {ring::kSlots + 1, ~std::size_t{0}}) {
    layout().taken = lie;
    EXPECT_EQ(writer_->room(), Errc::corrupt) << lie;
  }
  layout().taken = 10;
  EXPECT_EQ(writer_->room(), Errc::ok);
  for (std::uint64_t number = 0; number < 10; ++number) ASSERT_EQ(write(*writer_, number), Errc::ok);
  layout().taken = 9;
  EXPECT_EQ(writer_->room(), Errc::corrupt) << "and it cannot give back what it has taken";
}

// Both sides know only their own memory to be true.
TEST_F(Ring, NoBytesAnywhereMakeEitherSideReachOutside) {
  std::mt19937_64 random(7);
  std::uint64_t written = 0, reads = 0;
  std::size_t corrupt = 0;
  for (int round = 0; round < 20'000; ++round) {
    if (write(*writer_, written) == Errc::ok) ++written;
    // Mostly numbers that could be meant, where the next message says what it is; else anywhere in the slots.
    const std::size_t next = offsetof(ring::Layout, slots) + reads % ring::kSlots * sizeof(ring::Slot);
    const std::size_t at = random() % 4 != 0 ? next + random() % 5 * 8
                                             : offsetof(ring::Layout, slots) + random() % (ring::kSlots * sizeof(ring::Slot) / 8) * 8;
    const std::uint64_t lie = random() % 3 == 0 ? random() : written + random() % 4;
    std::memcpy(memory_.bytes().data() + at, &lie, 8);
    ring::Message message;
    std::span<const std::byte> bytes;
    const Errc status = reader_->look(&message, &bytes);
    if (status == Errc::ok) {
      ASSERT_LE(bytes.size(), ring::kBytesMax);
      ASSERT_GE(bytes.data(), memory_.bytes().data());
      ASSERT_LE(bytes.data() + bytes.size(), memory_.bytes().data() + ring::kSize);
    }
    corrupt += status == Errc::corrupt;
    if (status == Errc::would_block) continue;
    reader_->done();  // even where it is corrupt: whoever uses a ring stops there, and this test wants more
    ++reads;
    (void)reader_->give_room(true);
  }
  EXPECT_GT(corrupt, 1000u);
  EXPECT_GT(reads - corrupt, 100u);
}

TEST_F(Ring, CarriesEverythingBetweenTwoThreadsThatWaitForEachOther) {
  const std::uint64_t count = 100'000 / static_cast<std::uint64_t>(kSlowness);
  std::thread other([&] {
    for (std::uint64_t number = 0; number < count;) {
      const Errc status = write(*writer_, number);
      ASSERT_NE(status, Errc::corrupt);
      if (status == Errc::ok) {
        ++number;
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::uint64_t asked = 0;
  for (std::uint64_t number = 0; number < count;) {
    const Errc status = read(*reader_, number);
    if (status == Errc::would_block) {
      if (reader_->give_room(true)) ++asked;
      std::this_thread::yield();
      continue;
    }
    if (status != Errc::ok) ADD_FAILURE() << "message " << number << " is not what was written";
    if (++number % 7 == 0 && reader_->give_room(false)) ++asked;
  }
  other.join();
  EXPECT_FALSE(reader_->pending());
  EXPECT_LE(asked, count);
}

// Killed at any instruction: what has come is whole and in order, and what is left is either there or not.
TEST_F(Ring, AWriterThatIsKilledLeavesWholeMessagesOnly) {
  const std::size_t lives = 40;
  std::mt19937_64 random(std::random_device{}());
  std::uint64_t all = 0;
  for (std::size_t life = 0; life < lives; ++life) {
    auto memory = SharedMemory::create(ring::kSize);
    ASSERT_TRUE(memory);
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      ring::Writer writer(memory->bytes(), {});
      for (std::uint64_t number = 0;;)
        if (write(writer, number) == Errc::ok) ++number;
    }
    ASSERT_GT(child, 0);
    ring::Reader reader(memory->bytes());
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(500 + random() % 4000);
    std::uint64_t number = 0;
    const auto drain = [&] {
      Errc status = Errc::ok;
      while ((status = read(reader, number)) == Errc::ok)
        if (++number % 16 == 0) (void)reader.give_room(false);
      (void)reader.give_room(true);
      return status;
    };
    while (std::chrono::steady_clock::now() < until) ASSERT_EQ(drain(), Errc::would_block) << "message " << number;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ASSERT_EQ(drain(), Errc::would_block) << "message " << number;
    EXPECT_FALSE(reader.pending());
    all += number;
  }
  EXPECT_GT(all, lives);
}

// And a reader that is killed leaves a writer with a full ring, which it sees as such.
TEST_F(Ring, AReaderThatIsKilledLeavesARingThatOnlyFills) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    for (std::uint64_t number = 0;;) {
      if (read(*reader_, number) == Errc::ok) ++number;
      (void)reader_->give_room(false);
    }
  }
  ASSERT_GT(child, 0);
  std::uint64_t number = 0;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (number < 5000 && std::chrono::steady_clock::now() < deadline)
    if (write(*writer_, number) == Errc::ok) ++number;
  EXPECT_EQ(number, 5000u);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  std::size_t more = 0;
  Errc status = Errc::ok;
  while ((status = write(*writer_, number + more)) == Errc::ok) ++more;
  EXPECT_EQ(status, Errc::would_block);
  EXPECT_LE(more, ring::kSlots);
}

}  // namespace
}  // namespace gossamer::testing
