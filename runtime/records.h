// What a peer says of itself while it runs and when it ends: the rows of peer-<rank>.jsonl, the numbers of
// summary.json, the lines of the report.  Plain data.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace gossamer {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // written as null

// One per interval and peer.  Counters are totals since the start of the run.
struct IntervalRecord {
  PeerId peer = 0;
  std::uint64_t step = 0;
  Round round = 0;        // rounds of gossip completed
  double epoch = 0;
  double seconds = 0;     // since the peers started together
  double loss = kUnknown;         // mean training loss of the interval
  double test_loss = kUnknown;    // of this peer's own model; unknown when not evaluated in this interval
  double accuracy = kUnknown;
  double learning_rate = 0;
  double samples_per_s = 0;       // of the interval
  std::uint64_t bytes_sent = 0;   // counted at the transport
  std::uint64_t bytes_received = 0;
  double correction_norm = kUnknown;     // 2-norm of the last correction that gossip made to the model
  double consensus_distance = kUnknown;  // sqrt of the mean over peers of |x_i - mean|^2, estimated by sketches
  std::map<PeerId, std::uint64_t> staleness;  // per in-edge: rounds since its last payload
};

struct PeerSummary {
  PeerId peer = 0;
  std::string host;
  std::uint64_t steps = 0;
  Round rounds = 0;
  std::uint64_t samples = 0;      // in its share of the data
  double loss = kUnknown;         // on the test set, at the end
  double accuracy = kUnknown;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  double wall_s = 0;
  double compute_s = 0;           // inside gradient and optimizer
  double wait_s = 0;              // blocked on neighbours
};

struct RunSummary {
  std::string algorithm;
  std::string topology;
  std::string codec;
  std::string transport;
  std::uint64_t seed = 0;
  std::size_t parameters = 0;
  std::optional<PeerId> hub;  // whose model the result is; empty: it is the mean of all peers' models
  double mean_model_loss = kUnknown;  // of the result
  double mean_model_accuracy = kUnknown;
  double consensus_distance = kUnknown;  // exact, from the final models
  double bytes_sent_per_peer = 0;        // mean over peers, counted at the transport
  // What ring all-reduce of the same float32 vector, once per round, would have sent: 2 (n-1)/n * 4N * rounds.
  double all_reduce_bytes_per_peer = 0;
  double wall_s = 0;
  double samples_per_s = 0;              // all peers together
  std::vector<PeerSummary> peers;
};

}  // namespace gossamer
