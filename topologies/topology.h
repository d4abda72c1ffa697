// Who talks to whom, in which round, with which weight.
//
// A Topology is a schedule of graphs: a pure function of the round.  Every peer evaluates it for
// itself and all agree, since it reads nothing but its own construction (family, peers, seed).
//
// W[i][j] is the weight peer i gives to what peer j sent.  Rows of W sum to 1 for averaging
// algorithms (row stochastic), columns for push-sum (column stochastic), both when symmetric.
//
// Immutable after construction and therefore thread safe.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace gossamer {

struct Edge {
  PeerId peer = 0;
  double weight = 0;  // W[receiver][sender]
  friend bool operator==(const Edge&, const Edge&) = default;
};

// One peer's edges in one round, each list in ascending order of peer and without the peer itself.
struct Neighbourhood {
  double self_weight = 1;
  std::vector<Edge> in;   // who sends to this peer: weight W[self][peer]
  std::vector<Edge> out;  // who receives from this peer: weight W[peer][self]
  friend bool operator==(const Neighbourhood&, const Neighbourhood&) = default;
};

// What theory says of a family; check_topology() computes whatever is absent.  P is the product of the matrices of
// one period, J the matrix of all 1/n.
struct TopologyFacts {
  std::optional<std::size_t> degree;          // of every peer in every round
  std::optional<bool> bipartite;              // of the union over the period
  std::optional<bool> connected;
  std::optional<bool> doubly_stochastic;
  std::optional<bool> symmetric;
  std::optional<double> beta;                 // ||P - J||_2
  std::optional<double> second_modulus;       // second largest |eigenvalue| of P
  std::optional<double> lambda_min;           // of a static symmetric W
  std::optional<std::size_t> exact_after;     // rounds until the product is J
  std::string source;                         // where the numbers come from, in words
};

class Topology {
 public:
  virtual ~Topology() = default;

  virtual std::string_view name() const = 0;
  virtual std::size_t peer_count() const = 0;

  // Rounds until the graphs repeat: 1 when static.  0 when they never do (a fresh random graph every round).
  virtual std::size_t period() const = 0;

  // REQUIRES: self < peer_count().  Cost is proportional to the degree, not to the number of peers,
  // for every family with a rule.
  virtual Neighbourhood at(Round round, PeerId self) const = 0;

  virtual TopologyFacts facts() const { return {}; }
};

}  // namespace gossamer
