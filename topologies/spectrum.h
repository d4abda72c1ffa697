// Extreme eigenvalues of large sparse matrices, with the residual that says how well they are known.
//
// Plain Lanczos finds the second eigenvalue of an expander in tens of steps and that of a large ring never
// (the gap of a ring of 100,000 is 1.3e-9); a shift next to the first eigenvalue and a sparse Cholesky factor
// finds the latter at once and would fill the memory on the former.  So: dense where small, Lanczos where
// that converges, shift-invert where the factor stays sparse, and the best Lanczos value with its residual
// where neither does.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "topologies/graph_rule.h"

namespace gossamer {

struct SparseEntry {
  PeerId row = 0;
  PeerId column = 0;
  double value = 0;
};

struct ExtremeValues {
  double largest = 0;  // apart from the known one
  double smallest = 0;
  double largest_residual = 0;  // ||A x - lambda x||: an eigenvalue lies that near
  double smallest_residual = 0;
  std::string method;
};

// Eigenvalues of the symmetric matrix `entries` (n x n, both triangles), apart from one with the value
// `known` and the unit eigenvector `vector`.  REQUIRES: n >= 2; known is the largest eigenvalue.
Result<ExtremeValues> extreme_values(std::size_t n, const std::vector<SparseEntry>& entries, double known,
                                     std::span<const double> vector);

// The ends of the spectrum of the symmetric operator `apply` (y = A x) by Lanczos.
using Operator = std::function<void(std::span<const double> x, std::span<double> y)>;
struct RitzValues {
  double largest = 0;
  double smallest = 0;
  double largest_residual = 0;
  double smallest_residual = 0;
  std::size_t steps = 0;
};
// Ends after `steps_max` steps, or as soon as `enough` says so (it is asked every 20 steps; by default when
// both residuals are small against the values).
RitzValues lanczos(std::size_t n, const Operator& apply, std::size_t steps_max,
                   const std::function<bool(const RitzValues&)>& enough = {});

// The largest |eigenvalue| of the n x n matrix `entries` apart from one equal to 1; n small (dense).
double second_modulus_dense(std::size_t n, const std::vector<double>& row_major);
// ||P - J||_2; dense.
double beta_dense(std::size_t n, const std::vector<double>& row_major);

Result<LaplacianEnds> laplacian_ends(const GraphRule& graph);

}  // namespace gossamer
