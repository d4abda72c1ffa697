// What `gossamer run` and `gossamer peer` do between the command line and the peers.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "runtime/environment.h"
#include "runtime/place.h"
#include "runtime/run_file.h"

namespace gossamer {

class LoopbackHub;

struct RunArguments {
  std::string file;
  Overrides overrides;  // --set, --peers, --transport
  std::string out;      // empty: out/<name>-<time>
  bool force = false;   // write into a folder that holds something
  bool quiet = false;
  bool verbose = false;
  Duration stop_deadline = std::chrono::seconds(10);
};

struct PeerArguments {
  std::string file;
  Overrides overrides;
  PlaceFlags place;
  std::string out;  // empty: out/<name>
  bool quiet = false;
  bool verbose = false;
};

// What a peer knows when its composition begins.
struct PeerProcess {
  Place place;
  RunFile run;      // run.topology.peers == place.peers
  std::string out;  // an existing folder
  LogLevel log = LogLevel::info;
  std::shared_ptr<LoopbackHub> hub;         // transport loopback: where the peers of this process meet
  const std::atomic<bool>* stop = nullptr;  // becomes true when this process is asked to end
  bool status_line = true;                  // rank 0 tells a person on standard output how far the run is
};

using PeerMain = std::function<Result<>(const PeerProcess&)>;

// Both print what went wrong to standard error and return the exit code of the command.
//
// A run over UCX is one process per peer (runtime/launch.h): `peer_main` is then called in each of them. Over
// the loopback transport, which joins the threads of one process, it is called here, on one thread per peer.
int run_command(const RunArguments& arguments, const PeerMain& peer_main);
int peer_command(const PeerArguments& arguments, const PeerMain& peer_main);

// The level that --quiet and --verbose ask for, else GOSSAMER_LOG (debug, info, warn, error, off), else info.
Result<LogLevel> log_level(bool quiet, bool verbose, const Environment& environment);

// Makes the output folder, and those above it.  A folder that holds something is refused unless `force`; then
// what an earlier run left there is removed, so that no peer of that run is taken for one of this.
Result<> prepare_output(const std::string& folder, bool force);

}  // namespace gossamer
