#include "runtime/bench/talk.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>

extern char** environ;

namespace gossamer::bench {
namespace {

constexpr int kPatienceMs = 20'000;
constexpr std::uint32_t kTextMax = 1 << 20;

// Errno, or 0.  Standard input and output of the child are the descriptors.
int spawn(const std::vector<std::string>& words, const std::vector<std::string>& environment, int in, int out, pid_t* process) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    bool replaced = false;
    for (const std::string& ours : environment) replaced = replaced || text.starts_with(ours.substr(0, ours.find('=') + 1));
    if (!replaced) variables.push_back(*variable);
  }
  variables.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (in >= 0) posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  if (out >= 0) posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  const int error = ::posix_spawnp(process, words.front().c_str(), &actions, nullptr, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

void end(pid_t process) {
  if (process <= 0) return;
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
}

}  // namespace

bool Talk::send(const std::string& text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  std::string all(reinterpret_cast<const char*>(&size), sizeof size);
  all += text;
  for (std::size_t at = 0; at < all.size();) {
    const ssize_t sent = ::send(descriptor_, all.data() + at, all.size() - at, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += static_cast<std::size_t>(sent);
  }
  return true;
}

Result<std::string> Talk::receive() {
  std::string text;
  std::uint32_t size = sizeof size;
  bool knows = false;
  while (!knows || text.size() < size) {
    pollfd one{descriptor_, POLLIN, 0};
    if (::poll(&one, 1, kPatienceMs) == 0) return fail(Errc::timed_out, "the other side of the measurement says nothing");
    std::array<char, 4096> space;
    const ssize_t got = ::recv(descriptor_, space.data(), std::min(space.size(), size - text.size()), 0);
    if (got <= 0) return fail(Errc::peer_gone, "the other side of the measurement has ended");
    text.append(space.data(), static_cast<std::size_t>(got));
    if (!knows && text.size() == sizeof size) {
      std::memcpy(&size, text.data(), sizeof size);
      if (size > kTextMax) return fail(Errc::corrupt, "the other side of the measurement says nonsense");
      text.clear();
      knows = true;
    }
  }
  return text;
}

bool Talk::has_news() const {
  pollfd one{descriptor_, POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

Result<std::unique_ptr<OtherSide>> OtherSide::process(const std::string& command, const std::string& what) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(Errc::io, std::string("cannot make a socket: ") + std::strerror(errno));
  std::unique_ptr<OtherSide> side(new OtherSide(ends[0]));
  const FileDescriptor theirs(ends[1]);
  if (const int error = spawn({"/proc/self/exe", "bench", command, "--serve", what}, {}, theirs.number(), -1, &side->process_); error != 0)
    return fail(Errc::io, std::string("cannot start a second process: ") + std::strerror(error));
  return side;
}

Result<std::unique_ptr<OtherSide>> OtherSide::thread(std::function<void(int)> work) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(Errc::io, std::string("cannot make a socket: ") + std::strerror(errno));
  std::unique_ptr<OtherSide> side(new OtherSide(ends[0]));
  side->theirs_ = FileDescriptor(ends[1]);
  side->thread_ = std::thread(std::move(work), ends[1]);
  return side;
}

OtherSide::~OtherSide() {
  own_.close();  // on which it ends
  if (thread_.joinable()) thread_.join();
  if (process_ <= 0) return;
  for (int i = 0; i < 200; ++i) {
    if (::waitpid(process_, nullptr, WNOHANG) == process_) return;
    pollfd none{-1, 0, 0};
    (void)::poll(&none, 1, 10);
  }
  end(process_);
}

Result<Program> Program::start(const std::vector<std::string>& words, const std::vector<std::string>& environment) {
  Program program;
  program.name_ = words.front();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(Errc::io, std::string("cannot make a pipe: ") + std::strerror(errno));
  program.out_ = FileDescriptor(ends[0]);
  const FileDescriptor theirs(ends[1]);
  if (const int error = spawn(words, environment, -1, theirs.number(), &program.process_); error != 0) {
    program.process_ = -1;
    return fail(Errc::unsupported, program.name_ + ": " + std::strerror(error));
  }
  return program;
}

Result<std::string> Program::output(int deadline_s) {
  std::string text;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(deadline_s);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd one{out_.number(), POLLIN, 0};
    if (left <= 0 || ::poll(&one, 1, static_cast<int>(left)) == 0) return fail(Errc::timed_out, name_ + " does not end");
    std::array<char, 4096> space;
    const ssize_t got = ::read(out_.number(), space.data(), space.size());
    if (got <= 0) break;
    text.append(space.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(std::exchange(process_, -1), &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(Errc::io, name_ + " failed: " + text);
  return text;
}

Program::~Program() { end(process_); }

}  // namespace gossamer::bench
