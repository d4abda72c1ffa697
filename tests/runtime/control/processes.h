// Peers as real processes, which can be killed, stopped and started again.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "tests/runtime/control/fixture.h"

namespace gossamer {

// Each peer writes what it sees, a line at a time, into a pipe of its own:
//
//   started ADDRESS LIFE               it has joined; or: failed WHY
//   death RANK HOW pid PID MS          and how long it had been silent
//   returned RANK LIFE pid PID
//   expelled WHY                       it ends with that
//   state LIFE LIFE ..                 when asked to (SIGUSR1): who lives of each rank; negative where that
//   life ended left                               when asked to (SIGTERM); or: left late
class Processes {
 public:
  explicit Processes(std::size_t peers, std::function<void(ControlOptions&)> adjust)
      : adjust_(std::move(adjust)),
        peers_(peers),
        pids_(peers, -1),
        reports_(peers, -1),
        rest_(peers),
        addresses_(peers) {
    // Rank 0 listens first, so that the others know its address; this process has no thread.
    int address_pipe[2];
    if (::pipe(address_pipe) != 0) throw std::runtime_error("pipe");
    std::string address;
    for (PeerId rank = 0; rank < peers; ++rank) {
      begin(rank, address, rank == 0 ? address_pipe[1] : -1);
      if (rank > 0) continue;
      char buffer[256];
      const ssize_t got = ::read(address_pipe[0], buffer, sizeof buffer);
      if (got <= 0) throw std::runtime_error("rank 0 did not start");
      address.assign(buffer, static_cast<std::size_t>(got));
    }
    ::close(address_pipe[0]);
    ::close(address_pipe[1]);
  }
  Processes(const Processes&) = delete;

  ~Processes() {
    for (PeerId rank = 0; rank < peers_; ++rank) {
      end(rank);
      if (reports_[rank] >= 0) ::close(reports_[rank]);
      if (!testing::Test::HasFailure()) ::unlink(log_path(rank).c_str());
    }
  }

  std::size_t size() const { return peers_; }
  void signal(PeerId rank, int number) { ::kill(pids_[rank], number); }
  pid_t pid(PeerId rank) const { return pids_[rank]; }

  // The caller looks after this process from now on, and after what it reports.
  int forget(PeerId rank) {
    pids_[rank] = -1;
    return std::exchange(reports_[rank], -1);
  }
  // Another process of that rank; the one before it has ended, or is forgotten.
  void restart(PeerId rank, const std::string& rendezvous) {
    if (const int old = std::exchange(reports_[rank], -1); old >= 0) ::close(old);
    rest_[rank].clear();
    begin(rank, rendezvous, -1);
  }
  // Kills it, and waits until it is.
  void end(PeerId rank) {
    if (pids_[rank] <= 0) return;
    ::kill(pids_[rank], SIGKILL);
    ::waitpid(pids_[rank], nullptr, 0);
    pids_[rank] = -1;
  }

  // The next line of a peer; "" at the end of what it says, or where it says nothing for too long.
  std::string line(PeerId rank) {
    std::string& rest = rest_[rank];
    while (rest.find('\n') == std::string::npos) {
      pollfd readable{reports_[rank], POLLIN, 0};
      if (::poll(&readable, 1, static_cast<int>(kPlenty / 1ms)) != 1) return "";
      char buffer[1024];
      const ssize_t got = ::read(reports_[rank], buffer, sizeof buffer);
      if (got <= 0) return "";
      rest.append(buffer, static_cast<std::size_t>(got));
    }
    const std::string found = rest.substr(0, rest.find('\n'));
    rest.erase(0, found.size() + 1);
    return found;
  }
  // The next one that begins with this word, behind deaths and returns.
  std::string line(PeerId rank, const std::string& word) {
    for (;;) {
      std::string found = line(rank);
      if (found.empty() || found.rfind(word + " ", 0) == 0) return found;
      if (found.rfind("death ", 0) != 0 && found.rfind("returned ", 0) != 0)
        ADD_FAILURE() << "rank " << rank << " says " << found;
    }
  }

  // Waits until it has joined, and says as which life; 0 where it has not.
  Incarnation started(PeerId rank) {
    const std::string text = line(rank);
    std::istringstream words(text);
    std::string what;
    Incarnation life = 0;
    words >> what >> addresses_[rank] >> life;
    if (what != "started") ADD_FAILURE() << "rank " << rank << " says '" << text << "'; " << log_path(rank);
    return what == "started" ? life : 0;
  }
  // Of one that has started.
  const std::string& address(PeerId rank) const { return addresses_[rank]; }

  std::string log_path(PeerId rank) const {
    return testing::TempDir() + "/control_" + std::to_string(parent_) + "_" + std::to_string(rank) + ".log";
  }

 private:
  void begin(PeerId rank, const std::string& rendezvous, int address_pipe) {
    int report[2];
    if (::pipe(report) != 0) throw std::runtime_error("pipe");
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(report[0]);
      for (const int other : reports_) ::close(other);
      ::_exit(peer(rank, rendezvous, address_pipe, report[1]));
    }
    ::close(report[1]);
    pids_[rank] = pid;
    reports_[rank] = report[0];
  }

  // Joins, then reports until told to end or for as long as any test may last; then leaves.
  int peer(PeerId rank, const std::string& rendezvous, int address_pipe, int report) const {
    static volatile sig_atomic_t end;
    static volatile sig_atomic_t asked;
    end = 0;
    asked = 0;
    ::signal(SIGTERM, [](int) { end = 1; });
    ::signal(SIGUSR1, [](int) { asked = 1; });
    ::signal(SIGPIPE, SIG_IGN);
    ::alarm(60);  // an orphan does not stay
    const auto say = [&](const std::string& text) {
      const std::string whole = text + "\n";
      return ::write(report, whole.data(), whole.size()) == static_cast<ssize_t>(whole.size());
    };
    if (std::freopen(log_path(rank).c_str(), "a", stderr) == nullptr) return 8;
    Log log("peer " + std::to_string(rank));
    ControlOptions options = test_options(peers_, rank, rendezvous);
    adjust_(options);
    auto control = Control::start(options, log);
    if (!control) {
      say("failed " + control.error().message);
      return 1;
    }
    if (address_pipe >= 0) {
      const std::string own = (*control)->address();
      if (::write(address_pipe, own.data(), own.size()) < 0) return 2;
    }
    const auto roster = (*control)->join("");
    if (!roster) {
      say("failed " + roster.error().message);
      return 3;
    }
    if (!roster->started && !(*control)->barrier("start", kPlenty)) return 4;
    std::vector<std::int64_t> lives;
    for (const Roster::Entry& entry : roster->peers)
      lives.push_back(entry.alive ? std::int64_t{entry.incarnation} : -std::int64_t{entry.incarnation});
    say("started " + (*control)->address() + " " + std::to_string(roster->peers[rank].incarnation));
    while (end == 0) {
      if (!(*control)->receive(20ms).empty()) return 5;
      for (const Death& death : (*control)->deaths()) {
        say("death " + std::to_string(death.rank) + " " + std::string(name(death.how)) + " pid " +
            std::to_string(death.pid) + " " + std::to_string(death.silent / 1ms));
        // A life that ended before this peer heard of it comes after one that is known to have ended.
        const bool unheard = death.pid == 0 && lives[death.rank] < 0 && death.incarnation > -lives[death.rank];
        if (!unheard && lives[death.rank] != death.incarnation) say("but it was not known to live");
        lives[death.rank] = -std::int64_t{death.incarnation};
      }
      for (const Roster::Entry& entry : (*control)->returned()) {
        say("returned " + std::to_string(entry.rank) + " " + std::to_string(entry.incarnation) + " pid " +
            std::to_string(entry.pid));
        if (lives[entry.rank] > 0 || -lives[entry.rank] >= entry.incarnation)
          say("but it was not known to be gone");
        lives[entry.rank] = entry.incarnation;
      }
      if (const auto standing = (*control)->standing(); !standing) {
        say("expelled " + standing.error().message);
        return 6;
      }
      if (asked == 0) continue;
      asked = 0;
      std::string state = "state";
      for (const std::int64_t life : lives) state += " " + std::to_string(life);
      say(state);
    }
    const bool left = (*control)->leave(kPlenty).has_value();
    for (const Death& death : (*control)->deaths()) say("death " + std::to_string(death.rank));
    say(left ? "left" : "left late");
    return left ? 0 : 7;
  }

  const std::function<void(ControlOptions&)> adjust_;
  const std::size_t peers_;
  const pid_t parent_ = ::getpid();
  std::vector<pid_t> pids_;
  std::vector<int> reports_;
  std::vector<std::string> rest_;
  std::vector<std::string> addresses_;
};

inline void all_start(Processes& processes) {
  for (PeerId rank = 0; rank < processes.size(); ++rank) ASSERT_EQ(processes.started(rank), 1u) << rank;
}

// The survivors leave, and have nothing more to say of any death.
inline void all_leave(Processes& processes, const std::vector<PeerId>& survivors) {
  for (const PeerId rank : survivors) processes.signal(rank, SIGTERM);
  for (const PeerId rank : survivors) EXPECT_EQ(processes.line(rank), "left") << rank;
}

inline std::vector<PeerId> all_but(std::size_t peers, PeerId victim) {
  std::vector<PeerId> others;
  for (PeerId rank = 0; rank < peers; ++rank)
    if (rank != victim) others.push_back(rank);
  return others;
}

}  // namespace gossamer
