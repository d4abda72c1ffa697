// Starts the peers of a run as processes of this machine and stays with them until all have ended.
//
//   - A child whose parent dies, however it dies, is killed by the kernel: there are no orphans.
//   - SIGINT, SIGTERM and SIGHUP are passed on as SIGTERM; whoever has not ended after `stop_deadline` is
//     killed, and a second signal kills at once.
//   - The first child that fails makes the launcher stop the others in the same way.  In an elastic run a child that was killed, or ended
//     by a mishap of its own, is started again; one whose exit code says that the run cannot go on (a peer was lost: too few are
//     left; a bad input, another version, divergence) stops it.  When one has ended well the others have two seconds to end, too.
//   - What a child leaves running behind it (its process group) is killed with it.
//
// Child 0's standard output is the launcher's own; that of the others goes where their standard error goes:
// line by line to the launcher's standard error, behind "[peer 3] " unless the line says so itself.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace gossamer {

struct LaunchOptions {
  std::string executable = "/proc/self/exe";
  std::vector<std::vector<std::string>> arguments;  // per child, without the program's name
  std::vector<std::string> environment;             // "NAME=value", all that the children get
  Duration stop_deadline = std::chrono::seconds(10);
  bool elastic = false;
  std::uint32_t restarts = 0;  // elastic: how often each child is started again
  Duration restart_after = std::chrono::seconds(1);
  int error_descriptor = 2;  // where the children's lines go
};

struct ChildEnd {
  int code = 0;           // exit code, when signal is 0
  int signal = 0;         // that ended it
  bool killed = false;    // by the launcher, after the deadline
  std::string last_line;  // of its standard error
  std::uint32_t restarts = 0;  // it was started again; the rest is of its last life

  bool well() const { return code == 0 && signal == 0; }
};

struct LaunchReport {
  std::vector<ChildEnd> ends;
  // The child that is to blame (elastic: none where one ended well): the first that failed, but one that failed by itself before one that only
  // noticed (exit code 5 or 6) that another was gone.
  std::optional<std::size_t> failed;
  bool interrupted = false;
  int exit_code = 0;    // for the launcher to end with
  std::string message;  // who failed and why; empty when all ended well
};

// Belongs to the thread that calls it, which must be the main thread or live as long as the children: the
// kernel takes the end of this thread for the end of the parent.  Waits as long as the children run. Errors:
// io or unsupported when a child cannot be started (those that were started are killed).
Result<LaunchReport> launch(const LaunchOptions& options, const Clock& clock);

}  // namespace gossamer
