// What the tests of fabrics share: where fabrics come from, how a test waits, and recognisable bytes.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transports/device_memory.h"
#include "transports/fabric.h"

namespace gossamer::testing {

// Makes fabrics that can reach each other.
class World {
 public:
  virtual ~World() = default;
  virtual Result<std::unique_ptr<Fabric>> make() = 0;
};

struct Backend {
  std::string name;
  std::function<std::unique_ptr<World>()> world;
  std::string missing;  // why it cannot be tested in this build; empty when it can
  // False where connecting to an address that nobody has any more looks like connecting to a slow peer (UCX
  // over shared memory).
  bool sees_connect_failures = true;
  std::shared_ptr<DeviceMemory> device;  // regions are memory of it; null: the host's
};

// Every backend of this build, and those that are missing with the reason.
std::vector<Backend> all_backends();

// The same with memory of a device: staged, and in the loopback, that of a GPU that is not there (fake_cuda.h); direct, a GPU's.
std::vector<Backend> device_backends();

// $PATIENCE is how many times as long everything takes (under a sanitizer, in an emulated machine).
inline const int kSlowness = [] {
  const char* factor = std::getenv("PATIENCE");
  return factor ? std::max(1, std::atoi(factor)) : 1;
}();
inline const std::chrono::seconds kPatience = std::chrono::seconds(10) * kSlowness;

// A fabric with everything that it has handed out so far.
struct Side {
  std::unique_ptr<Fabric> fabric;
  FabricEvents events;

  void poll() { fabric->poll(&events); }
};

// Polls the sides until `done` or until patience ends; sleeps on their descriptors in between.
inline bool wait_until(std::vector<Side*> sides, const std::function<bool()>& done,
                       std::chrono::nanoseconds patience = kPatience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    for (Side* side : sides) side->poll();
    if (done()) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    bool idle = true;
    std::vector<pollfd> fds;
    for (Side* side : sides) {
      if (!side->fabric->arm()) idle = false;
      fds.push_back({side->fabric->wait_fd(), POLLIN, 0});
    }
    if (idle) ::poll(fds.data(), fds.size(), 20);
  }
}

// Byte i of message `seed`; cheap, and different in every position and message.
inline std::byte pattern(std::uint64_t seed, std::size_t i) {
  const std::uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ull + seed * 0xD1B54A32D192ED03ull;
  return static_cast<std::byte>(x >> 56);
}

inline void fill(std::span<std::byte> to, std::uint64_t seed) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = pattern(seed, i);
}

// The first position that does not hold message `seed`, or size() when all do.
inline std::size_t first_difference(std::span<const std::byte> in, std::uint64_t seed) {
  for (std::size_t i = 0; i < in.size(); ++i)
    if (in[i] != pattern(seed, i)) return i;
  return in.size();
}

template <class T>
std::span<const std::byte> as_notice(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <class T>
T from_notice(const Notice& notice) {
  T value{};
  EXPECT_EQ(notice.size, sizeof value);
  std::memcpy(&value, notice.data.data(), std::min<std::size_t>(notice.size, sizeof value));
  return value;
}

}  // namespace gossamer::testing
