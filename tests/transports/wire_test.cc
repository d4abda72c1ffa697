// What fabrics between processes tell each other: addresses that do not fit are refused in words, and what was bent on the way is.
#include "transports/wire.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transports/doorbell.h"
#include "transports/interfaces.h"
#include "transports/ofi.h"
#include "transports/ucx.h"
#include "transports/waiter.h"

namespace gossamer::testing {
namespace {

wire::Address some_address() {
  return {.nonce = 7, .machine = 8, .network = 0, .process = {9, 10}, .dialect = "UCX 1.13", .endpoint = "worker"};
}

TEST(WireAddress, ComesBackAsItWas) {
  const wire::Address address = some_address();
  const auto back = wire::unpack(wire::pack(address));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->nonce, 7u);
  EXPECT_EQ(back->machine, 8u);
  EXPECT_EQ(back->process, (wire::Process{9, 10}));
  EXPECT_EQ(back->dialect, "UCX 1.13");
  EXPECT_EQ(back->endpoint, "worker");
}

TEST(WireAddress, BentOrCutAnywhereItIsCorrupt) {
  const std::string good = wire::pack(some_address());
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bent = good;
    bent[i] ^= 4;
    const auto refused = wire::unpack(bent);
    ASSERT_FALSE(refused) << "byte " << i;
    EXPECT_EQ(refused.error().code, Errc::corrupt);
    EXPECT_FALSE(wire::unpack(std::string_view(good).substr(0, i))) << "cut to " << i;
  }
  EXPECT_FALSE(wire::unpack(good + "x"));
}

TEST(WireAddress, AnotherDialectIsRefusedInWords) {
  const auto refused = wire::check_reachable(some_address(), "libfabric 1.17 tcp;ofi_rxm, protocol 11.1, messages of 8760 bytes");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::version);
  EXPECT_NE(refused.error().message.find("`UCX 1.13`"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("tcp;ofi_rxm"), std::string::npos);
  EXPECT_TRUE(wire::check_reachable(some_address(), "UCX 1.13"));
}

TEST(WireAddress, TheLoopbackOfAnotherMachineIsRefusedInWords) {
  wire::Address address = some_address();
  address.network = wire::this_network();
  EXPECT_TRUE(wire::check_reachable(address, address.dialect));
  address.network ^= 1;
  const auto refused = wire::check_reachable(address, address.dialect);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_NE(refused.error().message.find("transport.interface"), std::string::npos);
}

// Real fabrics of two libraries, and of two providers of one.
TEST(WireAddress, FabricsThatCannotUnderstandEachOtherSaySo) {
  auto shm = make_ofi({.provider = "shm"}), tcp = make_ofi({.provider = "tcp", .interface = "lo"});
  if (!shm || !tcp) GTEST_SKIP() << (shm ? tcp : shm).error().message;
  const auto other_provider = (*tcp)->connect((*shm)->address());
  ASSERT_FALSE(other_provider);
  EXPECT_EQ(other_provider.error().code, Errc::version);
  EXPECT_NE(other_provider.error().message.find("shm"), std::string::npos) << other_provider.error().message;
  auto ucx = make_ucx({.tls = "tcp,self", .net_devices = "lo"});
  if (!ucx) GTEST_SKIP() << ucx.error().message;
  const auto other_library = (*tcp)->connect((*ucx)->address());
  ASSERT_FALSE(other_library);
  EXPECT_EQ(other_library.error().code, Errc::version);
  EXPECT_FALSE((*ucx)->connect((*tcp)->address()));
}

TEST(WireAddress, ALoopbackIsMarkedAsOneAndAnotherNetworkIsNot) {
  const auto network_of = [](const Fabric& fabric) { return wire::unpack(fabric.address())->network; };
  std::string far;
  for (const NetworkAddress& address : network_addresses())
    if (!address.loopback && !address.link_local && address.text.find(':') == std::string::npos) far = address.interface;
  if (auto fabric = make_ofi({.provider = "tcp", .interface = "lo"})) {
    EXPECT_EQ(network_of(**fabric), wire::this_network());
    EXPECT_NE((*fabric)->description().find("loopback: this machine only"), std::string::npos) << (*fabric)->description();
  }
  if (auto fabric = make_ucx({.tls = "tcp,self", .interface = "127.0.0.0/8"})) {
    EXPECT_EQ(network_of(**fabric), wire::this_network());
  }
  if (far.empty()) GTEST_SKIP() << "this machine has no network but its loopback";
  if (auto fabric = make_ofi({.provider = "tcp", .interface = far})) {
    EXPECT_EQ(network_of(**fabric), 0u);
  }
  if (auto fabric = make_ucx({.tls = "tcp,self", .interface = far})) {
    EXPECT_EQ(network_of(**fabric), 0u);
  }
}

TEST(Networks, AreNamedByInterfaceAddressOrSubnet) {
  const NetworkAddress four{.interface = "eth0", .text = "10.1.2.3"}, six{.interface = "ib0", .text = "fd00::2"};
  for (const char* wanted : {"eth0", "10.1.2.3", "10.1.2.3/32", "10.1.2.0/24", "10.0.0.0/8", "10.1.2.2/31", "0.0.0.0/0"})
    EXPECT_TRUE(names(wanted, four)) << wanted;
  for (const char* wanted : {"eth1", "10.1.2.4", "10.1.3.0/24", "10.1.2.4/31", "10.1.2.3/33", "10.1.2.3/", "10.1.2.3/x", "10.1.2", "", "fd00::/64"})
    EXPECT_FALSE(names(wanted, four)) << wanted;
  for (const char* wanted : {"ib0", "fd00::2", "fd00::/64", "fd00::/8", "::/0"}) EXPECT_TRUE(names(wanted, six)) << wanted;
  for (const char* wanted : {"fd01::/16", "fd00::3", "fd00::2/129"}) EXPECT_FALSE(names(wanted, six)) << wanted;
  EXPECT_EQ(interfaces_of("127.0.0.0/8"), std::vector<std::string>{"lo"});
  EXPECT_EQ(interfaces_of("mlx5_0:1"), std::vector<std::string>{"mlx5_0:1"}) << "a device";
  EXPECT_TRUE(interfaces_of("203.0.113.0/24").empty()) << "a network that nobody has";
  EXPECT_EQ(host_of("lo"), "lo");
  EXPECT_EQ(host_of("127.0.0.0/8"), "127.0.0.1");
  EXPECT_EQ(host_of("mlx5_0:1"), "");
}

TEST(Networks, OneThatTheMachineLacksIsRefusedInWords) {
  for (const auto& fabric : {make_ofi({.provider = "tcp", .interface = "203.0.113.0/24"}), make_ucx({.interface = "203.0.113.0/24"})}) {
    ASSERT_FALSE(fabric);
    if (fabric.error().code == Errc::unsupported) continue;  // not in this build
    EXPECT_EQ(fabric.error().code, Errc::invalid_argument);
    EXPECT_NE(fabric.error().message.find("203.0.113.0/24"), std::string::npos) << fabric.error().message;
  }
}

TEST(Doorbell, RingsForASleeperOnceAndForNobodyElse) {
  auto bell = Doorbell::make();
  ASSERT_TRUE(bell) << bell.error().message;
  auto remote = RemoteDoorbell::open(bell->handle());
  ASSERT_TRUE(remote) << remote.error().message;
  const auto rung = [&] {
    pollfd one{bell->fd(), POLLIN, 0};
    return ::poll(&one, 1, 0) == 1;
  };
  remote->ring();
  EXPECT_FALSE(rung()) << "the owner is awake";
  bell->will_sleep();
  EXPECT_FALSE(rung());
  remote->ring();
  EXPECT_TRUE(rung());
  bell->awake();
  EXPECT_FALSE(rung()) << "it has been heard";
  EXPECT_FALSE(remote->closed());
  bell->close();
  EXPECT_TRUE(remote->closed());
  remote->ring();
  EXPECT_FALSE(rung());
}

TEST(Doorbell, AHandleThatLiesOpensNothing) {
  auto bell = Doorbell::make();
  ASSERT_TRUE(bell);
  DoorbellHandle handle = bell->handle();
  handle.descriptor = 0;
  EXPECT_FALSE(RemoteDoorbell::open(handle));
  handle = bell->handle();
  ++handle.inode;
  EXPECT_FALSE(RemoteDoorbell::open(handle));
  handle = bell->handle();
  ++handle.word.inode;
  EXPECT_FALSE(RemoteDoorbell::open(handle));
}

// A child that only waits to be killed, and its name as wire::Process.
struct Sleeper {
  pid_t id = ::fork();
  Sleeper() {
    if (id == 0)
      for (;;) ::pause();
  }
  ~Sleeper() { end(); }
  void end() {
    if (id <= 0) return;
    ::kill(id, SIGKILL);
    ::waitpid(id, nullptr, 0);
    id = -1;
  }
};

TEST(Waiter, TellsOnceThatAProcessHasEnded) {
  Sleeper sleeper;
  auto waiter = Waiter::make();
  ASSERT_TRUE(waiter);
  // What the process would say of itself.
  wire::Process process{static_cast<std::uint64_t>(sleeper.id), 0};
  process.started = wire::start_of(process.id);
  ASSERT_NE(process.started, 0u);
  ASSERT_TRUE(waiter->watch(process, 42));
  EXPECT_TRUE(waiter->ended().empty());
  sleeper.end();
  pollfd one{waiter->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&one, 1, 5000), 1);
  EXPECT_EQ(waiter->ended(), std::vector<std::uint64_t>{42});
  EXPECT_TRUE(waiter->ended().empty());
  EXPECT_FALSE(waiter->watch(process, 43)) << "it is gone";
}

TEST(Waiter, ALaterProcessOfTheSameNumberIsNotTheOneThatWasMeant) {
  Sleeper sleeper;
  auto waiter = Waiter::make();
  ASSERT_TRUE(waiter);
  const auto id = static_cast<std::uint64_t>(sleeper.id);
  EXPECT_FALSE(waiter->watch({id, wire::start_of(id) - 1}, 1));
  EXPECT_TRUE(waiter->watch({id, wire::start_of(id)}, 2));
}

}  // namespace
}  // namespace gossamer::testing
