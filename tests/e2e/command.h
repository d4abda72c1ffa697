// The built `gossamer` as a user starts it: processes, what they print, what they leave behind.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/reserved_port.h"

namespace gossamer::e2e {

using Words = std::vector<std::string>;
using Json = nlohmann::json;

// Longer than anything here takes on a busy machine; a test that comes here hangs.  $PATIENCE is how many times as long
// everything takes (under a sanitizer).
inline const Duration kPatience = std::chrono::seconds(60) * [] {
  const char* factor = std::getenv("PATIENCE");
  return factor ? std::max(1, std::atoi(factor)) : 1;
}();

// A folder of this test alone, removed with everything in it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const std::string& name) const { return folder_ + "/" + name; }
  const std::string& folder() const { return folder_; }
  // Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& text) const;

 private:
  std::string folder_;
};

struct Ended {
  int code = -1;   // exit code; -1 when a signal ended it
  int signal = 0;
  bool late = false;  // had to be killed after `patience`
  std::string out, err;
  double seconds = 0;
};

// One process of the command.  Killed when it goes out of scope.
class Process {
 public:
  using Variables = std::map<std::string, std::string>;

  // `folder` takes what it prints.  Of this environment's GOSSAMER_* variables only GOSSAMER_DATA is passed on.
  Process(const Words& arguments, const Scratch& folder, const Variables& variables = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  // Waits until standard error holds `text`.
  bool says(const std::string& text, Duration patience = kPatience) const;
  std::string err() const;
  Ended wait(Duration patience = kPatience);

 private:
  pid_t pid_ = -1;
  std::string folder_, out_, err_;
  std::chrono::steady_clock::time_point begun_;
};

Ended gossamer(const Words& arguments, const Scratch& folder, const Process::Variables& variables = {});

// `run` of an example on the digits, with --quiet, --out <out> and --set for each of `sets`.  Here and below a run
// waits for its peers for 30 s at most unless `sets` say otherwise, so that it tells whom it waits for before a test
// loses its patience.
Words digits(const std::string& algorithm, const std::string& out, const Words& sets = {});
// `run FILE --quiet --out OUT` with --set for each of `sets`.
Words run_of(const std::string& file, const std::string& out, const Words& sets = {});

std::string source_root();
std::string contents(const std::string& path);  // fails the test where it cannot be read
Json summary(const std::string& out);
std::vector<Json> rows(const std::string& out, std::size_t peer);
// Names of what lies in a folder, sorted; empty for a folder that does not exist.
std::vector<std::string> names_in(const std::string& folder);

// A port of the loopback interface that stays this object's.  A peer may listen there; if asked to, this process does.
class Port {
 public:
  explicit Port(bool listens = false);
  int number() const { return port_.number; }
  std::string address() const { return "127.0.0.1:" + std::to_string(number()); }

 private:
  ReservedPort port_;
};

// Living processes whose command line holds `text`, this one excepted: a zombie lives no more.
std::vector<pid_t> processes_with(const std::string& text);
// The peer of that rank among them; 0 when there is none.
pid_t peer_process(const std::string& out, std::size_t rank);
// Waits until no process holds `text` on its command line.
bool nobody_left(const std::string& text, Duration patience = std::chrono::seconds(10));

// What the processes with `text` on their command line are doing, thread by thread, for a test that has waited in
// vain for them.
std::string whereabouts(const std::string& text);

bool eventually(Duration patience, const std::function<bool()>& holds);

}  // namespace gossamer::e2e
