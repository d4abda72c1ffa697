// A whole run in virtual time: every peer of a run file with its task, optimizer, trainer, mixer, transport, engine
// and worker, the classes that production runs, over a simulated network, driven by one event queue.
//
// A peer behaves as its process would: while it computes it answers nobody, unless the run overlaps communication and
// computation (then its engine has a thread of its own, runtime/engine_driver.h); a paused peer does nothing at all; a
// crashed one is silent for ever, or comes back as its next life where the run is elastic.  Gradients are really computed; the time they take is drawn from the network file.
//
// The same setup gives the same events and the same bits, on every machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "gossip/mixer.h"
#include "runtime/run_file.h"
#include "runtime/simulator/checkers.h"
#include "runtime/simulator/network.h"
#include "runtime/simulator/network_options.h"

namespace gossamer::sim {

struct SimulationSetup {
  RunFile run;
  NetworkOptions network;
  FaultPlan faults;
  std::uint64_t seed = 1;  // of network and faults; run.seed is that of training
  bool check = true;       // run the checkers
  bool verify_replicas = false;
  Duration progress_bound{};        // 0: twice the deadline of a round
  std::uint64_t events_max = 0;     // 0: no limit
  std::size_t curve_points = 20;    // how often the curve is sampled
  // Puts something between an engine and its mixer, inside the checkers' watch; for tests.
  std::function<std::unique_ptr<Mixer>(PeerId, std::unique_ptr<Mixer>)> wrap;
};

struct CurvePoint {
  std::uint64_t step = 0;  // every peer has done at least so many
  double seconds = 0;
  double loss = 0;         // training loss, mean over the peers' last steps
  double consensus_distance = 0;
};

struct PeerOutcome {
  std::uint64_t steps = 0;
  Round rounds = 0;
  double finished_s = 0;  // when its last step and exchange were done; when it failed or crashed, if it did
  double compute_s = 0;
  double wait_s = 0;      // neither computing nor done
  double loss = 0, accuracy = 0;  // of its last model, on the test set
  std::uint64_t bytes_sent = 0, bytes_received = 0;
  std::size_t memory_most = 0;  // registered
  bool crashed = false;   // and did not come back
  Incarnation lives = 1;  // steps, rounds and times are those of the last one
  Round cut_short = 0;
  std::optional<Error> error;
};

struct SimulationOutcome {
  double seconds = 0;  // of virtual time
  std::uint64_t events = 0;
  std::uint64_t trace_hash = 0;
  std::uint64_t models_hash = 0;
  double seconds_per_round = 0;  // 0 when no round was closed
  // Of all peers; in an elastic run of those who live at the end.
  double loss = 0, accuracy = 0;  // of the mean model; of the hub's where the algorithm has one
  double consensus_distance = 0;  // sqrt of the mean over peers of |x_i - mean|^2
  NetworkCounts network;
  std::uint32_t view = 0;             // the last one
  std::uint64_t sums_checked = 0;     // rounds (asynchronous: pairs) whose corrections the checkers have summed up
  std::vector<PeerOutcome> peers;
  std::vector<CurvePoint> curve;
  std::vector<Violation> violations;  // the first few of each kind
  std::uint64_t violations_found = 0;
  std::optional<Error> error;  // the first peer's that failed, with its number
  std::vector<std::vector<float>> models;  // the last ones

  bool good() const { return !error && violations_found == 0; }
};

// Errors: what make_topology(), make_mixer() and the like say of the run file; files that cannot be read.
// What goes wrong in the run itself is part of the outcome.
Result<SimulationOutcome> simulate(const SimulationSetup& setup);

}  // namespace gossamer::sim
