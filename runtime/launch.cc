#include "runtime/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/file_descriptor.h"
#include "runtime/exit_code.h"

namespace gossamer {
namespace {

// Lines longer than this are passed on in pieces.
constexpr std::size_t kLineMax = std::size_t{1} << 16;
// How long what was still in a pipe when its child ended may take to arrive.
constexpr Duration kDrainDeadline = std::chrono::seconds(2);
// Elastic: how long the others may take to leave when child 0 has ended well.  They have nothing left to do but that.
constexpr Duration kFarewell = std::chrono::seconds(2);

struct Child {
  pid_t pid = -1;
  FileDescriptor ended;  // a pidfd: readable once the child has ended
  FileDescriptor lines;  // its standard error
  std::string partial;
  bool alive = false;
  bool kill_sent = false;
  bool asked = false;   // to stop
  bool paused = false;  // when it was asked to stop
  std::optional<Time> again;  // when it is started again
  ChildEnd end;
};

// The signals that stop a run arrive as data while this lives.
class SignalsAsData {
 public:
  SignalsAsData() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    descriptor_ = FileDescriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  SignalsAsData(const SignalsAsData&) = delete;
  SignalsAsData& operator=(const SignalsAsData&) = delete;
  ~SignalsAsData() {
    take();  // one that came too late must not end the process before it has reported
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  // How many came since the last call.
  int take() {
    int count = 0;
    signalfd_siginfo info;
    while (descriptor_ && ::read(descriptor_.number(), &info, sizeof info) == sizeof info) ++count;
    return count;
  }
  int descriptor() const { return descriptor_.number(); }
  const sigset_t& before() const { return before_; }

 private:
  sigset_t before_;
  FileDescriptor descriptor_;
};

// Stopped by SIGSTOP or its like.
bool is_paused(pid_t pid) {
  const auto stat = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat) return false;
  const std::size_t name_end = stat->rfind(')');  // the name may hold anything
  return name_end != std::string::npos && stat->compare(name_end, 3, ") T") == 0;
}

// In an elastic run.  Who says that a peer was lost says that too few are left, or one that all need; what else is wrong with the run
// itself would be wrong again in the next life.  A killed peer, or one that the others took for dead, may return.
bool ends_the_run(const ChildEnd& end) {
  if (end.signal != 0) return false;
  for (const Errc code : {Errc::invalid_argument, Errc::not_found, Errc::peer_gone, Errc::unsupported, Errc::version, Errc::diverged})
    if (end.code == exit_code(code)) return true;
  return false;
}

enum class Words { end, end_and_last_line };

std::string describe(std::size_t index, const ChildEnd& end, Words words) {
  std::string text =
      end.signal != 0
          ? fmt::format("peer {} was killed by signal {} ({})", index, end.signal, ::strsignal(end.signal))
          : fmt::format("peer {} ended with exit code {}: {}", index, end.code, exit_words(end.code));
  if (words == Words::end_and_last_line && !end.last_line.empty()) text += fmt::format("; its last line: {}", end.last_line);
  return text;
}

class Launcher {
 public:
  Launcher(const LaunchOptions& options, const Clock& clock) : options_(options), clock_(clock) {}

  ~Launcher() {
    for (Child& child : children_)
      if (child.alive) finish(child, SIGKILL);
  }

  Result<> start();
  void wait();
  LaunchReport report() const;

 private:
  Result<> start(std::size_t index, Child& child);
  void poll_once(Duration timeout);
  void read_lines(std::size_t index, Child& child);
  void pass_on(std::size_t index, std::string_view line);
  void say(const std::string& text);
  void finish(Child& child, int signal);
  void reap(std::size_t index, Child& child);
  void restart_due();
  void stop_all();
  void kill_all();
  static void kill(Child& child);
  bool anyone_alive() const {
    return std::any_of(children_.begin(), children_.end(), [](const Child& child) { return child.alive || child.again; });
  }

  const LaunchOptions& options_;
  const Clock& clock_;
  SignalsAsData signals_;
  std::vector<Child> children_;
  std::vector<std::size_t> failed_;  // in the order in which they ended
  std::optional<Time> stop_at_;      // when whoever still runs is killed
  std::optional<Time> end_at_;       // elastic, a child has ended well: when whoever still runs is asked to stop
  bool interrupted_ = false;
};

Result<> Launcher::start() {
  if (signals_.descriptor() < 0) return system_failure("cannot watch for signals with", "signalfd", errno);
  children_.resize(options_.arguments.size());
  for (std::size_t i = 0; i < children_.size(); ++i) GOSSAMER_TRY(start(i, children_[i]));
  return {};
}

// Only calls that are safe between fork and exec; an error number goes through `failure`.
[[noreturn]] void become(const char* executable, char* const* arguments, char* const* environment,
                         pid_t parent, int nothing, int lines, bool keeps_output, int failure,
                         const sigset_t& mask) {
  const auto give_up = [failure] {
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(failure, &error, sizeof error);
    ::_exit(126);
  };
  ::setpgid(0, 0);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up();
  if (::getppid() != parent) ::_exit(126);  // the parent died before the kernel knew what that means
  if (::dup2(nothing, 0) < 0 || ::dup2(lines, 2) < 0) give_up();
  if (!keeps_output && ::dup2(lines, 1) < 0) give_up();
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execve(executable, arguments, environment);
  give_up();
  ::_exit(126);
}

Result<> Launcher::start(std::size_t index, Child& child) {
  const auto refused = [&](int error) {
    return system_failure(fmt::format("cannot start peer {} from", index), options_.executable, error);
  };
  // Everything that allocates happens before the fork.
  std::vector<char*> arguments, environment;
  std::string name = "gossamer";
  arguments.push_back(name.data());
  for (const std::string& argument : options_.arguments[index])
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  for (const std::string& variable : options_.environment)
    environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);

  int lines[2], failure[2];
  if (::pipe2(lines, O_CLOEXEC) != 0) return refused(errno);
  child.lines = FileDescriptor(lines[0]);
  FileDescriptor lines_end(lines[1]);
  if (::pipe2(failure, O_CLOEXEC) != 0) return refused(errno);
  FileDescriptor failure_begin(failure[0]), failure_end(failure[1]);
  FileDescriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing) return refused(errno);
  ::fcntl(child.lines.number(), F_SETFL, O_NONBLOCK);

  const pid_t parent = ::getpid();
  child.pid = ::fork();
  if (child.pid < 0) return refused(errno);
  if (child.pid == 0) {
    become(options_.executable.c_str(), arguments.data(), environment.data(), parent, nothing.number(),
           lines_end.number(), index == 0, failure_end.number(), signals_.before());
  }
  child.alive = true;
  failure_end.close();
  int error = 0;
  ssize_t got = 0;
  do got = ::read(failure_begin.number(), &error, sizeof error);  // ends when exec closes the other side
  while (got < 0 && errno == EINTR);
  if (got == sizeof error) return refused(error);
  child.ended = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.ended)
    return fail(Errc::unsupported,
                "this kernel has no pidfd_open (it came with Linux 5.3), so children cannot be watched");
  return {};
}

void Launcher::wait() {
  while (anyone_alive()) {
    Duration timeout = std::chrono::hours(1);  // nothing is due: only a child or a signal wakes us
    if (end_at_ && !stop_at_) timeout = *end_at_ - clock_.now();
    if (stop_at_) {
      timeout = *stop_at_ - clock_.now();
      if (timeout <= Duration::zero()) {
        kill_all();
        timeout = std::chrono::seconds(1);
      }
    }
    for (const Child& child : children_)
      if (child.again) timeout = std::min<Duration>(timeout, *child.again - clock_.now());
    poll_once(timeout);
    restart_due();
  }
  // The last words of those that ended.
  const Time until = clock_.now() + kDrainDeadline;
  const auto open = [this] {
    return std::any_of(children_.begin(), children_.end(),
                       [](const Child& child) { return bool(child.lines); });
  };
  while (open() && clock_.now() < until) poll_once(until - clock_.now());
}

void Launcher::poll_once(Duration timeout) {
  std::vector<pollfd> watched{{signals_.descriptor(), POLLIN, 0}};
  for (const Child& child : children_) {
    watched.push_back({child.alive ? child.ended.number() : -1, POLLIN, 0});
    watched.push_back({child.lines.number(), POLLIN, 0});
  }
  const auto milliseconds =
      std::chrono::ceil<std::chrono::milliseconds>(std::max(timeout, Duration::zero())).count();
  if (::poll(watched.data(), watched.size(),
             static_cast<int>(std::min<std::int64_t>(milliseconds, 3'600'000))) <= 0)
    return;
  // Lines before ends, so that a child's last words are known when its end is judged.
  for (std::size_t i = 0; i < children_.size(); ++i)
    if (watched[2 * i + 2].revents != 0) read_lines(i, children_[i]);
  for (std::size_t i = 0; i < children_.size(); ++i)
    if (watched[2 * i + 1].revents != 0) reap(i, children_[i]);
  if (const int signals = signals_.take(); signals > 0) {
    if (interrupted_ || signals > 1) kill_all();
    interrupted_ = true;
    stop_all();
  }
}

void Launcher::read_lines(std::size_t index, Child& child) {
  char piece[16384];
  for (;;) {
    const ssize_t got = ::read(child.lines.number(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;  // nothing more for now
    if (got == 0) break;
    child.partial.append(piece, static_cast<std::size_t>(got));
    std::size_t begin = 0;
    for (std::size_t end; (end = child.partial.find('\n', begin)) != std::string::npos; begin = end + 1)
      pass_on(index, std::string_view(child.partial).substr(begin, end - begin));
    child.partial.erase(0, begin);
    if (child.partial.size() > kLineMax) {
      pass_on(index, child.partial);
      child.partial.clear();
    }
  }
  if (!child.partial.empty()) pass_on(index, std::exchange(child.partial, {}));
  child.lines.close();
}

void Launcher::pass_on(std::size_t index, std::string_view line) {
  if (!line.empty()) children_[index].end.last_line = line;
  const std::string who = fmt::format("[peer {}]", index);
  // A log line begins with its time, so the name may come a little later.
  const bool named = line.substr(0, 40).find(who) != std::string_view::npos;
  const std::string text = named ? fmt::format("{}\n", line) : fmt::format("{} {}\n", who, line);
  say(text);
}

void Launcher::say(const std::string& text) {
  // When standard error itself is gone there is nobody left to tell.
  [[maybe_unused]] const auto written = write_all(options_.error_descriptor, text, "standard error");
}

// Ends a child and everything in its process group; blocks only for as long as the kernel takes to kill it.
void Launcher::finish(Child& child, int signal) {
  if (signal != 0) {
    ::kill(child.pid, signal);  // its group may not exist yet
    ::kill(-child.pid, signal);
  }
  siginfo_t info{};
  // Looked at without reaping: the process id stays taken, so the group is still the child's when it is
  // killed.
  while (::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  ::kill(-child.pid, SIGKILL);
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
  }
  child.alive = false;
  child.end.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  child.end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  child.end.killed = child.kill_sent && child.end.signal == SIGKILL;
}

void Launcher::reap(std::size_t index, Child& child) {
  finish(child, 0);
  if (child.lines) read_lines(index, child);
  if (options_.elastic && child.end.well()) {
    // The run is over: nobody ends well before its results are written.  Whoever is not done yet came back too late.
    for (Child& other : children_) other.again.reset();
    if (!stop_at_) end_at_ = clock_.now() + std::min(options_.stop_deadline, kFarewell);
  }
  if (child.end.well()) return;
  if (options_.elastic && (stop_at_ || end_at_)) return;
  if (options_.elastic && !ends_the_run(child.end)) {
    const bool again = child.end.restarts < options_.restarts;
    if (again) child.again = clock_.now() + options_.restart_after;
    say(fmt::format("gossamer: {}; {}\n", describe(index, child.end, Words::end),
                    again ? fmt::format("it is started again in {:g} s ({} of {} times)", seconds(options_.restart_after), child.end.restarts + 1,
                                        options_.restarts)
                          : fmt::format("it stays away (membership.restarts: {})", options_.restarts)));
    return;
  }
  failed_.push_back(index);
  stop_all();
}

// Starts again who died and has waited long enough.
void Launcher::restart_due() {
  if (end_at_ && clock_.now() >= *end_at_) stop_all();
  for (std::size_t i = 0; i < children_.size(); ++i) {
    Child& child = children_[i];
    if (!child.again || clock_.now() < *child.again) continue;
    const std::uint32_t restarts = child.end.restarts + 1;
    child = {};
    child.end.restarts = restarts;
    if (const auto started = start(i, child); !started) {
      pass_on(i, started.error().message);
      child.end.code = exit_code(started.error().code);
    }
  }
}

void Launcher::stop_all() {
  for (Child& child : children_) child.again.reset();
  if (stop_at_) return;
  stop_at_ = clock_.now() + options_.stop_deadline;
  for (Child& child : children_) {
    if (!child.alive) continue;
    child.asked = true;
    ::kill(child.pid, SIGTERM);
  }
  // Who was paused hears nothing.  Waking it would let it run on in a run that has ended.
  for (Child& child : children_) {
    if (!child.alive || !is_paused(child.pid)) continue;
    child.paused = true;
    kill(child);
  }
}

void Launcher::kill_all() {
  for (Child& child : children_) {
    if (child.alive && !child.kill_sent) kill(child);
  }
}

void Launcher::kill(Child& child) {
  child.kill_sent = true;
  ::kill(child.pid, SIGKILL);
  ::kill(-child.pid, SIGKILL);
}

LaunchReport Launcher::report() const {
  LaunchReport report;
  for (const Child& child : children_) report.ends.push_back(child.end);
  report.interrupted = interrupted_;
  // Who ended because we asked (130, SIGTERM, our SIGKILL; 1 where a library's handler came first, as libinfinipath's does while
  // a process starts) or because somebody else was gone (5, 6) is not the cause.
  const auto by_itself = [&](std::size_t i) {
    const ChildEnd& end = children_[i].end;
    return !end.killed && end.signal != SIGTERM &&
           (end.signal != 0 || (end.code != 5 && end.code != 6 && end.code != 130 && !(end.code == 1 && children_[i].asked)));
  };
  if (!failed_.empty()) {
    const auto cause = std::find_if(failed_.begin(), failed_.end(), by_itself);
    report.failed = cause == failed_.end() ? failed_.front() : *cause;
  }
  // Nobody was left to end an elastic run.
  if (options_.elastic && !report.failed && !interrupted_ && !end_at_) {
    report.failed = 0;
    while (*report.failed + 1 < children_.size() && !by_itself(*report.failed)) ++*report.failed;
  }
  std::size_t killed = 0;
  for (const Child& child : children_) killed += child.end.killed && !child.paused ? 1 : 0;
  if (interrupted_) {
    report.exit_code = exit_code(Errc::interrupted);
    report.message = "stopped by a signal";
  } else if (report.failed) {
    const ChildEnd& end = report.ends[*report.failed];
    report.exit_code = end.signal != 0 ? exit_code(Errc::peer_gone) : end.code;
    report.message = describe(*report.failed, end, Words::end_and_last_line);
  }
  for (std::size_t i = 0; options_.elastic && !report.failed && !interrupted_ && i < children_.size(); ++i)
    if (const ChildEnd& end = report.ends[i]; !end.well())
      report.message += fmt::format("{}{} (started again {} times)", report.message.empty() ? "" : "; ", describe(i, end, Words::end_and_last_line), end.restarts);
  if (killed > 0)
    report.message += fmt::format("; {} of {} peers did not end within {:g} s of being asked and were killed",
                                  killed, report.ends.size(), seconds(options_.stop_deadline));
  for (std::size_t i = 0; i < children_.size(); ++i)
    if (children_[i].paused && children_[i].end.killed)
      report.message += fmt::format("; peer {} was paused, so it could not stop and was killed", i);
  return report;
}

}  // namespace

Result<LaunchReport> launch(const LaunchOptions& options, const Clock& clock) {
  Launcher launcher(options, clock);
  GOSSAMER_TRY(launcher.start());
  launcher.wait();
  return launcher.report();
}

}  // namespace gossamer
