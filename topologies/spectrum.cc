#include "topologies/spectrum.h"

#include <fmt/format.h>
#include <Eigen/Dense>
#include <Eigen/SparseCholesky>
#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>

#include "base/random.h"

namespace gossamer {
namespace {

using Sparse = Eigen::SparseMatrix<double>;
using Vector = Eigen::VectorXd;

constexpr std::size_t kDense = 320;
constexpr std::size_t kLanczosSteps = 240;
constexpr double kEnough = 0.02;  // residual over gap; the error of the value is of the order of its square
constexpr std::size_t kFillPerRow = 60;  // a factor with more entries per row than this is not built

Eigen::Map<const Vector> view(std::span<const double> x) {
  return {x.data(), static_cast<Eigen::Index>(x.size())};
}
Eigen::Map<Vector> view(std::span<double> x) {
  return {x.data(), static_cast<Eigen::Index>(x.size())};
}

// Gives access to the number of entries that the factor will have before it is computed.
class Cholesky : public Eigen::SimplicialLDLT<Sparse> {
 public:
  Eigen::Index fill() const { return m_matrix.nonZeros(); }
};

// The eigenvalue nearest below `known`: Lanczos on the inverse of (shift - A), the known vector projected
// out. Empty when the factor would be too large.
std::optional<RitzValues> nearest_below(const Sparse& a, double shift, const Vector& v) {
  const auto n = a.rows();
  Sparse shifted = -a;
  for (Eigen::Index i = 0; i < n; ++i) shifted.coeffRef(i, i) += shift;
  shifted.makeCompressed();
  Cholesky factor;
  factor.analyzePattern(shifted);
  if (factor.fill() > static_cast<Eigen::Index>(kFillPerRow) * n) return std::nullopt;
  factor.factorize(shifted);
  if (factor.info() != Eigen::Success) return std::nullopt;
  Vector work(n);
  return lanczos(
      static_cast<std::size_t>(n),
      [&](std::span<const double> x, std::span<double> y) {
        work = view(x) - v * v.dot(view(x));
        work = factor.solve(work);
        view(y) = work - v * v.dot(work);
      },
      kLanczosSteps);
}

}  // namespace

RitzValues lanczos(std::size_t n, const Operator& apply, std::size_t steps_max,
                   const std::function<bool(const RitzValues&)>& enough) {
  // Three-term recurrence without reorthogonalization: copies of converged values appear and do no harm at
  // the ends of the spectrum, and the residual estimate stays right (Paige 1980).
  Vector q = Vector::Zero(static_cast<Eigen::Index>(n)), before = q, next = q;
  Random random(0x6c616e63, Purpose::topology);
  for (auto& x : q) x = random.uniform() - 0.5;
  q.normalize();
  std::vector<double> diagonal, off;
  RitzValues ritz;
  double beta = 0, scale = 0;
  steps_max = std::min(steps_max, 2 * n);
  for (std::size_t step = 1; step <= steps_max; ++step) {
    apply({q.data(), n}, {next.data(), n});
    const double alpha = q.dot(next);
    next -= alpha * q + beta * before;
    diagonal.push_back(alpha);
    beta = next.norm();
    scale = std::max({scale, std::abs(alpha), beta});
    const bool exhausted = !(beta > 1e-14 * scale) || scale == 0;
    if (exhausted || step == steps_max || step % 20 == 0) {
      const auto size = static_cast<Eigen::Index>(step);
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> small;
      const Vector d = Eigen::Map<const Vector>(diagonal.data(), size);
      const Vector e =
          step > 1 ? Vector(Eigen::Map<const Vector>(off.data(), size - 1)) : Vector(Vector::Zero(0));
      small.computeFromTridiagonal(d, e);
      ritz.steps = step;
      ritz.smallest = small.eigenvalues()(0);
      ritz.largest = small.eigenvalues()(size - 1);
      ritz.smallest_residual = exhausted ? 0 : std::abs(beta * small.eigenvectors()(size - 1, 0));
      ritz.largest_residual = exhausted ? 0 : std::abs(beta * small.eigenvectors()(size - 1, size - 1));
      const bool small_residuals =
          ritz.largest_residual <= 1e-10 * std::abs(ritz.largest) && ritz.smallest_residual <= 1e-4 * scale;
      if (exhausted || (enough ? enough(ritz) : small_residuals)) return ritz;
    }
    off.push_back(beta);
    before = q;
    q = next / beta;
  }
  return ritz;
}

Result<ExtremeValues> extreme_values(std::size_t n, const std::vector<SparseEntry>& entries, double known,
                                     std::span<const double> vector) {
  const auto size = static_cast<Eigen::Index>(n);
  const Vector v = view(vector);
  ExtremeValues values;
  try {
    if (n <= kDense) {
      // The known eigenvalue moves below all others by a multiple of its projector, and is then left out.
      Eigen::MatrixXd a = Eigen::MatrixXd::Zero(size, size);
      for (const auto& e : entries) a(e.row, e.column) += e.value;
      const double bound = a.cwiseAbs().rowwise().sum().maxCoeff();
      a -= (known + 2 * bound + 1) * v * v.transpose();
      const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(a);
      values.smallest = solver.eigenvalues()(1);
      values.largest = solver.eigenvalues()(size - 1);
      const auto residual = [&](Eigen::Index k) {
        const Vector x = solver.eigenvectors().col(k);
        return (a * x - solver.eigenvalues()(k) * x).norm();
      };
      values.smallest_residual = residual(1);
      values.largest_residual = residual(size - 1);
      values.method = "dense symmetric eigenvalues";
      return values;
    }
    std::vector<Eigen::Triplet<double>> triplets;
    triplets.reserve(entries.size());
    for (const auto& e : entries)
      triplets.emplace_back(static_cast<int>(e.row), static_cast<int>(e.column), e.value);
    Sparse a(size, size);
    a.setFromTriplets(triplets.begin(), triplets.end());
    triplets = {};
    // Both ends count, so the known value is moved to 0, which lies between them.
    const auto ritz = lanczos(
        n,
        [&](std::span<const double> x, std::span<double> y) {
          view(y).noalias() = a * view(x);
          view(y) -= known * v.dot(view(x)) * v;
        },
        kLanczosSteps,
        [&](const RitzValues& r) {
          return r.largest_residual <= kEnough / 4 * (known - r.largest) &&
                 r.smallest_residual <= 1e-3 * std::max(std::abs(known), std::abs(r.smallest));
        });
    values.largest = ritz.largest;
    values.smallest = ritz.smallest;
    values.largest_residual = ritz.largest_residual;
    values.smallest_residual = ritz.smallest_residual;
    values.method = fmt::format("Lanczos, {} steps", ritz.steps);
    const double gap = known - ritz.largest;
    if (ritz.largest_residual <= kEnough * gap) return values;
    // The shift lies above the known value, so that the matrix stays definite, nearer than any gap to be
    // found.
    const double shift = known + 1e-9 * std::max(1.0, std::abs(known));
    const auto inverse = nearest_below(a, shift, v);
    if (!inverse) {
      values.method += " (not converged; its Cholesky factor would be too large for shift-invert)";
      return values;
    }
    values.largest = shift - 1 / inverse->largest;
    // d(shift - 1/nu) = d(nu) / nu^2.
    values.largest_residual = inverse->largest_residual / (inverse->largest * inverse->largest);
    values.method = fmt::format("shift-invert Lanczos on a sparse Cholesky factor, {} steps", inverse->steps);
    return values;
  } catch (const std::exception& error) {
    return fail(Errc::internal, fmt::format("eigenvalues of a matrix of {} rows: {}", n, error.what()));
  }
}

namespace {
Eigen::MatrixXd dense(std::size_t n, const std::vector<double>& row_major) {
  const auto size = static_cast<Eigen::Index>(n);
  return Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      row_major.data(), size, size);
}
}  // namespace

double second_modulus_dense(std::size_t n, const std::vector<double>& row_major) {
  if (n < 2) return 0;
  const Eigen::EigenSolver<Eigen::MatrixXd> solver(dense(n, row_major), false);
  std::size_t first = 0;
  for (std::size_t i = 1; i < n; ++i)
    if (std::abs(solver.eigenvalues()(static_cast<Eigen::Index>(i)) - 1.0) <
        std::abs(solver.eigenvalues()(static_cast<Eigen::Index>(first)) - 1.0))
      first = i;
  double most = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (i != first) most = std::max(most, std::abs(solver.eigenvalues()(static_cast<Eigen::Index>(i))));
  return most;
}

double beta_dense(std::size_t n, const std::vector<double>& row_major) {
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::MatrixXd b =
      dense(n, row_major) - Eigen::MatrixXd::Constant(size, size, 1.0 / static_cast<double>(n));
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(b.transpose() * b, Eigen::EigenvaluesOnly);
  return std::sqrt(std::max(0.0, solver.eigenvalues()(size - 1)));
}

Result<LaplacianEnds> laplacian_ends(const GraphRule& graph) {
  const std::size_t n = graph.peer_count();
  // Of -L, so that the known eigenvalue 0 is the largest.
  std::vector<SparseEntry> entries;
  std::vector<PeerId> peers;
  for (PeerId i = 0; i < n; ++i) {
    graph.senders(i, &peers);
    entries.push_back({i, i, -static_cast<double>(peers.size())});
    for (const PeerId j : peers) entries.push_back({i, j, 1});
  }
  const std::vector<double> ones(n, 1 / std::sqrt(static_cast<double>(n)));
  GOSSAMER_TRY_ASSIGN(const auto values, extreme_values(n, entries, 0, ones));
  const double residual = std::max(values.largest_residual, values.smallest_residual);
  if (residual > 1e-3 * std::abs(values.smallest))
    return fail(
        Errc::unsupported,
        fmt::format(
            "the Laplacian eigenvalues that best-constant weights need are known only to {:.1e} ({}); "
            "choose metropolis weights",
            residual, values.method));
  // Below rounding, the second eigenvalue is that of a disconnected graph.
  const double second = -values.largest;
  return LaplacianEnds{second > 1e-12 ? second : 0, -values.smallest};
}

}  // namespace gossamer
