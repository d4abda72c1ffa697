// Base-(k+1) graphs: exact averaging for any number of peers, at most k neighbours per round.
//
// Takezawa et al., "Beyond Exponential Graph: Communication-Efficient Topologies for Decentralized Learning
// via Finite-time Convergence" (NeurIPS 2023).  n is written in base k+1; the digits are parts of sizes a
// (k+1)^p. Every part first averages itself.  Then, part by part from the largest, each peer of all smaller
// parts exchanges with one peer in each of the a blocks of the part, with the weight that leaves every block,
// and what remains, with the mean of all; and each block averages itself again.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"
#include "topologies/family_list.h"
#include "topologies/graph_rule.h"

namespace gossamer {
namespace {

// The fewest factors, each at most `most`, whose product is n; empty if there are none.  {} with n = 1 is
// exact.
std::optional<std::vector<std::size_t>> fewest_factors(
    std::size_t n, std::size_t most, std::map<std::size_t, std::optional<std::vector<std::size_t>>>* known) {
  if (n == 1) return std::vector<std::size_t>{};
  if (n <= most) return std::vector<std::size_t>{n};
  if (const auto found = known->find(n); found != known->end()) return found->second;
  std::optional<std::vector<std::size_t>> best;
  for (std::size_t f = std::min(most, n); f >= 2; --f) {
    if (n % f != 0) continue;
    auto rest = fewest_factors(n / f, most, known);
    if (rest && (!best || rest->size() + 1 < best->size())) {
      best = std::move(rest);
      best->push_back(f);
    }
  }
  (*known)[n] = best;
  return best;
}

// Averages n = f_1 f_2 ... peers in one round per factor, within groups of f_m: digit m of the peer's number
// in the mixed radix varies in the group.
class HyperHypercube {
 public:
  HyperHypercube() = default;
  explicit HyperHypercube(std::vector<std::size_t> factors) : factors_(std::move(factors)) {}
  std::size_t rounds() const { return factors_.size(); }

  // The peers of `self`'s group except itself, as offset + number * step.
  Neighbourhood at(std::size_t round, std::size_t self, std::size_t offset, std::size_t step) const {
    std::size_t stride = 1;
    for (std::size_t m = 0; m < round; ++m) stride *= factors_[m];
    const std::size_t size = factors_[round], digit = self / stride % size;
    Neighbourhood here;
    here.self_weight = 1.0 / static_cast<double>(size);
    for (std::size_t d = 0; d < size; ++d)
      if (d != digit)
        here.in.push_back(
            {static_cast<PeerId>(offset + (self + d * stride - digit * stride) * step), here.self_weight});
    here.out = here.in;
    return here;
  }

 private:
  std::vector<std::size_t> factors_;
};

// The simple Base-(k+1) graph of `n` peers.
class SimpleBase {
 public:
  SimpleBase(std::size_t n, std::size_t k) {
    std::map<std::size_t, std::optional<std::vector<std::size_t>>> known;
    if (auto factors = fewest_factors(n, k + 1, &known)) {
      whole_ = HyperHypercube(std::move(*factors));
      rounds_ = whole_.rounds();
      return;
    }
    std::size_t power = 1, exponent = 0;
    while (power <= n / (k + 1)) {
      power *= k + 1;
      ++exponent;
    }
    std::size_t start = 0;
    for (std::size_t rest = n; rest > 0; power /= k + 1, --exponent) {
      const std::size_t digit = rest / power;
      if (digit > 0) {
        Part part{start, digit, power, {}, {}};
        part.self = HyperHypercube(*fewest_factors(digit * power, k + 1, &known));
        part.block = HyperHypercube(std::vector<std::size_t>(exponent, k + 1));
        start += digit * power;
        parts_.push_back(std::move(part));
      }
      rest -= digit * power;
      if (power == 1) break;
    }
    peers_ = n;
    warm_up_ = parts_.front().self.rounds();
    for (std::size_t l = 0; l < parts_.size(); ++l)
      rounds_ = std::max(rounds_, warm_up_ + (l + 1 < parts_.size() ? l + 1 + parts_[l].block.rounds() : l));
  }

  std::size_t rounds() const { return rounds_; }

  // Of peer `self` of this graph, where peer x of it has the id offset + x.
  Neighbourhood at(std::size_t round, std::size_t self, std::size_t offset) const {
    if (parts_.empty()) return whole_.at(round, self, offset, 1);
    std::size_t l = 0;
    while (self >= parts_[l].start + parts_[l].size()) ++l;
    const Part& part = parts_[l];
    const std::size_t place = self - part.start;
    if (round < warm_up_) {
      if (round >= part.self.rounds()) return {};
      return part.self.at(round, place, offset + part.start, 1);
    }
    const std::size_t stage = round - warm_up_;
    if (stage < l) return to_blocks(parts_[stage], self, offset);
    if (l + 1 == parts_.size()) return {};  // the last part has the mean of all by now
    if (stage == l) return to_smaller(part, place, offset);
    if (stage - l - 1 >= part.block.rounds()) return {};
    const std::size_t block = place / part.power;
    return part.block.at(stage - l - 1, place % part.power, offset + part.start + block * part.power, 1);
  }

 private:
  struct Part {
    std::size_t start, digit, power;
    HyperHypercube self, block;
    std::size_t size() const { return digit * power; }
  };
  // The weight of the exchange between `part` and all smaller ones: a block of `power` peers then sums to its
  // share of what part and smaller ones hold.
  double weight(const Part& part) const {
    return static_cast<double>(part.power) / static_cast<double>(peers_ - part.start);
  }
  Neighbourhood to_blocks(const Part& part, std::size_t self, std::size_t offset) const {
    const double w = weight(part);
    const std::size_t place = self - part.start - part.size();
    Neighbourhood here;
    here.self_weight = 1 - static_cast<double>(part.digit) * w;
    for (std::size_t b = 0; b < part.digit; ++b)
      here.in.push_back({static_cast<PeerId>(offset + part.start + b * part.power + place), w});
    here.out = here.in;
    return here;
  }
  Neighbourhood to_smaller(const Part& part, std::size_t place, std::size_t offset) const {
    const std::size_t smaller = part.start + part.size(), partner = smaller + place % part.power;
    if (partner >= peers_) return {};
    const double w = weight(part);
    return {
        1 - w, {{static_cast<PeerId>(offset + partner), w}}, {{static_cast<PeerId>(offset + partner), w}}};
  }

  std::size_t peers_ = 0, rounds_ = 0, warm_up_ = 0;
  HyperHypercube whole_;     // when n has only factors up to k+1
  std::vector<Part> parts_;  // otherwise
};

// n = p q, where p has only prime factors up to k+1 and q none: the p groups of q peers run the simple graph,
// then the p peers at the same place of their groups average.  Or the simple graph of all n, when that is
// shorter.
class Base final : public Topology {
 public:
  Base(std::size_t peers, std::size_t k) : peers_(peers), group_(peers), inner_(peers, k) {
    std::size_t rough = peers, smooth = 1;
    for (std::size_t f = 2; f <= k + 1; ++f)
      for (; rough % f == 0; rough /= f) smooth *= f;
    if (smooth == 1 || rough == 1) return;
    std::map<std::size_t, std::optional<std::vector<std::size_t>>> known;
    HyperHypercube across(*fewest_factors(smooth, k + 1, &known));
    SimpleBase inner(rough, k);
    if (inner.rounds() + across.rounds() >= inner_.rounds()) return;
    group_ = rough;
    inner_ = std::move(inner);
    across_ = std::move(across);
  }
  std::string_view name() const override { return "base"; }
  std::size_t peer_count() const override { return peers_; }
  std::size_t period() const override { return std::max<std::size_t>(inner_.rounds() + across_.rounds(), 1); }

  Neighbourhood at(Round round, PeerId self) const override {
    GOSSAMER_CHECK(self < peers_, "a topology was asked for a peer that it does not have");
    if (peers_ == 1) return {};
    const std::size_t r = round % period(), group = self / group_;
    Neighbourhood here = r < inner_.rounds() ? inner_.at(r, self % group_, group * group_)
                                             : across_.at(r - inner_.rounds(), group, self % group_, group_);
    std::sort(here.in.begin(), here.in.end(), [](const Edge& a, const Edge& b) { return a.peer < b.peer; });
    here.out = here.in;
    return here;
  }

  TopologyFacts facts() const override {
    TopologyFacts facts;
    if (peers_ < 2) return facts;
    facts.connected = facts.doubly_stochastic = facts.symmetric = true;
    facts.beta = facts.second_modulus = 0;
    facts.exact_after = period();
    if (period() == 1) facts.lambda_min = 0;  // W is J itself
    facts.source = "construction (the product over a period is J)";
    return facts;
  }

 private:
  std::size_t peers_;
  std::size_t group_;  // peers that run the inner graph together
  SimpleBase inner_;
  HyperHypercube across_;
};

Result<std::unique_ptr<Topology>> make_base(const FamilyRequest& r) {
  const auto k = static_cast<std::size_t>(r.number("k", 1));
  if (k >= r.peers && r.peers > 1)
    return fail(Errc::invalid_argument,
                fmt::format("base: k = {} neighbours per round do not exist among {} peers; k is at most {}",
                            k, r.peers, r.peers - 1));
  GOSSAMER_TRY(needs_own_weights("base", r.weights, "they make the product over a period exact"));
  return std::make_unique<Base>(r.peers, k);
}

}  // namespace

Family base_family() {
  return {"base",
          "Base-(k+1): at most k neighbours per round, any number of peers, exact after a period",
          {{"k", FamilyOption::Kind::count, 1, 64,
            "neighbours per round at most (default: 1, the Base-2 graph)"}},
          make_base,
          true};
}

}  // namespace gossamer
