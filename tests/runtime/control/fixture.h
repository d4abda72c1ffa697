// Several peers in one process, each with a thread of its own where it has to wait for the others.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
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
  explicit Peers(std::size_t peers, const std::function<void(ControlOptions&)>& adjust = {})
      : log(Log::silent()), adjust_(adjust) {
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

  // Starts a rank again; it asks that other peer.
  Result<Roster> restart(PeerId rank, PeerId via) { return restart(rank, controls[via]->address()); }
  Result<Roster> restart(PeerId rank, const std::string& rendezvous) {
    ControlOptions options = test_options(controls.size(), rank, rendezvous);
    if (adjust_) adjust_(options);
    GOSSAMER_TRY_ASSIGN(auto control, Control::start(std::move(options), log));
    controls[rank] = std::move(control);
    auto roster = controls[rank]->join("another transport of " + std::to_string(rank));
    if (roster) rosters[rank] = *roster;
    return roster;
  }
  // Crashes it: nothing is said to anybody.
  void kill(PeerId rank) { controls[rank].reset(); }

  Log log;
  std::vector<std::unique_ptr<Control>> controls;
  std::vector<Roster> rosters;

 private:
  std::function<void(ControlOptions&)> adjust_;
};

// Everybody lives and can be spoken to, as soon as its return was taken.
inline void expect_all_meet(Peers& run) {
  in_parallel(run.controls.size(), [&](std::size_t i) {
    const auto result = run[i].barrier("all meet", kPlenty);
    EXPECT_TRUE(result) << i << ": " << result.error().message;
    for (PeerId to = 0; to < run.controls.size(); ++to)
      EXPECT_TRUE(eventually(
          [&] {
            run[i].deaths();
            run[i].returned();
            return run[i].send(to, "note", std::to_string(i)).has_value();
          },
          5s))
          << i << " to " << to;
  });
  for (std::size_t i = 0; i < run.controls.size(); ++i) {
    std::set<std::string> heard;
    EXPECT_TRUE(eventually(
        [&] {
          for (const Message& message : run[i].receive("note", 10ms)) heard.insert(message.bytes);
          return heard.size() == run.controls.size();
        },
        5s))
        << i << " heard " << heard.size();
  }
}

inline void elastic(ControlOptions& options) { options.elastic = true; }

// What a peer hears of deaths and returns, in order: "-3.1 +3.2" says that the first life of rank 3 ended, and that it
// returned as the second one.
class Hearing {
 public:
  explicit Hearing(Control& control) : control_(control) {}
  const std::string& so_far() {
    for (const Death& death : control_.deaths()) note('-', death.rank, death.incarnation);
    for (const Roster::Entry& entry : control_.returned()) note('+', entry.rank, entry.incarnation);
    return heard_;
  }
  // Waits until it has heard all of this.
  std::string until(const std::string& what) {
    eventually([&] { return so_far().size() >= what.size(); }, 10s);
    return heard_;
  }

 private:
  void note(char how, PeerId rank, Incarnation life) {
    if (!heard_.empty()) heard_ += ' ';
    heard_ += how + std::to_string(rank) + "." + std::to_string(life);
  }

  Control& control_;
  std::string heard_;
};

}  // namespace gossamer
