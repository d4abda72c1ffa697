// What peers may rely on when they say something: whole, once, in order, and not more than fits.
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/runtime/control/fixture.h"

namespace gossamer {
namespace {

// Bytes that show a piece lost, doubled or moved.
std::string pattern(std::size_t size, std::uint64_t seed) {
  Random random(seed, Purpose::test);
  std::string bytes(size, '\0');
  std::size_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const std::uint32_t word = random();
    std::memcpy(bytes.data() + i, &word, 4);
  }
  for (; i < size; ++i) bytes[i] = static_cast<char>(random());
  return bytes;
}

std::vector<Message> receive_all(Control& control, std::size_t count) {
  std::vector<Message> all;
  const auto until = std::chrono::steady_clock::now() + kPlenty;
  while (all.size() < count && std::chrono::steady_clock::now() < until)
    for (Message& message : control.receive(100ms)) all.push_back(std::move(message));
  return all;
}

TEST(Messages, FromEverybodyToEverybodyArriveOnceAndInOrder) {
  constexpr std::size_t kPeers = 5;
  constexpr std::size_t kEach = 200;
  Peers run(kPeers);
  in_parallel(kPeers, [&](std::size_t i) {
    for (std::size_t k = 0; k < kEach; ++k)
      for (PeerId to = 0; to < kPeers; ++to) ASSERT_TRUE(run[i].send(to, "count", std::to_string(k)));
  });
  for (PeerId rank = 0; rank < kPeers; ++rank) {
    std::vector<std::size_t> next(kPeers, 0);
    for (const Message& message : receive_all(run[rank], kPeers * kEach)) {
      EXPECT_EQ(message.topic, "count");
      EXPECT_EQ(message.bytes, std::to_string(next[message.from]++));
    }
    for (const std::size_t count : next) EXPECT_EQ(count, kEach);
  }
  run.leave();
  EXPECT_EQ(run.log.problems(), 0u);
}

TEST(Messages, OfAnySizeArriveWhole) {
  Peers run(2);
  const std::size_t piece = std::size_t{256} << 10;
  const std::vector<std::size_t> sizes = {0, 1, piece - 1, piece, piece + 1, 3 * piece, (std::size_t{24} << 20) + 5};
  for (std::size_t i = 0; i < sizes.size(); ++i) ASSERT_TRUE(run[1].send(0, "m" + std::to_string(i), pattern(sizes[i], i)));
  const auto messages = receive_all(run[0], sizes.size());
  ASSERT_EQ(messages.size(), sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(messages[i].from, 1u);
    EXPECT_EQ(messages[i].topic, "m" + std::to_string(i));
    EXPECT_TRUE(messages[i].bytes == pattern(sizes[i], i)) << "message " << i;
  }
}

TEST(Messages, GatheredAtOnePeerThatReceivesSlowlyAreHeldBackAndComeWhole) {
  // The inbox holds one of them.  Signs of life pass by those that wait.
  const std::size_t size = std::size_t{8} << 20;
  Peers run(4, [&](ControlOptions& o) {
    o.inbox_limit = size;
    o.silence_deadline = 1s;
  });
  for (PeerId rank = 1; rank < 4; ++rank)
    for (std::uint64_t k = 0; k < 2; ++k) ASSERT_TRUE(run[rank].send(0, "model", pattern(size, rank * 10 + k)));
  std::this_thread::sleep_for(1500ms);
  std::vector<std::uint64_t> next(4, 0);
  std::size_t most = 0;
  std::size_t count = 0;
  const auto until = std::chrono::steady_clock::now() + kPlenty;
  while (count < 6 && std::chrono::steady_clock::now() < until) {
    const auto messages = run[0].receive(100ms);
    most = std::max(most, messages.size());
    for (const Message& message : messages) {
      EXPECT_TRUE(message.bytes == pattern(size, message.from * 10 + next[message.from]++));
      ++count;
    }
  }
  EXPECT_EQ(count, 6u);
  // At first no more than the limit, and the messages under way when it was reached.
  EXPECT_LE(most, 4u);
  for (std::size_t rank = 0; rank < 4; ++rank) EXPECT_TRUE(run[rank].deaths().empty());
}

TEST(Messages, BeyondTheSendLimitAreNotQueued) {
  Peers run(2, [](ControlOptions& o) {
    o.send_limit = std::size_t{1} << 20;
    o.inbox_limit = 1;  // the receiver takes nothing more in once one message is there
  });
  // Larger than the limit: alone it may go.
  ASSERT_TRUE(run[1].send(0, "model", pattern(std::size_t{16} << 20, 1)));
  const auto refused = run[1].send(0, "model", pattern(std::size_t{1} << 20, 2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::would_block) << refused.error().message;
  EXPECT_EQ(receive_all(run[0], 1).size(), 1u);
  // What has been taken in makes room.
  EXPECT_TRUE(eventually([&] { return run[1].send(0, "model", "more").has_value(); }));
  EXPECT_EQ(receive_all(run[0], 1).size(), 1u);
}

TEST(Messages, OfOneTopicAreTakenAndOthersStay) {
  Peers run(2);
  for (const char* topic : {"a", "b", "a", "c"}) ASSERT_TRUE(run[0].send(1, topic, topic));
  ASSERT_TRUE(eventually([&] { return !run[1].receive("c", 50ms).empty(); }));
  EXPECT_EQ(run[1].receive("a", Duration::zero()).size(), 2u);
  const auto rest = run[1].receive(Duration::zero());
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].topic, "b");
}

TEST(Messages, ToWhomNobodyIsAreRefused) {
  Log log = Log::silent();
  auto alone = Control::start(test_options(2, 0), log);
  ASSERT_TRUE(alone);
  EXPECT_EQ((*alone)->send(1, "note", "too early").error().code, Errc::invalid_argument);
  Peers run(2);
  EXPECT_EQ(run[0].send(2, "note", "").error().code, Errc::invalid_argument);
  EXPECT_EQ(run[0].send(1, std::string(256, 't'), "").error().code, Errc::invalid_argument);
}

TEST(Messages, ReceivingEndsAtItsDeadlineAndAtADeath) {
  Peers run(3);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(run[0].receive(150ms).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 150ms);
  std::thread killer([&] {
    std::this_thread::sleep_for(50ms);
    run.controls[1].reset();
  });
  const auto wait = std::chrono::steady_clock::now();
  EXPECT_TRUE(run[0].receive(kPlenty).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - wait, kPlenty);
  killer.join();
  EXPECT_EQ(run[0].deaths().size(), 1u);
}

}  // namespace
}  // namespace gossamer
