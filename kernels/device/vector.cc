#include "kernels/device/vector.h"

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

Result<Total> total(DeviceStream& stream, Terms terms, std::span<const float> x, std::span<const float> y) {
  GOSSAMER_CHECK(x.size() == y.size(), "vectors of one length");
  if (x.empty()) return Total{};
  const device::DeviceChunk whole{.count = x.size()};
  const std::uint64_t parts = device::shares(x.size(), kSumChunk);
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
  const device::Chunks chunks{arrays.table, 1, device::shares(x.size(), kTile), parts};
  stream.launch(device::Sum{.terms = terms, .x = x.data(), .y = y.data(), .chunks = chunks, .parts = arrays.parts, .most = &arrays.result->most});
  stream.launch(device::Fold{chunks, arrays.parts, &arrays.result->sum});
  Total result;
  stream.download(arrays.result, &result, sizeof result);
  GOSSAMER_TRY(stream.finish());
  return result;
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
