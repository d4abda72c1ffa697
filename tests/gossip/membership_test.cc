// Views under deaths, returns and messages that take their time: whatever happens, no two peers install different views of
// the same number, nobody has begun the round that a view begins with, and those who live end up in one view.
#include "gossip/membership.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "base/random.h"

namespace gossamer {
namespace {

// Peers that begin rounds as they like, and connections on which messages wait for their turn.
class Cluster {
 public:
  Cluster(std::size_t peers, std::uint64_t seed) : lives_(peers, 1), random_(seed, Purpose::link, 0, 0) {
    for (PeerId id = 0; id < peers; ++id) start(id, true);
  }

  struct Peer {
    std::unique_ptr<Membership> membership;
    Round next_round = 0;
    bool admitted = false;
  };

  void kill(PeerId id) {
    peers_.erase(id);
    for (auto& [edge, messages] : wires_)
      if (edge.second == id) messages.clear();
    // What it sent may still arrive, and each learns of the death on its own time.
    for (auto& [other, peer] : peers_) news_[other].push_back({id, lives_[id], false});
  }

  void restart(PeerId id) {
    for (auto& [edge, messages] : wires_)
      if (edge.first == id) messages.clear();
    ++lives_[id];
    for (auto& [other, peer] : peers_) news_[other].push_back({id, lives_[id], true});
    start(id, false);
    peers_.at(id).membership->apply();
    collect(id);
  }

  bool alive(PeerId id) const { return peers_.contains(id); }

  // Without it more than half of every view that somebody is in are left.
  bool can_spare(PeerId without) const {
    for (const auto& [id, peer] : peers_) {
      if (!peer.admitted) continue;
      const View& view = peer.membership->view();
      std::size_t left = 0;
      for (const auto& [other, one] : peers_) left += other != without && one.admitted && view.has(other, lives_[other]);
      if (2 * left <= view.members()) return false;
    }
    return true;
  }
  std::map<PeerId, Peer>& peers() { return peers_; }
  Random& random() { return random_; }

  bool lost_the_majority() const {
    return std::any_of(peers_.begin(), peers_.end(), [](const auto& peer) {
      const auto& error = peer.second.membership->error();
      return error && error->message.find("members are left") != std::string::npos;
    });
  }

  // One thing happens somewhere; false when nothing is left to happen.
  bool step(bool rounds) {
    std::vector<std::pair<PeerId, PeerId>> wires;
    for (auto& [edge, messages] : wires_)
      if (!messages.empty() && peers_.contains(edge.second)) wires.push_back(edge);
    std::vector<PeerId> told;
    for (auto& [id, news] : news_)
      if (!news.empty() && peers_.contains(id)) told.push_back(id);
    if (wires.empty() && told.empty()) return false;
    if (rounds && random_.below(3) == 0) begin_rounds();
    const std::size_t choice = random_.below(wires.size() + told.size());
    if (choice < wires.size()) {
      deliver(wires[choice]);
    } else {
      tell(told[choice - wires.size()]);
    }
    return true;
  }

  void settle() {
    int steps = 0;
    while (step(false)) ASSERT_LT(++steps, 200000) << "they do not come to an end";
  }

 private:
  struct News {
    PeerId peer;
    Incarnation life;
    bool returned;
  };

  struct Installed {
    PeerId peer;
    Incarnation life;
    View view;
  };

  void start(PeerId id, bool member) {
    std::vector<Incarnation> alive(lives_.size()), ended = lives_;
    for (const auto& [other, peer] : peers_) alive[other] = lives_[other], ended[other] = 0;
    if (member) alive = lives_, ended = {};
    news_[id].clear();
    peers_[id] = {std::make_unique<Membership>(MembershipSetup{.self = id, .life = lives_[id], .alive = alive, .ended = ended, .member = member}), 0, member};
  }

  void begin_rounds() {
    for (auto& [id, peer] : peers_)
      if (peer.admitted && !peer.membership->frozen() && random_.below(2) == 0) ++peer.next_round;
  }

  void deliver(std::pair<PeerId, PeerId> edge) {
    auto& messages = wires_[edge];
    const auto bytes = std::move(messages.front());
    messages.pop_front();
    Peer& peer = peers_.at(edge.second);
    const auto heard = peer.membership->heard(edge.first, bytes, peer.next_round);
    EXPECT_TRUE(heard) << heard.error().message;
    collect(edge.second);
  }

  void tell(PeerId id) {
    const News news = news_[id].front();
    news_[id].pop_front();
    Peer& peer = peers_.at(id);
    if (news.returned) {
      peer.membership->returned(news.peer, news.life);
    } else {
      peer.membership->died(news.peer, news.life);
    }
    peer.membership->advance(peer.next_round);
    collect(id);
  }

  void collect(PeerId id) {
    Peer& peer = peers_.at(id);
    for (auto& message : peer.membership->take_messages())
      if (peers_.contains(message.to)) wires_[{id, message.to}].push_back(std::move(message.bytes));
    for (const View& view : peer.membership->take_views()) {
      installed_.push_back({id, lives_[id], view});
      // A view that only the dead have seen never was.
      for (const Installed& other : installed_)
        if (other.view.number == view.number && peers_.contains(other.peer) && lives_[other.peer] == other.life) {
          EXPECT_EQ(other.view, view) << "two views of number " << view.number;
        }
      EXPECT_TRUE(view.has(id, lives_[id]));
      if (!peer.admitted) peer.next_round = view.first_round;
      EXPECT_LE(peer.next_round, view.first_round) << "peer " << id << " had begun a round of view " << view.number;
      peer.admitted = true;
    }
  }

  std::vector<Incarnation> lives_;
  Random random_;
  std::map<PeerId, Peer> peers_;
  std::map<std::pair<PeerId, PeerId>, std::deque<std::vector<std::byte>>> wires_;
  std::map<PeerId, std::deque<News>> news_;
  std::vector<Installed> installed_;
};

void expect_agreement(Cluster& cluster, std::uint64_t seed) {
  std::optional<View> common;
  for (auto& [id, peer] : cluster.peers()) {
    ASSERT_FALSE(peer.membership->error()) << peer.membership->error()->message << ", seed " << seed;
    if (!common) common = peer.membership->view();
    EXPECT_EQ(peer.membership->view(), *common) << "peer " << id << ", seed " << seed;
    EXPECT_FALSE(peer.membership->frozen()) << "peer " << id << ", seed " << seed;
  }
  for (PeerId id = 0; id < common->lives.size(); ++id) EXPECT_EQ(common->has(id), cluster.alive(id)) << "peer " << id << ", seed " << seed;
}

TEST(Membership, ADeathIsAgreedOnAndTheRoundIsOneThatNobodyHasBegun) {
  Cluster cluster(5, 1);
  for (auto& [id, peer] : cluster.peers()) peer.next_round = 11 + id;
  cluster.kill(3);
  cluster.settle();
  expect_agreement(cluster, 1);
  EXPECT_EQ(cluster.peers().at(0).membership->view().first_round, 15u);
}

TEST(Membership, TheCoordinatorsOwnDeathIsAgreedOn) {
  Cluster cluster(4, 2);
  cluster.kill(0);
  cluster.settle();
  expect_agreement(cluster, 2);
}

TEST(Membership, ANewLifeEntersAtARoundThatNobodyHasBegun) {
  Cluster cluster(3, 3);
  for (auto& [id, peer] : cluster.peers()) peer.next_round = 7;
  cluster.kill(1);
  cluster.settle();
  cluster.restart(1);
  cluster.settle();
  expect_agreement(cluster, 3);
  EXPECT_EQ(cluster.peers().at(1).next_round, 7u);
  EXPECT_EQ(cluster.peers().at(1).membership->view().lives[1], 2u);
}

TEST(Membership, WhoeverIsLeftWithTheSmallerHalfEnds) {
  Cluster cluster(4, 4);
  cluster.kill(0);
  cluster.kill(1);
  cluster.settle();
  const auto& error = cluster.peers().at(2).membership->error();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::peer_gone);
  EXPECT_NE(error->message.find("2 of 4 members"), std::string::npos) << error->message;
}

TEST(Membership, HalfWithTheLowestGoesOn) {
  Cluster cluster(2, 5);
  cluster.kill(1);
  cluster.settle();
  expect_agreement(cluster, 5);
}

TEST(Membership, AnAsynchronousRunStopsNobody) {
  Membership membership({.self = 0, .life = 1, .alive = {1, 1, 1}, .rounds_shared = false, .member = true});
  membership.died(2, 1);
  membership.advance(50);
  EXPECT_FALSE(membership.frozen());
  EXPECT_EQ(membership.take_messages().size(), 1u);
}

TEST(Membership, BytesThatAreNoneOfOursAreRefused) {
  Membership membership({.self = 0, .life = 1, .alive = {1, 1, 1}, .rounds_shared = true, .member = true});
  Membership other({.self = 1, .life = 1, .alive = {0, 1, 1}, .rounds_shared = true, .member = true});
  other.advance(3);
  const auto messages = other.take_messages();
  ASSERT_EQ(messages.size(), 1u);
  const auto good = messages.front().bytes;
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(membership.heard(1, std::span(good).first(size), 0)) << size;
  for (std::size_t at = 0; at < 8; ++at) {
    auto bad = good;
    bad[at] ^= std::byte{0x55};
    EXPECT_FALSE(membership.heard(1, bad, 0)) << at;
  }
  EXPECT_FALSE(membership.heard(0, good, 0));
  EXPECT_FALSE(membership.heard(7, good, 0));
  EXPECT_TRUE(membership.heard(1, good, 0));
}

// A view may tell of a new life before the control plane does; until then nothing that is sent reaches it.
TEST(Membership, AnInvitationWaitsUntilTheNewcomerCanBeReached) {
  Membership zero({.self = 0, .life = 1, .alive = {1, 1, 1}}), one({.self = 1, .life = 1, .alive = {1, 1, 1}});
  Membership two({.self = 2, .life = 2, .alive = {1, 1, 2}, .member = false});
  const auto carry = [](Membership& from, PeerId self, Membership& to, PeerId receiver) {
    int carried = 0;
    for (const auto& message : from.take_messages())
      if (message.to == receiver) {
        EXPECT_TRUE(to.heard(self, message.bytes, 5));
        ++carried;
      }
    return carried;
  };
  zero.died(2, 1);
  zero.advance(5);
  for (int change = 0; change < 2; ++change) {
    EXPECT_EQ(carry(zero, 0, one, 1), 1);  // prepare
    EXPECT_EQ(carry(one, 1, zero, 0), 1);  // promise
    EXPECT_EQ(carry(zero, 0, one, 1), 1);  // install
    if (change == 1) break;
    zero.returned(2, 2);
    two.apply();
    EXPECT_EQ(carry(two, 2, zero, 0), 1);
  }
  EXPECT_EQ(one.view().lives, (std::vector<Incarnation>{1, 1, 2}));
  EXPECT_TRUE(one.take_messages().empty());
  one.died(2, 1);
  one.returned(2, 2);
  EXPECT_EQ(carry(one, 1, two, 2), 1);
  EXPECT_EQ(two.view().lives, (std::vector<Incarnation>{0, 0, 0}));  // one of two veterans
  EXPECT_TRUE(two.take_views().empty());
}

// Peer 1 hears of the coordinator's death, and leads, before it hears what the coordinator had said last: a view, and a question for
// the one after it, by which the others still are in that view.
TEST(Membership, ALateQuestionOfADeadCoordinatorLeavesSomebodyToLead) {
  constexpr PeerId kAll = 5;
  std::vector<Membership> peers;
  for (PeerId id = 0; id < kAll; ++id) peers.emplace_back(MembershipSetup{.self = id, .life = 1, .alive = {1, 1, 1, 1, 1}});
  std::map<std::pair<PeerId, PeerId>, std::deque<std::vector<std::byte>>> wires;
  const auto collect = [&](PeerId from) {
    for (auto& message : peers[from].take_messages()) wires[{from, message.to}].push_back(std::move(message.bytes));
  };
  const auto carry = [&](PeerId from, PeerId to) {
    auto& wire = wires[{from, to}];
    EXPECT_FALSE(wire.empty()) << from << " to " << to;
    for (; !wire.empty(); wire.pop_front()) EXPECT_TRUE(peers[to].heard(from, wire.front(), 7));
    collect(to);
  };
  const auto dies = [&](PeerId who, PeerId told) {
    peers[told].died(who, 1);
    peers[told].advance(7);
    collect(told);
  };
  for (const PeerId told : {0u, 1u, 2u, 3u}) dies(4, told);
  for (const PeerId other : {1u, 2u, 3u}) carry(0, other);
  for (const PeerId other : {1u, 2u, 3u}) carry(other, 0);
  for (const PeerId other : {2u, 3u}) carry(0, other);
  ASSERT_EQ(peers[3].view().number, 1u);
  peers[0].returned(4, 2);
  Membership newcomer({.self = 4, .life = 2, .alive = {1, 1, 1, 1, 2}, .member = false});
  newcomer.apply();
  for (auto& message : newcomer.take_messages())
    if (message.to == 0) {
      EXPECT_TRUE(peers[0].heard(4, message.bytes, 7));
    }
  collect(0);
  for (const PeerId told : {1u, 2u, 3u}) dies(0, told);
  for (const PeerId other : {2u, 3u}) carry(other, 1);  // they hand the view on, but it is of an earlier ballot than peer 1's own
  EXPECT_EQ(peers[1].view().number, 0u);
  carry(0, 1);
  for (int i = 0; i < 4; ++i)
    for (const auto& [from, to] : std::vector<std::pair<PeerId, PeerId>>{{2, 1}, {3, 1}, {1, 2}, {1, 3}})
      if (!wires[{from, to}].empty()) carry(from, to);
  for (const PeerId id : {1u, 2u, 3u}) {
    EXPECT_FALSE(peers[id].error()) << peers[id].error()->message;
    EXPECT_EQ(peers[id].view().lives, (std::vector<Incarnation>{0, 1, 1, 1, 0})) << "peer " << id;
    EXPECT_FALSE(peers[id].frozen()) << "peer " << id;
  }
}

// Deaths and returns while earlier changes are still being agreed on; a majority is always left.  False where deaths while a smaller
// view was being agreed on cost that one its majority.
bool survives_churn(std::uint64_t seed) {
  const auto peers = static_cast<PeerId>(3 + seed % 7);
  Cluster cluster(peers, seed);
  for (int event = 0; event < 12; ++event) {
    for (auto steps = cluster.random().below(40); steps > 0; --steps) cluster.step(true);
    const auto id = static_cast<PeerId>(cluster.random().below(peers));
    if (!cluster.alive(id)) {
      cluster.restart(id);
      continue;
    }
    if (cluster.can_spare(id)) cluster.kill(id);
  }
  cluster.settle();
  EXPECT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
  if (cluster.lost_the_majority()) return false;
  expect_agreement(cluster, seed);
  return true;
}

TEST(Membership, ChurnEndsInOneViewWhateverTheOrderOfMessages) {
  std::size_t lost = 0;
  for (std::uint64_t seed = 1; seed <= 1500 && !testing::Test::HasFailure(); ++seed) lost += !survives_churn(seed);
  EXPECT_LT(lost, 15u);
}

// Found by a million seeds of it.
//   171453: a dead coordinator's last question brought its view to the next one, which then waited for the dead one's answer;
//   184253: a peer that had promised a coordinator that died refused the view that all others were in, and they waited for it to lead;
//   233113: a dead coordinator's question took a peer into its view, although that peer had promised the next one, which made another.
TEST(Membership, ChurnThatOnceEndedOtherwise) {
  for (const std::uint64_t seed : {171453u, 184253u, 233113u}) EXPECT_TRUE(survives_churn(seed)) << "seed " << seed;
}

}  // namespace
}  // namespace gossamer
