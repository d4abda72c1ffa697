#include "runtime/launch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"

namespace gossamer {
namespace {

class Launch : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "gossamer-launch-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    lines_path_ = folder_ + "/lines";
    lines_ = FileDescriptor(::open(lines_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    ASSERT_TRUE(lines_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // One shell script per child.
  LaunchOptions shells(std::vector<std::string> scripts) const {
    LaunchOptions options;
    options.executable = "/bin/sh";
    for (std::string& script : scripts) options.arguments.push_back({"-c", std::move(script)});
    options.environment = {"PATH=/usr/bin:/bin", "FOLDER=" + folder_};
    options.error_descriptor = lines_.number();
    options.stop_deadline = std::chrono::seconds(5);
    return options;
  }

  LaunchReport run(std::vector<std::string> scripts, Duration stop_deadline = std::chrono::seconds(5)) const {
    LaunchOptions options = shells(std::move(scripts));
    options.stop_deadline = stop_deadline;
    auto report = launch(options, clock_);
    EXPECT_TRUE(report) << report.error().message;
    return report.value_or(LaunchReport{});
  }

  // Children but 0 are started again; each start of child n adds a line to the file "starts-n".
  LaunchReport run_elastic(std::vector<std::string> scripts, std::uint32_t restarts, Duration restart_after = std::chrono::milliseconds(20)) const {
    for (std::size_t i = 0; i < scripts.size(); ++i)
      scripts[i] = "echo start >> $FOLDER/starts-" + std::to_string(i) + "; " + scripts[i];
    LaunchOptions options = shells(std::move(scripts));
    options.elastic = true;
    options.restarts = restarts;
    options.restart_after = restart_after;
    auto report = launch(options, clock_);
    EXPECT_TRUE(report) << report.error().message;
    return report.value_or(LaunchReport{});
  }
  int starts(std::size_t child) const {
    std::ifstream file(folder_ + "/starts-" + std::to_string(child));
    return static_cast<int>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }

  std::string lines() const {
    std::ifstream file(lines_path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  bool eventually(const std::function<bool()>& holds) const {
    for (int i = 0; i < 400; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  // The number a script wrote; -1 as long as it has not.
  int number(const std::string& file) const {
    std::ifstream stream(folder_ + "/" + file);
    int value = -1;
    std::string end;
    return stream >> value >> end && end == "." ? value : -1;
  }

  // A zombie that nobody has reaped yet runs no more.
  static bool runs(int pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    const auto name_end = text.rfind(')');
    return name_end != std::string::npos && name_end + 2 < text.size() && text[name_end + 2] != 'Z';
  }

  SteadyClock clock_;
  std::string folder_, lines_path_;
  FileDescriptor lines_;
};

TEST_F(Launch, ChildrenThatEndWellAreASuccess) {
  const auto report = run({"exit 0", "exit 0", "exit 0"});
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_EQ(report.message, "");
  EXPECT_FALSE(report.failed);
  EXPECT_EQ(report.ends.size(), 3u);
}

TEST_F(Launch, TheChildThatFailedIsNamedWithItsReasonAndTheOthersAreStopped) {
  const Time begin = clock_.now();
  const auto report = run({"exec sleep 30", "echo no such data >&2; exit 3", "exec sleep 30"});
  EXPECT_LT(seconds(clock_.now() - begin), 4);
  ASSERT_TRUE(report.failed);
  EXPECT_EQ(*report.failed, 1u);
  EXPECT_EQ(report.exit_code, 3);
  EXPECT_EQ(report.message,
            "peer 1 ended with exit code 3: an input is missing or damaged; its last line: no such data");
  EXPECT_EQ(report.ends[0].signal, SIGTERM);
  EXPECT_EQ(report.ends[2].signal, SIGTERM);
}

TEST_F(Launch, AChildKilledByASignalIsNamedWithTheSignal) {
  const auto report = run({"exec sleep 30", "kill -9 $$"});
  EXPECT_EQ(report.exit_code, 5);
  EXPECT_EQ(report.message, "peer 1 was killed by signal 9 (Killed)");
  EXPECT_FALSE(report.ends[1].killed) << "it was not the launcher that killed it";
}

TEST_F(Launch, WhoOnlyNoticedTheLossIsNotToBlame) {
  const auto report = run({"while [ ! -s $FOLDER/ready ]; do sleep 0.02; done; exit 5",
                           "trap 'exit 10' TERM; echo 1 . > $FOLDER/ready; while :; do sleep 0.05; done"});
  ASSERT_TRUE(report.failed);
  EXPECT_EQ(*report.failed, 1u);
  EXPECT_EQ(report.exit_code, 10);
}

TEST_F(Launch, AChildThatIgnoresTheRequestIsKilledAfterTheDeadline) {
  const Time begin = clock_.now();
  const auto report = run({"trap '' TERM; echo 1 . > $FOLDER/ready; while :; do sleep 0.05; done",
                           "while [ ! -s $FOLDER/ready ]; do sleep 0.02; done; exit 2"},
                          std::chrono::milliseconds(300));
  EXPECT_GE(seconds(clock_.now() - begin), 0.3);
  EXPECT_LT(seconds(clock_.now() - begin), 4);
  EXPECT_TRUE(report.ends[0].killed);
  EXPECT_EQ(report.exit_code, 2);
  EXPECT_NE(report.message.find("1 of 2 peers did not end within 0.3 s of being asked and were killed"),
            std::string::npos)
      << report.message;
}

TEST_F(Launch, LinesCarryThePeersNameOnce) {
  const auto report =
      run({"exit 0", "echo plain >&2; echo '12:00:00.000 [peer 1] info named' >&2; printf unended >&2",
           "echo from standard output"});
  EXPECT_EQ(report.exit_code, 0);
  const std::string text = lines();
  EXPECT_NE(text.find("[peer 1] plain\n"), std::string::npos) << text;
  EXPECT_NE(text.find("12:00:00.000 [peer 1] info named\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("[peer 1] 12:00"), std::string::npos) << text;
  EXPECT_NE(text.find("[peer 1] unended\n"), std::string::npos) << text;
  EXPECT_NE(text.find("[peer 2] from standard output\n"), std::string::npos) << text;
}

TEST_F(Launch, ManyLinesArriveComplete) {
  const auto report = run({"i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done >&2"});
  EXPECT_EQ(report.exit_code, 0);
  const std::string text = lines();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5000);
  EXPECT_NE(text.find("[peer 0] line 4999\n"), std::string::npos);
  EXPECT_EQ(report.ends[0].last_line, "line 4999");
}

TEST_F(Launch, ChildrenGetTheGivenEnvironmentAndNoInput) {
  const auto report = run({"[ -z \"$HOME\" ] && [ -n \"$FOLDER\" ] && ! read line"});
  EXPECT_EQ(report.exit_code, 0);
}

TEST_F(Launch, AProgramThatCannotBeStartedIsAnErrorWithItsName) {
  LaunchOptions options = shells({"exit 0"});
  options.executable = folder_ + "/missing";
  const auto report = launch(options, clock_);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::not_found);
  EXPECT_EQ(report.error().message,
            "cannot start peer 0 from " + folder_ + "/missing: no such file or folder; check the path");
}

TEST_F(Launch, WhatAChildLeavesBehindIsKilled) {
  const auto report = run({"sleep 60 & echo $! . > $FOLDER/rest; exit 0"});
  EXPECT_EQ(report.exit_code, 0);
  ASSERT_GT(number("rest"), 0);
  EXPECT_TRUE(eventually([&] { return !runs(number("rest")); }));
}

// Waits in a shell script until a file has that many lines.
std::string until(const std::string& file, int lines) {
  return "while [ \"$(cat $FOLDER/" + file + " 2>/dev/null | wc -l)\" -lt " + std::to_string(lines) + " ]; do sleep 0.02; done; ";
}

TEST_F(Launch, AnElasticRunStartsItsChildrenAgainAsOftenAsAllowedAndEndsWithTheFirstThatEndsWell) {
  const Time begin = clock_.now();
  const auto report = run_elastic({until("starts-1", 3) + "sleep 0.2; exit 0", "echo out of luck >&2; exit 4", until("starts-1", 3) + "sleep 0.2; exit 0"}, 2,
                                  std::chrono::milliseconds(150));
  EXPECT_GE(seconds(clock_.now() - begin), 0.3) << "twice restart_after";
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_FALSE(report.failed);
  EXPECT_EQ(starts(0), 1);
  EXPECT_EQ(starts(1), 3);
  EXPECT_EQ(starts(2), 1) << "who ends well is done";
  EXPECT_EQ(report.ends[1].restarts, 2u);
  EXPECT_EQ(report.ends[1].code, 4);
  EXPECT_EQ(report.message,
            "peer 1 ended with exit code 4: the operating system refused (disk, permission, limits); its last line: out of luck (started again 2 times)");
  const std::string text = lines();
  for (const char* line : {"gossamer: peer 1 ended with exit code 4: the operating system refused (disk, permission, limits); it is started again in 0.15 s (1 of 2 times)\n",
                           "(2 of 2 times)\n", "it stays away (membership.restarts: 2)\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << " is not in\n" << text;
}

TEST_F(Launch, AChildThatEndsWellInItsNextLifeIsASuccess) {
  const auto report = run_elastic({until("starts-1", 2) + "exit 0", "[ $(wc -l < $FOLDER/starts-1) -ge 2 ] || kill -9 $$"}, 5);
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_EQ(report.message, "");
  EXPECT_EQ(report.ends[1].restarts, 1u);
  EXPECT_TRUE(report.ends[1].well());
  EXPECT_EQ(starts(1), 2);
}

TEST_F(Launch, Child0IsStartedAgainLikeAnyOther) {
  const auto report = run_elastic({"[ $(wc -l < $FOLDER/starts-0) -ge 2 ] || kill -9 $$", until("starts-0", 2) + "exit 0"}, 5);
  EXPECT_FALSE(report.failed);
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_EQ(starts(0), 2);
  EXPECT_EQ(starts(1), 1);
}

TEST_F(Launch, AChildThatSaysThatTheRunCannotGoOnStopsAll) {
  for (const int code : {2, 3, 5, 7, 9, 10}) {
    const auto report = run_elastic({"exec sleep 30", until("starts-0", 1) + "echo too few >&2; exit " + std::to_string(code)}, 5);
    ASSERT_TRUE(report.failed) << code;
    EXPECT_EQ(*report.failed, 1u) << code;
    EXPECT_EQ(report.exit_code, code);
    EXPECT_NE(report.message.find("its last line: too few"), std::string::npos) << report.message;
    EXPECT_EQ(report.ends[0].signal, SIGTERM);
    EXPECT_EQ(starts(1), 1) << code;
    std::filesystem::remove(folder_ + "/starts-0");
    std::filesystem::remove(folder_ + "/starts-1");
  }
}

TEST_F(Launch, AnElasticRunThatNobodyIsLeftToEndHasFailed) {
  const auto report = run_elastic({"kill -9 $$", "exit 4"}, 1);
  ASSERT_TRUE(report.failed);
  EXPECT_EQ(*report.failed, 0u);
  EXPECT_EQ(report.exit_code, 5);
  EXPECT_EQ(starts(0), 2);
  EXPECT_EQ(starts(1), 2);
}

TEST_F(Launch, WhenChild0HasEndedWellNobodyIsStartedAgainAndTheRestHaveTwoSeconds) {
  const Time begin = clock_.now();
  // Child 1's restart is pending, child 2 does not end by itself.
  const auto report = run_elastic({until("starts-1", 1) + until("starts-2", 1) + "sleep 0.3; exit 0", "exit 4", "exec sleep 30"}, 5, std::chrono::seconds(20));
  EXPECT_GE(seconds(clock_.now() - begin), 2);
  EXPECT_LT(seconds(clock_.now() - begin), 5);
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_EQ(starts(1), 1);
  EXPECT_EQ(report.ends[2].signal, SIGTERM);
}

TEST_F(Launch, ThePlainRunStartsNobodyAgain) {
  LaunchOptions options = shells({"exec sleep 30", "echo start >> $FOLDER/starts-1; exit 4"});
  options.restarts = 5;  // means nothing without `elastic`
  const auto report = launch(options, clock_);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->exit_code, 4);
  EXPECT_EQ(starts(1), 1);
}

// A launcher in a process of its own, so that it can be signalled.
class LaunchProcess : public Launch {
 protected:
  void TearDown() override {
    if (launcher_ > 0) ::kill(launcher_, SIGKILL);
    Launch::TearDown();
  }
  void start(std::vector<std::string> scripts, Duration stop_deadline, std::optional<Duration> restart_after = {}) {
    launcher_ = ::fork();
    ASSERT_GE(launcher_, 0);
    if (launcher_ == 0) {
      LaunchOptions options = shells(std::move(scripts));
      options.stop_deadline = stop_deadline;
      options.elastic = restart_after.has_value();
      options.restarts = 5;
      options.restart_after = restart_after.value_or(Duration::zero());
      const auto report = launch(options, clock_);
      ::_exit(report ? report->exit_code : 99);
    }
  }
  int end() {
    int status = 0;
    if (::waitpid(std::exchange(launcher_, -1), &status, 0) < 0) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  pid_t launcher_ = -1;
};

TEST_F(LaunchProcess, NoChildOutlivesAKilledLauncher) {
  start({"echo $$ . > $FOLDER/a; exec sleep 60",
         "trap '' TERM INT HUP; echo $$ . > $FOLDER/b; while :; do sleep 0.1; done"},
        std::chrono::seconds(5));
  ASSERT_TRUE(eventually([&] { return number("a") > 0 && number("b") > 0; }));
  const int a = number("a"), b = number("b");
  EXPECT_TRUE(runs(a));
  EXPECT_TRUE(runs(b));
  ::kill(launcher_, SIGKILL);
  EXPECT_EQ(end(), -SIGKILL);
  EXPECT_TRUE(eventually([&] { return !runs(a) && !runs(b); })) << "an orphan";
}

TEST_F(LaunchProcess, CtrlCAsksTheChildrenAndEndsWith130) {
  start({"trap 'echo 1 . > $FOLDER/asked; exit 0' TERM; echo $$ . > $FOLDER/a; while :; do sleep 0.02; done"},
        std::chrono::seconds(5));
  ASSERT_TRUE(eventually([&] { return number("a") > 0; }));
  ::kill(launcher_, SIGINT);
  EXPECT_EQ(end(), 130);
  EXPECT_EQ(number("asked"), 1);
}

TEST_F(LaunchProcess, ASecondCtrlCKillsAtOnce) {
  start({"trap '' TERM; echo $$ . > $FOLDER/a; while :; do sleep 0.02; done"}, std::chrono::minutes(1));
  ASSERT_TRUE(eventually([&] { return number("a") > 0; }));
  const int child = number("a");
  ::kill(launcher_, SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_TRUE(runs(child)) << "the first signal only asks";
  ::kill(launcher_, SIGINT);
  EXPECT_EQ(end(), 130);
  EXPECT_FALSE(runs(child));
}

TEST_F(LaunchProcess, CtrlCWhileARestartIsPendingStartsNobody) {
  start({"echo $$ . > $FOLDER/a; exec sleep 60", "echo start >> $FOLDER/starts-1; exit 4"}, std::chrono::seconds(5), std::chrono::seconds(1));
  ASSERT_TRUE(eventually([&] { return number("a") > 0 && lines().find("it is started again in 1 s") != std::string::npos; })) << lines();
  const Time begin = clock_.now();
  ::kill(launcher_, SIGINT);
  EXPECT_EQ(end(), 130);
  EXPECT_LT(seconds(clock_.now() - begin), 0.9) << "it waited for the restart";
  EXPECT_EQ(starts(1), 1);
}

}  // namespace
}  // namespace gossamer
