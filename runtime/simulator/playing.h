// Inside of simulation.h: the peers of a simulation and what happens to them.  simulation.cc puts them together and sums up;
// playing.cc plays the events.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "runtime/peer_stack.h"
#include "runtime/simulator/checkers.h"
#include "runtime/simulator/control.h"
#include "runtime/simulator/events.h"
#include "runtime/simulator/network.h"
#include "runtime/simulator/simulation.h"
#include "trainer/data.h"

namespace gossamer::sim {

// One life of a peer.
struct Peer {
  PeerId id = 0;
  Incarnation life = 1;
  std::unique_ptr<PeerClock> clock;
  std::unique_ptr<Fabric> fabric;
  PeerStack stack;

  Random compute;
  double factor = 1;
  bool computing = false;
  Result<> computed;  // of a gradient that leaves in parts, and is computed when its first part is due
  bool done = false;
  bool ended = false;  // failed or crashed
  bool member = true;
  std::size_t links_most = 0;
  Time frozen_until;
  Time since;  // of the present computation or wait
  Time wake_at = EventQueue::kNever;
  std::uint64_t wake_number = 0;
  PeerOutcome outcome;

  Peer(PeerId self, Incarnation one, std::uint64_t seed)
      : id(self), life(one), compute(one == 1 ? seed : mix_seed(seed, one), Purpose::link, self, 0xC0) {}
};

class Simulation {
 public:
  explicit Simulation(const SimulationSetup& setup) : setup_(setup), run_(setup.run) {}
  ~Simulation() {
    if (network_) network_->close();
  }

  Result<> compose();
  void play();
  Result<SimulationOutcome> conclude();

 private:
  Result<> compose(Peer& peer);
  std::unique_ptr<Checkers> make_checkers(std::size_t vector_size, const MixerTraits& traits) const;
  void started(const Peer& peer);
  static std::span<const float> range(const Peer& peer, std::size_t part) {
    return peer.stack.model().subspan(peer.stack.parts[part].offset, peer.stack.parts[part].layout.size());
  }
  std::size_t count() const { return peers_.size(); }

  void wake(PeerId id) { schedule(*peers_[id], queue_.now()); }
  void schedule(Peer& peer, Time when);
  void run(Peer& peer);
  bool follow(Peer& peer, bool at_rest);
  bool step(Peer& peer);
  void go_on(Peer& peer);
  void begin_computing(Peer& peer, Duration needed);
  void leave(Peer& peer, std::size_t part);
  void computed(Peer& peer);
  void arm(Peer& peer);
  void end(Peer& peer, std::optional<Error> error);
  void crash(PeerId id, std::optional<Duration> noticed_after, std::optional<Duration> restart_after);
  void pause(const PauseOptions& pause);
  void restart(PeerId id);
  // Ended, or taken for dead.
  bool gone(const Peer& peer) const { return peer.ended || (control_ && !control_->alive(peer.id)); }
  std::vector<const Peer*> present() const;
  void sample(std::uint64_t step);
  void watch_over();
  bool at_rest() const;

  const SimulationSetup& setup_;
  const RunFile& run_;
  Stream stream_;
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Compressor> compressor_;
  EventQueue queue_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<ControlPlane> control_;  // where members may change
  std::vector<std::unique_ptr<Checkers>> checkers_;  // one for each part of the vector; none where nothing is checked
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<std::unique_ptr<Peer>> past_;  // earlier lives, which events still name
  std::map<std::pair<PeerId, Incarnation>, std::string> addresses_;
  Split data_;
  std::vector<std::vector<std::uint32_t>> shards_;
  bool threaded_ = false;
  std::size_t rounds_open_ = 1;
  std::uint64_t steps_ = 0;
  std::uint64_t sample_every_ = 1;
  std::uint64_t sampled_ = 0;  // steps at the last point of the curve
  std::size_t busy_ = 0;              // peers neither done nor ended
  Time all_done_ = EventQueue::kNever;
  std::optional<Error> error_;
  std::vector<CurvePoint> curve_;
};

}  // namespace gossamer::sim
