#include "kernels/vector.h"

#include <algorithm>
#include <array>

#include "kernels/parallel.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

constexpr std::size_t kLengths[] = {0, 1, 31, 32, 33, 1000, 4096, 4097, 140000};

// The order of kernels/reduce.h, written down a second time without its loops.
double in_documented_order(const std::vector<double>& terms) {
  const auto fold = [](std::array<double, 32> lanes) {
    for (std::size_t width : {16u, 8u, 4u, 2u, 1u})
      for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
    return lanes[0];
  };
  std::array<double, 32> total{}, lanes{};
  for (std::size_t i = 0; i < terms.size(); ++i) {
    lanes[i % 32] += terms[i];
    if (i % 4096 == 4095 || i + 1 == terms.size()) {
      total[i / 4096 % 32] += fold(lanes);
      lanes = {};
    }
  }
  return fold(total);
}

TEST(Vector, SumsAreTakenInTheDocumentedOrder) {
  for (std::size_t n : kLengths) {
    auto x = normal_vector(n), y = normal_vector(n, 2);
    for (std::size_t i = 0; i < n; ++i) x[i] *= std::pow(10.0f, static_cast<float>(i % 11));
    std::vector<double> products(n), squares(n), distances(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double a = x[i], b = y[i];
      products[i] = a * b;
      squares[i] = a * a;
      distances[i] = (a - b) * (a - b);
    }
    EXPECT_EQ(dot(x, y), in_documented_order(products)) << n;
    EXPECT_EQ(squared_norm(x), in_documented_order(squares)) << n;
    EXPECT_EQ(squared_distance(x, y), in_documented_order(distances)) << n;
  }
}

TEST(Vector, NormsComeOutOfThePassesThatWrite) {
  ThreadedStream threads(3);
  Stream one;
  for (std::size_t n : kLengths) {
    const auto x = normal_vector(n), y = normal_vector(n, 2);
    std::vector<double> wide(n);
    std::vector<float> narrowed(n);
    for (std::size_t i = 0; i < n; ++i) {
      wide[i] = static_cast<double>(x[i]) + 1e-9 * static_cast<double>(y[i]);
      narrowed[i] = static_cast<float>(0.3 * wide[i]);
    }
    for (Stream* stream : {&one, static_cast<Stream*>(&threads)}) {
      std::vector<float> to(n, 9.f);
      EXPECT_EQ(copy_and_norm(*stream, x, to), squared_norm(x)) << n;
      EXPECT_EQ(to, x);
      EXPECT_EQ(narrow(*stream, 0.3, wide, to), squared_norm(narrowed)) << n;
      EXPECT_EQ(to, narrowed);
    }
  }
}

TEST(Vector, MixingInPlaceIsDifferenceSumAndNormInOnePass) {
  const auto codec = make_compressor({}).value();
  ThreadedStream threads(3);
  Stream one;
  for (std::size_t n : kLengths)
    for (std::size_t others : {0u, 1u, 2u, 5u}) {
      const auto x = normal_vector(n);
      std::vector<std::vector<float>> models;
      std::vector<WeightedVector> vectors;
      std::vector<WeightedPayload> payloads;
      for (std::size_t j = 0; j < others; ++j) models.push_back(normal_vector(n, 2 + static_cast<std::uint64_t>(j)));
      for (std::size_t j = 0; j < others; ++j) {
        const float weight = 0.3f / static_cast<float>(j + 1);
        vectors.push_back({weight, models[j]});
        payloads.push_back({std::as_bytes(std::span(models[j])), weight});
      }
      const Layout layout = Layout::flat(n);
      std::vector<float> d(n);
      ASSERT_TRUE(codec->decode(one, payloads, layout, {.target = DecodeTo::difference, .out = d, .own = x}));
      auto expected = x;
      axpy(1, d, expected);
      for (Stream* stream : {&one, static_cast<Stream*>(&threads)}) {
        auto mixed = x;
        const auto moved = mix(*stream, vectors, mixed, mixed);
        ASSERT_TRUE(moved);
        EXPECT_EQ(*moved, squared_norm(d)) << n;
        EXPECT_EQ(mixed, expected) << n << ", " << others;
        std::vector<float> apart(n, 9.f);
        EXPECT_EQ(mix(*stream, vectors, x, apart), moved);
        EXPECT_EQ(apart, expected) << n << ", " << others;
      }
      if (n == 0 || others == 0) continue;
      models.back()[n / 2] = std::numeric_limits<float>::infinity();
      auto mixed = x;
      EXPECT_FALSE(mix(threads, vectors, x, mixed));
    }
}

TEST(Vector, ElementwiseLoopsRoundOncePerOperation) {
  for (std::size_t n : kLengths) {
    const auto x = normal_vector(n), y = normal_vector(n, 2);
    auto z = y;
    axpy(0.3f, x, z);
    for (std::size_t i = 0; i < n; ++i) {
      const float product = 0.3f * x[i];
      ASSERT_EQ(z[i], y[i] + product);
    }
    scale(-1.7f, z);
    for (std::size_t i = 0; i < n; ++i) {
      const float product = 0.3f * x[i], sum = y[i] + product;
      ASSERT_EQ(z[i], -1.7f * sum);
    }
    copy(x, z);
    EXPECT_TRUE(same_bits(x, z));
  }
}

TEST(Vector, WeightedSumAddsInTheOrderGivenAndInPlace) {
  for (std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{1023}, std::size_t{2500}}) {
    const auto a = normal_vector(n, 1), b = normal_vector(n, 2), c = normal_vector(n, 3);
    std::vector<float> expected(n), out(n, 99.0f);
    for (std::size_t i = 0; i < n; ++i) {
      float sum = 0.5f * a[i];
      sum += 0.3f * b[i];
      sum += 0.2f * c[i];
      expected[i] = sum;
    }
    const WeightedVector terms[] = {{0.5f, a}, {0.3f, b}, {0.2f, c}};
    weighted_sum(terms, out);
    EXPECT_TRUE(same_bits(out, expected));
    for (std::size_t which = 0; which < 3; ++which) {
      std::vector<float> model(terms[which].x.begin(), terms[which].x.end());
      WeightedVector in_place[] = {terms[0], terms[1], terms[2]};
      in_place[which].x = model;
      weighted_sum(in_place, model);
      EXPECT_TRUE(same_bits(model, expected)) << which;
    }
    weighted_sum({}, out);
    EXPECT_EQ(out, std::vector<float>(n));
  }
}

TEST(Vector, AllFiniteSeesEveryPosition) {
  const float bad[] = {std::nanf(""), -std::nanf(""), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  std::vector<float> x(77, std::numeric_limits<float>::max());
  x[3] = -std::numeric_limits<float>::max();
  x[4] = std::numeric_limits<float>::denorm_min();
  EXPECT_TRUE(all_finite(x));
  EXPECT_TRUE(all_finite({}));
  for (std::size_t i = 0; i < x.size(); ++i)
    for (float value : bad) {
      const float before = std::exchange(x[i], value);
      EXPECT_FALSE(all_finite(x)) << i;
      x[i] = before;
    }
}

TEST(Sketch, IsLinear) {
  std::vector<float> x(1000), y(1000), sum(1000);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i % 13) - 6;
    y[i] = static_cast<float>(i % 7);
    sum[i] = x[i] - 2 * y[i];
  }
  std::vector<double> of_x(64), of_y(64), of_sum(64, 1e9);
  sketch(x, 5, of_x);
  sketch(y, 5, of_y);
  sketch(sum, 5, of_sum);
  for (std::size_t i = 0; i < 64; ++i) ASSERT_EQ(of_sum[i], of_x[i] - 2 * of_y[i]);
}

TEST(Sketch, EstimatesTheSquaredNormWithoutBias) {
  for (std::size_t buckets : {1u, 16u, 100u}) {
    for (bool peaked : {false, true}) {
      auto x = normal_vector(700);
      if (peaked) x[350] = 30;
      const double norm = squared_norm(x);
      constexpr std::size_t kDraws = 3000;
      double sum = 0, squares = 0;
      std::vector<double> out(buckets);
      for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
        sketch(x, seed, out);
        double estimate = 0;
        for (double value : out) estimate += value * value / norm;
        sum += estimate;
        squares += estimate * estimate;
      }
      const double mean = sum / kDraws, variance = squares / kDraws - mean * mean;
      EXPECT_NEAR(mean, 1, 4 * std::sqrt(variance / kDraws)) << buckets;
      EXPECT_LE(variance, 2.0 / static_cast<double>(buckets) * 1.3) << buckets;
    }
  }
}

TEST(Sketch, TellsPeersTheirDistance) {
  const auto x = normal_vector(20000);
  auto y = x;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += 1e-3f * x[(i * 7 + 1) % y.size()];
  std::vector<double> of_x(1024), of_y(1024);
  sketch(x, 42, of_x);
  sketch(y, 42, of_y);
  double estimate = 0;
  for (std::size_t i = 0; i < of_x.size(); ++i) estimate += (of_x[i] - of_y[i]) * (of_x[i] - of_y[i]);
  EXPECT_NEAR(estimate / squared_distance(x, y), 1, 0.2);  // 4.5 sigma
}

TEST(Sketch, OfNothingIsZero) {
  std::vector<double> out(8, 1.0);
  sketch({}, 1, out);
  EXPECT_EQ(out, std::vector<double>(8));
}

}  // namespace
}  // namespace gossamer
