// What one peer does besides training (rank 0, or in an elastic run its successor): it gathers the other peers' records and final models, shows the
// status line, and writes the run's folder.
//
// Training does not depend on it: no step of any peer waits for the coordinator.
//
// Belongs to one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/layout.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/result.h"
#include "runtime/messages.h"
#include "runtime/records.h"
#include "runtime/report/jsonl.h"
#include "runtime/run_file.h"
#include "topologies/topology.h"
#include "trainer/task.h"

namespace gossamer {

struct Interval {  // all peers at one step, on average
  std::uint64_t step = 0, steps_total = 0;
  double epoch = 0, seconds = 0, loss = kUnknown, accuracy = kUnknown, consensus_distance = kUnknown, bytes_sent = 0;
};

class Coordinator {
 public:
  // All references outlive the Coordinator.  `out` may be empty.
  Coordinator(const RunFile& run, const Topology& topology, const Layout& layout, Log& log, std::string out,
              std::size_t peers);

  // Opens the record files.
  Result<> open();
  // The same after another peer, whose rows stay.  The others then send theirs again, of which those that are there already tell what
  // earlier lives had counted.
  Result<> resume();

  // A message of one of the topics of runtime/messages.h; others are ignored.
  Result<> take(PeerId from, std::string_view topic, std::string_view bytes);

  // The newest step that all peers have reported since the last call, if any.
  std::vector<Interval> intervals();

  // A peer left, and is not expected to report any more; or came (again), `at` seconds after the common start.  Rows of a
  // new life count time from there, and bytes from what its rank had sent and received before.
  void left(PeerId peer);
  void came(PeerId peer, double at);
  bool absent(PeerId peer) const { return absent_.contains(peer); }
  std::size_t present() const { return peers_ - absent_.size(); }

  // All summaries and models are in, of those who are there.
  bool complete() const { return missing().empty(); }
  std::vector<PeerId> missing() const;

  // Averages the models (or takes the hub's, where the algorithm has one), evaluates, and writes summary, models and report.
  // REQUIRES: complete().
  Result<RunSummary> finish(Task& task, Stream& stream, std::optional<PeerId> hub, double wall_s, double samples, Round rounds);

 private:
  Result<> write(const RunSummary& summary, std::span<const float> result);
  bool all_reported(std::uint64_t step) const;
  void settle(std::uint64_t step);

  const RunFile& run_;
  const Topology& topology_;
  const Layout& layout_;
  Log& log_;
  std::string out_;
  std::size_t peers_;
  std::set<PeerId> absent_;
  std::map<PeerId, std::uint64_t> reported_;     // each peer's last step
  struct Before {  // of a peer's present life
    double seconds = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;
  };
  std::map<PeerId, Before> before_;
  std::map<PeerId, Before> until_now_;  // what each peer's last row says
  std::map<std::pair<PeerId, std::uint64_t>, Before> found_;  // after another peer: what the rows of its files say
  std::optional<std::uint64_t> settled_until_;
  std::vector<RecordWriter> writers_;
  std::map<std::uint64_t, std::map<PeerId, messages::Record>> steps_;  // not yet reported by all
  std::vector<IntervalRecord> records_;                                // for the report
  std::vector<Interval> settled_;
  std::string topology_svg_;
  std::map<PeerId, PeerSummary> summaries_;
  std::map<PeerId, std::vector<float>> models_;
  bool write_failed_ = false;
};

}  // namespace gossamer
