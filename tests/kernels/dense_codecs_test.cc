// What each codec that sends a code for every element promises beyond the interface.
#include <algorithm>
#include <bit>

#include "kernels/codes.h"
#include "kernels/parallel.h"
#include "kernels/vector.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

constexpr std::size_t kScalesAt = 64, kCodesAt = 128;  // of at most 16 tiles

const CodecId kDense[] = {CodecId::none, CodecId::fp16, CodecId::bf16,     CodecId::fp8,  CodecId::int8,
                          CodecId::int4, CodecId::qsgd, CodecId::terngrad, CodecId::sign, CodecId::natural};

float scale_at(std::span<const std::byte> bytes, std::size_t tile) { return word_at<float>(bytes, kScalesAt + 4 * tile); }

TEST(DenseCodecs, GiveTheSameBytesWithEveryImplementationAndAnyNumberOfThreads) {
  Layout layout = awkward_layout();
  layout.add("large", {300, 1000});
  layout.add("odd", {77777});
  const auto x = normal_vector(layout.size()), old = normal_vector(layout.size(), 2);
  Stream alone;
  ThreadedStream three(3);
  ASSERT_EQ(three.width(), 3u);
  for (const CodecId codec : kDense)
    for (const Scope scope : {Scope::tensor, Scope::model})
      for (const bool one_scale : {false, true}) {
        if (one_scale && codec != CodecId::sign && codec != CodecId::qsgd) continue;
        const CompressionOptions options{.codec = codec, .scope = scope, .one_scale = one_scale};
        std::vector<std::byte> expected;
        std::vector<float> moved, mixed;
        for (const Kernels* kernels : all_kernels())
          for (Stream* stream : {&alone, static_cast<Stream*>(&three)}) {
            const auto made = make_compressor(options, kernels).value();
            std::vector<std::byte> bytes(made->capacity(layout));
            auto replica = old;
            const auto used = made->encode_difference(*stream, x, replica, layout, 5, bytes);
            ASSERT_TRUE(used.has_value());
            std::vector<float> out(layout.size());
            const WeightedPayload payloads[] = {{bytes, 0.3f}, {bytes, 0.6f}};
            ASSERT_TRUE(made->decode(*stream, payloads, layout, {.target = DecodeTo::difference, .out = out, .own = old}).has_value());
            if (expected.empty()) {
              expected = bytes;
              moved = replica;
              mixed = out;
            }
            ASSERT_EQ(bytes, expected) << made->name() << " " << kernels->name << " threads " << stream->width();
            ASSERT_TRUE(same_bits(replica, moved)) << made->name() << " " << kernels->name;
            ASSERT_TRUE(same_bits(out, mixed)) << made->name() << " " << kernels->name;
          }
      }
}

TEST(DenseCodecs, TargetsAreWhatTheirFormulasSay) {
  const Layout layout = awkward_layout();
  const std::size_t n = layout.size();
  Stream stream;
  const auto own = normal_vector(n, 7), start = normal_vector(n, 8), sums = normal_vector(n, 9);
  for (const CodecId codec : kDense) {
    const auto made = compressor({.codec = codec});
    const auto a = encoded(*made, normal_vector(n, 1), layout, 1), b = encoded(*made, normal_vector(n, 2), layout, 2);
    const auto qa = decoded(*made, a, layout), qb = decoded(*made, b, layout);
    const WeightedPayload both[] = {{a, 0.25f}, {b, 0.7f}}, one[] = {{a, 0.25f}};
    auto added = start;
    std::vector<float> assigned(n, 9.0f), difference(n, 9.0f);
    auto followed = start, sum = sums;
    std::vector<double> wide(n, 0.125);
    ASSERT_TRUE(made->decode(stream, both, layout, {.target = DecodeTo::add, .out = added}).has_value());
    ASSERT_TRUE(made->decode(stream, both, layout, {.target = DecodeTo::assign, .out = assigned}).has_value());
    ASSERT_TRUE(made->decode(stream, both, layout, {.target = DecodeTo::difference, .out = difference, .own = own}).has_value());
    ASSERT_TRUE(made->decode(stream, one, layout, {.target = DecodeTo::follow, .out = followed, .own = own, .sum = sum}).has_value());
    ASSERT_TRUE(made->decode(stream, one, layout, {.target = DecodeTo::wide, .wide = wide, .wide_weight = -0.1}).has_value());
    for (std::size_t i = 0; i < n; ++i) {
      const float pa = 0.25f * qa[i], pb = 0.7f * qb[i];
      ASSERT_EQ(added[i], (start[i] + pa) + pb) << made->name();
      ASSERT_EQ(assigned[i], (0.0f + pa) + pb) << made->name();
      const float da = 0.25f * (qa[i] - own[i]), db = 0.7f * (qb[i] - own[i]);
      ASSERT_EQ(difference[i], (0.0f + da) + db) << made->name();
      ASSERT_EQ(followed[i], start[i] + qa[i]) << made->name();
      const float step = 0.25f * (followed[i] - own[i]);
      ASSERT_EQ(sum[i], sums[i] + step) << made->name();
      const double product = -0.1 * static_cast<double>(qa[i]);
      ASSERT_EQ(wide[i], 0.125 + product) << made->name();
    }
  }
}

TEST(DenseCodecs, FeedbackKeepsWhatWasLost) {
  const Layout layout = awkward_layout();
  const std::size_t n = layout.size();
  Stream stream;
  for (const CodecId codec : {CodecId::int4, CodecId::sign, CodecId::qsgd, CodecId::top_k}) {
    const auto made = compressor({.codec = codec, .ratio = 0.2});
    const auto x = normal_vector(n), before = normal_vector(n, 2);
    auto error = before;
    std::vector<float> seen(n);
    std::vector<std::byte> bytes(made->capacity(layout));
    const auto used = made->encode_feedback(stream, x, error, layout, 3, seen, bytes);
    ASSERT_TRUE(used.has_value());
    EXPECT_TRUE(same_bits(seen, decoded(*made, std::span(bytes).first(*used), layout))) << made->name();
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(error[i], (x[i] + before[i]) - seen[i]) << made->name() << " " << i;
  }
}

TEST(DenseCodecs, RefuseAHeaderThatIsNotTheirs) {
  const Layout layout = Layout::flat(300);
  const auto codec = compressor({.codec = CodecId::qsgd, .levels = 5});
  const auto bytes = encoded(*codec, normal_vector(300), layout);
  ASSERT_EQ(verdict(*codec, bytes, layout), "accepted");
  EXPECT_REFUSED(*codec, with_word(bytes, 0, 7u), layout, "does not begin with the header");
  EXPECT_REFUSED(*codec, with_word(bytes, 4, std::uint16_t{9}), layout, "version 9");
  EXPECT_REFUSED(*codec, with_word(bytes, 6, std::uint16_t{3}), layout, "codec 3 where this peer has 7");
  EXPECT_REFUSED(*codec, with_word(bytes, 8, std::uint8_t{9}), layout, "value code");
  EXPECT_REFUSED(*codec, with_word(bytes, 9, std::uint8_t{1}), layout, "norm");
  EXPECT_REFUSED(*codec, with_word(bytes, 10, std::uint8_t{1}), layout, "scope");
  EXPECT_REFUSED(*codec, with_word(bytes, 11, std::uint8_t{2}), layout, "flags");
  EXPECT_REFUSED(*codec, with_word(bytes, 12, 6u), layout, "levels 6 where this peer has 5");
  EXPECT_REFUSED(*codec, with_word(bytes, 16, std::uint64_t{301}), layout, "elements 301");
  EXPECT_REFUSED(*codec, with_word(bytes, 24, std::uint64_t{1}), layout, "whose header says 1");
  EXPECT_REFUSED(*codec, with_word(bytes, 40, 0.5), layout, "parameter");
  EXPECT_REFUSED(*codec, with_word(bytes, 48, std::uint64_t{5}), layout, "other tensors");
  EXPECT_REFUSED(*codec, with_word(bytes, 60, 1u), layout, "whose header says");
  // Two tensors of another division, though as many elements.
  Layout other;
  other.add("a", {100});
  other.add("b", {200});
  Layout same;
  same.add("a", {200});
  same.add("b", {100});
  const auto sign = compressor({.codec = CodecId::sign});
  EXPECT_REFUSED(*sign, encoded(*sign, normal_vector(300), other), same, "other tensors");
}

TEST(DenseCodecs, RefuseScalesThatAreNone) {
  for (const CodecId codec : {CodecId::fp16, CodecId::fp8, CodecId::int8, CodecId::int4, CodecId::qsgd, CodecId::terngrad, CodecId::sign, CodecId::natural}) {
    const auto made = compressor({.codec = codec});
    const auto bytes = encoded(*made, normal_vector(600), Layout::flat(600));
    for (const std::size_t tile : {0u, 1u, 2u})
      for (const float bad : {std::nanf(""), -1.0f, std::numeric_limits<float>::infinity(), 0x1p121f})
        EXPECT_REFUSED(*made, with_word(bytes, kScalesAt + 4 * tile, bad), Layout::flat(600), "scale");
  }
}

TEST(DenseCodecs, SendBlocksOfZerosAndOfDustAsZeros) {
  for (const CodecId codec : kDense) {
    if (codec == CodecId::none || codec == CodecId::bf16) continue;
    const auto made = compressor({.codec = codec});
    for (const float value : {0.0f, -0.0f, -0x1p-81f, 0x1p-140f}) {
      const auto bytes = encoded(*made, std::vector<float>(600, value), Layout::flat(600));
      EXPECT_TRUE(std::all_of(bytes.begin() + kScalesAt, bytes.end(), [](std::byte b) { return b == std::byte{0}; })) << made->name() << value;
    }
  }
}

#ifdef __FLT16_MAX__
TEST(Fp16, RoundsAsTheCompilersHalfDoes) {
  const auto codec = compressor({.codec = CodecId::fp16});
  Random random(1, Purpose::test);
  std::vector<float> x;
  for (std::uint32_t low : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu, 0x2000u, 0x3000u})
    for (int e = -30; e < 14; ++e) x.push_back(std::ldexp(std::bit_cast<float>(0x3f800000u | low), e));
  while (x.size() < 3800) {
    const float value = std::bit_cast<float>(random());
    if (std::abs(value) < 16384) x.push_back(value);
  }
  for (std::size_t i = 0; i < x.size(); i += 256) x[i] = 16384;  // the largest of each block, so that its scale is 1
  const auto bytes = encoded(*codec, x, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(scale_at(bytes, i / 256), 1.0f);
    ASSERT_EQ(word_at<std::uint16_t>(bytes, kCodesAt + 2 * i), std::bit_cast<std::uint16_t>(static_cast<_Float16>(x[i]))) << x[i];
  }
  const auto q = decoded(*codec, bytes, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(q[i], static_cast<float>(static_cast<_Float16>(x[i]))) << x[i];
}
#endif

TEST(Fp16, IsAsGoodAtEveryMagnitude) {
  const auto codec = compressor({.codec = CodecId::fp16});
  const auto x = normal_vector(100);
  const auto q = round_trip(*codec, x, Layout::flat(100));
  for (int e : {-75, -30, 40, 110}) {
    auto scaled = x;
    for (float& value : scaled) value = std::ldexp(value, e);
    const auto q_scaled = round_trip(*codec, scaled, Layout::flat(100));
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(q_scaled[i], std::ldexp(q[i], e)) << e;
  }
}

// All 127 magnitudes of e4m3, by its definition.
std::vector<double> e4m3_values() {
  std::vector<double> values;
  for (int code = 0; code < 127; ++code)
    values.push_back(code < 8 ? code * 0x1p-9 : (8 + code % 8) * std::exp2(code / 8 - 10));
  return values;
}

TEST(Fp8, RoundsToTheNearestAndTiesToEven) {
  const auto values = e4m3_values();
  ASSERT_EQ(values.back(), 448);
  Random random(5, Purpose::test);
  std::vector<float> x;
  for (std::size_t c = 0; c < values.size(); ++c) {
    x.push_back(static_cast<float>(values[c]));
    if (c + 1 == values.size()) continue;
    const auto middle = static_cast<float>((values[c] + values[c + 1]) / 2);
    for (const float value : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) x.push_back(random.below(2) == 0 ? value : -value);
  }
  while (x.size() < 3000) x.push_back(static_cast<float>(random.normal() * std::exp2(random.normal() * 4)));
  for (float& value : x) value = std::clamp(value, -448.0f, 448.0f);
  for (std::size_t i = 0; i < x.size(); i += 256) x[i] = 448;  // so that the scale is 1
  const auto bytes = encoded(*compressor({.codec = CodecId::fp8}), x, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto code = word_at<std::uint8_t>(bytes, kCodesAt + i);
    const double magnitude = std::abs(static_cast<double>(x[i]));
    std::size_t nearest = 0;
    for (std::size_t c = 1; c < values.size(); ++c) {
      const double best = std::abs(values[nearest] - magnitude), other = std::abs(values[c] - magnitude);
      if (other < best || (other == best && c % 2 == 0)) nearest = c;
    }
    ASSERT_EQ(code & 0x7fu, nearest) << x[i];
    ASSERT_EQ(code >> 7, std::signbit(x[i]) ? 1 : 0) << x[i];
  }
  const auto q = decoded(*compressor({.codec = CodecId::fp8}), bytes, Layout::flat(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(std::abs(q[i]), static_cast<float>(values[word_at<std::uint8_t>(bytes, kCodesAt + i) & 0x7fu]));
}

TEST(NearestIntegers, AreWithinHalfALevelAndTiesAreEven) {
  for (const auto& [codec, levels] : {std::pair{CodecId::int8, 127.0f}, std::pair{CodecId::int4, 7.0f}}) {
    const auto made = compressor({.codec = codec});
    const auto x = normal_vector(900);
    const auto q = round_trip(*made, x, Layout::flat(900));
    for (std::size_t tile = 0; tile < 900; tile += 256) {
      float most = 0;
      for (std::size_t i = tile; i < std::min<std::size_t>(900, tile + 256); ++i) most = std::max(most, std::abs(x[i]));
      for (std::size_t i = tile; i < std::min<std::size_t>(900, tile + 256); ++i)
        ASSERT_LE(std::abs(q[i] - x[i]), most / levels * 0.500001f);
    }
    // With the largest at `levels` the unit is 1.
    std::vector<float> ties = {levels, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 3.4999f, -3.4999f};
    const auto rounded = round_trip(*made, ties, Layout::flat(ties.size()));
    EXPECT_EQ(rounded, (std::vector<float>{levels, 0, 2, 2, 0, -2, -2, 3, -3}));
  }
}

TEST(Sign, SendsTheMeanOfEachBlockAndCountsZeroAsPositive) {
  const auto codec = compressor({.codec = CodecId::sign});
  const std::vector<float> x = {1, -2, 0, -0.0f, 3};
  const auto bytes = encoded(*codec, x, Layout::flat(5));
  EXPECT_FLOAT_EQ(scale_at(bytes, 0), 6.0f / 5);
  EXPECT_EQ(word_at<std::uint32_t>(bytes, kCodesAt), 2u);
  const float mean = scale_at(bytes, 0);
  EXPECT_EQ(decoded(*codec, bytes, Layout::flat(5)), (std::vector<float>{mean, -mean, mean, mean, mean}));
  // One large block beside a small one.
  std::vector<float> blocks(512, 100.0f);
  std::fill(blocks.begin() + 256, blocks.end(), -1e-3f);
  EXPECT_EQ(round_trip(*codec, blocks, Layout::flat(512)), blocks);
  EXPECT_NE(round_trip(*compressor({.codec = CodecId::sign, .one_scale = true}), blocks, Layout::flat(512)), blocks);
}

TEST(Sign, ErrsByTheShareThatTheMeanDoesNotExplain) {
  const auto x = normal_vector(5000);
  double sum = 0;
  for (float value : x) sum += std::abs(value);
  const auto codec = compressor({.codec = CodecId::sign, .one_scale = true});
  const double error = squared_error(x, round_trip(*codec, x, Layout::flat(5000))) / squared(x);
  EXPECT_NEAR(error, 1 - sum * sum / (5000 * squared(x)), 1e-6);
  EXPECT_NEAR(squared_error(x, round_trip(*compressor({.codec = CodecId::sign}), x, Layout::flat(5000))) / squared(x), 0.363, 0.02);
}

double unit_of(std::span<const float> x, Norm norm, std::uint32_t levels) {
  double most = 0;
  for (const float value : x) most = std::max<double>(most, std::abs(value));
  return (norm == Norm::two ? std::sqrt(squared(x)) : most) / levels;
}

TEST(Qsgd, RoundsToOneOfTheTwoLevelsAround) {
  const auto x = normal_vector(600);
  for (const Norm norm : {Norm::max, Norm::two})
    for (const bool one_scale : {false, true})
      for (const std::uint32_t levels : {1u, 2u, 7u, 8u, 100u, 127u}) {
        const auto codec = compressor({.codec = CodecId::qsgd, .levels = levels, .norm = norm, .one_scale = one_scale, .unbiased = true});
        const auto q = round_trip(*codec, x, Layout::flat(600), levels);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const std::size_t tile = i / 256 * 256;
          const double unit = unit_of(one_scale ? std::span(x) : std::span(x).subspan(tile, std::min<std::size_t>(256, 600 - tile)), norm, levels);
          ASSERT_LE(std::abs(q[i] - x[i]), unit * 1.00001) << levels;
          ASSERT_GE(q[i] * x[i], 0.0f);
          const double level = std::abs(q[i]) / unit;
          ASSERT_NEAR(level, std::round(level), 1e-4) << levels;
        }
      }
}

TEST(Qsgd, GivesAOneElementVectorBack) {
  for (const std::uint32_t levels : {1u, 15u, 127u})
    for (const Norm norm : {Norm::max, Norm::two}) {
      const auto codec = compressor({.codec = CodecId::qsgd, .levels = levels, .norm = norm, .unbiased = true});
      for (float value : {3.0f, -1e-9f, 1e35f})
        for (std::uint64_t seed = 0; seed < 20; ++seed)
          EXPECT_NEAR(round_trip(*codec, std::vector<float>{value}, Layout::flat(1), seed)[0] / value, 1, 1e-5);
    }
}

// E|x - Q(x)|^2 of the hardest vector, and that it is the hardest: docs/compression.md has the formula.
TEST(Qsgd, ErrsAtMostByItsOmega) {
  for (const std::uint32_t levels : {1u, 7u, 127u}) {
    const auto codec = compressor({.codec = CodecId::qsgd, .levels = levels, .unbiased = true});
    const double u = 1.0 / levels, omega = (std::sqrt(1 + 255 * u * u) - 1) / 2;
    const double hardest = (std::sqrt(1 + 255 * u * u) - 1) / (255 * u);
    for (const double share : {hardest, hardest / 2, hardest * 1.5, u / 2}) {
      std::vector<float> x(256, static_cast<float>(share));
      x[17] = -1;
      double sum = 0, squares = 0;
      constexpr std::size_t kDraws = 1000;
      for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
        const double error = squared_error(x, round_trip(*codec, x, Layout::flat(256), seed)) / squared(x);
        sum += error;
        squares += error * error;
      }
      const double mean = sum / kDraws, sigma = std::sqrt(std::max(0.0, squares / kDraws - mean * mean) / kDraws);
      EXPECT_LE(mean, omega + 4 * sigma + 1e-6) << levels;
      if (share == hardest) {
        EXPECT_NEAR(mean, omega, 4 * sigma + 1e-3 * omega) << levels;
      }
    }
  }
}

TEST(Qsgd, ErrsOnNormalNumbersAsPublishedForEightBits) {
  // 127 levels up to the largest of 256: about (3.3 / 127)^2 / 6 of the mean square.
  const auto x = normal_vector(25600);
  const auto codec = compressor({.codec = CodecId::qsgd, .levels = 127, .unbiased = true});
  EXPECT_NEAR(squared_error(x, round_trip(*codec, x, Layout::flat(x.size()))) / squared(x), 9.7e-5, 0.5e-5);
}

TEST(Qsgd, FormForContractionIsTheUnbiasedOneDividedByTau) {
  const auto x = normal_vector(300);
  const auto plain = round_trip(*compressor({.codec = CodecId::qsgd, .levels = 2, .unbiased = true}), x, Layout::flat(300));
  const auto divided = round_trip(*compressor({.codec = CodecId::qsgd, .levels = 2}), x, Layout::flat(300));
  const double tau = 1 + (std::sqrt(1 + 255.0 / 4) - 1) / 2;
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(divided[i] * tau, plain[i], 1e-5);
  // With seven levels there is nothing to divide.
  EXPECT_TRUE(same_bits(round_trip(*compressor({.codec = CodecId::qsgd, .levels = 7, .unbiased = true}), x, Layout::flat(300)),
                        round_trip(*compressor({.codec = CodecId::qsgd, .levels = 7}), x, Layout::flat(300))));
}

TEST(Qsgd, SendsLevelsInTheFewestBitsOfTwoFourAndEight) {
  const auto size = [](std::uint32_t levels) { return compressor({.codec = CodecId::qsgd, .levels = levels})->capacity(Layout::flat(25600)) - 64 - 448; };
  EXPECT_EQ(size(1), 25600u / 4);
  EXPECT_EQ(size(2), 25600u / 2);
  EXPECT_EQ(size(7), 25600u / 2);
  EXPECT_EQ(size(8), 25600u);
  EXPECT_EQ(size(127), 25600u);
}

TEST(TernGrad, IsQsgdOfOneLevel) {
  const auto x = normal_vector(600);
  EXPECT_TRUE(same_bits(round_trip(*compressor({.codec = CodecId::terngrad, .unbiased = true}), x, Layout::flat(600)),
                        round_trip(*compressor({.codec = CodecId::qsgd, .levels = 1, .unbiased = true}), x, Layout::flat(600))));
}

TEST(Natural, RoundsToOneOfThePowersOfTwoAround) {
  auto x = normal_vector(600);
  x[5] = 0;
  x[6] = 0.25f;
  x[7] = -2;
  const auto q = round_trip(*compressor({.codec = CodecId::natural}), x, Layout::flat(600));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 0) {
      EXPECT_EQ(q[i], 0);
      continue;
    }
    const double lower = std::exp2(std::floor(std::log2(std::abs(static_cast<double>(x[i])))));
    ASSERT_TRUE(std::abs(q[i]) == lower || std::abs(q[i]) == 2 * lower) << x[i] << " " << q[i];
    ASSERT_EQ(std::signbit(q[i]), std::signbit(x[i]));
  }
  EXPECT_EQ(q[6], 0.25f);
  EXPECT_EQ(q[7], -2.0f);
}

TEST(Natural, ErrsAtMostByAnEighth) {
  // Half way, at 4/3 of a power, the variance is 1/8 of the square.
  std::vector<float> x(256, 4.0f / 3);
  const auto codec = compressor({.codec = CodecId::natural});
  double sum = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) sum += squared_error(x, round_trip(*codec, x, Layout::flat(256), seed)) / squared(x) / 1000;
  EXPECT_NEAR(sum, 0.125, 0.001);
}

}  // namespace
}  // namespace gossamer
