// Circulant graphs: peer i sends to i + h for every hop h.  Ring, static exponential, any list of hops.
//
// All circulant matrices share the Fourier vectors, so every eigenvalue is a sum of cosines.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "topologies/family_list.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

class CirculantRule final : public GraphRule {
 public:
  // `hops` ascending, distinct, in 1 .. peers-1.
  CirculantRule(std::size_t peers, std::vector<std::size_t> hops) : peers_(peers), hops_(std::move(hops)) {
    for (const std::size_t h : hops_)
      directed_ |= !std::binary_search(hops_.begin(), hops_.end(), peers_ - h);
  }

  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override { shifted(self, true, peers); }
  void receivers(PeerId self, std::vector<PeerId>* peers) const override { shifted(self, false, peers); }
  std::size_t out_degree(PeerId) const override { return hops_.size(); }
  std::size_t max_degree() const override { return hops_.size(); }
  bool directed() const override { return directed_; }
  bool edges_reach_max_degree() const override { return true; }
  bool regular() const override { return true; }

  std::optional<LaplacianEnds> laplacian() const override {
    if (directed_ || peers_ < 2) return std::nullopt;
    LaplacianEnds ends{4.0 * static_cast<double>(peers_), 0};
    for (std::size_t k = 1; k <= peers_ / 2; ++k) {
      const double value = symbol(k).first;
      ends.second = std::min(ends.second, value);
      ends.largest = std::max(ends.largest, value);
    }
    if (!joined()) ends.second = 0;
    return ends;
  }

  TopologyFacts facts(double w) const override {
    TopologyFacts facts = directed_ ? TopologyFacts{} : GraphRule::facts(w);
    facts.degree = max_degree();
    if (peers_ < 2) return facts;
    facts.connected = joined();
    facts.doubly_stochastic = true;
    facts.symmetric = !directed_;
    facts.source = "closed form (Fourier vectors of a circulant matrix)";
    if (!directed_) return facts;
    double most = 0;
    for (std::size_t k = 1; k <= peers_ / 2; ++k) {
      const auto [real, imaginary] = symbol(k);
      most = std::max(most, std::hypot(1 - w * real, w * imaginary));
    }
    if (!joined()) most = 1;
    facts.beta = facts.second_modulus = most;  // circulant matrices are normal
    return facts;
  }

 private:
  void shifted(PeerId self, bool backwards, std::vector<PeerId>* peers) const {
    peers->clear();
    for (const std::size_t h : hops_)
      peers->push_back(static_cast<PeerId>((self + (backwards ? peers_ - h : h)) % peers_));
    std::sort(peers->begin(), peers->end());
  }
  // sum over hops of 1 - exp(-2 pi i k h / n); the real part by half angles, since 1 - cos cancels.
  std::pair<double, double> symbol(std::size_t k) const {
    double real = 0, imaginary = 0;
    for (const std::size_t h : hops_) {
      const double half =
          std::numbers::pi * static_cast<double>(k * h % peers_) / static_cast<double>(peers_);
      const double s = std::sin(half);
      real += 2 * s * s;
      imaginary += 2 * s * std::cos(half);
    }
    return {real, imaginary};
  }
  bool joined() const {
    std::size_t common = peers_;
    for (const std::size_t h : hops_) common = std::gcd(common, h);
    return common == 1;
  }

  std::size_t peers_;
  std::vector<std::size_t> hops_;
  bool directed_ = false;
};

std::unique_ptr<GraphRule> circulant(std::size_t peers, std::vector<std::size_t> hops, bool both_ways) {
  if (both_ways) {
    const auto count = hops.size();
    for (std::size_t i = 0; i < count; ++i) hops.push_back(peers - hops[i]);
  }
  std::sort(hops.begin(), hops.end());
  hops.erase(std::unique(hops.begin(), hops.end()), hops.end());
  return std::make_unique<CirculantRule>(peers, std::move(hops));
}

Result<std::unique_ptr<Topology>> make_ring(const FamilyRequest& r) {
  std::vector<std::size_t> hops;
  if (r.peers > 1) hops = {1};
  return weigh("ring", circulant(r.peers, hops, !r.flag("directed")), r.weights);
}

Result<std::unique_ptr<Topology>> make_static_exponential(const FamilyRequest& r) {
  std::vector<std::size_t> hops;
  for (std::size_t h = 1; h < r.peers; h *= 2) hops.push_back(h);
  return weigh("static-exponential", circulant(r.peers, hops, r.flag("symmetric")), r.weights);
}

Result<std::unique_ptr<Topology>> make_circulant(const FamilyRequest& r) {
  const auto found = r.options->find("hops");
  if (found == r.options->end() || found->second.empty())
    return fail(Errc::invalid_argument, "circulant needs hops, for example hops: [1, 4]");
  std::vector<std::size_t> hops;
  for (const double h : found->second) {
    if (h >= static_cast<double>(r.peers))
      return fail(Errc::invalid_argument,
                  fmt::format("circulant: hop {} does not exist among {} peers; hops go from 1 to {}", h,
                              r.peers, r.peers - 1));
    hops.push_back(static_cast<std::size_t>(h));
  }
  return weigh("circulant", circulant(r.peers, hops, !r.flag("directed")), r.weights);
}

constexpr auto kFlag = FamilyOption::Kind::flag;

}  // namespace

Family ring_family() {
  return {"ring",
          "peer i exchanges with i-1 and i+1; gap about 4 pi^2 / (3 n^2)",
          {{"directed", kFlag, 0, 1, "send to i+1 only (default: both ways)"}},
          make_ring};
}

Family static_exponential_family() {
  return {"static-exponential",
          "peer i sends to i+1, i+2, i+4, ...; directed, doubly stochastic, gap 2/(L+1)",
          {{"symmetric", kFlag, 0, 1, "send backwards too, so that W is symmetric (default: forwards only)"}},
          make_static_exponential};
}

Family circulant_family() {
  return {"circulant",
          "peer i exchanges with i-h and i+h for every hop h; a ring is hops: [1]",
          {{"hops", FamilyOption::Kind::counts, 1, 4294967295.0, "distances, required, for example [1, 4]"},
           {"directed", kFlag, 0, 1, "send to i+h only (default: both ways)"}},
          make_circulant};
}

}  // namespace gossamer
