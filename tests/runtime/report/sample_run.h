// A run as a test wants it.
#pragma once

#include <cmath>
#include <string>

#include "runtime/report/html.h"

namespace gossamer::test {

inline ReportRun sample_run(std::string name, std::size_t peers, std::size_t intervals, double ratio = 0.5) {
  ReportRun run;
  run.name = std::move(name);
  run.run_yaml = "algorithm: d-psgd\n";
  RunSummary& s = run.summary;
  s.algorithm = "d-psgd";
  s.topology = "ring";
  s.codec = "none";
  s.transport = "loopback";
  s.parameters = 1000;
  s.mean_model_accuracy = 0.9375;
  s.mean_model_loss = 0.25;
  s.all_reduce_bytes_per_peer = 1e6;
  s.bytes_sent_per_peer = ratio * 1e6;
  s.wall_s = 100;
  for (std::size_t p = 0; p < peers; ++p) {
    PeerSummary peer;
    peer.peer = static_cast<PeerId>(p);
    peer.host = "node";
    peer.wall_s = 100;
    peer.compute_s = 70;
    peer.wait_s = 20;
    peer.accuracy = 0.9 + 0.01 * std::sin(static_cast<double>(p));
    s.peers.push_back(peer);
    for (std::size_t k = 1; k <= intervals; ++k) {
      IntervalRecord record;
      record.peer = peer.peer;
      record.step = k * 10;
      record.seconds = static_cast<double>(k) + 0.01 * static_cast<double>(p % 7);
      record.loss = 2 / static_cast<double>(k) + 0.01 * std::sin(static_cast<double>(k * p));
      record.accuracy = k % 5 == 0 ? 0.9 : kUnknown;
      record.consensus_distance = 1 / static_cast<double>(k);
      record.bytes_sent = k * 1000;
      run.records.push_back(record);
    }
  }
  return run;
}

}  // namespace gossamer::test
