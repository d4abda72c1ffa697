// What a topology is good for: its shape, how fast it mixes, what a round of it costs, which algorithms it
// suits.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "topologies/topology.h"

namespace gossamer {

struct CheckOptions {
  std::size_t parameters = 1'000'000;  // of the model, for the bytes
  bool use_theory = true;              // take closed forms where a family has them; false computes everything
};

struct AlgorithmFit {
  std::string algorithm;
  bool fits = false;
  std::string reason;  // why not, or what to heed; may be empty when it fits
};

// P is the product of the mixing matrices of one period (of `window` rounds when there is no period), J the
// matrix of all 1/n.
struct TopologyReport {
  std::string name;
  std::size_t peers = 0;
  std::size_t period = 0;
  std::size_t window = 0;      // rounds looked at
  std::size_t degree_min = 0;  // receivers of one peer in one round
  std::size_t degree_max = 0;
  double self_weight_min = 0;
  bool symmetric = false;  // W of every round
  bool row_stochastic = false;
  bool column_stochastic = false;
  bool connected = false;                // the union over the window; strongly, where edges have a direction
  bool bipartite = false;                // the union, directions forgotten
  bool tree = false;                     // static, undirected, connected, n-1 edges
  double beta = 0;                       // ||P - J||_2
  double second_eigenvalue_modulus = 0;  // of P
  double spectral_gap = 0;   // 1 - beta where rows and columns sum to 1, else 1 - second_eigenvalue_modulus
  double per_round_gap = 0;  // 1 - (1 - spectral_gap)^(1/window): schedules of different length compare
  std::optional<double> lambda_min;                // of a static symmetric W
  std::optional<std::size_t> rounds_to_consensus;  // until the product is exactly J; absent when never
  double bytes_per_peer_per_round = 0;             // sent, mean over peers and rounds, uncompressed float32
  double busiest_bytes_per_round = 0;              // sent by the busiest peer in its busiest round
  std::string method;                              // how the spectral numbers were obtained
  double residual = 0;  // of the modulus: an eigenvalue lies that near; 0 for closed forms
  double lambda_min_residual = 0;
  std::vector<AlgorithmFit> algorithms;
};

// Work is proportional to the edges of one period, and for families with a closed form there is no more.
// Refuses (Errc::unsupported) what has more than some 40 million edges and no closed form; invalid_argument
// when the topology contradicts itself (a sender whose receiver does not know of it).
Result<TopologyReport> check_topology(const Topology& topology, const CheckOptions& options = {});

// The fit of the algorithms to what is known in `report` (its `algorithms` are not read).
std::vector<AlgorithmFit> fit_algorithms(const TopologyReport& report);

std::string to_json(const TopologyReport& report);
std::string to_text(const TopologyReport& report);

}  // namespace gossamer
