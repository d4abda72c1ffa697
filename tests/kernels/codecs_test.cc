// What each codec promises beyond the interface.
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>

#include "base/serial.h"
#include "kernels/codes.h"
#include "kernels/parallel.h"
#include "kernels/positions.h"
#include "kernels/select.h"
#include "kernels/vector.h"
#include "tests/kernels/codec_cases.h"

namespace gossamer {
namespace {

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
  for (std::uint32_t levels : {0u, 128u})
    EXPECT_NE(refusal({.codec = CodecId::qsgd, .levels = levels}).find("1 .. 127"), std::string::npos);
  for (CodecId codec : {CodecId::top_k, CodecId::sign, CodecId::fp16, CodecId::bf16, CodecId::int8, CodecId::natural})
    EXPECT_NE(refusal({.codec = codec, .unbiased = true}).find("compression.unbiased"), std::string::npos);
  for (CodecId codec : {CodecId::top_k, CodecId::int4, CodecId::fp8, CodecId::terngrad})
    EXPECT_NE(refusal({.codec = codec, .one_scale = true}).find("compression.scales"), std::string::npos);
  EXPECT_NE(refusal({.codec = static_cast<CodecId>(99)}).find("99"), std::string::npos);
}

// The bytes of one vector under every codec, as a hash; the values were computed by a second program that
// was written from docs/compression.md.  A change here is a change of the wire format: peers of two builds would no longer
// understand each other, and kCodecVersion must move.
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
  EXPECT_EQ(hash({.codec = CodecId::fp16}), 15753512310173850836u);
  EXPECT_EQ(hash({.codec = CodecId::bf16}), 10731210142773537977u);
  EXPECT_EQ(hash({.codec = CodecId::sign}), 18040265786110829775u);
  EXPECT_EQ(hash({.codec = CodecId::sign, .one_scale = true}), 6344930270515288547u);
  EXPECT_EQ(hash({.codec = CodecId::qsgd, .levels = 7}), 1207165769073107566u);
  EXPECT_EQ(hash({.codec = CodecId::qsgd, .levels = 127, .norm = Norm::two, .unbiased = true}), 1747076494772682082u);
  EXPECT_EQ(hash({.codec = CodecId::qsgd, .levels = 16, .norm = Norm::two, .one_scale = true}), 6794162459022666440u);
  EXPECT_EQ(hash({.codec = CodecId::fp8}), 2012114118011954898u);
  EXPECT_EQ(hash({.codec = CodecId::int8}), 15877660373711269009u);
  EXPECT_EQ(hash({.codec = CodecId::int4}), 12351749886379439791u);
  EXPECT_EQ(hash({.codec = CodecId::terngrad}), 523812549703551446u);
  EXPECT_EQ(hash({.codec = CodecId::natural}), 12248990941603240989u);
  EXPECT_EQ(hash({.codec = CodecId::top_k, .ratio = 0.02}), 11221984869041147837u);
  EXPECT_EQ(hash({.codec = CodecId::top_k, .ratio = 0.5}), 8042598142507406136u);
  EXPECT_EQ(hash({.codec = CodecId::random_k, .ratio = 0.1}), 17913064104581407120u);
  EXPECT_EQ(hash({.codec = CodecId::random_k, .ratio = 0.1, .unbiased = true}), 15802883503064330864u);
  // Positions of 16 bits, and whole groups.
  x.resize(20000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i * 37 % 101) - 50) / 64;
  layout = Layout::flat(20000);
  EXPECT_EQ(hash({.codec = CodecId::top_k, .ratio = 0.001}), 9584087590208166529u);
  EXPECT_EQ(hash({.codec = CodecId::random_k, .ratio = 0.1}), 3768261513688671943u);
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
  ASSERT_EQ(bytes.size(), 64u + 16 + 8 + 16);
  EXPECT_EQ(word_at<std::uint64_t>(bytes, 64), 3u);
  EXPECT_EQ(word_at<std::uint64_t>(bytes, 72), 4u);           // positions: a count, three offsets
  EXPECT_EQ(word_at<std::uint32_t>(bytes, 80), 0x02010003u);  // the first three
}

// The sample of a large vector may mislead; the result may not.
TEST(TopK, DoesNotDependOnWhatTheSampleSaw) {
  constexpr std::size_t kN = (std::size_t{1} << 20) + 12345, kKept = kN / 100;
  ThreadedStream three(3);
  for (int kind = 0; kind < 5; ++kind) {
    std::vector<float> x = normal_vector(kN, 3), own = normal_vector(kN, 4);
    if (kind == 1)  // all large ones in one place
      for (std::size_t i = 0; i < kN; ++i) x[i] *= i < kN / 50 ? 1000.0f : 0.01f;
    if (kind == 2) std::fill(x.begin(), x.end(), -0.5f);  // nothing but ties
    if (kind == 3)                                        // few values, so that ties cross the cut
      for (float& value : x) value = std::round(value * 4) / 4;
    if (kind == 4)  // one in 64 is all there is
      for (std::size_t i = 0; i < kN; ++i) x[i] = i % 64 == 13 ? x[i] : 0;
    for (const bool difference : {false, true}) {
      std::vector<float> d(kN);
      for (std::size_t i = 0; i < kN; ++i) d[i] = difference ? x[i] - own[i] : x[i];
      std::vector<std::uint32_t> magnitudes(kN);
      for (std::size_t i = 0; i < kN; ++i) magnitudes[i] = magnitude_bits(d[i]);
      auto sorted = magnitudes;
      std::nth_element(sorted.begin(), sorted.begin() + kKept - 1, sorted.end(), std::greater<>());
      const std::uint32_t cut = sorted[kKept - 1];
      std::size_t ties = kKept - static_cast<std::size_t>(std::count_if(magnitudes.begin(), magnitudes.end(), [&](auto m) { return m > cut; }));
      std::vector<std::uint64_t> expected;
      for (std::size_t i = 0; i < kN; ++i)
        if (magnitudes[i] > cut || (magnitudes[i] == cut && ties > 0 && ties-- > 0)) expected.push_back(i);
      Stream alone;
      for (Stream* stream : {&alone, static_cast<Stream*>(&three)}) {
        Selection found;
        ASSERT_TRUE(select_largest(*stream, best_kernels(), x.data(), difference ? own.data() : nullptr, kN, kKept, &found));
        ASSERT_TRUE(found.indices == expected) << kind << difference << stream->width();
        for (std::size_t j = 0; j < kKept; ++j) ASSERT_EQ(float_bits(found.values[j]), float_bits(d[expected[j]]));
      }
    }
  }
}

// What a call leaves in its stream is memory and nothing else, whatever was selected from before.
TEST(TopK, DoesNotDependOnWhatItsStreamDidBefore) {
  ThreadedStream used(2);
  const auto x = normal_vector(std::size_t{1} << 20);
  for (const std::size_t n : {x.size(), std::size_t{300000}, std::size_t{1000}, x.size() - 77, std::size_t{1}, x.size()})
    for (const std::size_t k : {n / 100 + 1, n / 20 + 1, n}) {
      ThreadedStream fresh(2);
      Selection expected, found;
      ASSERT_TRUE(select_largest(fresh, best_kernels(), x.data(), nullptr, n, k, &expected));
      ASSERT_TRUE(select_largest(used, best_kernels(), x.data(), nullptr, n, k, &found));
      EXPECT_TRUE(found.indices == expected.indices && found.values == expected.values) << n << " " << k;
      ASSERT_TRUE(select_at_least(fresh, best_kernels(), x.data(), nullptr, n, 0x40000000u, &expected));
      ASSERT_TRUE(select_at_least(used, best_kernels(), x.data(), nullptr, n, 0x40000000u, &found));
      EXPECT_TRUE(found.indices == expected.indices && found.values == expected.values) << n;
    }
}

TEST(TopK, TakesMemoryFromTheSystemOnlyOnce) {
  const auto codec = make_compressor({.codec = CodecId::top_k, .ratio = 0.02}).value();
  const auto x = normal_vector(std::size_t{1} << 22);
  auto replica = normal_vector(x.size(), 2);
  const Layout layout = Layout::flat(x.size());
  std::vector<std::byte> payload(codec->capacity(layout));
  Stream stream;
  const auto faults = [&] {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    EXPECT_TRUE(codec->encode_difference(stream, x, replica, layout, 1, payload));
    getrusage(RUSAGE_SELF, &after);
    return after.ru_minflt - before.ru_minflt;
  };
  faults();
  faults();
  EXPECT_LT(faults(), 100);  // of 4 KiB; what is selected takes 245 of them
}

TEST(TopK, SeesNaNAmongManyElements) {
  std::vector<float> x = normal_vector(std::size_t{1} << 20);
  Stream stream;
  Selection found;
  for (const std::size_t at : {std::size_t{0}, x.size() / 3, x.size() - 1}) {
    const float before = std::exchange(x[at], std::nanf(""));
    EXPECT_FALSE(select_largest(stream, best_kernels(), x.data(), nullptr, x.size(), 10000, &found));
    EXPECT_FALSE(select_largest(stream, best_kernels(), x.data(), nullptr, x.size(), x.size(), &found));
    EXPECT_FALSE(select_at_least(stream, best_kernels(), x.data(), nullptr, x.size(), 0x40000000u, &found));
    x[at] = before;
  }
}

std::vector<std::uint64_t> random_positions(std::size_t n, std::size_t k, std::uint64_t seed) {
  Random random(seed, Purpose::test, n, k);
  std::vector<std::uint64_t> all(n);
  std::iota(all.begin(), all.end(), std::uint64_t{0});
  random.shuffle(all);
  all.resize(k);
  std::sort(all.begin(), all.end());
  return all;
}

TEST(Positions, ComeBackInEveryForm) {
  std::set<PositionForm> forms;
  for (const std::size_t n : {1u, 7u, 8u, 255u, 256u, 257u, 1000u, 65536u, 65537u, 200000u})
    for (const double share : {0.0, 1e-5, 0.001, 0.003, 0.01, 0.1, 0.13, 0.6, 1.0}) {
      const std::size_t k = share == 0 ? 0 : std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(n)));
      const auto positions = random_positions(n, k, 1);
      forms.insert(position_form(n, k));
      std::vector<std::byte> bytes(positions_capacity(n, k) + 8, std::byte{0xa5});
      const std::size_t used = write_positions(positions, n, bytes.data());
      ASSERT_LE(used, positions_capacity(n, k));
      for (std::size_t i = positions_capacity(n, k); i < bytes.size(); ++i) ASSERT_EQ(bytes[i], std::byte{0xa5});
      std::vector<std::uint64_t> read;
      ASSERT_EQ(read_positions(std::span(bytes).first(used), n, k, &read), nullptr) << n << " " << k;
      ASSERT_EQ(read, positions);
      for (std::size_t cut = 0; cut < std::min<std::size_t>(used, 50); ++cut)
        ASSERT_NE(read_positions(std::span(bytes).first(cut), n, k, &read), nullptr);
    }
  EXPECT_EQ(forms.size(), 3u);
}

TEST(Positions, OfFullBlocksAreTold) {
  // 255 and 256 elements of a block of 256, beside enough empty ones that the form is of bytes.
  constexpr std::size_t kN = 256 * 100;
  for (const std::size_t missing : {std::size_t{0}, std::size_t{100}, std::size_t{255}, kN}) {
    std::vector<std::uint64_t> positions;
    for (std::size_t i = 0; i < 256; ++i)
      if (i != missing) positions.push_back(256 * 7 + i);
    positions.push_back(256 * 9 + 5);
    ASSERT_EQ(position_form(kN, positions.size()), PositionForm::bytes);
    std::vector<std::byte> bytes(positions_capacity(kN, positions.size()));
    const std::size_t used = write_positions(positions, kN, bytes.data());
    std::vector<std::uint64_t> read;
    ASSERT_EQ(read_positions(std::span(bytes).first(used), kN, positions.size(), &read), nullptr);
    EXPECT_EQ(read, positions) << missing;
  }
}

TEST(Positions, CostWhatTheirFormPromises) {
  // 1 % of many: 8 bits an offset, and a count for each 2.56 of them.
  EXPECT_NEAR(8.0 * static_cast<double>(write_positions(random_positions(256000, 2560, 1), 256000, std::vector<std::byte>(20000).data())) / 2560, 11.1, 0.1);
  EXPECT_EQ(position_form(80000, 10000), PositionForm::bitmap);
  EXPECT_EQ(position_form(1000000, 1000), PositionForm::words);
}

TEST(Positions, GoBeyondThirtyTwoBits) {
  constexpr std::size_t kN = (std::size_t{1} << 33) + 77;
  const std::vector<std::uint64_t> positions = {0, 65535, 65536, (std::uint64_t{1} << 32) - 1, std::uint64_t{1} << 32, kN - 1};
  std::vector<std::byte> bytes(positions_capacity(kN, positions.size()));
  const std::size_t used = write_positions(positions, kN, bytes.data());
  std::vector<std::uint64_t> read;
  ASSERT_EQ(read_positions(std::span(bytes).first(used), kN, positions.size(), &read), nullptr);
  EXPECT_EQ(read, positions);
  ASSERT_NE(read_positions(std::span(bytes).first(used), kN - 1, positions.size(), &read), nullptr);
}

// More than 2^31 floats: memory that nobody wrote to is one page of zeros.
// (ThreadSanitizer writes down who read each of them, which took a machine of 24 GiB all of its memory: there it is left out.)
class ManyFloats {
 public:
#ifdef __SANITIZE_THREAD__
  ManyFloats() = default;
#else
  ManyFloats() : mapped_(::mmap(nullptr, 4 * kCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (mapped_ != MAP_FAILED) ::madvise(mapped_, 4 * kCount, MADV_HUGEPAGE);  // in large pages, where there are such: small ones take their time
  }
#endif
  ~ManyFloats() {
    if (mapped_ != MAP_FAILED) ::munmap(mapped_, 4 * kCount);
  }
  ManyFloats(const ManyFloats&) = delete;
  ManyFloats& operator=(const ManyFloats&) = delete;

  static constexpr std::size_t kCount = (std::size_t{1} << 31) + 1000;
  bool there() const { return mapped_ != MAP_FAILED; }
  std::span<float> all() { return {static_cast<float*>(mapped_), kCount}; }

 private:
  void* mapped_ = MAP_FAILED;
};

const std::vector<std::uint64_t> kFarApart = {5, (std::uint64_t{1} << 31) - 1, std::uint64_t{1} << 31, ManyFloats::kCount - 1};

TEST(Sparsifiers, CountBeyondThirtyOneBits) {
  ManyFloats x, target, payload;
  if (!x.there() || !target.there() || !payload.there()) GTEST_SKIP() << "no room for 24 GiB of addresses, or ThreadSanitizer";
  for (const std::uint64_t place : kFarApart) x.all()[place] = -2.5f;
  const auto codec = compressor({.codec = CodecId::threshold, .threshold = 2.5, .values = CodecId::bf16});
  const Layout layout = Layout::flat(ManyFloats::kCount);
  ThreadedStream threads(2);
  const std::span<std::byte> room = std::as_writable_bytes(payload.all());
  ASSERT_GE(room.size(), codec->capacity(layout));
  const auto used = codec->encode(threads, x.all(), layout, 1, room);
  ASSERT_TRUE(used) << used.error().message;
  ASSERT_TRUE(codec->add_decoded(threads, room.first(*used), layout, 2, target.all()));
  for (const std::uint64_t place : kFarApart) {
    EXPECT_EQ(target.all()[place], -5.0f) << place;
    EXPECT_EQ(target.all()[place - 1] == 0, place != std::uint64_t{1} << 31) << place;
  }
}

TEST(DenseCodecs, CountBeyondThirtyOneBits) {
  ManyFloats x;
  if (!x.there()) GTEST_SKIP() << "no room for 8 GiB of addresses, or ThreadSanitizer";
  for (const std::uint64_t place : kFarApart) x.all()[place] = -2.5f;
  EXPECT_EQ(squared_norm(x.all()), 4 * 6.25);
  const auto codec = compressor({.codec = CodecId::sign});
  const Layout layout = Layout::flat(ManyFloats::kCount);
  std::vector<std::byte> bytes(codec->capacity(layout));
  ThreadedStream threads(2);
  ASSERT_TRUE(codec->encode(threads, x.all(), layout, 1, bytes));
  const std::size_t scales = (4 * tile_count(ManyFloats::kCount) + 63) / 64 * 64;
  std::vector<std::uint64_t> negative;
  for (std::size_t byte = 0; byte < (ManyFloats::kCount + 7) / 8; ++byte)
    if (const auto bits = std::to_integer<unsigned>(bytes[64 + scales + byte]); bits != 0) {
      EXPECT_EQ(std::popcount(bits), 1);
      negative.push_back(8 * byte + static_cast<std::size_t>(std::countr_zero(bits)));
    }
  EXPECT_EQ(negative, kFarApart);
}

TEST(DenseCodecs, SizesGoBeyondThirtyTwoBits) {
  constexpr std::size_t kN = 5'000'000'000;
  const std::size_t scales = 4 * ((kN + 255) / 256);
  EXPECT_EQ(compressor({.codec = CodecId::int8})->capacity(Layout::flat(kN)), 64 + (scales + 63) / 64 * 64 + kN);
  EXPECT_EQ(compressor({.codec = CodecId::none})->capacity(Layout::flat(kN)), 4 * kN);
}

TEST(TopK, RefusesPositionsThatDoNotAscendInside) {
  const auto codec = compressor({.codec = CodecId::top_k, .ratio = 0.03});
  const Layout layout = Layout::flat(100);
  const auto bytes = encoded(*codec, normal_vector(100), layout);
  ASSERT_EQ(verdict(*codec, bytes, layout), "accepted");
  const auto with_offsets = [&](std::uint8_t a, std::uint8_t b, std::uint8_t c) {
    return with_word(with_word(with_word(bytes, 81, a), 82, b), 83, c);
  };
  EXPECT_EQ(verdict(*codec, with_offsets(0, 98, 99), layout), "accepted");
  EXPECT_REFUSED(*codec, with_offsets(0, 99, 100), layout, "past the end");
  EXPECT_REFUSED(*codec, with_offsets(0, 1, 255), layout, "past the end");
  EXPECT_REFUSED(*codec, with_offsets(5, 5, 6), layout, "ascend");
  EXPECT_REFUSED(*codec, with_offsets(5, 7, 6), layout, "ascend");
  EXPECT_REFUSED(*codec, with_word(bytes, 80, std::uint8_t{2}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 80, std::uint8_t{4}), layout, "cut off");
  EXPECT_REFUSED(*codec, with_word(bytes, 64, std::uint64_t{2}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 72, ~std::uint64_t{0}), layout, "cut off");
  EXPECT_REFUSED(*codec, with_word(bytes, 72, std::uint64_t{3}), layout, "cut off");
  EXPECT_REFUSED(*codec, with_word(bytes, 88, std::nanf("")), layout, "NaN");
}

TEST(TopK, RefusesABitmapOfAnotherCountOrPastTheEnd) {
  const auto codec = compressor({.codec = CodecId::top_k, .ratio = 0.2});
  const Layout layout = Layout::flat(42);  // k = 8 of 42: a bitmap of six bytes, of which 6 bits are padding
  std::vector<float> x(42);
  for (std::size_t i : {3u, 9u, 10u, 11u, 12u, 13u, 31u, 41u}) x[i] = 1;
  const auto bytes = encoded(*codec, x, layout);
  ASSERT_EQ(word_at<std::uint64_t>(bytes, 72), 6u);
  ASSERT_EQ(word_at<std::uint32_t>(bytes, 80), 1u << 3 | 31u << 9 | 1u << 31);
  ASSERT_EQ(word_at<std::uint16_t>(bytes, 84), 1u << 9);
  EXPECT_REFUSED(*codec, with_word(bytes, 84, std::uint16_t{3u << 8}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 84, std::uint16_t{0}), layout, "another number");
  EXPECT_REFUSED(*codec, with_word(bytes, 84, std::uint16_t{1u << 10}), layout, "past the end");
}

TEST(Threshold, SendsWhatReachesIt) {
  const auto codec = compressor({.codec = CodecId::threshold, .threshold = 1.5});
  for (const std::size_t n : {1u, 100u, 5000u}) {
    const auto x = normal_vector(n);
    const auto bytes = encoded(*codec, x, Layout::flat(n));
    EXPECT_LE(bytes.size(), codec->capacity(Layout::flat(n)));
    const auto q = decoded(*codec, bytes, Layout::flat(n));
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(q[i], std::abs(x[i]) >= 1.5f ? x[i] : 0.0f);
  }
  // Everything, and nothing.
  const std::vector<float> all(3000, -1.5f), none(3000, 1.4f);
  EXPECT_EQ(round_trip(*codec, all, Layout::flat(3000)), all);
  EXPECT_LE(encoded(*codec, all, Layout::flat(3000)).size(), codec->capacity(Layout::flat(3000)));
  EXPECT_EQ(encoded(*codec, none, Layout::flat(3000)).size(), 64u + 16 + 8);
}

TEST(Sparsifiers, SendTheirValuesInAnyCode) {
  const auto x = normal_vector(20000);
  for (const CodecId codec : {CodecId::top_k, CodecId::threshold, CodecId::random_k})
    for (const CodecId values : {CodecId::fp16, CodecId::bf16, CodecId::fp8, CodecId::int8, CodecId::int4, CodecId::natural}) {
      const auto plain = compressor({.codec = codec, .ratio = 0.05, .threshold = 2});
      const auto coded = compressor({.codec = codec, .ratio = 0.05, .threshold = 2, .values = values});
      const Layout layout = Layout::flat(x.size());
      const auto exact = round_trip(*plain, x, layout), q = round_trip(*coded, x, layout);
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (exact[i] == 0) {
          ASSERT_EQ(q[i], 0);
        }
      }
      const double error = squared_error(exact, q) / squared(exact);
      EXPECT_LT(error, values == CodecId::natural ? 0.15 : 0.02) << coded->name() << static_cast<int>(values);
      EXPECT_LT(encoded(*coded, x, layout).size(), encoded(*plain, x, layout).size());
      EXPECT_LT(coded->contraction(layout), codec == CodecId::threshold ? 1e-9 : plain->contraction(layout));
    }
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
    ASSERT_EQ(bytes.size(), 64u + 16 + ((n + 65535) / 65536 * 4 + 10 + 7) / 8 * 8 + 24);
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

TEST(RandomK, DrawsWholeGroupsWhereItKeepsMany) {
  constexpr std::size_t kN = 100003;  // the last group has three elements
  const auto codec = compressor({.codec = CodecId::random_k, .ratio = 0.0101});
  std::vector<float> hits(kN);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto q = round_trip(*codec, std::vector<float>(kN, 1.0f), Layout::flat(kN), seed);
    std::size_t groups = 0;
    for (std::size_t i = 0; i < kN; i += 8) {
      groups += q[i] == 1 ? 1 : 0;
      for (std::size_t j = i; j < std::min(i + 8, kN); ++j) ASSERT_EQ(q[j], q[i]);
    }
    ASSERT_EQ(groups, (1010u + 4) / 8);
  }
  EXPECT_NEAR(codec->contraction(Layout::flat(kN)), 126.0 / 12501, 1e-12);
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
  for (std::size_t at = 64; at < added.size(); at += 4)
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

}  // namespace
}  // namespace gossamer
