// A fabric_process with pipes to it, for the tests that need other processes.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "tests/transports/fabric_harness.h"
#include "tests/transports/pipe_messages.h"
#include "tests/transports/wires.h"

extern char** environ;

namespace gossamer::testing {

// Killed and reaped at the end.
class Child {
 public:
  Child(const Wire& wire, const char* role) {
    int to_child[2], from_child[2];
    if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to_child[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from_child[1], STDOUT_FILENO);
    const char* arguments[] = {FABRIC_PROCESS, wire.kind.c_str(), wire.transport.c_str(), wire.network.c_str(),
                               wire.maps ? "maps" : "", role, nullptr};
    if (::posix_spawn(&pid_, FABRIC_PROCESS, &actions, nullptr, const_cast<char**>(arguments), environ) != 0)
      pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
    ::close(to_child[0]);
    ::close(from_child[1]);
    in_ = to_child[1];
    out_ = from_child[0];
  }
  ~Child() {
    kill();
    if (in_ >= 0) ::close(in_);
    if (out_ >= 0) ::close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool hello(std::string* address, RemoteRegion* region) {
    std::string where, size;
    if (pid_ < 0 || !read_message(out_, address) || !read_message(out_, &region->key) ||
        !read_message(out_, &where) || !read_message(out_, &size) || where.size() != 8 || size.size() != 8)
      return false;
    std::memcpy(&region->address, where.data(), 8);
    std::memcpy(&region->size, size.data(), 8);
    return true;
  }
  bool tell(const std::string& text) { return write_message(in_, text); }
  // What it says next; false when it says nothing in time, or no more.
  bool hear(std::string* text, std::chrono::milliseconds patience = kPatience) {
    pollfd descriptor{out_, POLLIN, 0};
    return ::poll(&descriptor, 1, static_cast<int>(patience.count())) == 1 && read_message(out_, text);
  }
  pid_t number() const { return pid_; }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // Closes its input, on which it ends.
  void dismiss() {
    if (in_ >= 0) ::close(std::exchange(in_, -1));
  }
  // The same; its exit status, or minus the signal that killed it.
  int finish() {
    dismiss();
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
};

}  // namespace gossamer::testing
