#include "topologies/check.h"

#include <fmt/format.h>
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "topologies/spectrum.h"

namespace gossamer {
namespace {

constexpr double kRounding = 1e-9;
constexpr std::size_t kMostEdges = 40'000'000;
constexpr std::size_t kDense = 320;

// One round's W, rows sorted by peer.
struct Matrix {
  std::vector<std::size_t> start{0};
  std::vector<Edge> entry;  // without the diagonal
  std::vector<double> self;

  void apply(const std::vector<double>& x, std::vector<double>* y) const {
    y->resize(self.size());
    for (std::size_t i = 0; i < self.size(); ++i) {
      double sum = self[i] * x[i];
      for (std::size_t e = start[i]; e < start[i + 1]; ++e) sum += entry[e].weight * x[entry[e].peer];
      (*y)[i] = sum;
    }
  }
  void apply_transposed(const std::vector<double>& x, std::vector<double>* y) const {
    y->resize(self.size());
    for (std::size_t i = 0; i < self.size(); ++i) (*y)[i] = self[i] * x[i];
    for (std::size_t i = 0; i < self.size(); ++i)
      for (std::size_t e = start[i]; e < start[i + 1]; ++e) (*y)[entry[e].peer] += entry[e].weight * x[i];
  }
};

struct Rounds {
  std::size_t peers = 0;
  std::vector<Matrix> matrices;

  void forward(std::vector<double>* x) const {
    std::vector<double> y;
    for (const auto& m : matrices) {
      m.apply(*x, &y);
      std::swap(*x, y);
    }
  }
  void backward(std::vector<double>* x) const {
    std::vector<double> y;
    for (auto m = matrices.rbegin(); m != matrices.rend(); ++m) {
      m->apply_transposed(*x, &y);
      std::swap(*x, y);
    }
  }
  std::vector<double> dense() const {  // row-major product
    std::vector<double> p(peers * peers);
    std::vector<double> column(peers);
    for (std::size_t j = 0; j < peers; ++j) {
      std::fill(column.begin(), column.end(), 0.0);
      column[j] = 1;
      forward(&column);
      for (std::size_t i = 0; i < peers; ++i) p[i * peers + j] = column[i];
    }
    return p;
  }
};

void remove_mean(std::vector<double>* x) {
  const double mean = std::accumulate(x->begin(), x->end(), 0.0) / static_cast<double>(x->size());
  for (auto& value : *x) value -= mean;
}

double norm(const std::vector<double>& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

// Depth-first over the union of all rounds.  Colours are 0 or 1 (2 is unseen); returns how many peers were
// reached.
std::size_t walk(const std::vector<std::vector<PeerId>>& to, std::vector<char>* colour, bool* two_colours) {
  colour->assign(to.size(), 2);
  (*colour)[0] = 0;
  std::vector<PeerId> stack{0};
  std::size_t found = 1;
  while (!stack.empty()) {
    const PeerId at = stack.back();
    stack.pop_back();
    for (const PeerId next : to[at]) {
      if ((*colour)[next] == 2) {
        (*colour)[next] = static_cast<char>(1 - (*colour)[at]);
        ++found;
        stack.push_back(next);
      } else if ((*colour)[next] == (*colour)[at]) {
        *two_colours = false;
      }
    }
  }
  return found;
}

bool is_bipartite(const std::vector<std::vector<PeerId>>& both) {
  std::vector<char> colour(both.size(), 2);
  std::vector<PeerId> stack;
  for (PeerId from = 0; from < both.size(); ++from) {
    if (colour[from] != 2) continue;
    colour[from] = 0;
    stack.push_back(from);
    while (!stack.empty()) {
      const PeerId at = stack.back();
      stack.pop_back();
      for (const PeerId next : both[at]) {
        if (colour[next] == colour[at]) return false;
        if (colour[next] != 2) continue;
        colour[next] = static_cast<char>(1 - colour[at]);
        stack.push_back(next);
      }
    }
  }
  return true;
}

void sort_unique(std::vector<std::vector<PeerId>>* lists) {
  for (auto& list : *lists) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
}

class Check {
 public:
  Check(const Topology& topology, const CheckOptions& options)
      : topology_(topology), options_(options), n_(topology.peer_count()) {}

  Result<TopologyReport> run() {
    report_.name = std::string(topology_.name());
    report_.peers = n_;
    report_.period = topology_.period();
    // Without a period: as many rounds as a fast schedule needs to reach everybody, twice.
    report_.window = report_.period != 0 ? report_.period : 2 * (std::bit_width(n_) + 1);
    facts_ = topology_.facts();
    const bool too_many =
        facts_.degree && *facts_.degree > kMostEdges / n_ / std::max<std::size_t>(report_.window, 1);
    const bool known =
        facts_.beta && facts_.symmetric && facts_.bipartite && facts_.connected && facts_.doubly_stochastic;
    if (!options_.use_theory) facts_ = {};
    if (too_many && known && options_.use_theory) {
      structure_from_theory();
    } else if (too_many) {
      return too_large();
    } else {
      GOSSAMER_TRY(read_rounds());
      structure();
    }
    if (n_ == 1) {
      report_.rounds_to_consensus = 0;
      report_.lambda_min.reset();
      report_.method = "one peer";
    } else {
      GOSSAMER_TRY(spectrum());
    }
    const bool doubly = report_.row_stochastic && report_.column_stochastic;
    report_.spectral_gap = n_ == 1 ? 1 : 1 - (doubly ? report_.beta : report_.second_eigenvalue_modulus);
    report_.per_round_gap =
        1 - std::pow(std::max(0.0, 1 - report_.spectral_gap), 1 / static_cast<double>(report_.window));
    report_.algorithms = fit_algorithms(report_);
    return std::move(report_);
  }

 private:
  Failure too_large() const {
    return fail(Errc::unsupported,
                fmt::format("{} with {} peers has more than {} edges in {} rounds, too many to check "
                            "one by one; check a smaller one of its kind",
                            report_.name, n_, kMostEdges, report_.window));
  }

  void structure_from_theory() {
    report_.degree_min = report_.degree_max = *facts_.degree;
    report_.self_weight_min = topology_.at(0, 0).self_weight;
    report_.symmetric = *facts_.symmetric;
    report_.row_stochastic = report_.column_stochastic = *facts_.doubly_stochastic;
    report_.connected = *facts_.connected;
    report_.bipartite = *facts_.bipartite;
    bytes(static_cast<double>(*facts_.degree), *facts_.degree);
  }

  void bytes(double mean_degree, std::size_t most) {
    const double payload = 4.0 * static_cast<double>(options_.parameters);
    report_.bytes_per_peer_per_round = payload * mean_degree;
    report_.busiest_bytes_per_round = payload * static_cast<double>(most);
  }

  Result<> read_rounds() {
    rounds_.peers = n_;
    std::size_t edges = 0;
    for (Round r = 0; r < report_.window; ++r) {
      Matrix m;
      m.self.reserve(n_);
      for (PeerId i = 0; i < n_; ++i) {
        const auto here = topology_.at(r, i);
        m.self.push_back(here.self_weight);
        m.entry.insert(m.entry.end(), here.in.begin(), here.in.end());
        m.start.push_back(m.entry.size());
        if (m.entry.size() + edges > kMostEdges) return too_large();
        most_out_ = std::max(most_out_, here.out.size());
        least_out_ = std::min(least_out_, here.out.size());
        out_edges_ += here.out.size();
        out_weight_ += std::accumulate(here.out.begin(), here.out.end(), 0.0,
                                       [](double sum, const Edge& e) { return sum + e.weight; });
      }
      edges += m.entry.size();
      rounds_.matrices.push_back(std::move(m));
    }
    double in_weight = 0;
    for (const auto& m : rounds_.matrices)
      for (const auto& e : m.entry) in_weight += e.weight;
    if (edges != out_edges_ || std::abs(in_weight - out_weight_) > kRounding * static_cast<double>(edges + 1))
      return fail(Errc::invalid_argument,
                  fmt::format("{} contradicts itself: peers receive over {} edges and send over {}",
                              report_.name, edges, out_edges_));
    return {};
  }

  void structure() {
    report_.degree_min = least_out_;
    report_.degree_max = most_out_;
    bytes(static_cast<double>(out_edges_) / static_cast<double>(n_ * report_.window), most_out_);
    report_.self_weight_min = 1;
    report_.symmetric = report_.row_stochastic = report_.column_stochastic = true;
    std::vector<std::vector<PeerId>> out(n_), in(n_), both(n_);
    std::vector<double> column(n_);
    for (const auto& m : rounds_.matrices) {
      std::copy(m.self.begin(), m.self.end(), column.begin());
      for (PeerId i = 0; i < n_; ++i) {
        report_.self_weight_min = std::min(report_.self_weight_min, m.self[i]);
        double row = m.self[i];
        for (std::size_t e = m.start[i]; e < m.start[i + 1]; ++e) {
          const auto [j, w] = m.entry[e];
          row += w;
          column[j] += w;
          in[i].push_back(j);
          out[j].push_back(i);
          if (!report_.symmetric) continue;
          const auto first = m.entry.begin() + static_cast<std::ptrdiff_t>(m.start[j]);
          const auto last = m.entry.begin() + static_cast<std::ptrdiff_t>(m.start[j + 1]);
          const auto back =
              std::lower_bound(first, last, i, [](const Edge& x, PeerId p) { return x.peer < p; });
          report_.symmetric = back != last && back->peer == i && std::abs(back->weight - w) <= 1e-12;
        }
        report_.row_stochastic &= std::abs(row - 1) <= kRounding;
      }
      for (const double sum : column) report_.column_stochastic &= std::abs(sum - 1) <= kRounding;
    }
    sort_unique(&in);
    sort_unique(&out);
    std::size_t edges = 0;
    for (PeerId i = 0; i < n_; ++i) {
      std::set_union(in[i].begin(), in[i].end(), out[i].begin(), out[i].end(), std::back_inserter(both[i]));
      edges += both[i].size();
    }
    std::vector<char> colour;
    bool ignored = true;
    report_.connected =
        walk(out, &colour, &ignored) == n_ && (in == out || walk(in, &colour, &ignored) == n_);
    report_.bipartite = is_bipartite(both);
    both_ = in == out;
    report_.tree = report_.period == 1 && both_ && report_.connected && edges == 2 * (n_ - 1);
  }

  Result<> spectrum() {
    if (facts_.beta && facts_.second_modulus) {
      report_.beta = *facts_.beta;
      report_.second_eigenvalue_modulus = *facts_.second_modulus;
      report_.lambda_min = facts_.lambda_min;
      report_.rounds_to_consensus = facts_.exact_after;
      report_.method = facts_.source;
      return {};
    }
    find_exact_round();
    if (report_.window == 1 && report_.period == 1 && both_) {
      if (const auto scale = balance(); !scale.empty()) return reversible(scale);
    }
    return general();
  }

  // The first round after which two random vectors are constant.  A product other than J sends almost every
  // vector elsewhere, so that chance errs with probability 0 and rounding at 1e-12.
  void find_exact_round() {
    if (!report_.column_stochastic || !report_.row_stochastic) return;
    Random random(0x65786163, Purpose::topology);
    std::vector<double> a(n_), b(n_), y;
    for (std::size_t i = 0; i < n_; ++i) a[i] = random.uniform() - 0.5, b[i] = random.uniform() - 0.5;
    remove_mean(&a);
    remove_mean(&b);
    const auto largest = [](const std::vector<double>& x) {
      double most = 0;
      for (const double value : x) most = std::max(most, std::abs(value));
      return most;
    };
    for (std::size_t r = 0; r < rounds_.matrices.size(); ++r) {
      rounds_.matrices[r].apply(a, &y);
      std::swap(a, y);
      rounds_.matrices[r].apply(b, &y);
      std::swap(b, y);
      if (largest(a) <= 1e-12 && largest(b) <= 1e-12) {
        report_.rounds_to_consensus = r + 1;
        return;
      }
    }
  }

  // Square roots of pi where W_ij pi_j = W_ji pi_i, so that W is similar to a symmetric matrix; empty when
  // there are none.  Symmetric and uniform weights on undirected graphs have them.
  std::vector<double> balance() const {
    const Matrix& m = rounds_.matrices.front();
    std::vector<double> pi(n_, report_.symmetric ? 1 : 0);
    const auto weight = [&](PeerId i, PeerId j) {
      const auto first = m.entry.begin() + static_cast<std::ptrdiff_t>(m.start[i]);
      const auto last = m.entry.begin() + static_cast<std::ptrdiff_t>(m.start[i + 1]);
      return std::lower_bound(first, last, j, [](const Edge& x, PeerId p) { return x.peer < p; })->weight;
    };
    if (!report_.symmetric) {
      if (!report_.column_stochastic || !report_.connected) return {};
      std::vector<PeerId> stack{0};
      pi[0] = 1;
      while (!stack.empty()) {
        const PeerId i = stack.back();
        stack.pop_back();
        for (std::size_t e = m.start[i]; e < m.start[i + 1]; ++e) {
          const PeerId j = m.entry[e].peer;
          const double there = pi[i] * weight(j, i) / m.entry[e].weight;
          if (pi[j] == 0) {
            pi[j] = there;
            stack.push_back(j);
          } else if (std::abs(pi[j] - there) > kRounding * pi[j]) {
            return {};
          }
        }
      }
    }
    const double sum = std::accumulate(pi.begin(), pi.end(), 0.0);
    for (auto& value : pi) value = std::sqrt(value / sum);
    return pi;
  }

  Result<> reversible(const std::vector<double>& scale) {
    const Matrix& m = rounds_.matrices.front();
    std::vector<SparseEntry> entries;
    entries.reserve(m.entry.size() + n_);
    for (PeerId i = 0; i < n_; ++i) {
      entries.push_back({i, i, m.self[i]});
      for (std::size_t e = m.start[i]; e < m.start[i + 1]; ++e) {
        const PeerId j = m.entry[e].peer;
        entries.push_back({i, j, m.entry[e].weight * scale[j] / scale[i]});
      }
    }
    GOSSAMER_TRY_ASSIGN(const auto values, extreme_values(n_, entries, 1, scale));
    report_.second_eigenvalue_modulus = std::max(std::abs(values.largest), std::abs(values.smallest));
    report_.method = values.method;
    report_.residual = std::abs(values.largest) >= std::abs(values.smallest) ? values.largest_residual
                                                                             : values.smallest_residual;
    if (report_.symmetric) {
      report_.beta = report_.second_eigenvalue_modulus;
      report_.lambda_min = values.smallest;
      report_.lambda_min_residual = values.smallest_residual;
      if (!report_.connected) report_.beta = report_.second_eigenvalue_modulus = 1;
    } else {
      GOSSAMER_TRY(beta_by_lanczos());
    }
    return {};
  }

  // ||P - J||_2 is the root of the largest eigenvalue of (P - J)^T (P - J).
  Result<> beta_by_lanczos() {
    std::vector<double> work(n_);
    const auto ritz = lanczos(
        n_,
        [&](std::span<const double> x, std::span<double> y) {
          work.assign(x.begin(), x.end());
          rounds_.forward(&work);
          const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(n_);
          for (auto& value : work) value -= mean;
          const double mean_after = std::accumulate(work.begin(), work.end(), 0.0) / static_cast<double>(n_);
          rounds_.backward(&work);
          for (std::size_t i = 0; i < n_; ++i) y[i] = work[i] - mean_after;
        },
        120);
    report_.beta = std::sqrt(std::max(0.0, ritz.largest));
    const double residual = report_.beta > 0 ? ritz.largest_residual / (2 * report_.beta) : 0;
    report_.residual = std::max(report_.residual, residual);
    report_.method +=
        fmt::format("{}singular value by Lanczos, {} steps", report_.method.empty() ? "" : "; ", ritz.steps);
    return {};
  }

  Result<> general() {
    if (n_ <= kDense) {
      const auto p = rounds_.dense();
      report_.beta = report_.rounds_to_consensus ? 0 : beta_dense(n_, p);
      report_.second_eigenvalue_modulus = report_.rounds_to_consensus ? 0 : second_modulus_dense(n_, p);
      report_.method = report_.rounds_to_consensus ? "two random vectors became constant"
                                                   : "dense eigenvalues of the product";
      return {};
    }
    if (report_.rounds_to_consensus) {
      report_.method = "two random vectors became constant";
      return {};
    }
    GOSSAMER_TRY(beta_by_lanczos());
    // The decay of a vector without a share of the eigenvalue 1: left eigenvector 1 when columns sum to 1
    // (then vectors of sum 0 stay such), right eigenvector 1 when rows do (then the same holds of the
    // transpose).
    Random random(0x6d6f6475, Purpose::topology);
    std::vector<double> x(n_);
    for (auto& value : x) value = random.uniform() - 0.5;
    const std::size_t rounds_max = std::max<std::size_t>(1, 400 / rounds_.matrices.size());
    double log_norm = 0;
    std::vector<double> logs{0};
    for (std::size_t k = 0; k < rounds_max; ++k) {
      remove_mean(&x);
      if (report_.column_stochastic) {
        rounds_.forward(&x);
      } else {
        rounds_.backward(&x);
      }
      const double size = norm(x);
      if (size == 0) break;
      for (auto& value : x) value /= size;
      log_norm += std::log(size);
      logs.push_back(log_norm);
    }
    // Over the second half the share of faster modes is gone; over its two halves the rates agree when
    // converged.
    const auto rate = [&](std::size_t from, std::size_t to) {
      return to > from ? std::exp((logs[to] - logs[from]) / static_cast<double>(to - from)) : 0.0;
    };
    const std::size_t end = logs.size() - 1;
    report_.second_eigenvalue_modulus = rate(end / 2, end);
    report_.residual =
        std::max(report_.residual, std::abs(rate(end / 2, end * 3 / 4) - rate(end * 3 / 4, end)));
    report_.method += fmt::format("; modulus by power iteration, {} periods", end);
    return {};
  }

  const Topology& topology_;
  const CheckOptions& options_;
  std::size_t n_;
  TopologyFacts facts_;
  TopologyReport report_;
  Rounds rounds_;
  bool both_ = true;  // the union is undirected
  std::size_t least_out_ = static_cast<std::size_t>(-1), most_out_ = 0, out_edges_ = 0;
  double out_weight_ = 0;
};

}  // namespace

Result<TopologyReport> check_topology(const Topology& topology, const CheckOptions& options) {
  return Check(topology, options).run();
}

}  // namespace gossamer
