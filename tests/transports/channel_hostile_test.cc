// Channels against peers that break the grammar.  Whatever they say, an honest peer is served afterwards.
#include <random>

#include "tests/transports/channel_fixture.h"

namespace gossamer::testing {
namespace {

class ChannelHostile : public ChannelFixture {
 protected:
  static TransportSetup three(PeerId self) { return ChannelWorld::setup(self, 3); }

  // The victim is peer 0, the puppet peer 1; peer 2 is honest.
  void SetUp() override {
    ChannelFixture::SetUp();
    if (IsSkipped()) return;
    must(victim_.transport->set_peer(1, puppet_.fabric->address(), 1));
    puppet_.reach(victim_);
    ChannelWorld::introduce_both(victim_, good_);
    world_.connect(victim_, good_);
    world_.connect(good_, victim_);
  }
  void TearDown() override {
    if (!HasFatalFailure() && !IsSkipped()) expect_served();
  }

  // The honest peer's payloads go through in both directions.
  void expect_served() {
    for (int i = 0; i < 5; ++i) {
      victim_.events.clear();
      good_.events.clear();
      ASSERT_TRUE(world_.until(
          {&victim_, &good_},
          [&] { return victim_.transport->has_credit(2) && good_.transport->has_credit(0); }, 1000));
      const auto number = ++served_;
      victim_.send(number, 100, 2);
      good_.send(number, 100, 0);
      ASSERT_TRUE(world_.until(
          {&victim_, &good_},
          [&] { return !victim_.events.arrivals.empty() && !good_.events.arrivals.empty(); }, 1000));
      EXPECT_EQ(first_difference(victim_.events.arrivals[0].bytes, number), 100u);
      EXPECT_EQ(first_difference(good_.events.arrivals[0].bytes, number), 100u);
      victim_.transport->release(victim_.events.arrivals[0]);
      good_.transport->release(good_.events.arrivals[0]);
    }
  }

  // The puppet says this, and the victim reads it.
  const std::vector<Fault>& hear(std::span<const std::byte> notice) {
    victim_.events.clear();
    puppet_.say(notice);
    victim_.poll();
    puppet_.poll();
    return victim_.events.faults;
  }
  void expect_fault(std::span<const std::byte> notice, Errc code, const std::string& word, PeerId names = 1) {
    const auto& faults = hear(notice);
    ASSERT_EQ(faults.size(), 1u) << word;
    EXPECT_EQ(faults[0].error.code, code) << faults[0].error.message;
    EXPECT_EQ(faults[0].peer, names) << faults[0].error.message;
    EXPECT_NE(faults[0].error.message.find(word), std::string::npos) << faults[0].error.message;
    EXPECT_TRUE(victim_.events.arrivals.empty());
  }
  // Both directions are open and the puppet knows its mailbox at the victim.
  void befriend() {
    must(victim_.transport->open(1, true));
    hear(puppet_.hello());
    ASSERT_TRUE(victim_.transport->has_credit(1));
    world_.clock.advance(std::chrono::milliseconds(250));
    victim_.poll();
    puppet_.poll();
    ASSERT_EQ(puppet_.slots, 2u);
    puppet_.target = puppet_.link->open(puppet_.granted).value();
    auto known = Puppet::Hello{};
    known.flags = 3;
    hear(puppet_.hello(known));
  }

  Puppet puppet_{1, world_.hub};
  Node victim_ = world_.make(three(0));
  Node good_ = world_.make(three(2));
  std::uint64_t served_ = 0;
};
IN_EVERY_MEMORY(ChannelHostile);

TEST_P(ChannelHostile, HellosThatDoNotFitAreFaultsInWords) {
  expect_fault(puppet_.hello({.run = 8}), Errc::version, "another run");
  expect_fault(puppet_.hello({.payload_size_max = 101}), Errc::version, "another size");
  expect_fault(puppet_.hello({.version = 2}), Errc::version, "wire version 2");
  expect_fault(puppet_.hello({.slots = 65}), Errc::corrupt, "does not parse");
  expect_fault(puppet_.hello({.slot_size = 0}), Errc::corrupt, "does not parse");
  expect_fault(puppet_.hello({.slot_size = 1024}), Errc::corrupt, "does not parse");
  expect_fault(puppet_.hello({.slot_size = ~std::uint64_t{0}}), Errc::corrupt, "does not parse");
  EXPECT_FALSE(victim_.transport->has_credit(1));
}

// Payloads would lie over each other, or outside the mailbox.
TEST_P(ChannelHostile, SlotsSmallerThanAPayloadAreRefused) {
  expect_fault(puppet_.hello({.slot_size = 99}), Errc::corrupt, "slots of 99 bytes");
  EXPECT_FALSE(victim_.transport->has_credit(1));
  hear(puppet_.hello({.slot_size = 100}));
  EXPECT_TRUE(victim_.transport->has_credit(1));
}

TEST_P(ChannelHostile, NobodyIsBlamedForBytesWithoutASender) {
  const auto hello = puppet_.hello();
  for (const std::size_t size : {1u, 4u, 8u, 11u})
    expect_fault(std::span(hello).first(size), Errc::corrupt, "not Gossamer's", 0);
  expect_fault(std::span(hello).first(30), Errc::corrupt, "does not parse", 1);
  expect_fault(cut(puppet_.payload(1), 63), Errc::corrupt, "payload header", 0);
  puppet_.id = 77;
  expect_fault(cut(puppet_.hello(), 30), Errc::corrupt, "does not parse", 0);
  Writer unknown = puppet_.prefix(9);
  puppet_.id = 1;
  expect_fault(unknown.view(), Errc::corrupt, "unknown kind 9", 0);
  expect_fault(puppet_.prefix(9).view(), Errc::corrupt, "unknown kind 9", 1);
}

TEST_P(ChannelHostile, AcknowledgementsOfWhatWasNotSentAreFaults) {
  befriend();
  expect_fault(puppet_.ack(1, 0), Errc::corrupt, "acknowledges payload 1 of 0");
  victim_.send(1, 10, 1);
  expect_fault(puppet_.ack(0, 1), Errc::corrupt, "acknowledges");
  expect_fault(puppet_.ack(~Sequence{0}, 0), Errc::corrupt, "acknowledges");
  expect_fault(cut(puppet_.ack(1, 1), 35), Errc::corrupt, "does not parse");
  EXPECT_TRUE(victim_.events.deliveries.empty());
  EXPECT_TRUE(hear(puppet_.ack(1, 1)).empty());
  EXPECT_EQ(victim_.events.deliveries.size(), 1u);
  EXPECT_TRUE(hear(puppet_.ack(1, 1)).empty());
  EXPECT_TRUE(hear(puppet_.ack(0, 0)).empty()) << "an older acknowledgement may come late";
  EXPECT_TRUE(victim_.events.deliveries.empty());
}

TEST_P(ChannelHostile, PayloadsOutsideTheirRightsAreFaults) {
  expect_fault(puppet_.payload(1), Errc::corrupt, "no mailbox");
  befriend();
  expect_fault(puppet_.payload(0), Errc::corrupt, "without credit");
  expect_fault(puppet_.payload(3), Errc::corrupt, "without credit");
  expect_fault(puppet_.payload(~Sequence{0}), Errc::corrupt, "without credit");
  expect_fault(puppet_.payload(1, 101), Errc::corrupt, "100 is the most");
  expect_fault(puppet_.payload(1, ~std::uint64_t{0}), Errc::corrupt, "100 is the most");
  auto wrong_version = puppet_.payload(1);
  wrong_version[4] = std::byte{9};
  expect_fault(wrong_version, Errc::version, "peer 1", 0);
  // In order, each once, whatever is repeated.
  EXPECT_TRUE(hear(puppet_.payload(2)).empty());
  EXPECT_TRUE(victim_.events.arrivals.empty()) << "2 before 1";
  EXPECT_TRUE(hear(puppet_.payload(2)).empty());
  EXPECT_TRUE(hear(puppet_.payload(1)).empty());
  ASSERT_EQ(victim_.events.arrivals.size(), 2u);
  const auto arrivals = victim_.events.arrivals;
  EXPECT_TRUE(hear(puppet_.payload(1)).empty());
  EXPECT_TRUE(hear(puppet_.payload(2)).empty());
  EXPECT_TRUE(victim_.events.arrivals.empty());
  expect_fault(puppet_.payload(3), Errc::corrupt, "without credit");
  victim_.transport->release(arrivals[0]);
  EXPECT_DEATH(victim_.transport->release(arrivals[0]), "released twice");
  EXPECT_TRUE(hear(puppet_.payload(3)).empty());
  EXPECT_EQ(victim_.events.arrivals.size(), 1u);
}

TEST_P(ChannelHostile, PayloadsAndAcknowledgementsOfAnotherLifeAreIgnored) {
  befriend();
  victim_.send(1, 10, 1);
  puppet_.incarnation = 2;
  EXPECT_TRUE(hear(puppet_.payload(1)).empty());
  EXPECT_TRUE(victim_.events.arrivals.empty());
  EXPECT_TRUE(hear(puppet_.ack(1, 1)).empty());
  EXPECT_TRUE(victim_.events.deliveries.empty());
  puppet_.incarnation = 1;
  puppet_.to = 9;  // to a life of the victim that is not this one
  EXPECT_TRUE(hear(puppet_.ack(1, 1)).empty());
  EXPECT_TRUE(victim_.events.deliveries.empty());
  puppet_.to = 1;
  EXPECT_TRUE(hear(puppet_.ack(1, 1)).empty());
  EXPECT_EQ(victim_.events.deliveries.size(), 1u);
}

// Each hello that asks is answered by one; an answer by none.
TEST_P(ChannelHostile, HelloStormsAreNotAmplified) {
  befriend();
  puppet_.poll();
  Puppet::Hello ask;
  ask.flags = 1;
  int answers = 0;
  for (int i = 0; i < 500; ++i) {
    hear(puppet_.hello(ask));
    victim_.poll();
    puppet_.poll();
    answers += static_cast<int>(
        std::count_if(puppet_.events.notices.begin(), puppet_.events.notices.end(), is_hello));
  }
  EXPECT_LE(answers, 500);
  ask.flags = 3;
  for (int i = 0; i < 500; ++i) {
    hear(puppet_.hello(ask));
    puppet_.poll();
    EXPECT_EQ(std::count_if(puppet_.events.notices.begin(), puppet_.events.notices.end(), is_hello), 0);
  }
  EXPECT_TRUE(victim_.events.faults.empty());
}

// Valid notices with some bits or bytes changed, cut short or run on, and plain noise.
TEST_P(ChannelHostile, MutatedNoticesNeverBreakAnything) {
  std::mt19937_64 random(42);
  Sequence sent = 0;
  std::size_t faults = 0, arrivals = 0;
  std::vector<std::size_t> lives;
  befriend();
  for (int i = 0; i < 30000; ++i) {
    std::vector<std::byte> notice;
    switch (random() % 4) {
      case 0:
        notice = puppet_.hello();
        break;
      case 1:
        notice = puppet_.ack(random() % 4, random() % 4);
        break;
      case 2:
        notice = puppet_.payload(random() % 6, random() % 110, static_cast<std::uint32_t>(random() % 2));
        break;
      default:
        notice.resize(random() % (kNoticeSizeMax + 1));
        for (std::byte& byte : notice) byte = static_cast<std::byte>(random());
    }
    for (auto changes = random() % 4; changes > 0 && !notice.empty(); --changes) {
      const std::size_t at = random() % notice.size();
      switch (random() % 3) {
        case 0:
          notice[at] ^= static_cast<std::byte>(1u << random() % 8);
          break;
        case 1:
          notice[at] = static_cast<std::byte>(random());
          break;
        default:
          notice.resize(std::min<std::size_t>(kNoticeSizeMax, random() % 2 ? at : notice.size() + at));
      }
    }
    faults += hear(notice).size();
    for (const Fault& fault : victim_.events.faults) {
      EXPECT_LT(fault.peer, 3u);
      EXPECT_FALSE(fault.error.message.empty());
    }
    for (const Arrival& arrival : victim_.events.arrivals) {
      ++arrivals;
      EXPECT_LE(arrival.bytes.size(), 100u);
      std::uint64_t sum = 0;
      for (const std::byte byte : copied(arrival.bytes)) sum += static_cast<std::uint64_t>(byte);
      EXPECT_LE(sum, 25500u);
      victim_.transport->release(arrival);
    }
    if (random() % 8 == 0 && victim_.transport->has_credit(1)) {
      victim_.send(++sent, 10, 1);
    }
    world_.clock.advance(std::chrono::milliseconds(7));
    if (!victim_.events.gone.empty()) {
      // A larger incarnation was made up.  The coordinator introduces the puppet again.
      lives.push_back(static_cast<std::size_t>(i));
      victim_.transport->drop_peer(1);
      must(victim_.transport->set_peer(1, puppet_.fabric->address(), 1));
      must(victim_.transport->open(1, true));
    }
    if (i % 1000 == 0) expect_served();
  }
  EXPECT_GT(faults, 1000u);
  EXPECT_GT(arrivals, 10u) << "the mutations never got past the checks";
  EXPECT_GT(lives.size(), 10u);
}

class ChannelChecksum : public ::testing::TestWithParam<std::tuple<bool, PayloadMemory>> {};
class ChannelChecksums : public ChannelFixture {};
IN_EVERY_MEMORY(ChannelChecksums);

TEST_P(ChannelChecksum, FindsAFlippedBitWhenItIsOn) {
  const auto& [on, memory] = GetParam();
  if (!memory.missing.empty()) GTEST_SKIP() << memory.missing;
  ChannelWorld world(memory);
  HookedFabric* hooks = nullptr;
  TransportSetup setup = ChannelWorld::setup(0);
  setup.checksum = on;
  Node a = world.make(setup);
  setup.self = 1;
  Node b = world.make(setup, [&](std::unique_ptr<Fabric> inner) {
    auto made = std::make_unique<HookedFabric>(std::move(inner));
    hooks = made.get();
    return made;
  });
  ChannelWorld::introduce_both(a, b);
  world.connect(a, b);
  ASSERT_EQ(hooks->allocated.size(), 1u);  // the mailbox
  // Byte 99 of slot 0, when the bytes have come and nobody has looked at them.
  hooks->after_poll = [&](FabricEvents* events) {
    for (const Notice& notice : events->notices)
      if (is_payload(notice)) {
        const PayloadBytes<std::byte> one(hooks->allocated[0].data + 99, 1, hooks->device());
        std::byte flipped = copied(one)[0] ^ std::byte{1};
        std::string why_not;
        EXPECT_TRUE(copy_bytes(one.device(), &flipped, one.address(), 1, &why_not)) << why_not;
      }
    hooks->after_poll = {};
  };
  a.send(1, 100, 1);
  world.settle({&a, &b});
  hooks->after_poll = {};
  a.send(2, 100, 1);
  world.settle({&a, &b});
  if (!on) {
    ASSERT_EQ(b.events.arrivals.size(), 2u);
    EXPECT_TRUE(b.events.faults.empty());
    return;
  }
  ASSERT_EQ(b.events.faults.size(), 1u);
  EXPECT_EQ(b.events.faults[0].peer, 0u);
  EXPECT_EQ(b.events.faults[0].error.code, Errc::corrupt);
  EXPECT_NE(b.events.faults[0].error.message.find("payload 1 of peer 0 arrived damaged"), std::string::npos);
  ASSERT_EQ(b.events.arrivals.size(), 1u) << "the damaged one is not handed out, the next one is";
  EXPECT_EQ(b.events.arrivals[0].header.sequence, 2u);
  EXPECT_TRUE(a.transport->has_credit(1)) << "its slot is free again";
}

INSTANTIATE_TEST_SUITE_P(OnAndOff, ChannelChecksum, ::testing::Combine(::testing::Bool(), ::testing::ValuesIn(payload_memories())), [](const auto& info) {
  return std::string(std::get<0>(info.param) ? "on" : "off") + "_in_" + std::get<1>(info.param).name;
});

TEST_P(ChannelChecksums, AreNotOptionalWhereTheyAreOn) {
  TransportSetup setup = ChannelWorld::setup(0);
  setup.checksum = true;
  Node victim = world_.make(setup);
  Node unsure = world_.make(ChannelWorld::setup(1));
  ChannelWorld::introduce_both(victim, unsure);
  world_.connect(unsure, victim);
  unsure.send(1, 10, 0);
  world_.settle({&victim, &unsure});
  ASSERT_EQ(victim.events.faults.size(), 1u);
  EXPECT_NE(victim.events.faults[0].error.message.find("without a checksum"), std::string::npos);
  EXPECT_TRUE(victim.events.arrivals.empty());
}

}  // namespace
}  // namespace gossamer::testing
