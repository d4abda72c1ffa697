// Real processes that are killed and stopped: every survivor learns of each death once, within the deadline.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/runtime/control/fixture.h"

namespace gossamer {
namespace {

constexpr Duration kSilence = 500ms;

// Peers as processes; each writes what it sees, a line at a time, into a pipe of its own.
class Processes {
 public:
  explicit Processes(std::size_t peers) : peers_(peers) {
    // Rank 0 listens first, so that the others know its address; no thread exists yet when they are made.
    int address_pipe[2];
    if (::pipe(address_pipe) != 0) throw std::runtime_error("pipe");
    std::string address;
    for (PeerId rank = 0; rank < peers; ++rank) {
      int report[2];
      if (::pipe(report) != 0) throw std::runtime_error("pipe");
      const pid_t pid = ::fork();
      if (pid == 0) {
        ::close(report[0]);
        ::_exit(peer(rank, address, address_pipe[1], report[1]));
      }
      ::close(report[1]);
      pids_.push_back(pid);
      reports_.push_back(report[0]);
      if (rank > 0) continue;
      char buffer[256];
      const ssize_t got = ::read(address_pipe[0], buffer, sizeof buffer);
      if (got <= 0) throw std::runtime_error("rank 0 did not start");
      address.assign(buffer, static_cast<std::size_t>(got));
    }
    ::close(address_pipe[0]);
    ::close(address_pipe[1]);
  }

  ~Processes() {
    for (const pid_t pid : pids_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    for (const int fd : reports_) ::close(fd);
  }

  void signal(PeerId rank, int number) { ::kill(pids_[rank], number); }
  pid_t pid(PeerId rank) const { return pids_[rank]; }

  // The next line of a peer; "" at the end of what it says.
  std::string line(PeerId rank) {
    std::string& rest = rest_[rank];
    while (rest.find('\n') == std::string::npos) {
      char buffer[1024];
      const ssize_t got = ::read(reports_[rank], buffer, sizeof buffer);
      if (got <= 0) return "";
      rest.append(buffer, static_cast<std::size_t>(got));
    }
    const std::string found = rest.substr(0, rest.find('\n'));
    rest.erase(0, found.size() + 1);
    return found;
  }

 private:
  // Joins, then reports deaths until told to end (SIGTERM) or for as long as any test may last; then leaves.
  int peer(PeerId rank, const std::string& address, int address_pipe, int report) const {
    static volatile sig_atomic_t end;
    end = 0;
    ::signal(SIGTERM, [](int) { end = 1; });
    ::signal(SIGPIPE, SIG_IGN);
    ::alarm(60);  // an orphan does not stay
    const auto say = [&](const std::string& text) {
      const std::string whole = text + "\n";
      return ::write(report, whole.data(), whole.size()) == static_cast<ssize_t>(whole.size());
    };
    if (std::freopen(log_path(rank).c_str(), "w", stderr) == nullptr) return 8;
    Log log("peer " + std::to_string(rank));
    ControlOptions options = test_options(peers_, rank, address);
    options.silence_deadline = kSilence;
    auto control = Control::start(options, log);
    if (!control) return 1;
    if (rank == 0) {
      const std::string own = (*control)->address();
      if (::write(address_pipe, own.data(), own.size()) < 0) return 2;
    }
    if (!(*control)->join("")) return 3;
    if (!(*control)->barrier("start", kPlenty)) return 4;
    say("started");
    while (end == 0) {
      if (!(*control)->receive(100ms).empty()) return 5;
      for (const Death& death : (*control)->deaths())
        say("death " + std::to_string(death.rank) + " " + std::string(name(death.how)) + " pid " + std::to_string(death.pid) + " " +
            std::to_string(death.silent / 1ms));
      if (const auto standing = (*control)->standing(); !standing) {
        say("expelled " + standing.error().message);
        return 6;
      }
    }
    const bool left = (*control)->leave(kPlenty).has_value();
    for (const Death& death : (*control)->deaths()) say("death " + std::to_string(death.rank));
    say(left ? "left" : "left late");
    return left ? 0 : 7;
  }

 public:
  std::string log_path(PeerId rank) const {
    return testing::TempDir() + "/control_" + std::to_string(parent_) + "_" + std::to_string(rank) + ".log";
  }

 private:
  const std::size_t peers_;
  const pid_t parent_ = ::getpid();
  std::vector<pid_t> pids_;
  std::vector<int> reports_;
  std::map<PeerId, std::string> rest_;
};

void all_start(Processes& processes, std::size_t peers) {
  for (PeerId rank = 0; rank < peers; ++rank) ASSERT_EQ(processes.line(rank), "started") << rank;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The survivors leave, and have nothing more to say of any death.
void all_leave(Processes& processes, const std::vector<PeerId>& survivors) {
  for (const PeerId rank : survivors) processes.signal(rank, SIGTERM);
  for (const PeerId rank : survivors) EXPECT_EQ(processes.line(rank), "left") << rank;
}

class Killed : public testing::TestWithParam<PeerId> {};

TEST_P(Killed, IsNamedOnceByEverySurvivorAndItsLog) {
  const PeerId victim = GetParam();
  Processes processes(6);
  all_start(processes, 6);
  const auto begin = std::chrono::steady_clock::now();
  processes.signal(victim, SIGKILL);
  std::vector<PeerId> survivors;
  for (PeerId rank = 0; rank < 6; ++rank)
    if (rank != victim) survivors.push_back(rank);
  for (const PeerId rank : survivors) {
    const std::string line = processes.line(rank);
    EXPECT_EQ(line.rfind("death " + std::to_string(victim) + " connection reset pid " + std::to_string(processes.pid(victim)), 0), 0u)
        << rank << ": " << line;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  all_leave(processes, survivors);
  for (const PeerId rank : survivors) {
    const std::string log = text_of(processes.log_path(rank));
    EXPECT_NE(log.find("rank " + std::to_string(victim) + " (host "), std::string::npos) << log;
    EXPECT_NE(log.find("silent for "), std::string::npos) << log;
    ::unlink(processes.log_path(rank).c_str());
  }
  ::unlink(processes.log_path(victim).c_str());
}

INSTANTIATE_TEST_SUITE_P(TheCollectorOrAnother, Killed, testing::Values(0u, 3u));

TEST(Stopped, IsNamedBySilenceAndLearnsOfItsFateWhenItWakes) {
  Processes processes(5);
  all_start(processes, 5);
  const auto begin = std::chrono::steady_clock::now();
  processes.signal(2, SIGSTOP);
  for (const PeerId rank : {0u, 1u, 3u, 4u}) {
    const std::string line = processes.line(rank);
    EXPECT_EQ(line.rfind("death 2 silence", 0), 0u) << rank << ": " << line;
    // The last number is how long it was silent, in milliseconds.
    EXPECT_GE(std::stoll(line.substr(line.rfind(' ') + 1)), kSilence / 1ms) << line;
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(took, kSilence - 100ms);
  EXPECT_LT(took, 10s);
  processes.signal(2, SIGCONT);
  const std::string fate = processes.line(2);
  EXPECT_EQ(fate.rfind("expelled", 0), 0u) << fate;
  EXPECT_NE(fate.find("took this peer for dead: it fell silent"), std::string::npos) << fate;
  all_leave(processes, {0, 1, 3, 4});
  for (PeerId rank = 0; rank < 5; ++rank) ::unlink(processes.log_path(rank).c_str());
}

TEST(Stopped, ForLessThanTheDeadlineHarmsNobody) {
  Processes processes(3);
  all_start(processes, 3);
  processes.signal(1, SIGSTOP);
  std::this_thread::sleep_for(kSilence / 4);
  processes.signal(1, SIGCONT);
  std::this_thread::sleep_for(kSilence * 2);
  all_leave(processes, {0, 1, 2});
  for (PeerId rank = 0; rank < 3; ++rank) ::unlink(processes.log_path(rank).c_str());
}

}  // namespace
}  // namespace gossamer
