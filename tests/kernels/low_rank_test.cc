// What low rank promises beyond the interface: its linear algebra, what a payload keeps of a matrix, and what its decoder refuses.
#include <algorithm>
#include <cmath>

#include "kernels/low_rank.h"
#include "kernels/low_rank_payload.h"
#include "kernels/parallel.h"
#include "kernels/vector.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

// The sum of `directions` products of random columns, of lengths that fall by `decay`.
std::vector<float> matrix_of_rank(std::size_t rows, std::size_t columns, std::size_t directions, double decay, std::uint64_t seed) {
  std::vector<float> m(rows * columns);
  for (std::size_t k = 0; k < directions; ++k) {
    const auto u = normal_vector(rows, seed + 2 * k), v = normal_vector(columns, seed + 2 * k + 1);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j) m[i * columns + j] += static_cast<float>(std::pow(decay, k)) * u[i] * v[j];
  }
  return m;
}

Layout layout_of(std::vector<std::vector<std::size_t>> shapes) {
  Layout layout;
  for (auto& shape : shapes) layout.add("t" + std::to_string(layout.tensors().size()), std::move(shape));
  return layout;
}

double lost(const CompressionOptions& options, std::span<const float> x, const Layout& layout, std::uint64_t seed = 1) {
  return squared_error(x, round_trip(*compressor(options), x, layout, seed)) / squared(x);
}

double largest_product(std::span<const float> columns, std::size_t rank) {
  const std::size_t height = columns.size() / rank;
  double worst = 0;
  for (std::size_t a = 0; a < rank; ++a)
    for (std::size_t b = a; b < rank; ++b) {
      const double product = dot(columns.subspan(a * height, height), columns.subspan(b * height, height));
      worst = std::max(worst, std::abs(product - (a == b && product != 0 ? 1 : 0)));
    }
  return worst;
}

TEST(LowRank, ProductsAreThoseOfTheTextbookWhateverTheThreads) {
  ThreadedStream three(3);
  Stream alone;
  for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{1, 1}, {3, 200}, {200, 3}, {1000, 70}, {130, 3000}, {65, 513}})
    for (const std::size_t rank : {1u, 3u, 4u, 6u}) {
      const auto x = normal_vector(rows * columns, 1), y = normal_vector(rows * columns, 2);
      const auto right = normal_vector(rank * columns, 3), left = normal_vector(rank * rows, 4);
      std::vector<float> to_left(left.size()), to_right(right.size()), product = y, again(left.size());
      const MatrixOf m{EncodeOf::difference, x.data(), y.data(), rows, columns};
      multiply(alone, best_kernels(), m, right, rank, to_left);
      multiply_transposed(alone, best_kernels(), m, left, rank, to_right);
      add_product(alone, best_kernels(), -0.5f, left, right, rank, product);
      for (std::size_t k = 0; k < rank; ++k) {
        for (std::size_t i = 0; i < rows; ++i) {
          double sum = 0, of_product = 0;
          for (std::size_t j = 0; j < columns; ++j) sum += (static_cast<double>(x[i * columns + j]) - y[i * columns + j]) * right[k * columns + j];
          for (std::size_t c = 0; c < rank; ++c) of_product += static_cast<double>(left[c * rows + i]) * right[c * columns + k % columns];
          ASSERT_NEAR(to_left[k * rows + i], sum, 1e-5 * std::sqrt(columns) + 1e-5);
          ASSERT_NEAR(product[i * columns + k % columns], y[i * columns + k % columns] - 0.5 * of_product, 1e-5);
        }
        for (std::size_t j = 0; j < columns; ++j) {
          double sum = 0;
          for (std::size_t i = 0; i < rows; ++i) sum += (static_cast<double>(x[i * columns + j]) - y[i * columns + j]) * left[k * rows + i];
          ASSERT_NEAR(to_right[k * columns + j], sum, 1e-5 * std::sqrt(rows) + 1e-5);
        }
      }
      multiply(three, best_kernels(), m, right, rank, again);
      EXPECT_TRUE(same_bits(again, to_left));
      again.resize(right.size());
      multiply_transposed(three, best_kernels(), m, left, rank, again);
      EXPECT_TRUE(same_bits(again, to_right)) << rows << " x " << columns;
      again = y;
      add_product(three, best_kernels(), -0.5f, left, right, rank, again);
      EXPECT_TRUE(same_bits(again, product));
    }
}

TEST(Orthonormalise, GivesUnitColumnsThatSpanTheSameHoweverClose) {
  Stream stream;
  for (const std::size_t height : {4u, 33u, 1000u, 9000u})
    for (const double apart : {1.0, 1e-2, 1e-4, 3e-6}) {
      auto columns = normal_vector(4 * height, 1);
      for (std::size_t k = 1; k < 4; ++k)
        for (std::size_t i = 0; i < height; ++i)
          columns[k * height + i] = columns[i] + static_cast<float>(apart) * columns[k * height + i];
      const auto before = columns;
      ASSERT_EQ(orthonormalise(stream, best_kernels(), columns, 4), 0u) << height << " " << apart;
      EXPECT_LT(largest_product(columns, 4), 3e-7) << height << " " << apart;
      for (std::size_t k = 0; k < 4; ++k) {  // nothing of a column is outside
        std::vector<double> rest(height);
        for (std::size_t i = 0; i < height; ++i) rest[i] = before[k * height + i];
        double all = 0, left = 0;
        for (const double value : rest) all += value * value;
        for (std::size_t c = 0; c < 4; ++c) {
          double along = 0;
          for (std::size_t i = 0; i < height; ++i) along += columns[c * height + i] * static_cast<double>(before[k * height + i]);
          for (std::size_t i = 0; i < height; ++i) rest[i] -= along * columns[c * height + i];
        }
        for (const double value : rest) left += value * value;
        EXPECT_LT(left, 1e-12 * all);
      }
    }
}

TEST(Orthonormalise, TurnsDependentAndTinyColumnsIntoZerosAndSaysWhich) {
  Stream stream;
  constexpr std::size_t kHeight = 50;
  const auto base = normal_vector(4 * kHeight, 1);
  const auto column = [&](std::vector<float>& of, std::size_t k) { return std::span(of).subspan(k * kHeight, kHeight); };
  auto columns = base;
  for (std::size_t i = 0; i < kHeight; ++i) column(columns, 2)[i] = 3 * column(columns, 0)[i] - column(columns, 1)[i];
  EXPECT_EQ(orthonormalise(stream, best_kernels(), columns, 4), 1u << 2);
  for (const float value : column(columns, 2)) EXPECT_EQ(value, 0);
  EXPECT_LT(largest_product(columns, 4), 3e-7);

  columns = base;
  for (float& value : column(columns, 0)) value *= 1e-42f;  // denormals
  std::fill_n(column(columns, 3).begin(), kHeight, -0.0f);
  EXPECT_EQ(orthonormalise(stream, best_kernels(), columns, 4), 0b1001u);
  EXPECT_LT(largest_product(columns, 4), 3e-7);

  columns = base;  // far below 1 and far above, and yet columns
  for (float& value : column(columns, 1)) value *= 1e-25f;
  for (float& value : column(columns, 2)) value *= 1e36f;
  EXPECT_EQ(orthonormalise(stream, best_kernels(), columns, 4), 0u);
  EXPECT_LT(largest_product(columns, 4), 3e-7);

  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    columns = base;
    column(columns, 3)[17] = bad;
    EXPECT_FALSE(orthonormalise(stream, best_kernels(), columns, 4).has_value());
  }
}

TEST(LowRank, AMatrixOfNoMoreThanItsRankArrivesWhole) {
  const Layout layout = layout_of({{60, 41}, {30, 90}, {2, 3, 40}, {7}});
  for (std::uint32_t rank = 1; rank <= 4; ++rank)
    for (std::size_t directions = 0; directions <= rank; ++directions) {
      std::vector<float> x;
      for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{60, 41}, {30, 90}, {2, 120}}) {
        const auto m = matrix_of_rank(rows, columns, std::min(directions, rows), 0.1, 10 * rows);
        x.insert(x.end(), m.begin(), m.end());
      }
      x.insert(x.end(), {1, 2, 3, 4, 5, 6, 7});
      EXPECT_LT(lost({.codec = CodecId::low_rank, .rank = rank}, x, layout), 1e-11) << rank << " " << directions;
    }
}

// |M - P P^T M|^2 = |M|^2 - |P^T M|^2, and no two numbers of rank r lose less than the singular values behind the r-th.
TEST(LowRank, IsAProjectionAndNearsTheBestOneByPowerIterations) {
  constexpr std::size_t kRows = 80, kColumns = 50;
  const Layout layout = layout_of({{kRows, kColumns}});
  const auto x = matrix_of_rank(kRows, kColumns, 20, 0.6, 5);
  double before = 1;
  for (const std::uint32_t iterations : {0u, 1u, 2u, 8u}) {
    const CompressionOptions options{.codec = CodecId::low_rank, .rank = 3, .power_iterations = iterations};
    double mean = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto q = round_trip(*compressor(options), x, layout, seed);
      const double gone = squared_error(x, q) / squared(x);
      EXPECT_NEAR(gone, 1 - squared(q) / squared(x), 1e-6);
      mean += gone / 20;
    }
    EXPECT_LT(mean, before) << iterations;
    before = mean;
  }
  // The best approximation, by many iterations of a wider basis than the codec has.
  Stream stream;
  std::vector<float> left(8 * kRows), right = normal_vector(8 * kColumns, 9);
  const MatrixOf m{EncodeOf::plain, x.data(), nullptr, kRows, kColumns};
  for (int i = 0; i < 200; ++i) {
    multiply(stream, best_kernels(), m, right, 8, left);
    ASSERT_TRUE(orthonormalise(stream, best_kernels(), left, 8).has_value());
    multiply_transposed(stream, best_kernels(), m, left, 8, right);
    if (i < 199) {
      ASSERT_TRUE(orthonormalise(stream, best_kernels(), right, 8).has_value());
    }
  }
  double kept = 0;
  for (std::size_t k = 0; k < 3; ++k) kept += squared(std::span(right).subspan(k * kColumns, kColumns));
  EXPECT_NEAR(before, 1 - kept / squared(x), 2e-3);
  EXPECT_GE(before, 1 - kept / squared(x) - 1e-5);
}

// A matrix whose directions are all alike is the hardest one; the bound is met on average over seeds, and reached.
TEST(LowRank, KeepsItsShareOfTheHardestMatrix) {
  for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{16, 16}, {16, 40}, {40, 16}}) {
    const Layout layout = layout_of({{rows, columns}});
    std::vector<float> identity(rows * columns);
    for (std::size_t i = 0; i < 16; ++i) identity[i * columns + i] = 1;
    for (std::uint32_t rank = 1; rank <= 4; ++rank) {
      const CompressionOptions options{.codec = CodecId::low_rank, .rank = rank};
      EXPECT_EQ(compressor(options)->contraction(layout), rank / 16.0);
      EXPECT_NEAR(lost(options, identity, layout), 1 - rank / 16.0, 1e-5);
    }
  }
  Layout both = layout_of({{100, 50}, {20, 90}, {9}});
  EXPECT_EQ(compressor({.codec = CodecId::low_rank, .rank = 2})->contraction(both), 2 / 50.0);
  EXPECT_EQ(compressor({.codec = CodecId::low_rank})->contraction(Layout::flat(9)), 1);
}

TEST(LowRank, VectorsAndMatricesTooSmallForFactorsTravelAsTheyAre) {
  for (const Layout& layout : {layout_of({{12}, {1, 8}, {8, 1}, {2, 2}, {4, 4}, {0, 5}, {}}), Layout::flat(0)}) {
    const auto x = normal_vector(layout.size());
    const auto codec = compressor({.codec = CodecId::low_rank, .rank = 2});
    EXPECT_EQ(codec->capacity(layout), 64 + 4 * layout.size());
    EXPECT_TRUE(same_bits(round_trip(*codec, x, layout), x));
  }
}

TEST(LowRank, RefusesOptionsByNameAndRange) {
  const auto refusal = [](CompressionOptions options) {
    options.codec = CodecId::low_rank;
    const auto made = make_compressor(options);
    return made ? std::string("accepted") : made.error().message;
  };
  for (const std::uint32_t rank : {0u, 5u}) EXPECT_NE(refusal({.rank = rank}).find("compression.rank"), std::string::npos);
  EXPECT_NE(refusal({.power_iterations = 9}).find("compression.power_iterations"), std::string::npos);
  EXPECT_NE(refusal({.scope = Scope::model}).find("compression.scope"), std::string::npos);
  EXPECT_NE(refusal({.unbiased = true}).find("compression.unbiased"), std::string::npos);
  EXPECT_NE(refusal({.values = CodecId::int8}).find("compression.values"), std::string::npos);
  EXPECT_EQ(refusal({.rank = 4, .power_iterations = 8}), "accepted");
}

TEST(LowRank, ADecoderRefusesOtherRanksShapesAndFactors) {
  const Layout layout = layout_of({{20, 30}, {6, 40}, {5}});
  const auto codec = compressor({.codec = CodecId::low_rank, .rank = 2});
  const auto bytes = encoded(*codec, normal_vector(layout.size()), layout);
  ASSERT_EQ(verdict(*codec, bytes, layout), "accepted");
  EXPECT_REFUSED(*codec, with_word<std::uint32_t>(bytes, 12, 1), layout, "levels");
  EXPECT_REFUSED(*codec, bytes, layout_of({{30, 20}, {6, 40}, {5}}), "other tensors");  // as many floats, other matrices
  EXPECT_REFUSED(*codec, bytes, layout_of({{20, 30}, {6, 40}, {6}}), "bytes");
  // left of the tall one is 20 x 30, so wide: its right factor is the orthonormal one.
  const std::size_t left = 64, right = left + 4 * 2 * 20, vector = right + 4 * 2 * 30 + 4 * 2 * 46;
  EXPECT_REFUSED(*codec, with_word(bytes, right + 8, 2.5f), layout, "magnitudes are at most 2");
  EXPECT_REFUSED(*codec, with_word(bytes, left, -0x1p121f), layout, "factors of the tensor of element 0 of tensor 't0'");
  EXPECT_REFUSED(*codec, with_word(bytes, right - 4, std::nanf("")), layout, "magnitudes");
  EXPECT_REFUSED(*codec, with_word(bytes, vector + 4, std::numeric_limits<float>::infinity()), layout, "NaN or infinite");
  // The largest that are taken make finite numbers.
  auto most = bytes;
  for (std::size_t at = left; at < right; at += 4) most = with_word(std::move(most), at, 0x1p120f);
  for (std::size_t at = right; at < right + 4 * 2 * 30; at += 4) most = with_word(std::move(most), at, 2.0f);
  EXPECT_TRUE(all_finite(decoded(*codec, most, layout)));
}

// Of differences the second and later ones are small in every direction; an end that follows by decoded payloads alone keeps up to
// the bit, threads or not, and both come to the model.
TEST(LowRank, ReplicasFollowByDecodedFactorsAlone) {
  const Layout layout = layout_of({{40, 30}, {10}, {15, 50}});
  const auto codec = compressor({.codec = CodecId::low_rank, .rank = 2});
  Stream alone;
  ThreadedStream two(2);
  const auto x = normal_vector(layout.size(), 1), own = normal_vector(layout.size(), 2);
  std::vector<float> replica(layout.size()), theirs(layout.size()), sum(layout.size());
  std::vector<std::byte> bytes(codec->capacity(layout));
  for (std::uint64_t round = 0; round < 60; ++round) {
    ASSERT_TRUE(codec->encode_difference(two, x, replica, layout, round, bytes).has_value());
    const WeightedPayload one{bytes, 0.25f};
    auto expected = sum;
    ASSERT_TRUE(codec->decode(alone, {&one, 1}, layout, {.target = DecodeTo::follow, .out = theirs, .own = own, .sum = sum}).has_value());
    ASSERT_TRUE(same_bits(theirs, replica)) << round;
    for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sum[i], expected[i] + 0.25f * (theirs[i] - own[i]));
  }
  EXPECT_LT(squared_error(x, replica), 1e-6 * squared(x));
}

TEST(LowRank, ErrorFeedbackKeepsWhatWasNotSent) {
  const Layout layout = layout_of({{40, 30}, {10}});
  const auto codec = compressor({.codec = CodecId::low_rank, .rank = 1});
  Stream stream;
  const auto x = normal_vector(layout.size(), 1);
  std::vector<float> error = normal_vector(layout.size(), 2), seen(layout.size());
  const auto before = error;
  std::vector<std::byte> bytes(codec->capacity(layout));
  ASSERT_TRUE(codec->encode_feedback(stream, x, error, layout, 3, seen, bytes).has_value());
  EXPECT_TRUE(same_bits(decoded(*codec, bytes, layout), seen));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float v = x[i] + before[i];
    ASSERT_EQ(error[i], v - seen[i]);
  }
  // Over many rounds of one gradient what was sent, on average, is the gradient.
  std::fill(error.begin(), error.end(), 0.0f);
  std::vector<double> sent(x.size());
  for (std::uint64_t round = 0; round < 400; ++round) {
    ASSERT_TRUE(codec->encode_feedback(stream, x, error, layout, round, seen, bytes).has_value());
    for (std::size_t i = 0; i < x.size(); ++i) sent[i] += seen[i] / 400.0;
  }
  double off = 0;
  for (std::size_t i = 0; i < x.size(); ++i) off += (sent[i] - x[i]) * (sent[i] - x[i]);
  EXPECT_LT(off, 0.02 * squared(x));
}

}  // namespace
}  // namespace gossamer
