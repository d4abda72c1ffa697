// Several peers in one process, each with a thread of its own where it has to wait for the others.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtime/control/control.h"

namespace gossamer {

using namespace std::chrono_literals;

// Far more than anything takes, for what must happen; a loaded machine may need some of it.
inline constexpr Duration kPlenty = 20s;

inline ControlOptions test_options(std::size_t peers, std::optional<PeerId> rank, std::string rendezvous = {}) {
  ControlOptions options;
  options.rank = rank;
  options.peers = peers;
  options.rendezvous = std::move(rendezvous);
  options.host = "127.0.0.1";
  options.run_hash = 0x1234;
  options.software_version = "test";
  options.join_deadline = kPlenty;
  options.heartbeat = 50ms;
  options.silence_deadline = 5s;  // no test that kills nobody shall see a death
  return options;
}

// Runs `body(i)` for each i in a thread of its own.
inline void in_parallel(std::size_t count, const std::function<void(std::size_t)>& body) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

// Waits until it holds; false where it never does.
inline bool eventually(const std::function<bool()>& holds, Duration within = kPlenty) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// A run of peers that have joined; rank r is at [r].
class Peers {
 public:
  explicit Peers(std::size_t peers, const std::function<void(ControlOptions&)>& adjust = {}) : log(Log::silent()) {
    for (PeerId rank = 0; rank < peers; ++rank) {
      ControlOptions options = test_options(peers, rank, rank == 0 ? "" : controls[0]->address());
      if (adjust) adjust(options);
      auto control = Control::start(std::move(options), log);
      if (!control) throw std::runtime_error(control.error().message);
      controls.push_back(std::move(*control));
    }
    rosters.resize(peers);
    std::vector<std::string> failures(peers);
    in_parallel(peers, [&](std::size_t i) {
      auto roster = controls[i]->join("transport of " + std::to_string(i));
      if (roster) rosters[i] = std::move(*roster);
      else failures[i] = roster.error().message;
    });
    for (const std::string& failure : failures)
      if (!failure.empty()) throw std::runtime_error(failure);
  }
  // All peers leave together, as they do at the end of a run.
  void leave() {
    in_parallel(controls.size(), [&](std::size_t i) {
      const auto result = controls[i]->leave(kPlenty);
      EXPECT_TRUE(result) << "rank " << i << ": " << result.error().message;
    });
  }
  Control& operator[](std::size_t rank) { return *controls[rank]; }

  Log log;
  std::vector<std::unique_ptr<Control>> controls;
  std::vector<Roster> rosters;
};

}  // namespace gossamer
