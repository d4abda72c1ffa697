// Every implementation of the inner loops gives the bits of the scalar reference: on every size class, unaligned, on
// special values, for every code, source and target.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/codes.h"
#include "kernels/draws.h"
#include "kernels/implementations.h"
#include "kernels/reduce.h"
#include "tests/kernels/awkward.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

constexpr std::size_t kLengths[] = {1, 2, 7, 15, 16, 17, 63, 127, 128, 129, 255, 256, 257, 500, 511, 512, 513, 768, 1000, 4096, 5000, 20001};

struct Encoding {
  bool done = false;
  std::vector<std::byte> codes, scales;
  std::vector<float> memory, seen;
};

// `shift` floats (and bytes) off alignment.
Encoding encoded_by(const Kernels& kernels, const Quantizer& how, EncodeOf source, const std::vector<float>& x,
                    const std::vector<float>& memory, std::size_t shift, bool one_scale, bool streaming) {
  const std::size_t n = x.size();
  AlignedBuffer<float> in(n + shift), old(n + shift), seen(n + shift);
  std::copy(x.begin(), x.end(), in.data() + shift);
  std::copy(memory.begin(), memory.end(), old.data() + shift);
  AlignedBuffer<std::byte> codes(chunk_code_bytes(how.code, n) + shift + 64), scales(4 * tile_count(n) + shift);
  const bool plain = source == EncodeOf::plain;
  Encoding result;
  result.done = kernels.encode({.how = how,
                                .source = source,
                                .x = in.data() + shift,
                                .memory = plain ? nullptr : old.data() + shift,
                                .seen = source == EncodeOf::feedback ? seen.data() + shift : nullptr,
                                .count = n,
                                .first_tile = (std::uint64_t{1} << 27) - 1,  // counters that carry into their upper word
                                .key = 0x0123456789abcdefu,
                                .chunk = 77,
                                .codes = codes.data() + shift,
                                .scales = one_scale ? nullptr : scales.data() + shift,
                                .measure = 300.0f,
                                .streaming = streaming});
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(codes[codes.size() - 1 - i], std::byte{0}) << "written past the codes";
  result.codes.assign(codes.data() + shift, codes.data() + shift + chunk_code_bytes(how.code, n));
  result.scales.assign(scales.data() + shift, scales.data() + scales.size());
  result.memory.assign(old.data() + shift, old.data() + old.size());
  result.seen.assign(seen.data() + shift, seen.data() + seen.size());
  return result;
}

std::vector<Quantizer> quantizers() {
  std::vector<Quantizer> all;
  for (std::size_t c = 0; c < kCodes; ++c) {
    const auto code = static_cast<Code>(c);
    Quantizer how{.code = code};
    if (is_stochastic(code)) how.levels = code == Code::stochastic8 ? 127 : code == Code::stochastic4 ? 7 : 1;
    how.divisor = static_cast<float>(how.levels);
    all.push_back(how);
    if (!is_stochastic(code)) continue;
    how.norm = Norm::two;
    all.push_back(how);
    if (code == Code::stochastic2) continue;
    how.levels = code == Code::stochastic8 ? 16 : 5;
    how.divisor = 23.7f;
    how.norm = Norm::max;
    all.push_back(how);
  }
  return all;
}

class EachCode : public testing::TestWithParam<std::size_t> {
 protected:
  const Quantizer how_ = quantizers()[GetParam()];
};

std::string code_name(const testing::TestParamInfo<std::size_t>& info) {
  constexpr const char* kNames[kCodes] = {"f32",         "f16",         "bf16",        "e4m3", "nearest8", "nearest4",
                                          "stochastic8", "stochastic4", "stochastic2", "sign", "natural"};
  const Quantizer how = quantizers()[info.param];
  return std::string(kNames[static_cast<std::size_t>(how.code)]) + "_" + std::to_string(how.levels) + (how.norm == Norm::two ? "_two" : "_max");
}

TEST(Implementations, AreNamedAndComplete) {
  ASSERT_EQ(all_kernels().front(), &scalar_kernels());
  bool best_is_among_them = false;
  for (const Kernels* kernels : all_kernels()) {
    best_is_among_them = best_is_among_them || std::string(kernels->name) == best_kernels().name;
    EXPECT_TRUE(kernels->encode && kernels->decode && kernels->largest && kernels->largest_coded && kernels->sum && kernels->copy && kernels->scale &&
                kernels->axpy && kernels->weighted_sum && kernels->mix && kernels->copy_and_norm && kernels->narrow && kernels->find && kernels->times && kernels->transposed_times && kernels->outer)
        << kernels->name;
  }
  EXPECT_TRUE(best_is_among_them);
  if (__builtin_cpu_supports("avx2")) {
    EXPECT_STRNE(best_kernels().name, "scalar") << "this processor has AVX2";
  }
}

TEST_P(EachCode, EncodesTheBytesOfTheReference) {
  for (const std::size_t n : kLengths)
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind) {
      const auto x = awkward_vector(n, kind, 1), memory = awkward_vector(n, kind, 2);
      for (const EncodeOf source : {EncodeOf::plain, EncodeOf::difference, EncodeOf::feedback}) {
        const bool one_scale = kind == 1 && (how_.code == Code::sign || (is_stochastic(how_.code) && how_.norm == Norm::max));
        const Encoding expected = encoded_by(scalar_kernels(), how_, source, x, memory, 0, one_scale, false);
        ASSERT_TRUE(expected.done || kind == 7 || kind == 5) << n << " " << kind;
        for (const Kernels* kernels : all_kernels())
          for (const std::size_t shift : {0u, 1u, 3u})
            for (const bool streaming : {false, true}) {
              const Encoding got = encoded_by(*kernels, how_, source, x, memory, shift, one_scale, streaming);
              ASSERT_EQ(got.done, expected.done) << kernels->name;
              if (!got.done) continue;
              ASSERT_EQ(got.codes, expected.codes) << kernels->name << " n " << n << " kind " << kind << " source " << static_cast<int>(source);
              ASSERT_EQ(got.scales, expected.scales) << kernels->name << " n " << n << " kind " << kind;
              ASSERT_TRUE(same_bits(got.memory, expected.memory)) << kernels->name << " n " << n << " kind " << kind;
              ASSERT_TRUE(same_bits(got.seen, expected.seen)) << kernels->name << " n " << n << " kind " << kind;
            }
      }
    }
}

TEST_P(EachCode, RefusesWhatIsNoNumberWhereverItIs) {
  const auto x = normal_vector(600);
  const std::vector<float> bad = {std::nanf(""), -std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (const Kernels* kernels : all_kernels())
    for (const float value : bad)
      for (std::size_t at = 0; at < x.size(); at += at < 40 ? 1 : 37)
        for (const EncodeOf source : {EncodeOf::plain, EncodeOf::difference, EncodeOf::feedback}) {
          auto with = x;
          with[at] = value;
          const Encoding got = encoded_by(*kernels, how_, source, with, std::vector<float>(600, 0.5f), 0, false, false);
          ASSERT_FALSE(got.done) << kernels->name << " " << at;
          for (const float m : got.memory) ASSERT_TRUE(std::isfinite(m)) << "it spread";
        }
}

TEST_P(EachCode, DecodesAnyBytesToTheNumbersOfTheReference) {
  const Code code = how_.code;
  for (const std::size_t n : kLengths) {
    Random random(n, Purpose::test);
    std::vector<std::vector<std::byte>> codes(3), scales(3);
    std::vector<CodedTiles> from;
    for (std::size_t p = 0; p < 3; ++p) {
      codes[p].resize(chunk_code_bytes(code, n) + 1);
      for (std::byte& b : codes[p]) b = static_cast<std::byte>(random());
      scales[p].resize(4 * tile_count(n) + 1);
      for (std::size_t t = 0; t < tile_count(n); ++t) {
        float scale = 0;
        do scale = std::bit_cast<float>(random() & 0x7fffffffu);
        while (!valid_scale(code, scale));
        if (random.below(5) == 0) scale = 0;
        if (random.below(5) == 0) scale = largest_scale(code);
        std::memcpy(scales[p].data() + 1 + 4 * t, &scale, 4);
      }
      from.push_back({.codes = codes[p].data() + 1, .scales = scales[p].data() + 1, .one_scale = p == 2, .weight = 0.25f * static_cast<float>(p + 1)});
    }
    const auto own = normal_vector(n, 3), start = normal_vector(n, 4), sum = normal_vector(n, 5);
    for (const DecodeTo target : {DecodeTo::add, DecodeTo::assign, DecodeTo::difference, DecodeTo::follow, DecodeTo::wide})
      for (const std::size_t payloads : {0u, 1u, 2u, 3u}) {
        const bool single = target == DecodeTo::follow || target == DecodeTo::wide;
        if (single && payloads != 1) continue;
        const auto run = [&](const Kernels& kernels, bool streaming, std::size_t shift) {
          AlignedBuffer<float> out(n + shift), total(n + shift);
          AlignedBuffer<double> wide(n + shift);
          std::copy(start.begin(), start.end(), out.data() + shift);
          std::copy(sum.begin(), sum.end(), total.data() + shift);
          kernels.decode({.how = how_,
                          .target = target,
                          .from = std::span(from).first(payloads),
                          .count = n,
                          .own = own.data(),
                          .out = out.data() + shift,
                          .sum = total.data() + shift,
                          .wide = wide.data() + shift,
                          .wide_weight = 1.0 / 3,
                          .streaming = streaming});
          std::vector<double> all(out.data() + shift, out.data() + out.size());
          all.insert(all.end(), total.data() + shift, total.data() + total.size());
          all.insert(all.end(), wide.data() + shift, wide.data() + wide.size());
          return all;
        };
        const auto expected = run(scalar_kernels(), false, 0);
        if (has_scale(code)) {
          for (const double value : expected) ASSERT_TRUE(std::isfinite(value));
        }
        for (const Kernels* kernels : all_kernels())
          for (const bool streaming : {false, true})
            for (const std::size_t shift : {0u, 1u}) {
              const auto got = run(*kernels, streaming, shift);
              ASSERT_EQ(std::memcmp(got.data(), expected.data(), 8 * got.size()), 0)
                  << kernels->name << " n " << n << " target " << static_cast<int>(target) << " payloads " << payloads;
            }
      }
  }
}

// What is decoded is what the encoder of a difference moved its replica by, and lies within a level of the input.
TEST_P(EachCode, ReplicasOfBothEndsStayTheSame) {
  for (const Kernels* kernels : all_kernels()) {
    const std::size_t n = 777;
    const auto x = normal_vector(n), replica = normal_vector(n, 2);
    const Encoding sent = encoded_by(*kernels, how_, EncodeOf::difference, x, replica, 0, false, false);
    auto received = replica;
    const CodedTiles from{.codes = sent.codes.data(), .scales = sent.scales.data()};
    kernels->decode({.how = how_, .target = DecodeTo::add, .from = {&from, 1}, .count = n, .out = received.data()});
    EXPECT_TRUE(same_bits(received, sent.memory)) << kernels->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EachCode, testing::Range(std::size_t{0}, quantizers().size()), code_name);

TEST(Implementations, DoVectorsLikeTheReference) {
  for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 127u, 128u, 1000u, 4095u, 4096u})
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind)
      for (const std::size_t shift : {0u, 1u}) {
        std::vector<std::vector<float>> in;
        for (std::uint64_t s = 1; s <= 4; ++s) in.push_back(awkward_vector(n + shift, kind, s));
        const auto at = [&](std::size_t i) { return in[i].data() + shift; };
        const Kernels& reference = scalar_kernels();
        for (const Kernels* kernels : all_kernels()) {
          for (const float* y : {static_cast<const float*>(nullptr), static_cast<const float*>(at(1))}) {
            ASSERT_EQ(kernels->largest(at(0), y, n), reference.largest(at(0), y, n)) << kernels->name << n;
            ASSERT_EQ(kernels->sum(SumOf::magnitudes, at(0), y, n), reference.sum(SumOf::magnitudes, at(0), y, n)) << kernels->name << n;
            for (const std::uint32_t least : {0u, 1u, 0x3f000000u, 0x7f7fffffu, 0x7f800000u}) {
              const auto found = [&](const Kernels& by) {
                std::vector<std::uint32_t> indices(n + 2);
                std::vector<float> values(n + 2);
                const std::size_t count = by.find(at(0), y, n, least, indices.data(), values.data());
                indices.resize(count);
                values.resize(count);
                return std::pair(std::move(indices), std::move(values));
              };
              const auto [indices, values] = found(*kernels);
              const auto [expected, expected_values] = found(reference);
              ASSERT_EQ(indices, expected) << kernels->name << n;
              ASSERT_TRUE(same_bits(values, expected_values)) << kernels->name << n;
            }
          }
          for (const SumOf terms : {SumOf::products, SumOf::squared_differences}) {
            ASSERT_EQ(kernels->sum(terms, at(0), at(1), n), reference.sum(terms, at(0), at(1), n)) << kernels->name << n;
          }
          auto y = in[1], z = in[1];
          kernels->axpy(0.3f, at(0), y.data() + shift, n);
          reference.axpy(0.3f, at(0), z.data() + shift, n);
          kernels->scale(-1.7f, y.data() + shift, n);
          reference.scale(-1.7f, z.data() + shift, n);
          ASSERT_TRUE(same_bits(y, z)) << kernels->name << n;
          const WeightedVector terms[] = {{0.5f, {at(0), n}}, {0.3f, {at(1), n}}, {0.2f, {at(2), n}}, {-1.0f, {at(3), n}}};
          for (std::size_t k = 0; k <= 4; ++k)
            for (const bool streaming : {false, true}) {
              std::vector<float> out(n + shift, 9.0f), expected(n + shift, 9.0f);
              kernels->weighted_sum(std::span(terms).first(k), 0, out.data() + shift, n, streaming);
              reference.weighted_sum(std::span(terms).first(k), 0, expected.data() + shift, n, streaming);
              ASSERT_TRUE(same_bits(out, expected)) << kernels->name << " " << n << " terms " << k;
              kernels->copy(at(0), out.data() + shift, n, streaming);
              ASSERT_TRUE(same_bits(std::span(out).subspan(shift), {at(0), n}));
            }
        }
      }
}

// Several parts of a sum, tails, in place and elsewhere, unaligned, any number of others; and what is no number shows in its sum.
TEST(Implementations, MixLikeTheReference) {
  for (const std::size_t n : {0u, 1u, 31u, 32u, 33u, 127u, 128u, 1000u, 4095u, 4096u, 4097u, 9000u})
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind)
      for (const std::size_t others : {0u, 1u, 2u, 3u, 4u, 6u}) {
        constexpr std::size_t kFirst = 5;
        std::vector<std::vector<float>> models;
        std::vector<WeightedVector> terms;
        for (std::size_t t = 0; t < others; ++t) models.push_back(awkward_vector(kFirst + n, kind, t + 2, 0x1p60f));
        for (std::size_t t = 0; t < others; ++t) terms.push_back({t == 1 ? -0.75f : 0.3f / static_cast<float>(t + 1), models[t]});
        const auto x = awkward_vector(n, kind, 1, 0x1p60f);
        const auto mixed_by = [&](const Kernels& kernels, bool in_place, bool streaming, std::size_t shift) {
          AlignedBuffer<float> own(n + shift), out(n + shift);
          std::copy(x.begin(), x.end(), own.data() + shift);
          std::vector<double> sums(n / kSumChunk + 1, -1.0);
          float* const to = (in_place ? own : out).data() + shift;
          kernels.mix(terms, kFirst, own.data() + shift, to, n, streaming, sums.data());
          return std::pair(std::vector<float>(to, to + n), sums);
        };
        const auto [expected, expected_sums] = mixed_by(scalar_kernels(), false, false, 0);
        for (const Kernels* kernels : all_kernels())
          for (const bool in_place : {false, true})
            for (const bool streaming : {false, true})
              for (const std::size_t shift : {0u, 1u}) {
                if (in_place && streaming) continue;
                const auto [got, sums] = mixed_by(*kernels, in_place, streaming, shift);
                ASSERT_TRUE(same_bits(got, expected)) << kernels->name << " n " << n << " others " << others << " kind " << kind;
                ASSERT_EQ(sums, expected_sums) << kernels->name << " n " << n << " others " << others << " kind " << kind;
              }
      }
}

TEST(Implementations, SumWhatTheyCopyAndNarrowLikeTheReference) {
  for (const std::size_t n : {0u, 1u, 31u, 32u, 33u, 127u, 128u, 1000u, 4095u, 4096u, 4097u, 9000u})
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind) {
      const auto x = awkward_vector(n, kind, 1);
      std::vector<double> wide(n);
      for (std::size_t i = 0; i < n; ++i) wide[i] = static_cast<double>(x[i]) * (1 + 1e-9 * static_cast<double>(i));
      const auto done_by = [&](const Kernels& kernels, bool streaming, std::size_t shift) {
        AlignedBuffer<float> copied(n + shift), narrowed(n + shift);
        std::vector<double> sums(2 * (n / kSumChunk + 1), -1.0);
        kernels.copy_and_norm(x.data(), copied.data() + shift, n, streaming, sums.data());
        kernels.narrow(-0.7, wide.data(), narrowed.data() + shift, n, streaming, sums.data() + sums.size() / 2);
        std::vector<float> all(copied.data() + shift, copied.data() + shift + n);
        all.insert(all.end(), narrowed.data() + shift, narrowed.data() + shift + n);
        return std::pair(all, sums);
      };
      const auto [expected, expected_sums] = done_by(scalar_kernels(), false, 0);
      ASSERT_TRUE(same_bits(std::span(expected).first(n), x));
      for (const Kernels* kernels : all_kernels())
        for (const bool streaming : {false, true})
          for (const std::size_t shift : {0u, 1u}) {
            const auto [got, sums] = done_by(*kernels, streaming, shift);
            ASSERT_TRUE(same_bits(got, expected)) << kernels->name << " n " << n << " kind " << kind;
            ASSERT_EQ(sums, expected_sums) << kernels->name << " n " << n << " kind " << kind;
          }
    }
}

TEST(Implementations, ShowInTheSumOfAMixWhatIsNoNumber) {
  const auto x = normal_vector(5000);
  for (const Kernels* kernels : all_kernels())
    for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::max()})
      for (std::size_t at = 0; at < x.size(); at += at < 70 ? 1 : 511) {
        auto other = x;
        other[at] = value;
        std::vector<float> out(x.size());
        double sums[2] = {};
        const WeightedVector term{4.0f, other};  // four times the largest float is none
        kernels->mix({&term, 1}, 0, x.data(), out.data(), x.size(), false, sums);
        ASSERT_FALSE(std::isfinite(sums[at / kSumChunk])) << kernels->name << " " << at;
        ASSERT_TRUE(std::isfinite(sums[1 - at / kSumChunk])) << kernels->name << " " << at;
      }
}

// Tails of rows and of blocks, rows longer than a part of a sum, matrices inside larger ones, and every number of columns.
TEST(Implementations, MultiplyFactorsLikeTheReference) {
  struct Shape {
    std::size_t rows, columns;
  };
  const Kernels& reference = scalar_kernels();
  for (const Shape shape : {Shape{1, 1}, {1, 40}, {3, 7}, {4, 16}, {5, 31}, {7, 33}, {64, 70}, {63, 129}, {2, 4096}, {3, 4097}, {2, 9000}})
    for (std::size_t kind = 0; kind < kAwkwardKinds; ++kind) {
      const std::size_t stride = shape.columns + kind % 3;
      const auto x = awkward_vector(shape.rows * stride, kind, 1, 0x1p60f), y = awkward_vector(x.size(), kind, 2, 0x1p60f);
      for (const EncodeOf source : {EncodeOf::plain, EncodeOf::difference, EncodeOf::feedback})
        for (const std::size_t rank : {1u, 2u, 3u, 4u, 7u}) {
          const auto left = normal_vector(rank * (shape.rows + 1), 3), right = normal_vector(rank * (shape.columns + 1), 4);
          const MatrixRows m{source, x.data(), source == EncodeOf::plain ? nullptr : y.data(), stride, shape.rows, shape.columns};
          const auto results = [&](const Kernels& kernels) {
            std::vector<float> to_left(rank * shape.rows, 7.0f), to_right(rank * shape.columns, 7.0f), row(shape.columns + 1, 7.0f);
            kernels.times(m, {right.data(), shape.columns + 1}, rank, {to_left.data(), shape.rows});
            kernels.transposed_times(m, {left.data(), shape.rows + 1}, rank, {to_right.data(), shape.columns});
            kernels.outer({left.data() + shape.rows - 1, shape.rows + 1}, {right.data(), shape.columns + 1}, rank, row.data(), shape.columns);
            EXPECT_EQ(row.back(), 7.0f);
            to_left.insert(to_left.end(), to_right.begin(), to_right.end());
            to_left.insert(to_left.end(), row.begin(), row.end());
            return to_left;
          };
          const auto expected = results(reference);
          for (const Kernels* kernels : all_kernels())
            ASSERT_TRUE(same_bits(results(*kernels), expected)) << kernels->name << " " << shape.rows << " x " << shape.columns << " kind " << kind << " rank " << rank;
        }
    }
}

TEST(Implementations, SeeNaN) {
  for (const Kernels* kernels : all_kernels())
    for (std::size_t i = 0; i < 100; ++i)
      for (const std::uint32_t bits : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00001u, 0x7f800001u}) {
        std::vector<float> x(100, 1.0f);
        x[i] = std::bit_cast<float>(bits);
        EXPECT_EQ(kernels->largest(x.data(), nullptr, 100), bits & 0x7fffffffu) << kernels->name;
      }
}

TEST(Implementations, SeeTheLargestOfCodesThatAreFloats) {
  for (const Kernels* kernels : all_kernels())
    for (const Code code : {Code::f32, Code::bf16})
      for (const std::size_t n : {0u, 1u, 31u, 64u, 100u, 257u, 1000u}) {
        Random random(n, Purpose::test);
        const std::size_t width = code_bits(code) / 8;
        std::vector<std::byte> codes(n * width + 1);
        for (std::byte& b : codes) b = static_cast<std::byte>(random() & 0x3f);
        ASSERT_EQ(kernels->largest_coded(code, codes.data() + 1, n), scalar_kernels().largest_coded(code, codes.data() + 1, n)) << kernels->name;
        for (std::size_t i = 0; i < n; ++i) {  // -infinity, NaN
          const std::uint32_t upper = i % 2 == 0 ? 0xff80u : 0x7fc1u;
          std::byte* const at = codes.data() + 1 + i * width + width - 2;
          const std::byte before[] = {at[0], at[1]};
          std::memcpy(at, &upper, 2);
          ASSERT_EQ(kernels->largest_coded(code, codes.data() + 1, n) >> 16, upper & 0x7fffu) << kernels->name << " " << i;
          std::memcpy(at, before, 2);
        }
      }
}

}  // namespace
}  // namespace gossamer
