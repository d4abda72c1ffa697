#include "kernels/device/vector.h"

#include <cmath>

#include "base/check.h"
#include "kernels/codes.h"
#include "kernels/device/scratch.h"

namespace gossamer {
namespace {

using device::Terms;

struct Total {
  double sum = 0;
  std::uint32_t most = 0;  // of x, as bits
};

// Folds what launch(chunks, parts, most) makes of a vector: one chunk, the sums of its parts and, if it likes, its largest magnitude.
template <class Launch>
Result<Total> total_of(DeviceStream& stream, std::size_t size, const Launch& launch) {
  if (size == 0) return Total{};
  const device::DeviceChunk whole{.count = size};
  const std::uint64_t parts = device::shares(size, kSumChunk);
  struct Arrays {
    Arrays(std::byte* base, std::uint64_t count) : all(base), table(all.take<device::DeviceChunk>(1)), result(all.take<Total>(1)), parts(all.take<double>(count)) {}
    device::Scratch all;
    device::DeviceChunk* table;
    Total* result;
    double* parts;
  };
  GOSSAMER_TRY_ASSIGN(std::byte* const base, stream.scratch(Arrays(nullptr, parts).all.used()));
  const Arrays arrays(base, parts);
  stream.upload(&whole, arrays.table, sizeof whole);
  stream.clear(arrays.result, sizeof(Total));
  const device::Chunks chunks{arrays.table, 1, device::shares(size, kTile), parts};
  launch(chunks, arrays.parts, &arrays.result->most);
  stream.launch(device::Fold{chunks, arrays.parts, &arrays.result->sum});
  Total result;
  stream.download(arrays.result, &result, sizeof result);
  GOSSAMER_TRY(stream.finish());
  return result;
}

Result<Total> total(DeviceStream& stream, Terms terms, std::span<const float> x, std::span<const float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  return total_of(stream, x.size(), [&](const device::Chunks& chunks, double* parts, std::uint32_t* most) {
    stream.launch(device::Sum{.terms = terms, .x = x.data(), .y = y.data(), .chunks = chunks, .parts = parts, .most = most});
  });
}

// The sum of the squares that come out of a pass, which sets its `parts`.
template <class Pass>
Result<double> squares_of(DeviceStream& stream, Pass pass) {
  GOSSAMER_TRY_ASSIGN(const Total result, total_of(stream, pass.count, [&](const device::Chunks&, double* parts, std::uint32_t*) {
                        pass.parts = parts;
                        stream.launch(pass);
                      }));
  return result.sum;
}

Result<double> sum(DeviceStream& stream, Terms terms, std::span<const float> x, std::span<const float> y) {
  GOSSAMER_TRY_ASSIGN(const Total result, total(stream, terms, x, y));
  return result.sum;
}

}  // namespace

void copy(DeviceStream& stream, std::span<const float> from, std::span<float> to) {
  GOSSAMER_CHECK(from.size() == to.size(), "vectors of one length");
  if (!from.empty()) stream.copy(from.data(), to.data(), from.size_bytes());
}

Result<double> copy_and_norm(DeviceStream& stream, std::span<const float> from, std::span<float> to) {
  GOSSAMER_CHECK(from.size() == to.size(), "vectors of one length");
  return squares_of(stream, device::CopyAndSquare<float>{.from = from.data(), .to = to.data(), .count = to.size()});
}

Result<double> narrow(DeviceStream& stream, double a, std::span<const double> x, std::span<float> to) {
  GOSSAMER_CHECK(x.size() == to.size(), "vectors of one length");
  return squares_of(stream, device::CopyAndSquare<double>{.a = a, .from = x.data(), .to = to.data(), .count = to.size()});
}

Result<std::optional<double>> mix(DeviceStream& stream, std::span<const WeightedVector> others, std::span<const float> x, std::span<float> out) {
  GOSSAMER_CHECK(x.size() == out.size(), "vectors of one length");
  GOSSAMER_CHECK(others.size() <= device::kTermsMax, "at most 128 others");
  device::Mix work{.x = x.data(), .out = out.data(), .count = out.size(), .others = static_cast<unsigned>(others.size())};
  for (std::size_t t = 0; t < others.size(); ++t) {
    GOSSAMER_CHECK(others[t].x.size() == out.size(), "vectors of one length");
    work.from[t] = others[t].x.data();
    work.weights[t] = others[t].weight;
  }
  GOSSAMER_TRY_ASSIGN(const double moved, squares_of(stream, work));
  if (!std::isfinite(moved)) return std::nullopt;
  return moved;
}

void weighted_sum(DeviceStream& stream, std::span<const WeightedVector> terms, std::span<float> out) {
  GOSSAMER_CHECK(terms.size() <= device::kTermsMax, "at most 128 terms");
  device::WeightedSum work{.out = out.data(), .count = out.size(), .terms = static_cast<unsigned>(terms.size())};
  for (std::size_t t = 0; t < terms.size(); ++t) {
    GOSSAMER_CHECK(terms[t].x.size() == out.size(), "vectors of one length");
    work.x[t] = terms[t].x.data();
    work.weights[t] = terms[t].weight;
  }
  if (!out.empty()) stream.launch(work);
}

void scale(DeviceStream& stream, float a, std::span<float> y) {
  const WeightedVector term{a, y};
  weighted_sum(stream, {&term, 1}, y);
}

void axpy(DeviceStream& stream, float a, std::span<const float> x, std::span<float> y) {
  const WeightedVector terms[] = {{1.0f, y}, {a, x}};
  weighted_sum(stream, terms, y);
}

Result<double> dot(DeviceStream& stream, std::span<const float> x, std::span<const float> y) { return sum(stream, Terms::products, x, y); }

Result<double> squared_norm(DeviceStream& stream, std::span<const float> x) { return dot(stream, x, x); }

Result<double> squared_distance(DeviceStream& stream, std::span<const float> x, std::span<const float> y) {
  return sum(stream, Terms::squared_differences, x, y);
}

Result<bool> all_finite(DeviceStream& stream, std::span<const float> x) {
  GOSSAMER_TRY_ASSIGN(const Total result, total(stream, Terms::none, x, x));
  return result.most < kInfinityBits;
}

}  // namespace gossamer
