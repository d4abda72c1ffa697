// Promises of a run, watched from outside while it goes.
//
// What a checker knows comes from WatchedMixer and WatchedOptimizer, which stand between engine and mixer and between
// trainer and optimizer and forward every call unchanged, and from the simulator.  The peers know nothing of it.
//
//   mean        the corrections of one round sum to zero over all members of its view (asynchronous: those of each pair, over
//               the whole run), so gossip moves the average of the models by nothing but rounding
//   ledger      a peer's last model is its first one plus its local steps plus its corrections, each once
//   mass        push-sum's weights stay positive and sum to the number of members; its shares sum to what the members had
//               when their view began plus their local steps
//   once        what a mixer is handed was encoded for it, byte for byte, and is handed over once; at the end
//               nothing is left over between those who live
//   replica     both ends of an edge hold the same bits of the same replica
//   staleness   a round begins only when all its neighbours have begun the round that had to be closed for it
//   progress    no peer goes without progress for longer than a bound
//   memory      registered memory stays below what window and neighbours allow
//   view        no two peers are in different views of one number; a view begins with the round that it names; at the end
//               all who live are in one view, and nobody else is in it
//
// Lives.  Payloads and replicas belong to a life at either end.  A death cuts the rounds that not all members of their view have
// closed: no sum is asked of those, nor of an asynchronous pair that lost an end, nor of push-sum's mass in a view that lost a member.
// All else holds through deaths and returns, and every sum again from the first round of the next view on.
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
  // `edges` of this round; without them the topology's.
  void begun(PeerId peer, Round round, const Neighbourhood* edges = nullptr);
  void encoded(PeerId from, Round round, const Outgoing& what, std::span<const std::byte> bytes);
  void handed_over(PeerId to, const Arrival& arrival);
  void corrected(PeerId peer, Round round, double a, std::span<const float> shadow, std::span<const float> add,
                 std::optional<PeerId> partner = std::nullopt);  // asynchronous: whom it was exchanged with
  void own_replica(PeerId from, PeerId to, Round round, Phase phase, std::uint64_t hash);
  void their_replica(PeerId at, PeerId of, Round round, Phase phase, std::uint64_t hash);
  void stepped(PeerId peer, std::span<const float> before, std::span<const float> after);
  void entered(PeerId peer, const View& view);  // its next round is one of this view
  void mass_begins(PeerId peer, std::span<const float> model);

  // Told by the simulator.
  void started(PeerId peer, std::span<const float> model);
  void progressed(PeerId peer);
  void left(PeerId peer);  // done, failed or crashed: no longer expected to progress
  void died(PeerId peer);  // its present life is over, or the others will say so
  void returned(PeerId peer, Incarnation life);  // nothing is known of its model until started()
  void installed(PeerId peer, const View& view);
  void look_for_progress();
  void memory(PeerId peer, std::size_t bytes, std::size_t bound);
  // Everybody is done and nothing is under way.
  void at_rest(PeerId peer, std::span<const float> model, const std::optional<Mass>& mass);
  void ended();

  // The first few of each kind; `found` counts all.
  const std::vector<Violation>& violations() const { return violations_; }
  std::uint64_t found() const { return found_; }
  // Rounds (asynchronous: pairs) whose corrections were summed up.
  std::uint64_t sums_checked() const { return sums_checked_; }

 private:
  struct Life {
    PeerId peer;
    Incarnation life;
    friend auto operator<=>(const Life&, const Life&) = default;
  };
  struct Key {
    Life from, to;
    Round round;
    Phase phase;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Sum {
    std::vector<double> sum;
    double scale = 0;  // sum of the norms of what was added
    std::size_t peers = 0;
    std::vector<Incarnation> members;
  };
  struct Begun {
    Round round;
    std::vector<Life> neighbours;  // from whom it takes
  };
  struct Known {  // a view, and who is or was in it
    View view;
    std::vector<Life> by;
  };
  struct Ledger {
    std::vector<double> model;
    std::vector<double> own;  // without corrections
    double scale = 0;
    bool kept = true;  // false once a correction replaced instead of adding
  };

  void violate(std::string_view checker, PeerId peer, Round round, std::string what);
  void check_sum(const Sum& sum, PeerId peer, Round round);
  void add(Sum& sum, double a, std::span<const float> shadow, std::span<const float> add) const;
  Life now(PeerId peer) const { return {peer, lives_[peer]}; }
  bool lives(const Life& one) const { return !dead_.contains(one); }
  void check_views();
  void check_mass();

  CheckSetup setup_;
  const EventQueue& queue_;
  std::vector<Violation> violations_;
  std::map<std::string, int, std::less<>> told_;
  std::uint64_t found_ = 0;

  std::vector<Round> begun_;                           // rounds begun per peer
  std::map<Key, std::vector<std::uint64_t>> payloads_;  // hashes of what was encoded and not yet handed over
  std::map<Key, std::uint64_t> replicas_;              // hashes at the owner, not yet compared
  std::map<std::pair<std::uint32_t, Round>, Sum> rounds_;  // by view
  std::map<std::pair<Life, Life>, Sum> pairs_;             // asynchronous
  Sum whole_;                                              // asynchronous, with nobody in particular
  std::uint64_t sums_checked_ = 0;
  Sum mass_;
  double weight_ = 0;
  std::vector<Ledger> ledgers_;
  std::vector<Time> progress_;
  std::vector<bool> left_;

  std::vector<Incarnation> lives_;
  std::set<Life> dead_;
  std::vector<View> in_force_;               // of each peer's next round
  std::vector<View> newest_;                 // that each has installed
  std::map<std::uint32_t, Known> views_;     // by number
  std::vector<std::vector<Begun>> recent_;   // the newest rounds of each
  std::vector<bool> newcomer_;               // has not begun yet; in an asynchronous run it may do so anywhere
};

// Forwards to `mixer` and tells the checkers.  A new function of Mixer must be forwarded here too.
std::unique_ptr<Mixer> watch(std::unique_ptr<Mixer> mixer, PeerId self, Checkers& checkers);
// Each part of the vector has checkers of its own.
struct WatchedPart {
  std::size_t offset = 0, count = 0;
  Checkers* checkers = nullptr;
};
std::unique_ptr<Optimizer> watch(std::unique_ptr<Optimizer> optimizer, PeerId self, std::vector<WatchedPart> parts);

}  // namespace gossamer::sim
