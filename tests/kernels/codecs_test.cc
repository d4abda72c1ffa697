// What each codec promises beyond the interface.
#include <algorithm>
#include <bit>
#include <numeric>

#include "base/serial.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

template <class T>
T word_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
std::vector<std::byte> with_word(std::vector<std::byte> bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

// Decodes onto zeros; the sentence of the refusal, or "accepted".
std::string verdict(const Compressor& codec, std::span<const std::byte> bytes, const Layout& layout) {
  Stream stream;
  std::vector<float> target(layout.size());
  const auto done = codec.add_decoded(stream, bytes, layout, 1.0f, target);
  if (done) return "accepted";
  EXPECT_EQ(squared(target), 0) << "refused, yet written";
  return done.error().message;
}

#define EXPECT_REFUSED(codec, bytes, layout, why) \
  EXPECT_NE(verdict(codec, bytes, layout).find(why), std::string::npos) << verdict(codec, bytes, layout)

TEST(MakeCompressor, NamesTheKeyAndTheRangeOfWhatItRefuses) {
  const auto refusal = [](CompressionOptions options) {
    const auto made = make_compressor(options);
    EXPECT_FALSE(made.has_value());
    if (made) return std::string();
    EXPECT_EQ(made.error().code, Errc::invalid_argument);
    return made.error().message;
  };
  for (double ratio : {0.0, -0.1, 1.01, std::nan("")})
    for (CodecId codec : {CodecId::top_k, CodecId::random_k})
      EXPECT_NE(refusal({.codec = codec, .ratio = ratio}).find("compression.ratio"), std::string::npos);
  for (std::uint32_t levels : {0u, 65536u})
    EXPECT_NE(refusal({.codec = CodecId::qsgd, .levels = levels}).find("1 .. 65535"), std::string::npos);
  for (CodecId codec : {CodecId::top_k, CodecId::sign, CodecId::fp16, CodecId::bf16})
    EXPECT_NE(refusal({.codec = codec, .unbiased = true}).find("compression.unbiased"), std::string::npos);
  EXPECT_NE(refusal({.codec = static_cast<CodecId>(99)}).find("99"), std::string::npos);
}

// The bytes of one vector under every codec, as a hash; the values were computed by a second program that was
// written from docs/compression.md.  A change here is a change of the wire format: peers of two builds would
// no longer understand each other, and kWireVersion must move.
TEST(WireFormat, IsThatOfVersionOne) {
  std::vector<float> x(300);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i * 37 % 101) - 50) / 64;
  Layout layout;
  layout.add("a", {260});
  layout.add("b", {40});
  const auto hash = [&](const CompressionOptions& options) {
    std::uint64_t h = 0xcbf29ce484222325u;  // FNV-1a
    for (std::byte b : encoded(*compressor(options), x, layout, 0x1234567890abcdefu))
      h = (h ^ static_cast<std::uint64_t>(b)) * 0x100000001b3u;
    return h;
  };
  EXPECT_EQ(hash({.codec = CodecId::none}), 16303090063002070756u);
  EXPECT_EQ(hash({.codec = CodecId::fp16}), 17535837314615242288u);
  EXPECT_EQ(hash({.codec = CodecId::bf16}), 10787644961257270260u);
  EXPECT_EQ(hash({.codec = CodecId::top_k, .ratio = 0.02}), 15931048105978711177u);
  EXPECT_EQ(hash({.codec = CodecId::top_k, .ratio = 0.5}), 5849570709183121442u);
  EXPECT_EQ(hash({.codec = CodecId::random_k, .ratio = 0.1}), 16194052174849426193u);
  EXPECT_EQ(hash({.codec = CodecId::random_k, .ratio = 0.1, .unbiased = true}), 9697784486468193615u);
  EXPECT_EQ(hash({.codec = CodecId::sign}), 2746220836543101366u);
  EXPECT_EQ(hash({.codec = CodecId::qsgd, .levels = 15}), 1695934388979947761u);
  EXPECT_EQ(hash({.codec = CodecId::qsgd, .levels = 255, .unbiased = true}), 5205698029950272907u);
}

TEST(Scopes, DecideWhatOneScaleCovers) {
  // A tensor of small elements beside one of large: alone, some of it survives.
  Layout layout;
  layout.add("large", {64});
  layout.add("small", {64});
  std::vector<float> x(128, 100.0f);
  std::fill(x.begin() + 64, x.end(), 1e-3f);
  const auto error_of_small = [&](CodecId codec, Scope scope) {
    const auto q = round_trip(*compressor({.codec = codec, .scope = scope}), x, layout);
    return squared_error(std::span(x).last(64), std::span(q).last(64)) / squared(std::span(x).last(64));
  };
  EXPECT_LT(error_of_small(CodecId::top_k, Scope::tensor), 1);
  EXPECT_EQ(error_of_small(CodecId::top_k, Scope::model), 1);
  EXPECT_LT(error_of_small(CodecId::sign, Scope::tensor), 1e-9);
  EXPECT_GT(error_of_small(CodecId::sign, Scope::model), 1e6);
}

TEST(Identity, CarriesEveryBit) {
  const auto x = normal_vector(77);
  EXPECT_TRUE(same_bits(round_trip(*compressor({.codec = CodecId::none}), x, Layout::flat(77)), x));
}

TEST(Identity, RefusesNaNFromTheWire) {
  const auto codec = compressor({.codec = CodecId::none});
  const auto bytes = encoded(*codec, normal_vector(5), Layout::flat(5));
  EXPECT_REFUSED(*codec, with_word(bytes, 16, std::nanf("")), Layout::flat(5), "NaN or infinite");
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  const auto codec = compressor({.codec = CodecId::bf16});
  Random random(1, Purpose::test);
  std::vector<float> x;
  for (std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
    for (std::uint32_t high : {0x3f80u, 0x3f81u, 0xbf80u, 0x0000u, 0x0001u, 0x7f7eu, 0x3fffu})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  for (int i = 0; i < 1000; ++i) x.push_back(std::bit_cast<float>(random() & 0xbfffffffu));
  const auto q = round_trip(*codec, x, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::uint32_t down = std::bit_cast<std::uint32_t>(x[i]) & 0xffff0000u, up = down + 0x10000u;
    const double to_down = std::abs(static_cast<double>(x[i]) - std::bit_cast<float>(down));
    const double to_up = std::abs(static_cast<double>(x[i]) - std::bit_cast<float>(up));
    const bool takes_down = to_down < to_up || (to_down == to_up && (down >> 16) % 2 == 0);
    ASSERT_EQ(q[i], std::bit_cast<float>(takes_down ? down : up))
        << std::hex << std::bit_cast<std::uint32_t>(x[i]);
  }
}

#ifdef __FLT16_MAX__
TEST(Fp16, RoundsAsTheCompilersHalfDoes) {
  const auto codec = compressor({.codec = CodecId::fp16});
  Random random(1, Purpose::test);
  std::vector<float> x = {16384};  // the largest, so that the exponent is 0
  for (std::uint32_t low : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu, 0x2000u, 0x3000u})
    for (int e = -30; e < 14; ++e) x.push_back(std::ldexp(std::bit_cast<float>(0x3f800000u | low), e));
  while (x.size() < 20000) {
    const float value = std::bit_cast<float>(random());
    if (std::abs(value) < 16384) x.push_back(value);
  }
  const auto bytes = encoded(*codec, x, Layout::flat(x.size()));
  ASSERT_EQ(word_at<std::int32_t>(bytes, 0), 0);
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(word_at<std::uint16_t>(bytes, 4 + 2 * i),
              std::bit_cast<std::uint16_t>(static_cast<_Float16>(x[i])))
        << x[i];
  const auto q = decoded(*codec, bytes, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(q[i], static_cast<float>(static_cast<_Float16>(x[i]))) << x[i];
}
#endif

TEST(Fp16, IsAsGoodAtEveryMagnitude) {
  const auto codec = compressor({.codec = CodecId::fp16});
  const auto x = normal_vector(100);
  const auto q = round_trip(*codec, x, Layout::flat(100));
  for (int e : {-75, -30, 40, 120}) {
    auto scaled = x;
    for (float& value : scaled) value = std::ldexp(value, e);
    const auto q_scaled = round_trip(*codec, scaled, Layout::flat(100));
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(q_scaled[i], std::ldexp(q[i], e)) << e;
  }
}

TEST(Fp16, RefusesExponentsAndHalvesOutOfRange) {
  const auto codec = compressor({.codec = CodecId::fp16});
  const Layout layout = Layout::flat(3);
  const auto bytes = encoded(*codec, normal_vector(3), layout);
  for (std::int32_t e : {-95, 114, 1 << 30, -(1 << 30)})
    EXPECT_REFUSED(*codec, with_word(bytes, 0, e), layout, "exponent");
  EXPECT_REFUSED(*codec, with_word(bytes, 6, std::uint16_t{0x7c00}), layout, "out of range");
  EXPECT_REFUSED(*codec, with_word(bytes, 6, std::uint16_t{0xfe01}), layout, "out of range");
  EXPECT_REFUSED(*codec, with_word(bytes, 10, std::uint16_t{1}), layout, "padding");
  // 2^15 * 2^113 is no float32, though 2^15 and 113 are each permitted.
  const auto largest = with_word(bytes, 6, std::uint16_t{0x7800});
  EXPECT_EQ(verdict(*codec, with_word(largest, 0, std::int32_t{112}), layout), "accepted");
  EXPECT_REFUSED(*codec, with_word(largest, 0, std::int32_t{113}), layout, "out of range");
}

TEST(TopK, KeepsTheLargestAndAmongEqualsTheFirst) {
  Random random(3, Purpose::test);
  for (std::size_t n : {1u, 2u, 31u, 32u, 33u, 500u, 3000u})
    for (double ratio : {0.001, 0.02, 0.1, 0.5, 1.0})
      for (int ties = 0; ties < 2; ++ties) {
        std::vector<float> x(n);
        for (float& value : x)
          value = ties != 0 ? static_cast<float>(random.below(7)) - 3
                            : static_cast<float>(random.normal() * 1e-3);
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(),
                         [&](auto a, auto b) { return std::abs(x[a]) > std::abs(x[b]); });
        const std::size_t k =
            std::max<std::size_t>(1, static_cast<std::size_t>(ratio * static_cast<double>(n)));
        std::vector<float> expected(n);
        for (std::size_t j = 0; j < k; ++j) expected[order[j]] = x[order[j]];
        const auto codec = compressor({.codec = CodecId::top_k, .ratio = ratio});
        const auto q = round_trip(*codec, x, Layout::flat(n));
        for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(q[i], expected[i]) << n << " " << ratio << " " << i;
      }
}

TEST(TopK, SendsExactlyKEvenOfZeros) {
  const auto codec = compressor({.codec = CodecId::top_k, .ratio = 0.03});
  const std::vector<float> x(100);
  const auto bytes = encoded(*codec, x, Layout::flat(100));
  ASSERT_EQ(bytes.size(), 8u + 3 * 8);
  EXPECT_EQ(word_at<std::uint64_t>(bytes, 0), 3u);
  for (std::uint32_t j = 0; j < 3; ++j) EXPECT_EQ(word_at<std::uint32_t>(bytes, 8 + 4 * j), j);
}

TEST(TopK, TakesTheSmallerOfIndicesAndBitmap) {
  // 64 elements are two words: two indices cost as much, three cost more.
  const auto form = [](double ratio) {
    const auto codec = compressor({.codec = CodecId::top_k, .ratio = ratio});
    return word_at<std::uint64_t>(encoded(*codec, normal_vector(64), Layout::flat(64)), 0) >> 56;
  };
  EXPECT_EQ(form(2.0 / 64), 0u);
  EXPECT_EQ(form(3.0 / 64), 1u);
}

TEST(TopK, RefusesIndicesThatDoNotAscendInside) {
  const auto codec = compressor({.codec = CodecId::top_k, .ratio = 0.03});
  const Layout layout = Layout::flat(100);
  const auto bytes = encoded(*codec, normal_vector(100), layout);
  ASSERT_EQ(verdict(*codec, bytes, layout), "accepted");
  const auto with_indices = [&](std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    return with_word(with_word(with_word(bytes, 8, a), 12, b), 16, c);
  };
  EXPECT_EQ(verdict(*codec, with_indices(0, 98, 99), layout), "accepted");
  EXPECT_REFUSED(*codec, with_indices(0, 99, 100), layout, "past the end");
  EXPECT_REFUSED(*codec, with_indices(0, 1, 0xffffffffu), layout, "past the end");
  EXPECT_REFUSED(*codec, with_indices(5, 5, 6), layout, "ascend");
  EXPECT_REFUSED(*codec, with_indices(5, 7, 6), layout, "ascend");
  EXPECT_REFUSED(*codec, with_word(bytes, 0, std::uint64_t{2}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 0, std::uint64_t{101}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 0, std::uint64_t{3} | std::uint64_t{1} << 56), layout,
                 "another form");
  EXPECT_REFUSED(*codec, with_word(bytes, 20, std::nanf("")), layout, "NaN");
}

TEST(TopK, RefusesABitmapOfAnotherCountOrPastTheEnd) {
  const auto codec = compressor({.codec = CodecId::top_k, .ratio = 0.1});
  const Layout layout = Layout::flat(40);  // k = 4 of 40: a bitmap of two words, of which 24 bits are padding
  std::vector<float> x(40);
  for (std::size_t i : {3u, 9u, 31u, 39u}) x[i] = 1;
  const auto bytes = encoded(*codec, x, layout);
  ASSERT_EQ(word_at<std::uint32_t>(bytes, 8), 1u << 3 | 1u << 9 | 1u << 31);
  ASSERT_EQ(word_at<std::uint32_t>(bytes, 12), 1u << 7);
  EXPECT_REFUSED(*codec, with_word(bytes, 12, 3u << 6), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 12, 0u), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 12, 1u << 8), layout, "past the end");
}

TEST(Sparsifiers, AddressElementsThatFloat32CannotCount) {
  const std::size_t n = (std::size_t{1} << 24) + (1u << 18) + 3;
  std::vector<float> x(n);
  const std::size_t at[] = {5, (1u << 24) + 1, (1u << 24) + 3, n - 2, n - 1};
  for (std::size_t j = 0; j < 5; ++j) x[at[j]] = static_cast<float>(j + 1);
  Stream stream;
  const Layout layout = Layout::flat(n);
  std::vector<float> target(n);
  {
    const auto codec = compressor({.codec = CodecId::top_k, .ratio = 5.0 / static_cast<double>(n)});
    const auto bytes = encoded(*codec, x, layout);
    ASSERT_EQ(bytes.size(), 8u + 5 * 8);
    ASSERT_TRUE(codec->add_decoded(stream, bytes, layout, 1.0f, target).has_value());
    EXPECT_TRUE(same_bits(target, x));
  }
  {
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 1021 + 1);
    std::fill(target.begin(), target.end(), 0.0f);
    const auto codec = compressor({.codec = CodecId::random_k, .ratio = 2e-5});
    ASSERT_TRUE(codec->add_decoded(stream, encoded(*codec, x, layout), layout, 1.0f, target).has_value());
    std::size_t kept = 0, beyond = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (target[i] == 0) continue;
      ASSERT_EQ(target[i], x[i]) << i;
      ++kept;
      beyond += i > (1u << 24);
    }
    EXPECT_EQ(kept, static_cast<std::size_t>(2e-5 * static_cast<double>(n)));
    EXPECT_GT(beyond, 0u);
  }
}

TEST(RandomK, DrawsKDistinctCoordinates) {
  for (std::size_t n : {1u, 2u, 3u, 10u, 97u, 256u})
    for (std::size_t k : {std::size_t{1}, n / 3, n / 2, n - 1, n}) {
      if (k == 0) continue;
      // Half an element more, lest the floor of a rounded quotient be k - 1.
      const double ratio = std::min(1.0, (static_cast<double>(k) + 0.5) / static_cast<double>(n));
      const auto codec = compressor({.codec = CodecId::random_k, .ratio = ratio});
      for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const auto q = round_trip(*codec, std::vector<float>(n, 1.0f), Layout::flat(n), seed);
        ASSERT_EQ(std::count(q.begin(), q.end(), 1.0f), static_cast<std::ptrdiff_t>(k)) << n;
        ASSERT_EQ(std::count(q.begin(), q.end(), 0.0f), static_cast<std::ptrdiff_t>(n - k)) << n;
      }
    }
}

TEST(RandomK, IncludesEveryElementEquallyOften) {
  constexpr std::size_t kN = 37, kK = 11, kDraws = 20000;  // 11 strata, four of them longer
  const auto codec = compressor({.codec = CodecId::random_k, .ratio = 11.5 / 37});
  std::vector<double> hits(kN);
  const std::vector<float> ones(kN, 1.0f);
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    const auto q = round_trip(*codec, ones, Layout::flat(kN), seed);
    for (std::size_t i = 0; i < kN; ++i) hits[i] += q[i];
  }
  const double p = static_cast<double>(kK) / kN, sigma = std::sqrt(p * (1 - p) / kDraws);
  for (std::size_t i = 0; i < kN; ++i) EXPECT_NEAR(hits[i] / kDraws, p, 4 * sigma) << i;
}

TEST(RandomK, ErrsAsMuchAsDrawsWithoutReplacement) {
  const auto x = normal_vector(200);
  for (bool unbiased : {false, true}) {
    const auto codec = compressor({.codec = CodecId::random_k, .ratio = 0.2, .unbiased = unbiased});
    double sum = 0, squares = 0;
    constexpr std::size_t kDraws = 4000;
    for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
      const double error = squared_error(x, round_trip(*codec, x, Layout::flat(200), seed)) / squared(x);
      sum += error;
      squares += error * error;
    }
    const double mean = sum / kDraws, sigma = std::sqrt((squares / kDraws - mean * mean) / kDraws);
    EXPECT_NEAR(mean, unbiased ? 4.0 : 0.8, 4 * sigma);
    EXPECT_EQ(codec->contraction(Layout::flat(200)), unbiased ? 0 : 0.2);
  }
}

TEST(RandomK, PayloadsOfOneSeedCanBeAdded) {
  const auto codec = compressor({.codec = CodecId::random_k, .ratio = 0.3});
  ASSERT_TRUE(codec->traits().linear);
  const Layout layout = awkward_layout();
  std::vector<float> x(layout.size()), y(layout.size()), sum(layout.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i);
    y[i] = static_cast<float>(3 * i % 17);
    sum[i] = x[i] + y[i];
  }
  auto added = encoded(*codec, x, layout, 5);
  const auto other = encoded(*codec, y, layout, 5);
  for (std::size_t at = 8; at < added.size(); at += 4)
    added = with_word(added, at, word_at<float>(added, at) + word_at<float>(other, at));
  EXPECT_EQ(added, encoded(*codec, sum, layout, 5));
}

TEST(RandomK, SaysWhenScalingLeavesFloat32) {
  const auto codec = compressor({.codec = CodecId::random_k, .ratio = 0.01, .unbiased = true});
  std::vector<std::byte> bytes(codec->capacity(Layout::flat(100)));
  Stream stream;
  const auto used = codec->encode(stream, std::vector<float>(100, 1e38f), Layout::flat(100), 1, bytes);
  ASSERT_FALSE(used.has_value());
  EXPECT_EQ(used.error().code, Errc::diverged);
}

TEST(Sign, SendsTheMeanAndCountsZeroAsPositive) {
  const auto codec = compressor({.codec = CodecId::sign});
  const std::vector<float> x = {1, -2, 0, -0.0f, 3};
  const auto bytes = encoded(*codec, x, Layout::flat(5));
  EXPECT_EQ(word_at<float>(bytes, 0), 6.0f / 5);
  EXPECT_EQ(word_at<std::uint32_t>(bytes, 4), 2u);
  EXPECT_EQ(decoded(*codec, bytes, Layout::flat(5)), (std::vector<float>{1.2f, -1.2f, 1.2f, 1.2f, 1.2f}));
}

TEST(Sign, ErrsByTheShareThatTheMeanDoesNotExplain) {
  const auto x = normal_vector(5000);
  double sum = 0;
  for (float value : x) sum += std::abs(value);
  const auto codec = compressor({.codec = CodecId::sign});
  const double error = squared_error(x, round_trip(*codec, x, Layout::flat(5000))) / squared(x);
  EXPECT_NEAR(error, 1 - sum * sum / (5000 * squared(x)), 1e-6);
}

TEST(Sign, RefusesBadScalesAndPadding) {
  const auto codec = compressor({.codec = CodecId::sign});
  const Layout layout = Layout::flat(5);
  const auto bytes = encoded(*codec, normal_vector(5), layout);
  for (float bad : {std::nanf(""), -1.0f, std::numeric_limits<float>::infinity()})
    EXPECT_REFUSED(*codec, with_word(bytes, 0, bad), layout, "scale");
  EXPECT_REFUSED(*codec, with_word(bytes, 4, 1u << 5), layout, "padding");
}

TEST(Qsgd, RoundsToOneOfTheTwoLevelsAround) {
  for (std::uint32_t levels : {1u, 2u, 10u, 15u, 255u, 65535u}) {
    const auto codec = compressor({.codec = CodecId::qsgd, .levels = levels, .unbiased = true});
    const auto x = normal_vector(300);
    const double unit = std::sqrt(squared(x)) / levels;
    const auto q = round_trip(*codec, x, Layout::flat(300), levels);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(std::abs(q[i] - x[i]), unit * 1.0001) << levels;
      ASSERT_GE(q[i] * x[i], 0.0f);
      const double level = std::abs(q[i]) / unit;
      ASSERT_NEAR(level, std::round(level), 1e-6 * levels + 1e-6) << levels;
    }
  }
}

TEST(Qsgd, GivesAOneElementVectorBack) {
  for (std::uint32_t levels : {1u, 15u, 65535u}) {
    const auto codec = compressor({.codec = CodecId::qsgd, .levels = levels, .unbiased = true});
    for (float value : {3.0f, -1e-9f, 1e37f})
      for (std::uint64_t seed = 0; seed < 20; ++seed)
        EXPECT_NEAR(round_trip(*codec, std::vector<float>{value}, Layout::flat(1), seed)[0] / value, 1, 1e-5);
  }
}

TEST(Qsgd, FormForContractionIsTheUnbiasedOneDividedByTau) {
  const auto x = normal_vector(300);
  const auto plain =
      round_trip(*compressor({.codec = CodecId::qsgd, .levels = 15, .unbiased = true}), x, Layout::flat(300));
  const auto divided = round_trip(*compressor({.codec = CodecId::qsgd, .levels = 15}), x, Layout::flat(300));
  const double tau = 1 + std::min(300.0 / 225, std::sqrt(300.0) / 15);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(divided[i] * tau, plain[i], 1e-6);
}

TEST(Qsgd, RefusesOtherLevelsBadUnitsAndPadding) {
  const auto codec = compressor({.codec = CodecId::qsgd, .levels = 10});
  const Layout layout = Layout::flat(5);
  const auto bytes = encoded(*codec, normal_vector(5), layout);
  ASSERT_EQ(bytes.size(), 8u + 5 * 4);
  EXPECT_REFUSED(*codec, with_word(bytes, 0, 11u), layout, "11 levels where this peer uses 10");
  for (float bad : {std::nanf(""), -1.0f, 1e38f})
    EXPECT_REFUSED(*codec, with_word(bytes, 4, bad), layout, "unit");
  // Element 2 at each of the 16 codes of 4 bits.
  for (std::uint32_t level = 0; level < 16; ++level) {
    auto changed = bytes;
    for (std::size_t p = 0; p < 4; ++p) changed = with_word(changed, 8 + 4 * p, (level >> p & 1u) << 2);
    EXPECT_EQ(verdict(*codec, changed, layout) == "accepted", level <= 10) << level;
  }
  EXPECT_REFUSED(*codec, with_word(bytes, 8 + 16, 1u << 5), layout, "padding");
}

}  // namespace
}  // namespace gossamer
