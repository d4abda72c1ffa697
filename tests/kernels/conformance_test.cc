// The promises of kernels/compressor.h, asked of every codec in both scopes.
#include <algorithm>
#include <bit>
#include <optional>

#include "kernels/vector.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

struct Case {
  const char* name;
  CompressionOptions options;
};

std::vector<Case> cases_with(bool (*property)(const CompressionOptions&, const CodecTraits&)) {
  const Case codecs[] = {
      {"none", {.codec = CodecId::none}},
      {"fp16", {.codec = CodecId::fp16}},
      {"bf16", {.codec = CodecId::bf16}},
      {"top_k_sparse", {.codec = CodecId::top_k, .ratio = 0.02}},
      {"top_k_dense", {.codec = CodecId::top_k, .ratio = 0.3}},
      {"top_k_all", {.codec = CodecId::top_k, .ratio = 1}},
      {"random_k", {.codec = CodecId::random_k, .ratio = 0.1}},
      {"random_k_all", {.codec = CodecId::random_k, .ratio = 1}},
      {"random_k_most", {.codec = CodecId::random_k, .ratio = 0.7}},
      {"random_k_unbiased", {.codec = CodecId::random_k, .ratio = 0.6, .unbiased = true}},
      {"threshold", {.codec = CodecId::threshold, .threshold = 0.7}},
      {"top_k_int8", {.codec = CodecId::top_k, .ratio = 0.1, .values = CodecId::int8}},
      {"random_k_natural", {.codec = CodecId::random_k, .ratio = 0.3, .values = CodecId::natural}},
      {"random_k_natural_unbiased", {.codec = CodecId::random_k, .ratio = 0.8, .values = CodecId::natural, .unbiased = true}},
      {"fp8", {.codec = CodecId::fp8}},
      {"int8", {.codec = CodecId::int8}},
      {"int4", {.codec = CodecId::int4}},
      {"sign", {.codec = CodecId::sign}},
      {"sign_one_scale", {.codec = CodecId::sign, .one_scale = true}},
      {"qsgd_1", {.codec = CodecId::qsgd, .levels = 1}},
      {"qsgd_5", {.codec = CodecId::qsgd, .levels = 5}},
      {"qsgd_7", {.codec = CodecId::qsgd, .levels = 7}},
      {"qsgd_7_unbiased", {.codec = CodecId::qsgd, .levels = 7, .unbiased = true}},
      {"qsgd_127_unbiased", {.codec = CodecId::qsgd, .levels = 127, .unbiased = true}},
      {"qsgd_16_two", {.codec = CodecId::qsgd, .levels = 16, .norm = Norm::two}},
      {"qsgd_16_two_one_scale", {.codec = CodecId::qsgd, .levels = 16, .norm = Norm::two, .one_scale = true}},
      {"qsgd_127_two_one_scale_unbiased", {.codec = CodecId::qsgd, .levels = 127, .norm = Norm::two, .one_scale = true, .unbiased = true}},
      {"qsgd_3_one_scale", {.codec = CodecId::qsgd, .levels = 3, .one_scale = true}},
      {"terngrad", {.codec = CodecId::terngrad}},
      {"terngrad_unbiased", {.codec = CodecId::terngrad, .unbiased = true}},
      {"natural", {.codec = CodecId::natural}},
      {"low_rank_1", {.codec = CodecId::low_rank, .rank = 1}},
      {"low_rank_1_unrefined", {.codec = CodecId::low_rank, .rank = 1, .power_iterations = 0}},
      {"low_rank_2", {.codec = CodecId::low_rank, .rank = 2}},
      {"low_rank_2_refined", {.codec = CodecId::low_rank, .rank = 2, .power_iterations = 3}},
  };
  std::vector<Case> cases;
  for (const Case& codec : codecs)
    for (Scope scope : {Scope::tensor, Scope::model}) {
      CompressionOptions options = codec.options;
      options.scope = scope;
      if (options.codec == CodecId::low_rank && scope == Scope::model) continue;  // refused
      if (property(options, compressor(options)->traits())) cases.push_back({codec.name, options});
    }
  return cases;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.name) + (info.param.options.scope == Scope::tensor ? "_tensor" : "_model");
}

class Codecs : public testing::TestWithParam<Case> {
 protected:
  std::vector<std::size_t> blocks(const Layout& layout) const {
    if (GetParam().options.scope == Scope::model) return {layout.size()};
    std::vector<std::size_t> counts;
    for (const Tensor& tensor : layout.tensors()) counts.push_back(tensor.count);
    return counts;
  }

  std::unique_ptr<Compressor> codec_ = compressor(GetParam().options);
  Stream stream_;
};

class UnbiasedCodecs : public Codecs {
 protected:
  std::optional<double> distance_of_levels(std::span<const float> x, const Layout& layout, std::size_t i) const;
};
class SeededTensorCodecs : public Codecs {};
class ContractiveCodecs : public Codecs {};

// The sizes of docs/compression.md, written out once more.
struct Sizes {
  std::size_t head = 0, scales = 0, codes = 0;  // of a payload, per tile or per chunk, bits of a code
  bool one_scale = false;
};

std::optional<Sizes> tile_sizes(const CompressionOptions& options) {
  switch (options.codec) {
    case CodecId::none:
      return Sizes{0, 0, 32};
    case CodecId::bf16:
      return Sizes{64, 0, 16};
    case CodecId::fp16:
      return Sizes{64, 4, 16};
    case CodecId::fp8:
    case CodecId::int8:
    case CodecId::natural:
      return Sizes{64, 4, 8};
    case CodecId::int4:
      return Sizes{64, 4, 4};
    case CodecId::terngrad:
      return Sizes{64, 4, 2};
    case CodecId::sign:
      return Sizes{64, 4, 1, options.one_scale};
    case CodecId::qsgd:
      return Sizes{64, 4, options.levels == 1 ? 2u : options.levels <= 7 ? 4u : 8u, options.one_scale};
    default:
      return std::nullopt;
  }
}

std::size_t rounded_up(std::size_t size, std::size_t to) { return (size + to - 1) / to * to; }

TEST_P(Codecs, UseTheBytesOfTheFormula) {
  const CompressionOptions& options = GetParam().options;
  for (const Layout& layout :
       {awkward_layout(), Layout::flat(1), Layout::flat(257), Layout::flat(4096), Layout::flat(0), Layout()}) {
    // none and bf16 know no scope: the layout is one block.
    const bool scopeless = options.codec == CodecId::none || options.codec == CodecId::bf16;
    std::size_t size = 0;
    if (const auto of = tile_sizes(options)) {
      std::size_t scales = 0, codes = 0;
      for (const std::size_t n : scopeless ? std::vector<std::size_t>{layout.size()} : blocks(layout)) {
        scales += n == 0 ? 0 : of->scales * (of->one_scale ? 1 : (n + 255) / 256);
        const std::size_t tail = n % 256 * of->codes;
        codes += rounded_up(n / 256 * 32 * of->codes + (of->codes < 8 ? rounded_up(tail, 32) / 8 : tail / 8), 8);
      }
      size = of->head + rounded_up(scales, 64) + codes;
      if (options.codec == CodecId::none) size = 4 * layout.size();
    } else if (options.codec == CodecId::low_rank) {
      size = 64;
      for (const Tensor& tensor : layout.tensors()) {
        const std::size_t rows = tensor.shape.size() < 2 ? 1 : tensor.shape[0], columns = tensor.count / rows;
        size += 4 * std::min(options.rank * (rows + columns), tensor.count);
      }
    } else {
      size = 64;
      for (const std::size_t n : blocks(layout)) {
        if (n == 0) continue;
        const auto k = static_cast<std::size_t>(std::max(1.0, std::floor(options.ratio * static_cast<double>(n))));
        const std::size_t values = options.codec == CodecId::random_k && k >= 512 ? (k + 4) / 8 * 8 : k;
        size += rounded_up(options.values != CodecId::none ? rounded_up(4 * ((values + 255) / 256), 8) + values : 4 * values, 8);
        if (options.codec == CodecId::top_k)
          size += 16 + rounded_up(std::min({(n + 7) / 8, k + (n + 255) / 256, 2 * k + 4 * ((n + 65535) / 65536)}), 8);
      }
    }
    if (options.codec != CodecId::threshold && options.codec != CodecId::top_k) {
      EXPECT_EQ(codec_->capacity(layout), size);
    }
    EXPECT_GE(codec_->capacity(layout), size);
    if (options.codec != CodecId::threshold) {
      EXPECT_EQ(encoded(*codec_, normal_vector(layout.size()), layout).size(), size);
    }
  }
}

TEST_P(Codecs, WriteOnlyInsideTheCapacity) {
  for (const Layout& layout : {awkward_layout(), Layout::flat(1), Layout::flat(0)}) {
    const std::size_t capacity = codec_->capacity(layout);
    std::vector<std::byte> bytes(capacity + 64, std::byte{0xa5});
    const auto used = codec_->encode(stream_, normal_vector(layout.size()), layout, 1, bytes);
    ASSERT_TRUE(used.has_value());
    EXPECT_LE(*used, capacity);
    for (std::size_t i = capacity; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], std::byte{0xa5});
  }
}

TEST_P(Codecs, AreAFunctionOfInputAndSeed) {
  const Layout layout = awkward_layout();
  const auto x = normal_vector(layout.size());
  const auto first = encoded(*codec_, x, layout, 7);
  EXPECT_EQ(encoded(*compressor(GetParam().options), x, layout, 7), first);
  EXPECT_EQ(encoded(*codec_, x, layout, 8) == first, !codec_->traits().seeded);
}

TEST_P(SeededTensorCodecs, DrawOtherNumbersForEachTensor) {
  Layout layout;
  layout.add("a", {10, 20});
  layout.add("b", {10, 20});
  auto x = normal_vector(200);
  x.insert(x.end(), x.begin(), x.begin() + 200);
  const auto q = round_trip(*codec_, x, layout);
  EXPECT_FALSE(same_bits(std::span(q).first(200), std::span(q).last(200)));
}

std::vector<std::vector<float>> vectors_to_contract(std::size_t count) {
  std::vector<std::vector<float>> vectors;
  vectors.push_back(normal_vector(count));
  vectors.emplace_back(count, -0.25f);                // all ties
  vectors.emplace_back(count, 0.0f)[count / 2] = -3;  // the hardest for sign
  auto wide = normal_vector(count, 2);                // fourteen orders of magnitude
  for (std::size_t i = 0; i < count; ++i) wide[i] *= std::pow(10.0f, static_cast<float>(i % 15) - 7);
  vectors.push_back(wide);
  auto tiny = normal_vector(count, 3);  // differences near the end of a run
  for (float& value : tiny) value *= 1e-15f;
  vectors.push_back(tiny);
  auto huge = normal_vector(count, 4);
  for (float& value : huge) value *= 1e30f;
  vectors.push_back(huge);
  auto denormals = normal_vector(count, 5);  // some, beside ordinary elements
  for (std::size_t i = 1; i < count; i += 3) denormals[i] *= 1e-40f;
  vectors.push_back(denormals);
  return vectors;
}

TEST_P(Codecs, ContractAsTheySay) {
  for (const Layout& layout : {awkward_layout(), Layout::flat(1), Layout::flat(77)}) {
    const double delta = codec_->contraction(layout);
    ASSERT_GE(delta, 0);
    ASSERT_LE(delta, 1);
    EXPECT_TRUE(delta > 0 || GetParam().options.unbiased || GetParam().options.codec == CodecId::threshold);
    for (const auto& x : vectors_to_contract(layout.size())) {
      const std::size_t draws = codec_->traits().seeded ? 1000 : 1;
      double sum = 0, sum_of_squares = 0;
      const double norm = squared(x);
      for (std::size_t seed = 0; seed < draws; ++seed) {
        const double error = squared_error(x, round_trip(*codec_, x, layout, seed)) / norm;
        sum += error;
        sum_of_squares += error * error;
      }
      const auto n = static_cast<double>(draws);
      const double mean = sum / n, deviation = std::sqrt(std::max(0.0, sum_of_squares / n - mean * mean) / n);
      if (delta > 0) {
        EXPECT_LE(mean, 1 - delta + 4 * deviation + 1e-7);
      }
      EXPECT_LT(mean, 1e3);
    }
  }
}

// How far the levels around element i are from each other, for codecs that have such.
std::optional<double> UnbiasedCodecs::distance_of_levels(std::span<const float> x, const Layout& layout, std::size_t i) const {
  const CompressionOptions& options = GetParam().options;
  if (options.codec == CodecId::natural) return std::exp2(std::floor(std::log2(std::abs(static_cast<double>(x[i])))));
  if (options.codec != CodecId::qsgd && options.codec != CodecId::terngrad) return std::nullopt;
  std::size_t first = 0, count = x.size();
  if (options.scope == Scope::tensor)
    for (const Tensor& tensor : layout.tensors())
      if (i >= tensor.offset && i - tensor.offset < tensor.count) {
        first = tensor.offset;
        count = tensor.count;
      }
  if (!options.one_scale) {
    const std::size_t tile = (i - first) / 256 * 256;
    first += tile;
    count = std::min<std::size_t>(256, count - tile);
  }
  const auto share = x.subspan(first, count);
  double most = 0;
  for (const float value : share) most = std::max<double>(most, std::abs(value));
  return (options.norm == Norm::two ? std::sqrt(squared(share)) : most) / (options.codec == CodecId::terngrad ? 1 : options.levels);
}

TEST_P(UnbiasedCodecs, GiveTheVectorOnAverage) {
  const Layout layout = awkward_layout();
  const auto x = normal_vector(layout.size());
  constexpr std::size_t kDraws = 1000;
  std::vector<double> sum(x.size()), sum_of_squares(x.size());
  const double norm = squared(x);
  std::vector<double> along(kDraws);  // <Q(x), x> / |x|^2, whose mean is 1
  for (std::size_t draw = 0; draw < kDraws; ++draw) {
    const auto q = round_trip(*codec_, x, layout, 1000 + draw);
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum[i] += q[i];
      sum_of_squares[i] += static_cast<double>(q[i]) * q[i];
      along[draw] += static_cast<double>(q[i]) * x[i] / norm;
    }
  }
  std::size_t beyond = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double mean = sum[i] / kDraws;
    double variance = std::max(0.0, sum_of_squares[i] / kDraws - mean * mean);
    double resolution = 1e-6 * std::abs(x[i]);
    if (const auto unit = distance_of_levels(x, layout, i)) {
      // The variance follows from the position between two levels; an element close to one may not have been
      // rounded to the other in any draw.  Rounding has 16 bits.
      const double above = std::abs(x[i]) / *unit - std::floor(std::abs(x[i]) / *unit);
      variance = *unit * *unit * above * (1 - above);
      resolution += *unit * 0x1p-16;
    }
    const double sigma = std::sqrt(variance / kDraws);
    EXPECT_LE(std::abs(mean - x[i]), 5 * sigma + resolution) << i;
    beyond += std::abs(mean - x[i]) > 3 * sigma + resolution;
  }
  EXPECT_LE(beyond, x.size() / 50);  // 0.3 % of them would be by chance
  double mean = 0, variance = 0;
  for (double a : along) mean += a / kDraws;
  for (double a : along) variance += (a - mean) * (a - mean) / kDraws;
  EXPECT_LE(std::abs(mean - 1), 4 * std::sqrt(variance / kDraws) + 1e-5);
}

TEST_P(Codecs, KeepZerosZero) {
  const Layout layout = awkward_layout();
  const std::vector<float> zeros(layout.size()), negative_zeros(layout.size(), -0.0f);
  for (float value : round_trip(*codec_, zeros, layout)) ASSERT_EQ(value, 0.0f);
  for (float value : round_trip(*codec_, negative_zeros, layout)) ASSERT_EQ(value, 0.0f);
}

TEST_P(Codecs, NeverGrowADenormalVector) {
  const Layout layout = awkward_layout();
  auto x = normal_vector(layout.size());
  for (float& value : x) value *= 1e-39f;
  const auto q = round_trip(*codec_, x, layout);
  for (float value : q) ASSERT_TRUE(std::isfinite(value));
  if (!codec_->traits().unbiased) {
    EXPECT_LE(squared_error(x, q), squared(x));
  }
}

TEST_P(Codecs, RefuseNaNAndInfinity) {
  const Layout layout = awkward_layout();
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  std::vector<std::byte> bytes(codec_->capacity(layout));
  for (float bad : {nan, -nan, infinity, -infinity})
    for (std::size_t at : {std::size_t{0}, std::size_t{5}, layout.size() / 2, layout.size() - 1}) {
      // random-k looks at no more than it sends, which here is everything.
      if (GetParam().options.codec == CodecId::random_k && GetParam().options.ratio < 1) return;
      auto x = normal_vector(layout.size());
      x[at] = bad;
      const auto used = codec_->encode(stream_, x, layout, 1, bytes);
      ASSERT_FALSE(used.has_value());
      EXPECT_EQ(used.error().code, Errc::diverged);

      const auto before = normal_vector(layout.size(), 9);
      auto replica = before;
      const auto difference = codec_->encode_difference(stream_, x, replica, layout, 1, bytes);
      ASSERT_FALSE(difference.has_value());
      EXPECT_EQ(difference.error().code, Errc::diverged);
      EXPECT_TRUE(all_finite(replica)) << "it spread";
      EXPECT_EQ(replica[at], before[at]);
    }
}

TEST_P(Codecs, NameTheTensorThatDiverged) {
  if (GetParam().options.codec == CodecId::random_k && GetParam().options.ratio < 1) return;
  const Layout layout = awkward_layout();
  auto x = normal_vector(layout.size());
  x[9] = std::numeric_limits<float>::quiet_NaN();  // 1 + 7 elements lie before "word"
  std::vector<std::byte> bytes(codec_->capacity(layout));
  const auto used = codec_->encode(stream_, x, layout, 1, bytes);
  ASSERT_FALSE(used.has_value());
  EXPECT_NE(used.error().message.find("element 1 of tensor 'word'"), std::string::npos)
      << used.error().message;
}

TEST_P(Codecs, LargestFloatsDivergeOrDecodeFinite) {
  const Layout layout = awkward_layout();
  const std::vector<float> x(layout.size(), std::numeric_limits<float>::max());
  std::vector<std::byte> bytes(codec_->capacity(layout));
  const auto used = codec_->encode(stream_, x, layout, 1, bytes);
  if (!used) {
    EXPECT_EQ(used.error().code, Errc::diverged);
    return;
  }
  EXPECT_TRUE(all_finite(decoded(*codec_, std::span(bytes).first(*used), layout)));
}

TEST_P(Codecs, ScaleWhatTheyAdd) {
  const Layout layout = awkward_layout();
  const auto bytes = encoded(*codec_, normal_vector(layout.size()), layout);
  const auto values = decoded(*codec_, bytes, layout);
  const auto before = normal_vector(layout.size(), 11);
  auto target = before;
  ASSERT_TRUE(codec_->add_decoded(stream_, bytes, layout, -0.3f, target).has_value());
  for (std::size_t i = 0; i < target.size(); ++i) ASSERT_EQ(target[i], before[i] + -0.3f * values[i]) << i;
}

TEST_P(Codecs, LeaveSenderAndReceiverWithOneReplica) {
  const Layout layout = awkward_layout();
  std::vector<float> replica(layout.size()), received(layout.size());
  std::vector<std::byte> bytes(codec_->capacity(layout));
  auto x = normal_vector(layout.size());
  for (std::size_t round = 0; round < 50; ++round) {
    const auto used = codec_->encode_difference(stream_, x, replica, layout, round, bytes);
    ASSERT_TRUE(used.has_value()) << used.error().message;
    ASSERT_TRUE(
        codec_->add_decoded(stream_, std::span(bytes).first(*used), layout, 1.0f, received).has_value());
    ASSERT_TRUE(same_bits(replica, received)) << round;
    for (float& value : x) value *= 1.01f;
  }
}

TEST_P(ContractiveCodecs, LetTheReplicaReachAModelAtRest) {
  ASSERT_GT(codec_->contraction(awkward_layout()), 0);
  const Layout layout = awkward_layout();
  std::vector<float> replica(layout.size());
  std::vector<std::byte> bytes(codec_->capacity(layout));
  const auto x = normal_vector(layout.size());
  const double before = squared(x);
  for (std::size_t round = 0; round < 400; ++round)
    ASSERT_TRUE(codec_->encode_difference(stream_, x, replica, layout, round, bytes).has_value());
  EXPECT_LT(squared_error(x, replica), 0.6 * before);
  EXPECT_LT(squared_error(x, replica),
            before * std::pow(1 - codec_->contraction(layout), 200) + 1e-9 * before);
}

TEST_P(Codecs, ReadAndWriteUnalignedBytes) {
  const Layout layout = awkward_layout();
  const auto x = normal_vector(layout.size());
  const auto aligned = encoded(*codec_, x, layout);
  std::vector<std::byte> bytes(codec_->capacity(layout) + 1);
  const auto used = codec_->encode(stream_, x, layout, 1, std::span(bytes).subspan(1));
  ASSERT_TRUE(used.has_value());
  const auto unaligned = std::span(bytes).subspan(1, *used);
  EXPECT_TRUE(std::equal(aligned.begin(), aligned.end(), unaligned.begin(), unaligned.end()));
  EXPECT_TRUE(same_bits(decoded(*codec_, unaligned, layout), decoded(*codec_, aligned, layout)));
}

// A target with guard zones; every byte around it must survive.
struct Guarded {
  explicit Guarded(std::size_t count) : all(count + 2 * kGuard, 12345.0f), count(count) {
    std::fill_n(all.begin() + kGuard, count, 0.5f);
  }
  std::span<float> target() { return std::span(all).subspan(kGuard, count); }
  bool guards_hold() const {
    return std::all_of(all.begin(), all.begin() + kGuard, [](float f) { return f == 12345.0f; }) &&
           std::all_of(all.end() - kGuard, all.end(), [](float f) { return f == 12345.0f; });
  }
  bool untouched() {
    return std::all_of(target().begin(), target().end(), [](float f) { return f == 0.5f; });
  }
  static constexpr std::ptrdiff_t kGuard = 64;
  std::vector<float> all;
  std::size_t count;
};

TEST_P(Codecs, RefuseEveryOtherLength) {
  const Layout layout = awkward_layout();
  const auto bytes = encoded(*codec_, normal_vector(layout.size()), layout);
  Guarded guarded(layout.size());
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    const std::vector<std::byte> shorter(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(cut));
    const auto done = codec_->add_decoded(stream_, shorter, layout, 1.0f, guarded.target());
    ASSERT_FALSE(done.has_value()) << cut;
    ASSERT_EQ(done.error().code, Errc::corrupt);
  }
  auto longer = bytes;
  for (int i = 0; i < 9; ++i) {
    longer.push_back(std::byte{0});
    ASSERT_FALSE(codec_->add_decoded(stream_, longer, layout, 1.0f, guarded.target()).has_value());
  }
  EXPECT_TRUE(guarded.untouched());
}

TEST_P(Codecs, SurviveHostileBytes) {
  const Layout layout = awkward_layout();
  const auto bytes = encoded(*codec_, normal_vector(layout.size()), layout);
  Random random(GetParam().options.levels, Purpose::test,
                static_cast<std::uint64_t>(GetParam().options.codec));
  std::size_t accepted = 0, refused = 0;
  for (int attempt = 0; attempt < 2000; ++attempt) {
    auto hostile = bytes;
    for (std::uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
      const std::size_t at = random.below(hostile.size());
      if (random.below(4) == 0)  // a whole word of the values that break things
        for (std::size_t i = at; i < std::min(at + 4, hostile.size()); ++i)
          hostile[i] = random.below(2) == 0 ? std::byte{0xff} : std::byte{0x7f};
      else
        hostile[at] ^= static_cast<std::byte>(1u << random.below(8));
    }
    Guarded guarded(layout.size());
    const auto done = codec_->add_decoded(stream_, hostile, layout, 1.0f, guarded.target());
    ASSERT_TRUE(guarded.guards_hold());
    if (done) {
      ++accepted;
      ASSERT_TRUE(all_finite(guarded.target()));
    } else {
      ++refused;
      ASSERT_TRUE(done.error().code == Errc::corrupt || done.error().code == Errc::version);
      ASSERT_TRUE(guarded.untouched());
    }
  }
  EXPECT_GT(accepted + refused, 0u);
  EXPECT_GT(refused, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Codecs,
                         testing::ValuesIn(cases_with([](const CompressionOptions&, const CodecTraits&) {
                           return true;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, UnbiasedCodecs,
                         testing::ValuesIn(cases_with([](const CompressionOptions&,
                                                         const CodecTraits& traits) {
                           return traits.unbiased;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, SeededTensorCodecs,
                         testing::ValuesIn(cases_with([](const CompressionOptions& options,
                                                         const CodecTraits& traits) {
                           return traits.seeded && options.scope == Scope::tensor && options.ratio < 1;
                         })),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, ContractiveCodecs,
                         testing::ValuesIn(cases_with([](const CompressionOptions& options,
                                                         const CodecTraits&) {
                           return compressor(options)->contraction(awkward_layout()) > 0;
                         })),
                         name_of);

}  // namespace
}  // namespace gossamer
