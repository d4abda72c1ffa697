// What peer.cc and peer_members.cc share; everybody else wants runtime/peer.h.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "kernels/compressor.h"
#include "runtime/control/control.h"
#include "runtime/coordinator.h"
#include "runtime/engine_driver.h"
#include "runtime/peer_stack.h"
#include "runtime/report/status_line.h"
#include "runtime/run_command.h"
#include "topologies/topology.h"
#include "transports/fabric.h"

namespace gossamer {

// The run of one peer, phase by phase.  Members are in the order they are built.
class Peer {
 public:
  Peer(const PeerProcess& process, Log& log) : run_(process.run), process_(process), log_(log) {}

  Result<> run();

 private:
  Result<> join();
  Result<> compose();
  Result<> agree_on_start();
  Result<> catch_up();
  Result<> train();
  Result<> finish();

  Result<> check_control();
  Result<> follow_members();
  Result<> gone(const Death& death);
  Result<> all_trained();
  Result<> follow_gatherer();
  Result<> hand_in();
  Result<> gather(Round rounds);
  void event(LogLevel level, const std::string& text);
  Result<> drive(Wants wants);
  bool sleep_till_pace(Time begun, double share, Duration* slept);
  Result<> tell(PeerId to, std::string_view topic, std::string bytes);
  Result<> barrier(std::string_view name, Duration deadline);
  Result<> explain(Error error);
  void abort(const Error& error);
  void record(bool last);
  void show();
  double since_start() const { return seconds(clock_.now() - started_); }
  PeerId self() const { return roster_.self; }
  std::size_t peers() const { return roster_.peers.size(); }

  const RunFile& run_;
  const PeerProcess& process_;
  Log& log_;
  SteadyClock clock_;
  Stream stream_;         // of this thread: trainer and evaluation
  Stream engine_stream_;  // under the driver's lock, as the engine

  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Control> control_;
  Roster roster_;

  std::unique_ptr<Compressor> compressor_;
  PeerStack stack_;
  std::unique_ptr<EngineDriver> driver_;
  std::set<PeerId> departed_;                 // left, and the rest of the peers know
  std::optional<Time> held_since_;            // a view is being agreed on
  bool over_ = false;                         // came when the run was done
  bool at_rest_ = false;                      // the model is between two steps
  std::optional<PeerId> gatherer_ = 0;        // of the results; a newcomer does not know
  std::unique_ptr<Coordinator> coordinator_;  // where that is this peer
  std::unique_ptr<StatusLine> status_;        // rank 0
  Status shown_;
  std::set<PeerId> trained_;                  // who gathers: who has said so in its present life
  bool own_trained_ = false, all_trained_ = false;
  bool begun_ = false;                        // the common start is behind this peer
  bool told_ = false;  // the control plane has said who is lost

  std::uint64_t interval_ = 1;        // steps between records
  Time started_;
  double wall_s_ = 0;
  Duration compute_{}, wait_{};
  bool results_sent_ = false;  // elastic, and at rank 0: everybody's are written
  std::deque<std::string> rows_;  // elastic: said so far, for whoever gathers next
  std::string summary_, last_model_;  // elastic: likewise
  std::uint64_t interval_step_ = 0;
  double interval_seconds_ = 0, interval_loss_ = 0;
  std::uint64_t losses_ = 0;
};

}  // namespace gossamer
