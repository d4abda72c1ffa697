// Families whose Laplacian is known: complete, star, path, torus and hypercube (a torus whose sides are all
// 2).
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "topologies/family_list.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

class CompleteRule final : public GraphRule {
 public:
  explicit CompleteRule(std::size_t peers) : peers_(peers) {}
  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override {
    peers->resize(peers_ - 1);
    std::iota(peers->begin(), peers->begin() + self, PeerId{0});
    std::iota(peers->begin() + self, peers->end(), self + 1);
  }
  std::size_t out_degree(PeerId) const override { return peers_ - 1; }
  std::size_t max_degree() const override { return peers_ - 1; }
  bool edges_reach_max_degree() const override { return true; }
  bool regular() const override { return true; }
  std::optional<LaplacianEnds> laplacian() const override {
    if (peers_ < 2) return std::nullopt;
    return LaplacianEnds{static_cast<double>(peers_), static_cast<double>(peers_)};
  }
  TopologyFacts facts(double w) const override {
    auto facts = GraphRule::facts(w);
    facts.bipartite = peers_ <= 2;
    return facts;
  }

 private:
  std::size_t peers_;
};

class StarRule final : public GraphRule {
 public:
  explicit StarRule(std::size_t peers) : peers_(peers) {}
  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override {
    if (self != 0) {
      peers->assign(1, 0);
      return;
    }
    peers->resize(peers_ - 1);
    std::iota(peers->begin(), peers->end(), PeerId{1});
  }
  std::size_t out_degree(PeerId self) const override { return self == 0 ? peers_ - 1 : 1; }
  std::size_t max_degree() const override { return peers_ - 1; }
  bool edges_reach_max_degree() const override { return true; }
  bool regular() const override { return peers_ <= 2; }
  std::optional<LaplacianEnds> laplacian() const override {
    if (peers_ < 2) return std::nullopt;
    if (peers_ == 2) return LaplacianEnds{2, 2};
    return LaplacianEnds{1, static_cast<double>(peers_)};
  }

 private:
  std::size_t peers_;
};

double half_sine(std::size_t k, std::size_t n, double turn) {
  const double s = std::sin(turn * static_cast<double>(k) / static_cast<double>(n));
  return 4 * s * s;  // 2 - 2 cos(2 x), without cancellation
}

class PathRule final : public GraphRule {
 public:
  explicit PathRule(std::size_t peers) : peers_(peers) {}
  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override {
    peers->clear();
    if (self > 0) peers->push_back(self - 1);
    if (self + 1 < peers_) peers->push_back(self + 1);
  }
  std::size_t out_degree(PeerId self) const override {
    return (self > 0 ? 1 : 0) + (self + 1 < peers_ ? 1 : 0);
  }
  std::size_t max_degree() const override { return std::min<std::size_t>(2, peers_ - 1); }
  bool edges_reach_max_degree() const override { return true; }
  bool regular() const override { return peers_ <= 2; }
  std::optional<LaplacianEnds> laplacian() const override {
    if (peers_ < 2) return std::nullopt;
    return LaplacianEnds{half_sine(1, peers_, std::numbers::pi / 2),
                         half_sine(peers_ - 1, peers_, std::numbers::pi / 2)};
  }

 private:
  std::size_t peers_;
};

// Peers in row-major order: the last side varies fastest.  A side of 2 is one edge, not two; a side of 1
// none.
class TorusRule final : public GraphRule {
 public:
  explicit TorusRule(std::vector<std::size_t> shape) : shape_(std::move(shape)) {
    for (const std::size_t side : shape_) {
      peers_ *= side;
      degree_ += side > 2 ? 2 : side - 1;
    }
  }
  std::size_t peer_count() const override { return peers_; }
  void senders(PeerId self, std::vector<PeerId>* peers) const override {
    peers->clear();
    std::size_t stride = 1;
    for (auto side = shape_.rbegin(); side != shape_.rend(); ++side) {
      const std::size_t place = self / stride % *side;
      const std::size_t base = self - place * stride;
      if (*side > 1) peers->push_back(static_cast<PeerId>(base + (place + 1) % *side * stride));
      if (*side > 2) peers->push_back(static_cast<PeerId>(base + (place + *side - 1) % *side * stride));
      stride *= *side;
    }
    std::sort(peers->begin(), peers->end());
  }
  std::size_t out_degree(PeerId) const override { return degree_; }
  std::size_t max_degree() const override { return degree_; }
  bool edges_reach_max_degree() const override { return true; }
  bool regular() const override { return true; }
  std::optional<LaplacianEnds> laplacian() const override {
    if (peers_ < 2) return std::nullopt;
    // Eigenvalues of a product graph are sums, one of each side.
    LaplacianEnds ends{std::numeric_limits<double>::infinity(), 0};
    for (const std::size_t side : shape_) {
      if (side < 2) continue;
      const double low = side == 2 ? 2 : half_sine(1, side, std::numbers::pi);
      const double high = side == 2 ? 2 : half_sine(side / 2, side, std::numbers::pi);
      ends.second = std::min(ends.second, low);
      ends.largest += high;
    }
    return ends;
  }

 private:
  std::vector<std::size_t> shape_;
  std::size_t peers_ = 1;
  std::size_t degree_ = 0;
};

Result<std::unique_ptr<Topology>> make_complete(const FamilyRequest& r) {
  return weigh("complete", std::make_unique<CompleteRule>(r.peers), r.weights);
}
Result<std::unique_ptr<Topology>> make_star(const FamilyRequest& r) {
  return weigh("star", std::make_unique<StarRule>(r.peers), r.weights);
}
Result<std::unique_ptr<Topology>> make_path(const FamilyRequest& r) {
  return weigh("path", std::make_unique<PathRule>(r.peers), r.weights);
}

Result<std::unique_ptr<Topology>> make_torus(const FamilyRequest& r) {
  std::vector<std::size_t> shape;
  if (const auto found = r.options->find("shape"); found != r.options->end()) {
    double product = 1;
    for (const double side : found->second) {
      shape.push_back(static_cast<std::size_t>(side));
      product *= side;
    }
    if (product != static_cast<double>(r.peers))
      return fail(Errc::invalid_argument,
                  fmt::format("torus: shape {} has {:.0f} places and there are {} peers; make them equal",
                              fmt::join(shape, "x"), product, r.peers));
  } else {
    auto rows = static_cast<std::size_t>(std::sqrt(static_cast<double>(r.peers)));
    while (rows > 1 && r.peers % rows != 0) --rows;
    if (rows == 1 && r.peers > 3)
      return fail(
          Errc::invalid_argument,
          fmt::format("torus: {} peers (a prime) fill no rectangle; use {} or {} peers, or family: ring",
                      r.peers, r.peers - 1, r.peers + 1));
    shape = {rows, r.peers / std::max<std::size_t>(rows, 1)};
  }
  return weigh("torus", std::make_unique<TorusRule>(std::move(shape)), r.weights);
}

Result<std::unique_ptr<Topology>> make_hypercube(const FamilyRequest& r) {
  GOSSAMER_TRY(needs_power_of_two("hypercube", r.peers, "static-exponential"));
  const auto bits = static_cast<std::size_t>(std::countr_zero(r.peers));
  return weigh("hypercube", std::make_unique<TorusRule>(std::vector<std::size_t>(bits, 2)), r.weights);
}

}  // namespace

Result<> needs_power_of_two(std::string_view family, std::size_t peers, std::string_view instead) {
  if (std::has_single_bit(peers)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} needs a power of two and there are {} peers; use {} or {} peers, or family: {}",
                          family, peers, std::bit_floor(peers), std::bit_ceil(peers), instead));
}

Family complete_family() {
  return {"complete", "everybody exchanges with everybody; averages in one round", {}, make_complete};
}
Family star_family() {
  return {"star", "peer 0 exchanges with all others; gap 1/n", {}, make_star};
}
Family path_family() {
  return {"path", "a ring that is cut open; gap about pi^2 / (3 n^2)", {}, make_path};
}
Family torus_family() {
  return {"torus",
          "a grid that wraps around; degree 4 when two-dimensional",
          {{"shape", FamilyOption::Kind::counts, 1, 4294967295.0,
            "sides, for example [4, 8] (default: the rectangle nearest to a square)"}},
          make_torus};
}
Family hypercube_family() {
  return {"hypercube",
          "peers whose numbers differ in one bit; degree log2 n, gap 2/(log2 n + 1)",
          {},
          make_hypercube};
}

}  // namespace gossamer
