// Schedules in which every peer talks to one other per round: one-peer exponential and one-peer hypercube.
//
// Ying et al., "Exponential Graph is Provably Efficient for Decentralized Deep Training" (NeurIPS 2021): log2
// n rounds of either average exactly when n is a power of two, from any round on.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/check.h"
#include "topologies/family_list.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

std::size_t ceil_log2(std::size_t n) {
  return n <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(n - 1));
}

class OnePeerExponential final : public Topology {
 public:
  explicit OnePeerExponential(std::size_t peers) : peers_(peers), hops_(ceil_log2(peers)) {}
  std::string_view name() const override { return "one-peer-exponential"; }
  std::size_t peer_count() const override { return peers_; }
  std::size_t period() const override { return std::max<std::size_t>(hops_, 1); }

  Neighbourhood at(Round round, PeerId self) const override {
    GOSSAMER_CHECK(self < peers_, "a topology was asked for a peer that it does not have");
    if (hops_ == 0) return {};
    const std::size_t hop = std::size_t{1} << (round % hops_);
    return {0.5,
            {{static_cast<PeerId>((self + peers_ - hop) % peers_), 0.5}},
            {{static_cast<PeerId>((self + hop) % peers_), 0.5}}};
  }

  TopologyFacts facts() const override {
    TopologyFacts facts;
    if (peers_ < 2) return facts;
    facts.degree = 1;
    facts.connected = facts.doubly_stochastic = true;
    facts.symmetric = peers_ == 2;
    facts.source = "closed form (the rounds are circulant and commute)";
    if (std::has_single_bit(peers_)) {
      facts.beta = facts.second_modulus = 0;
      facts.exact_after = hops_;
      if (peers_ == 2) facts.lambda_min = 0;
      return facts;
    }
    // |(1 + w^h) / 2| = |cos(pi k h / n)| for the k-th Fourier vector, multiplied over a period.
    double most = 0;
    for (std::size_t k = 1; k <= peers_ / 2; ++k) {
      double product = 1;
      for (std::size_t l = 0; l < hops_; ++l)
        product *= std::abs(std::cos(std::numbers::pi * static_cast<double>((k << l) % peers_) /
                                     static_cast<double>(peers_)));
      most = std::max(most, product);
    }
    facts.beta = facts.second_modulus = most;
    return facts;
  }

 private:
  std::size_t peers_;
  std::size_t hops_;
};

class OnePeerHypercube final : public Topology {
 public:
  explicit OnePeerHypercube(std::size_t peers) : peers_(peers), bits_(ceil_log2(peers)) {}
  std::string_view name() const override { return "one-peer-hypercube"; }
  std::size_t peer_count() const override { return peers_; }
  std::size_t period() const override { return std::max<std::size_t>(bits_, 1); }

  Neighbourhood at(Round round, PeerId self) const override {
    GOSSAMER_CHECK(self < peers_, "a topology was asked for a peer that it does not have");
    if (bits_ == 0) return {};
    const auto partner = static_cast<PeerId>(self ^ (std::size_t{1} << (round % bits_)));
    return {0.5, {{partner, 0.5}}, {{partner, 0.5}}};
  }

  TopologyFacts facts() const override {
    TopologyFacts facts;
    if (peers_ < 2) return facts;
    facts.degree = 1;
    facts.bipartite = facts.connected = facts.doubly_stochastic = facts.symmetric = true;
    facts.beta = facts.second_modulus = 0;
    facts.exact_after = bits_;
    if (bits_ == 1) facts.lambda_min = 0;
    facts.source = "closed form (each round averages over one bit of the peer's number)";
    return facts;
  }

 private:
  std::size_t peers_;
  std::size_t bits_;
};

Result<std::unique_ptr<Topology>> make_exponential(const FamilyRequest& r) {
  GOSSAMER_TRY(needs_own_weights("one-peer-exponential",
                                 r.weights == WeightRule::uniform ? WeightRule::standard : r.weights,
                                 "one half for itself, one half for what comes"));
  return std::make_unique<OnePeerExponential>(r.peers);
}

Result<std::unique_ptr<Topology>> make_hypercube(const FamilyRequest& r) {
  GOSSAMER_TRY(needs_power_of_two("one-peer-hypercube", r.peers, "base"));
  // On pairs these rules all say one half.
  const bool same = r.weights == WeightRule::uniform || r.weights == WeightRule::metropolis ||
                    r.weights == WeightRule::max_degree || r.weights == WeightRule::best_constant;
  GOSSAMER_TRY(needs_own_weights("one-peer-hypercube", same ? WeightRule::standard : r.weights,
                                 "one half for itself, one half for the partner"));
  return std::make_unique<OnePeerHypercube>(r.peers);
}

}  // namespace

Family one_peer_exponential_family() {
  return {"one-peer-exponential",
          "round t: peer i sends to i + 2^(t mod L); directed; exact after log2 n rounds when n is a power "
          "of two",
          {},
          make_exponential,
          true};
}

Family one_peer_hypercube_family() {
  return {"one-peer-hypercube",
          "round t: pairs differ in bit t mod log2 n; symmetric, exact after log2 n rounds",
          {},
          make_hypercube,
          true};
}

}  // namespace gossamer
