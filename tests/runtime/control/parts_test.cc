// The parts of the control plane that need no connection: addresses, the collector's book, the mailbox, the ledger.
#include <gtest/gtest.h>

#include "runtime/control/addresses.h"
#include "runtime/control/gathering.h"
#include "runtime/control/ledger.h"
#include "runtime/control/mailbox.h"
#include "runtime/control/news.h"

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
  ledger.open({1, 4});
  EXPECT_EQ(ledger.take(1, 500), Incarnation{4}) << "one alone may exceed the limit";
  EXPECT_EQ(ledger.take(1, 1).error().code, Errc::would_block);
  ASSERT_TRUE(ledger.take(0, 1)) << "another peer has a limit of its own";
  ledger.give(1, 4, 500);
  ASSERT_TRUE(ledger.take(1, 1));
  ledger.close(1, 4, {Errc::peer_gone, "first"});
  ledger.close(1, 4, {Errc::peer_gone, "second"});
  EXPECT_EQ(ledger.take(1, 1).error().message, "first");
  EXPECT_EQ(ledger.take(2, 1).error().code, Errc::invalid_argument);
}

TEST(Ledgers, KeepAnAccountOfEachLife) {
  Ledger ledger(100);
  ledger.open({1, 1});
  ASSERT_TRUE(ledger.take(1, 90));
  ledger.close(1, 1, {Errc::peer_gone, "it died"});
  ledger.reopen(1, 2);
  EXPECT_EQ(ledger.take(1, 90), Incarnation{2}) << "what waited for the earlier life counts no more";
  ledger.give(1, 1, 90);
  EXPECT_EQ(ledger.take(1, 90).error().code, Errc::would_block) << "nor does what it took in";
  // The third life has ended before this peer was told that it began.
  ledger.close(1, 3, {Errc::peer_gone, "it died again"});
  EXPECT_EQ(ledger.take(1, 1).error().message, "it died again");
  ledger.reopen(1, 3);
  EXPECT_EQ(ledger.take(1, 1).error().message, "it died again");
  ledger.reopen(1, 4);
  EXPECT_EQ(ledger.take(1, 1), Incarnation{4});
}

TEST(Mailboxes, SayWhenThereIsRoomAgainForThoseHeldBack) {
  Mailbox mailbox(100);
  ASSERT_TRUE(mailbox.open());
  bool drained = false;
  mailbox.begin({1}, {});
  mailbox.add(Message{0, "a", std::string(200, 'x')}, 1);
  EXPECT_TRUE(mailbox.receive("b", Duration::zero(), drained).empty());
  EXPECT_FALSE(drained);
  EXPECT_TRUE(mailbox.hold_back());
  EXPECT_EQ(mailbox.receive("a", 1s, drained).size(), 1u);
  EXPECT_TRUE(drained);
  EXPECT_FALSE(mailbox.hold_back());
  EXPECT_TRUE(mailbox.receive(std::nullopt, Duration::zero(), drained).empty());
  EXPECT_FALSE(drained);
}

Death death_of(PeerId rank, Incarnation life) { return {rank, "h", 1, {}, Death::How::silence, 0, life}; }

Roster::Entry life_of(PeerId rank, Incarnation life) {
  Roster::Entry entry;
  entry.rank = rank;
  entry.incarnation = life;
  return entry;
}

// In whatever order things come and are taken.
TEST(Mailboxes, TellTheLivesOfARankOneAfterTheOther) {
  Mailbox mailbox(100);
  ASSERT_TRUE(mailbox.open());
  mailbox.begin({1, 1, 1}, {2});
  bool drained = false;
  std::vector<PeerId> told;
  const auto returned = [&] {
    std::vector<Incarnation> lives;
    for (const Roster::Entry& entry : mailbox.returned([&](const Roster::Entry& e) { told.push_back(e.rank); }, drained))
      lives.push_back(entry.incarnation);
    return lives;
  };
  const auto received = [&] {
    std::string bytes;
    for (const Message& message : mailbox.receive(std::nullopt, Duration::zero(), drained)) bytes += message.bytes;
    return bytes;
  };
  mailbox.add(Message{1, "", "1"}, 1);
  mailbox.add(death_of(1, 1));
  mailbox.add(life_of(1, 2));
  mailbox.add(Message{1, "", "2"}, 2);
  mailbox.add(death_of(1, 2));
  mailbox.add(life_of(1, 3));
  mailbox.add(Message{1, "", "3"}, 3);
  EXPECT_TRUE(returned().empty()) << "the death of the first life was not taken";
  EXPECT_EQ(received(), "1");
  ASSERT_EQ(mailbox.deaths().size(), 1u);
  EXPECT_TRUE(mailbox.deaths().empty()) << "the second life was not told";
  EXPECT_EQ(received(), "");
  EXPECT_EQ(returned(), std::vector<Incarnation>{2});
  EXPECT_EQ(received(), "2");
  const auto deaths = mailbox.deaths();
  ASSERT_EQ(deaths.size(), 1u);
  EXPECT_EQ(deaths[0].incarnation, 2u);
  EXPECT_EQ(returned(), std::vector<Incarnation>{3});
  EXPECT_EQ(received(), "3");
  EXPECT_EQ(told, (std::vector<PeerId>{1, 1}));

  EXPECT_EQ(mailbox.departed(), std::vector<PeerId>{2});
  mailbox.add(life_of(2, 2));
  EXPECT_TRUE(mailbox.departed().empty());
  EXPECT_EQ(returned(), std::vector<Incarnation>{2}) << "it had left, so there is no death to wait for";
}

// Others may have heard of it, and have counted on it.
TEST(Mailboxes, TellTheEndOfALifeThatNobodyHadHeardOf) {
  Mailbox mailbox(100);
  ASSERT_TRUE(mailbox.open());
  mailbox.begin({1, 1}, {});
  bool drained = false;
  const auto lives = [&] {
    std::vector<Incarnation> ended;
    for (const Death& death : mailbox.deaths()) ended.push_back(death.incarnation);
    return ended;
  };
  const auto returned = [&] { return mailbox.returned([](const Roster::Entry&) {}, drained).size(); };
  mailbox.add(death_of(1, 1));
  mailbox.add(life_of(1, 2));
  mailbox.add(death_of(1, 2));
  mailbox.add_unheard(death_of(1, 3));
  mailbox.add(life_of(1, 4));
  EXPECT_EQ(lives(), (std::vector<Incarnation>{1})) << "the second life was not told yet";
  EXPECT_EQ(returned(), 1u) << "the fourth one waits for the end of the third";
  EXPECT_EQ(lives(), (std::vector<Incarnation>{2, 3}));
  EXPECT_EQ(returned(), 1u);
  EXPECT_TRUE(lives().empty());
}

TEST(Mailboxes, DropWhatAnEarlierLifeSentAndCountItNoMore) {
  Mailbox mailbox(100);
  ASSERT_TRUE(mailbox.open());
  mailbox.begin({1, 1}, {});
  bool drained = false;
  mailbox.add(Message{1, "a", std::string(200, 'x')}, 1);
  EXPECT_TRUE(mailbox.hold_back());
  mailbox.add(death_of(1, 1));
  mailbox.add(life_of(1, 2));
  EXPECT_EQ(mailbox.deaths().size(), 1u);
  EXPECT_EQ(mailbox.returned([](const Roster::Entry&) {}, drained).size(), 1u);
  EXPECT_TRUE(drained);
  EXPECT_TRUE(mailbox.receive(std::nullopt, Duration::zero(), drained).empty());
}

// ---- News

TEST(NewsOfChanges, HoldsTheLatestOfEachRankInTheOrderInWhichTheyCame) {
  News news;
  const auto end = [&](PeerId rank, Incarnation life) {
    wire::Departure departure;
    departure.set_rank(rank);
    departure.set_incarnation(life);
    news.add(departure);
  };
  const auto come = [&](PeerId rank, Incarnation life) {
    wire::Arrival arrival;
    arrival.mutable_member()->set_rank(rank);
    arrival.mutable_member()->set_incarnation(life);
    news.add(arrival);
  };
  const auto since = [&](std::uint64_t told) {
    std::string text;
    news.since(told, [&](const wire::Change& change) {
      const bool gone = change.has_departure();
      text += (gone ? "-" : "+") + std::to_string(gone ? change.departure().rank() : change.arrival().member().rank()) + "." +
              std::to_string(gone ? change.departure().incarnation() : change.arrival().member().incarnation()) + " ";
    });
    return text;
  };
  EXPECT_EQ(news.last(), 0u);
  end(3, 1);
  end(5, 1);
  const std::uint64_t two = news.last();
  come(3, 2);
  EXPECT_EQ(since(0), "-5.1 +3.2 ");
  EXPECT_EQ(since(two), "+3.2 ");
  ASSERT_NE(news.departure(5), nullptr);
  EXPECT_EQ(news.departure(3), nullptr);
  EXPECT_EQ(news.departure(1), nullptr);
  for (Incarnation life = 2; life < 1000; ++life) {
    end(3, life);
    come(3, life + 1);
  }
  EXPECT_EQ(since(0), "-5.1 +3.1000 ");
  EXPECT_EQ(since(news.last()), "");
}

}  // namespace
}  // namespace gossamer::control
