// The driver's lock is what a trainer's thread holds while it publishes: engine, transport and fabric are its own then.
#include "runtime/engine_driver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/gossip/network.h"
#include "tests/transports/forwarding_fabric.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

using testing_support::Network;
using testing_support::NetworkOptions;

// Takes its time whenever the thread that polls it comes by, and says that somebody is in it.
class Slow final : public testing::ForwardingFabric {
 public:
  using ForwardingFabric::ForwardingFabric;

  void poll(FabricEvents* events) override {
    const Visit visit(*this);
    ForwardingFabric::poll(events);
  }
  bool arm() override {
    ++armed_;
    const Visit visit(*this);
    return ForwardingFabric::arm();
  }

  bool visited() const { return visited_; }
  int armed() const { return armed_; }

 private:
  struct Visit {
    explicit Visit(Slow& fabric) : fabric(fabric) {
      fabric.visited_ = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ~Visit() { fabric.visited_ = false; }
    Slow& fabric;
  };

  std::atomic<bool> visited_{false};
  std::atomic<int> armed_{0};
};

TEST(EngineDriver, LeavesTheFabricToWhoHoldsTheLock) {
  const auto topology = make_topology(family_spec("complete", 2)).value();
  const auto hub = std::make_shared<LoopbackHub>();
  Slow* fabric = nullptr;  // peer 0's
  Network network(*topology, {.make_fabric =
                                  [&](PeerId id) -> std::unique_ptr<Fabric> {
                                    auto made = std::make_unique<Slow>(make_loopback(hub).value());
                                    if (id == 0) fabric = made.get();
                                    return made;
                                  },
                              .dimension = 4});
  const SteadyClock clock;
  EngineDriver driver(network.engine(0), *fabric, clock, -1, true);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (int turn = 0; turn < 30 || fabric->armed() < 30; ++turn) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "the driver's thread does not run";
    ASSERT_TRUE(driver.nudge());  // it goes round, and will arm the fabric
    const auto guard = driver.lock();
    ASSERT_FALSE(fabric->visited()) << "in turn " << turn;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    ASSERT_FALSE(fabric->visited()) << "a little later in turn " << turn;
  }
}

TEST(EngineDriver, SpinsNoLongerThanItMayWait) {
  const auto topology = make_topology(family_spec("complete", 2)).value();
  Network network(*topology, {.dimension = 4});
  const SteadyClock clock;
  EngineDriver driver(network.engine(0), network.fabric(0), clock, -1, false, std::chrono::minutes(10));
  network.engine(0).publish(network.model(0), 0.1);  // its neighbour never answers
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(driver.wait(std::chrono::milliseconds(20)));
  EXPECT_EQ(network.engine(0).open_rounds(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::minutes(5));
}

}  // namespace
}  // namespace gossamer
