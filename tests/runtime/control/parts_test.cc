// The parts of the control plane that need no connection: addresses, the collector's book, the mailbox, the ledger.
#include <gtest/gtest.h>

#include "runtime/control/addresses.h"
#include "runtime/control/gathering.h"
#include "runtime/control/ledger.h"
#include "runtime/control/mailbox.h"

namespace gossamer::control {
namespace {

using namespace std::chrono_literals;

IpAddress ip(const char* text) { return boost::asio::ip::make_address(text); }

TEST(HostPorts, AreReadAndWritten) {
  for (const char* text : {"127.0.0.1:5000", "node-1.cluster:1", "[::1]:65535"}) {
    const auto parsed = parse_host_port(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(format_host_port(parsed->host, parsed->port), text);
  }
  for (const char* wrong : {"", "a", "a:", ":5", "a:0", "a:65536", "a:5x", "::1:5000", "[::1]", "[::1:5"}) {
    const auto parsed = parse_host_port(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, Errc::invalid_argument);
  }
}

TEST(Addresses, LoopbackIsKnownInAllItsForms) {
  for (const char* loopback : {"127.0.0.1", "127.0.1.1", "::1", "::ffff:127.0.0.1"}) EXPECT_TRUE(is_loopback(ip(loopback))) << loopback;
  for (const char* other : {"10.0.0.1", "::ffff:10.0.0.1", "fe80::1"}) EXPECT_FALSE(is_loopback(ip(other))) << other;
  EXPECT_TRUE(is_local(ip("127.0.0.1")));
  EXPECT_FALSE(is_local(ip("192.0.2.1")));
}

TEST(Ranks, AreListedShortly) {
  EXPECT_EQ(list_ranks({3}), "3");
  EXPECT_EQ(list_ranks({3, 4}), "3 and 4");
  EXPECT_EQ(list_ranks({0, 1, 2, 3, 9}), "0-3 and 9");
  std::vector<PeerId> odd;
  for (PeerId rank = 1; rank < 100; rank += 2) odd.push_back(rank);
  EXPECT_EQ(list_ranks(odd), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 and 38 more");
}

wire::Join join_of(std::optional<PeerId> rank, std::uint64_t instance, std::uint32_t peers, const std::string& address = {}) {
  wire::Join join;
  join.set_protocol(kProtocol);
  join.set_peers(peers);
  if (rank) join.set_rank(*rank);
  join.set_instance(instance);
  join.set_host("h" + std::to_string(instance));
  join.set_control_port(5000);
  join.set_address(address);
  return join;
}

const Gathering::Arrival kHere{ip("127.0.0.1"), ip("127.0.0.1")};
const Gathering::Arrival kElsewhere{ip("192.0.2.7"), ip("198.51.100.2")};

TEST(Gatherings, KeepLoopbackAmongPeersOfOneMachine) {
  Gathering gathering(join_of(0, 1, 2));
  ASSERT_FALSE(gathering.add(join_of(1, 2, 2), kHere));
  const auto roster = gathering.roster(7);
  ASSERT_TRUE(roster);
  EXPECT_EQ(roster->members(0).address(), "127.0.0.1");
  EXPECT_EQ(roster->members(1).address(), "127.0.0.1");
}

TEST(Gatherings, NeverTellALoopbackAddressToAnotherHost) {
  Gathering gathering(join_of(0, 1, 3));
  ASSERT_FALSE(gathering.add(join_of(1, 2, 3), kHere));
  ASSERT_FALSE(gathering.add(join_of(2, 3, 3), kElsewhere));
  const auto roster = gathering.roster(7);
  ASSERT_TRUE(roster);
  EXPECT_EQ(roster->members(0).address(), "198.51.100.2");  // the address that the other host called
  EXPECT_EQ(roster->members(1).address(), "198.51.100.2");  // on the collector's machine
  EXPECT_EQ(roster->members(2).address(), "192.0.2.7");
}

TEST(Gatherings, RefuseAPeerThatListensOnLoopbackOnlyBesideAnotherHost) {
  Gathering gathering(join_of(0, 1, 3));
  wire::Join shy = join_of(1, 2, 3, "127.0.0.1");
  shy.set_loopback_only(true);
  ASSERT_FALSE(gathering.add(shy, kHere));
  ASSERT_FALSE(gathering.add(join_of(2, 3, 3), kElsewhere));
  const auto roster = gathering.roster(7);
  ASSERT_FALSE(roster);
  EXPECT_EQ(roster.error().code, Errc::unsupported);
  EXPECT_NE(roster.error().message.find("rank 1"), std::string::npos) << roster.error().message;
}

TEST(Gatherings, NameTheMissingAndTheRefused) {
  Gathering gathering(join_of(1, 1, 6));
  EXPECT_EQ(gathering.missing(), "ranks 0 and 2-5");
  ASSERT_FALSE(gathering.add(join_of(2, 2, 6), kHere));
  const auto refusal = gathering.add(join_of(2, 3, 6), kHere);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->code(), wire::Refusal::DUPLICATE);
  EXPECT_NE(gathering.report().find("refused: rank 2 (host h3"), std::string::npos) << gathering.report();
  ASSERT_FALSE(gathering.add(join_of(std::nullopt, 4, 6), kHere));
  EXPECT_EQ(gathering.missing(), "3 peers of the ranks 0 and 3-5");
  gathering.remove(2);
  EXPECT_EQ(gathering.missing(), "4 peers of the ranks 0 and 2-5");
  ASSERT_FALSE(gathering.add(join_of(2, 5, 6), kHere)) << "its place is free again";
}

TEST(Ledgers, HoldBackAndLetGo) {
  Ledger ledger(100);
  EXPECT_EQ(ledger.take(0, 1).error().code, Errc::invalid_argument);
  ledger.open(2);
  ASSERT_TRUE(ledger.take(1, 500)) << "one alone may exceed the limit";
  EXPECT_EQ(ledger.take(1, 1).error().code, Errc::would_block);
  ASSERT_TRUE(ledger.take(0, 1)) << "another peer has a limit of its own";
  ledger.give(1, 500);
  ASSERT_TRUE(ledger.take(1, 1));
  ledger.close(1, {Errc::peer_gone, "first"});
  ledger.close(1, {Errc::peer_gone, "second"});
  EXPECT_EQ(ledger.take(1, 1).error().message, "first");
  EXPECT_EQ(ledger.take(2, 1).error().code, Errc::invalid_argument);
}

TEST(Mailboxes, SayWhenThereIsRoomAgainForThoseHeldBack) {
  Mailbox mailbox(100);
  ASSERT_TRUE(mailbox.open());
  bool drained = false;
  mailbox.add(Message{0, "a", std::string(200, 'x')});
  EXPECT_TRUE(mailbox.receive("b", Duration::zero(), drained).empty());
  EXPECT_FALSE(drained);
  EXPECT_TRUE(mailbox.hold_back());
  EXPECT_EQ(mailbox.receive("a", 1s, drained).size(), 1u);
  EXPECT_TRUE(drained);
  EXPECT_FALSE(mailbox.hold_back());
  EXPECT_TRUE(mailbox.receive(std::nullopt, Duration::zero(), drained).empty());
  EXPECT_FALSE(drained);
}

}  // namespace
}  // namespace gossamer::control
