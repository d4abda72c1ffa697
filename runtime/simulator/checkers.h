// Promises of a run, watched from outside while it goes.
//
// What a checker knows comes from WatchedMixer and WatchedOptimizer, which stand between engine and mixer and between
// trainer and optimizer and forward every call unchanged, and from the simulator.  The peers know nothing of it.
//
//   mean        the corrections of one round sum to zero over all peers (asynchronous: those of the whole run), so
//               gossip moves the average of the models by nothing but rounding
//   ledger      a peer's last model is its first one plus its local steps plus its corrections, each once
//   mass        push-sum's weights stay positive and sum to the number of peers; its shares sum to what the peers started
//               with plus their local steps
//   once        what a mixer is handed was encoded for it, byte for byte, and is handed over once; at the end
//               nothing is left over
//   replica     both ends of an edge hold the same bits of the same replica
//   staleness   a round begins only when all its neighbours have begun the round that had to be closed for it
//   progress    no peer goes without progress for longer than a bound
//   memory      registered memory stays below what window and neighbours allow
//
// One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "gossip/algorithms.h"
#include "gossip/mixer.h"
#include "runtime/simulator/events.h"
#include "trainer/optimizer.h"

namespace gossamer::sim {

struct Violation {
  std::string checker;  // one of the names above
  PeerId peer = 0;
  Round round = 0;
  double seconds = 0;  // of virtual time since the start
  std::string what;
};

// Whether an algorithm's corrections sum to zero over all peers.  A server's leaves replace their models by what the codec
// made of the mean, so that a rounding codec moves it.
bool keeps_mean(const Algorithm& algorithm, CodecId codec);

struct CheckSetup {
  std::size_t peers = 0;
  std::size_t vector_size = 0;
  std::size_t rounds_open = 1;
  const Topology* topology = nullptr;  // outlives the checkers
  MixerTraits traits;
  bool keeps_mean = true;
  Duration progress_bound{};
};

class Checkers {
 public:
  Checkers(CheckSetup setup, const EventQueue& queue);

  // Told by the watchers.
  void begun(PeerId peer, Round round);
  void encoded(PeerId from, Round round, const Outgoing& what, std::span<const std::byte> bytes);
  void handed_over(PeerId to, const Arrival& arrival);
  void corrected(PeerId peer, Round round, double a, std::span<const float> shadow, std::span<const float> add);
  void own_replica(PeerId from, PeerId to, Round round, Phase phase, std::uint64_t hash);
  void their_replica(PeerId at, PeerId of, Round round, Phase phase, std::uint64_t hash);
  void stepped(PeerId peer, std::span<const float> before, std::span<const float> after);

  // Told by the simulator.
  void started(PeerId peer, std::span<const float> model);
  void progressed(PeerId peer);
  void left(PeerId peer);  // done, failed or crashed: no longer expected to progress
  void look_for_progress();
  void memory(PeerId peer, std::size_t bytes, std::size_t bound);
  // Everybody is done and nothing is under way.
  void at_rest(PeerId peer, std::span<const float> model, const std::optional<Mass>& mass);
  void ended();

  // The first few of each kind; `found` counts all.
  const std::vector<Violation>& violations() const { return violations_; }
  std::uint64_t found() const { return found_; }

 private:
  struct Key {
    PeerId from, to;
    Round round;
    Phase phase;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Sum {
    std::vector<double> sum;
    double scale = 0;  // sum of the norms of what was added
    std::size_t peers = 0;
  };
  struct Ledger {
    std::vector<double> model;
    std::vector<double> own;  // without corrections
    double scale = 0;
    bool kept = true;  // false once a correction replaced instead of adding
  };

  void violate(std::string_view checker, PeerId peer, Round round, std::string what);
  void check_sum(const Sum& sum, Round round);

  CheckSetup setup_;
  const EventQueue& queue_;
  std::vector<Violation> violations_;
  std::map<std::string, int, std::less<>> told_;
  std::uint64_t found_ = 0;

  std::vector<Round> begun_;                           // rounds begun per peer
  std::map<Key, std::vector<std::uint64_t>> payloads_;  // hashes of what was encoded and not yet handed over
  std::map<Key, std::uint64_t> replicas_;              // hashes at the owner, not yet compared
  std::map<Round, Sum> rounds_;
  Sum whole_;  // asynchronous
  Sum mass_;
  double weight_ = 0;
  std::vector<Ledger> ledgers_;
  std::vector<Time> progress_;
  std::vector<bool> left_;
};

// Forwards to `mixer` and tells the checkers.  A new function of Mixer must be forwarded here too.
std::unique_ptr<Mixer> watch(std::unique_ptr<Mixer> mixer, PeerId self, Checkers& checkers);
std::unique_ptr<Optimizer> watch(std::unique_ptr<Optimizer> optimizer, PeerId self, Checkers& checkers);

}  // namespace gossamer::sim
