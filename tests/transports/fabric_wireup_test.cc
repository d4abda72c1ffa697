// Processes that die while their connections are wired up, again and again.  The others must not notice more than
// that: they go on talking to each other, and they end in good order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/transports/fabric_child.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kPeers = 6;

class FabricWireUp : public ::testing::TestWithParam<Wire> {
 protected:
  void SetUp() override {
    if (const std::string reason = missing(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  }

  struct Peer {
    std::unique_ptr<Child> child;
    std::string address;
    RemoteRegion region;
    bool alive = true;
  };

  // Some peers are killed, and one leaves, at moments that the seed chooses.
  void one_life_and_death(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<Peer> peers(kPeers);
    for (Peer& peer : peers) peer.child = std::make_unique<Child>(GetParam(), "mesh");
    for (Peer& peer : peers) ASSERT_TRUE(peer.child->hello(&peer.address, &peer.region));
    const std::size_t killed = 1 + random() % 3;
    std::vector<std::size_t> order(kPeers);
    for (std::size_t i = 0; i < kPeers; ++i) order[i] = i;
    std::ranges::shuffle(order, random);
    for (const std::size_t i : order) introduce(peers, i);
    for (std::size_t k = 0; k <= killed; ++k) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
      Peer& victim = peers[order[k]];
      victim.alive = false;
      if (k < killed) {
        victim.child->kill();
      } else {
        victim.child->dismiss();
      }
    }
    for (std::uint64_t number = 1; number <= 2; ++number) {
      for (std::size_t i = 0; i < kPeers; ++i)
        if (peers[i].alive) {
          ASSERT_TRUE(peers[i].child->tell(std::to_string(number) + ' ' + living(peers, i)));
        }
      for (std::size_t i = 0; i < kPeers; ++i) {
        if (!peers[i].alive) continue;
        std::string answer;
        ASSERT_TRUE(peers[i].child->hear(&answer)) << "peer " << i << " does not hear from all that live";
        ASSERT_EQ(answer, "ok");
      }
    }
    for (std::size_t i = 0; i < kPeers; ++i)
      if (peers[i].alive) peers[i].child->dismiss();
    for (std::size_t i = 0; i < kPeers; ++i)
      if (peers[i].alive || i == order[killed]) {
        EXPECT_EQ(peers[i].child->finish(), 0) << "peer " << i;
      }
  }

  void many(int lives) {
    const char* const chosen = std::getenv("GOSSAMER_TEST_SEED");
    const std::uint64_t first = chosen ? std::strtoull(chosen, nullptr, 10) : std::random_device()();
    for (int i = 0; i < lives; ++i) {
      const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
      one_life_and_death(seed);
      if (HasFailure()) FAIL() << "with GOSSAMER_TEST_SEED=" << seed << ", in life " << i;
    }
  }

 private:
  static void introduce(std::vector<Peer>& peers, std::size_t to) {
    Child& child = *peers[to].child;
    bool told = child.tell(std::to_string(kPeers - 1));
    for (std::size_t i = 0; i < kPeers; ++i) {
      if (i == to) continue;
      const RemoteRegion& region = peers[i].region;
      told = told && child.tell(peers[i].address) && child.tell(region.key) &&
             child.tell(std::string(reinterpret_cast<const char*>(&region.address), 8)) &&
             child.tell(std::string(reinterpret_cast<const char*>(&region.size), 8));
    }
    EXPECT_TRUE(told);
  }

  static std::string living(const std::vector<Peer>& peers, std::size_t but) {
    std::string text;
    for (std::size_t i = 0; i < kPeers; ++i)
      if (i != but) text += peers[i].alive ? '1' : '0';
    return text;
  }
};

// A process takes 0.4 s to start libfabric.
TEST_P(FabricWireUp, SurvivorsOfPeersThatDieInItGoOn) { many(GetParam().kind == "libfabric" ? 2 : 8); }

using FabricWireUpChaos = FabricWireUp;
TEST_P(FabricWireUpChaos, SurvivorsGoOnManyTimes) { many(GetParam().kind == "libfabric" ? 60 : 400); }

// Over libfabric's shm only where it is not used, since the processes map each other's memory: whoever sends by it to a process
// that was killed with the lock of its queue waits for ever inside of libfabric (1.17; docs/transports.md).
const auto kWires = ::testing::Values(Wire{"tcp", "ucx", "tcp,self", "lo"},
                                      Wire{"shared_memory", "ucx", "posix,sysv,self", ""},
                                      Wire{"libfabric_tcp", "libfabric", "tcp", "lo", false},
                                      Wire{"libfabric_shm", "libfabric", "shm", ""});
INSTANTIATE_TEST_SUITE_P(Over, FabricWireUp, kWires, [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Over, FabricWireUpChaos, kWires, [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace gossamer::testing
