// The arithmetic that mixers and trainers do on flat vectors.
//
// Results are reproducible to the bit: elementwise loops round each operation once in the order written
// here, and sums are taken in the fixed order of kernels/reduce.h.  Neither the processor nor the number of threads
// changes them.  Vectors of one call have the same length (checked).  Unless a comment says otherwise, outputs do not
// overlap inputs.
//
// The forms with a Stream use its threads (kernels/parallel.h); the others run on the caller's alone.
//
// Pure functions; thread safe as far as their arguments are.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/memory.h"
#include "kernels/implementations.h"

namespace gossamer {

// to = from.  They may overlap while they are small.
void copy(std::span<const float> from, std::span<float> to);
void copy(Stream& stream, std::span<const float> from, std::span<float> to);

// to = from, and |from|^2 out of the same pass: the bits of copy() and of squared_norm().  No overlap.
double copy_and_norm(Stream& stream, std::span<const float> from, std::span<float> to);

// to = a x, multiplied in double and rounded once; returns |to|^2 likewise.
double narrow(Stream& stream, double a, std::span<const double> x, std::span<float> to);

// y = a * y
void scale(float a, std::span<float> y);

// y = y + (a * x)
void axpy(float a, std::span<const float> x, std::span<float> y);

// out = ((w0 * x0) + w1 * x1) + ... in fp32, in the order given; zero for no terms.  `out` may be one of
// the inputs (the whole of it), so that a model is mixed in place; elsewhere a large one goes past the caches.
void weighted_sum(std::span<const WeightedVector> terms, std::span<float> out);
void weighted_sum(Stream& stream, std::span<const WeightedVector> terms, std::span<float> out);

// out = x + d with d = ((w0 (x0 - x)) + w1 (x1 - x)) + ..., in one pass: the bits of Compressor::decode() (difference) of payloads that
// are the vectors themselves, and of axpy(1, d, x) after it.  `out` may be x; elsewhere a large one goes past the caches.  Returns
// |d|^2, as squared_norm() would; nothing, and an `out` of no use, where a d is NaN or infinite.
std::optional<double> mix(Stream& stream, std::span<const WeightedVector> others, std::span<const float> x, std::span<float> out);

// Sums in fp64.
double dot(std::span<const float> x, std::span<const float> y);
double squared_norm(std::span<const float> x);
double squared_distance(std::span<const float> x, std::span<const float> y);  // |x - y|^2, x - y in fp64
double squared_distance(Stream& stream, std::span<const float> x, std::span<const float> y);

// True when no element is NaN or infinite.
bool all_finite(std::span<const float> x);

inline constexpr std::size_t kSketchBucketsMax = 32768;

// A count-sketch: out = S x for a random matrix S of the seed, one entry +-1 in each column.
//
// Linear in x, and E |S x|^2 = |x|^2 over seeds with variance at most 2 |x|^4 / out.size(); so peers that
// use one seed learn their distance |x - y|^2 from |S x - S y|^2 by exchanging out.size() numbers.  Whatever
// `out` held is overwritten.  Elements are added to their bucket in ascending order.
// REQUIRES: 1 <= out.size() <= kSketchBucketsMax; a power of two makes the buckets equally likely.
void sketch(std::span<const float> x, std::uint64_t seed, std::span<double> out);

}  // namespace gossamer
