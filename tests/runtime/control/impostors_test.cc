// Lives that are taken for one another, and news of them in any order: what no peer does by itself.
#include "runtime/control/gathering.h"
#include "tests/runtime/control/fixture.h"
#include "tests/runtime/control/stranger.h"

namespace gossamer {
namespace {

using namespace control;

// A stranger who was let in as a rank that is gone, and knows what a peer knows.
class Puppet {
 public:
  Puppet(const std::string& address, PeerId rank, std::size_t peers) : link(address) {
    // Whoever calls it finds a port, and no answer.
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (::bind(port_, reinterpret_cast<const sockaddr*>(&at), size) != 0 || ::listen(port_, 16) != 0 ||
        ::getsockname(port_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      throw std::runtime_error("cannot listen");
    const ControlOptions options = test_options(peers, rank);
    wire::Frame frame;
    wire::Join& join = *frame.mutable_join();
    join.set_protocol(kProtocol);
    join.set_software_version(options.software_version);
    join.set_run_hash(options.run_hash);
    join.set_peers(static_cast<std::uint32_t>(peers));
    join.set_rank(rank);
    join.set_pid(1);
    join.set_host("puppet");
    join.set_control_port(ntohs(at.sin_port));
    join.set_instance(kInstance);
    join.set_elastic(true);
    link.say(frame);
    do {
      frame = link.hear_frame();
    } while (frame.has_waiting());
    EXPECT_TRUE(frame.has_roster());
    roster = frame.roster();
  }

  Puppet(const Puppet&) = delete;
  ~Puppet() { ::close(port_); }

  // A Hello of this life to a peer.
  wire::Frame hello(PeerId from, Incarnation life, PeerId to) const {
    wire::Frame frame;
    wire::Hello& hello = *frame.mutable_hello();
    hello.set_protocol(kProtocol);
    hello.set_run(roster.run());
    hello.set_rank(from);
    hello.set_incarnation(life);
    hello.set_to_instance(roster.members(static_cast<int>(to)).instance());
    hello.set_to_incarnation(roster.members(static_cast<int>(to)).incarnation());
    return frame;
  }

  static constexpr std::uint64_t kInstance = 77;
  Stranger link;
  wire::Roster roster;

 private:
  const int port_ = ::socket(AF_INET, SOCK_STREAM, 0);
};

class Impostors : public testing::Test {
 protected:
  Impostors() : run(5, elastic) {}

  Peers run;
};

TEST_F(Impostors, OfOneLifeAreBothExpelledAndTheNextLifeIsItsOwn) {
  Hearing hearing(run[1]);
  Hearing another(run[2]);
  run.kill(4);
  Puppet first(run[0].address(), 4, 5);
  EXPECT_EQ(first.roster.members(4).incarnation(), 2u);
  ASSERT_EQ(another.until("-4.1 +4.2"), "-4.1 +4.2");
  // Another process, which somebody else let in as the same life.
  wire::Frame frame = first.hello(4, 2, 2);
  wire::Member& other = *frame.mutable_hello()->mutable_arrival()->mutable_member();
  other = first.roster.members(4);
  other.set_instance(99);
  Stranger second(run[2].address());
  second.say(frame);
  const wire::Refusal refusal = second.refusal();
  EXPECT_EQ(refusal.code(), wire::Refusal::EXPELLED) << refusal.reason();
  for (;;) {
    const wire::Frame news = first.link.hear_frame();
    ASSERT_NE(news.message_case(), wire::Frame::MESSAGE_NOT_SET) << "the first one did not hear of its fate";
    if (!news.has_changes() || !news.changes().changes(0).has_departure()) continue;
    const wire::Departure& departure = news.changes().changes(0).departure();
    EXPECT_EQ(departure.rank(), 4u);
    EXPECT_EQ(departure.incarnation(), 2u);
    EXPECT_EQ(departure.kind(), wire::Departure::TWICE);
    break;
  }
  EXPECT_EQ(hearing.until("-4.1 +4.2 -4.2"), "-4.1 +4.2 -4.2");
  const auto roster = run.restart(4, 3);
  ASSERT_TRUE(roster) << roster.error().message;
  EXPECT_EQ(roster->peers[4].incarnation, 3u);
  EXPECT_EQ(another.until("-4.1 +4.2 -4.2 +4.3"), "-4.1 +4.2 -4.2 +4.3");
}

TEST_F(Impostors, TheSameProcessMayBeLetInTwiceAsOneLife) {
  // Rank 0 let it in and died before it could say so; rank 1 has heard the news.
  Hearing hearing(run[2]);
  run.kill(4);
  auto first = std::make_unique<Puppet>(run[0].address(), 4, 5);
  ASSERT_EQ(hearing.until("-4.1 +4.2"), "-4.1 +4.2");
  run.kill(0);
  ASSERT_EQ(hearing.until("-4.1 +4.2 -0.1"), "-4.1 +4.2 -0.1");
  Puppet again(run[1].address(), 4, 5);
  EXPECT_EQ(again.roster.members(4).incarnation(), 2u);
  EXPECT_EQ(again.roster.members(4).instance(), Puppet::kInstance);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(hearing.so_far(), "-4.1 +4.2 -0.1");
}

TEST_F(Impostors, AnEarlierLifeIsRefusedInWords) {
  run.kill(3);
  run.kill(4);
  ASSERT_TRUE(run.restart(3, 1));
  const Puppet puppet(run[0].address(), 4, 5);
  Stranger earlier(run[1].address());
  earlier.say(puppet.hello(3, 1, 1));
  const wire::Refusal refusal = earlier.refusal();
  EXPECT_EQ(refusal.code(), wire::Refusal::EXPELLED);
  EXPECT_NE(refusal.reason().find("lives on as another process"), std::string::npos) << refusal.reason();
  EXPECT_TRUE(run[3].standing());
  EXPECT_TRUE(run[3].barrier("nobody else", 10ms).error().code == Errc::timed_out)
      << "the puppet counts, and does not come";
}

TEST_F(Impostors, WhoListensWhereAnEarlierLifeDidSaysThatItIsAnother) {
  run.kill(4);
  const Puppet puppet(run[0].address(), 4, 5);
  for (PeerId rank = 0; rank < 4; ++rank) EXPECT_EQ(Hearing(run[rank]).until("-4.1 +4.2"), "-4.1 +4.2");
  // It looks for rank 3, and finds rank 1 on that port.
  Stranger caller(run[1].address());
  const std::uint64_t problems = run.log.problems();
  caller.say(puppet.hello(4, 2, 3));
  EXPECT_EQ(caller.refusal().code(), wire::Refusal::MOVED);
  EXPECT_EQ(run.log.problems(), problems) << "there is nothing wrong with that";
}

TEST_F(Impostors, NewsCountsInWhateverOrderItComes) {
  Hearing hearing(run[1]);
  run.kill(4);
  Puppet puppet(run[0].address(), 4, 5);
  ASSERT_EQ(hearing.until("-4.1 +4.2"), "-4.1 +4.2");
  const auto tell = [&](bool gone, PeerId rank, Incarnation life) {
    wire::Frame frame;
    wire::Change& change = *frame.mutable_changes()->add_changes();
    if (gone) {
      change.mutable_departure()->set_rank(rank);
      change.mutable_departure()->set_incarnation(life);
      change.mutable_departure()->set_kind(wire::Departure::RESET);
    } else {
      wire::Member& member = *change.mutable_arrival()->mutable_member();
      member = puppet.roster.members(static_cast<int>(rank));
      member.set_incarnation(life);
      member.set_instance(1000 + life);
    }
    puppet.link.say(frame);
  };
  // The fifth life of rank 3 ended: so did the first, and others may have counted on the fifth; nothing is said of those between.
  tell(true, 3, 5);
  EXPECT_EQ(hearing.until("-4.1 +4.2 -3.1 -3.5"), "-4.1 +4.2 -3.1 -3.5");
  tell(false, 3, 4);  // all of this is old now
  tell(false, 3, 5);
  tell(true, 3, 4);
  tell(true, 3, 5);
  tell(true, 2, 0);
  tell(false, 4, 1);
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(hearing.so_far(), "-4.1 +4.2 -3.1 -3.5");
  EXPECT_TRUE(run[2].standing());
  EXPECT_FALSE(run[3].standing()) << "it has heard that it is dead";
  const auto roster = run.restart(3, 2);
  ASSERT_TRUE(roster) << roster.error().message;
  EXPECT_EQ(roster->peers[3].incarnation, 6u);
  EXPECT_EQ(hearing.until("-4.1 +4.2 -3.1 -3.5 +3.6"), "-4.1 +4.2 -3.1 -3.5 +3.6");
}

TEST_F(Impostors, MembersThatCannotBeAreNoNews) {
  run.kill(4);
  Puppet puppet(run[0].address(), 4, 5);
  for (const bool rank : {true, false}) {
    wire::Frame frame;
    wire::Member& member = *frame.mutable_changes()->add_changes()->mutable_arrival()->mutable_member();
    member = puppet.roster.members(3);
    if (rank)
      member.set_rank(5);
    else
      member.set_control_port(70000);
    member.set_incarnation(2);
    puppet.link.say(frame);
  }
  wire::Frame empty;
  empty.mutable_changes()->add_changes();
  empty.mutable_changes()->add_changes()->mutable_departure()->set_rank(5);
  puppet.link.say(empty);
  std::this_thread::sleep_for(100ms);
  for (PeerId rank = 0; rank < 4; ++rank) {
    Hearing hearing(run[rank]);
    EXPECT_EQ(hearing.until("-4.1 +4.2"), "-4.1 +4.2");
    EXPECT_TRUE(run[rank].standing());
  }
}

}  // namespace
}  // namespace gossamer
