#include "runtime/report/safetensors.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/random.h"
#include "tests/runtime/report/temp_dir.h"

namespace gossamer {
namespace {

using test::contents;
using test::FileSizeLimit;
using test::put;
using test::TempDir;
using testing::HasSubstr;

Layout small_layout() {
  Layout layout;
  layout.add("conv.bias", {2});
  layout.add("conv.weight", {2, 3});
  return layout;
}

const std::vector<float> kSmallValues = {1.5f, -2, 0, 0.25f, 0.5f, 0.75f, 1, 1.25f};

// What safetensors.numpy.save() of the Python package, version 0.8.0, makes of the small model.
std::string golden() {
  std::string file("\xb0\0\0\0\0\0\0\0", 8);
  file +=
      R"({"__metadata__":{"algorithm":"choco-sgd"},"conv.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("conv.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}}       )";
  file += std::string(
      "\0\0\xc0\x3f\0\0\0\xc0\0\0\0\0\0\0\x80\x3e\0\0\0\x3f\0\0\x40\x3f\0\0\x80\x3f\0\0\xa0\x3f", 32);
  return file;
}

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string file_of(std::string_view header, std::size_t data_size) {
  std::string file(8, '\0');
  const std::uint64_t size = header.size();
  std::memcpy(file.data(), &size, 8);
  return file + std::string(header) + std::string(data_size, '\0');
}

TEST(Safetensors, WritesTheBytesThatThePythonPackageWrites) {
  const TempDir dir;
  ASSERT_TRUE(write_safetensors(dir / "model.safetensors", kSmallValues, small_layout(),
                                {{"algorithm", "choco-sgd"}}));
  EXPECT_EQ(contents(dir / "model.safetensors"), golden());
}

TEST(Safetensors, ReadsTheBytesThatThePythonPackageWrites) {
  const auto model = parse_safetensors(bytes(golden()));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->values, kSmallValues);
  EXPECT_TRUE(check_same_layout(small_layout(), model->layout));
  EXPECT_EQ(model->metadata, (std::map<std::string, std::string>{{"algorithm", "choco-sgd"}}));
}

TEST(Safetensors, GivesBackAnyModel) {
  const TempDir dir;
  Random random(3, Purpose::test);
  for (int round = 0; round < 20; ++round) {
    Layout layout;
    const auto tensors = random.below(6);
    for (std::uint32_t t = 0; t < tensors; ++t) {
      std::vector<std::size_t> shape;
      for (auto d = random.below(4); d > 0; --d)
        shape.push_back(random.below(4));  // scalars and empty tensors too
      layout.add(fmt::format("schicht-{}.\"gewicht\"\n\u00fc", t), shape);
    }
    std::vector<float> values(layout.size());
    for (float& value : values) value = static_cast<float>(random.normal());
    const std::map<std::string, std::string> metadata = {{"a \"key\"", "line\nbreak"}, {"", ""}};
    ASSERT_TRUE(write_safetensors(dir / "m", values, layout, metadata));
    EXPECT_EQ(contents(dir / "m").size() % 4, 0u);
    const auto back = read_safetensors(dir / "m");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->values, values);
    EXPECT_EQ(back->metadata, metadata);
    const auto same = check_same_layout(layout, back->layout);
    EXPECT_TRUE(same) << same.error().message;
  }
}

TEST(Safetensors, KeepsEveryBitOfEveryFloat) {
  const TempDir dir;
  const std::vector<float> values = {std::numeric_limits<float>::quiet_NaN(), -0.0f,
                                     std::numeric_limits<float>::infinity(),
                                     std::numeric_limits<float>::denorm_min()};
  ASSERT_TRUE(write_safetensors(dir / "m", values, Layout::flat(4)));
  const auto back = read_safetensors(dir / "m");
  ASSERT_TRUE(back);
  EXPECT_EQ(std::memcmp(back->values.data(), values.data(), 16), 0);
}

TEST(Safetensors, ADifferentLayoutIsNamed) {
  Layout other;
  other.add("conv.bias", {2});
  other.add("conv.weight", {3, 2});
  const auto same = check_same_layout(small_layout(), other);
  ASSERT_FALSE(same);
  EXPECT_THAT(same.error().message,
              HasSubstr("'conv.weight' [3, 2] where the model has 'conv.weight' [2, 3]"));
}

TEST(Safetensors, RefusesNamesThatNoReaderCouldTellApart) {
  const TempDir dir;
  for (const char* name : {"same", "__metadata__", "\xff\xfe"}) {
    Layout layout;
    layout.add("same", {1});
    layout.add(name, {1});
    const auto wrote = write_safetensors(dir / "m", std::vector<float>(2), layout);
    ASSERT_FALSE(wrote) << name;
    EXPECT_EQ(wrote.error().code, Errc::invalid_argument);
  }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(Safetensors, AFullDiskLeavesTheOldModelAndNothingElse) {
  const TempDir dir;
  ASSERT_TRUE(write_safetensors(dir / "m", kSmallValues, small_layout()));
  const std::string before = contents(dir / "m");
  {
    const FileSizeLimit limit(4096);
    const auto wrote = write_safetensors(dir / "m", std::vector<float>(5000), Layout::flat(5000));
    ASSERT_FALSE(wrote);
    EXPECT_EQ(wrote.error().code, Errc::io);
    EXPECT_THAT(wrote.error().message, HasSubstr("cannot write " + (dir / "m")));
  }
  EXPECT_EQ(contents(dir / "m"), before);
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(Safetensors, AMissingFolderIsNamed) {
  const TempDir dir;
  const auto wrote = write_safetensors(dir / "no/such/m", kSmallValues, small_layout());
  ASSERT_FALSE(wrote);
  EXPECT_EQ(wrote.error().code, Errc::not_found);
  EXPECT_THAT(wrote.error().message, HasSubstr("cannot write " + (dir / "no/such/m")));
  EXPECT_EQ(read_safetensors(dir / "m").error().code, Errc::not_found);
}

struct Hostile {
  const char* header;
  std::size_t data_size;
  const char* why;
};

class SafetensorsHostile : public testing::TestWithParam<Hostile> {};

TEST_P(SafetensorsHostile, IsRefusedWithTheReason) {
  const auto model = parse_safetensors(bytes(file_of(GetParam().header, GetParam().data_size)));
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr(GetParam().why));
}

#define T(shape, begin, end) R"({"dtype":"F32","shape":[)" shape R"(],"data_offsets":[)" begin "," end "]}"
INSTANTIATE_TEST_SUITE_P(
    Headers, SafetensorsHostile,
    testing::Values(
        Hostile{"", 0, "does not start with"}, Hostile{"[]", 0, "does not start with"},
        Hostile{" {}", 0, "does not start with"}, Hostile{"{", 0, "not JSON"},
        Hostile{"{} {}", 0, "not JSON"}, Hostile{"{}", 4, "its tensors cover 0"},
        Hostile{"{\"\xff\":1}", 0, "not JSON"},
        Hostile{R"({"a":)" T("1", "0", "4") R"(,"a":)" T("1", "4", "8") "}", 8, "'a' occurs twice"},
        Hostile{R"({"a":)" T("1", "0", "4") R"(,"b":)" T("1", "0", "4") "}", 4,
                "where 4 of 4 bytes are taken"},
        Hostile{R"({"a":)" T("2", "0", "8") R"(,"b":)" T("1", "4", "8") "}", 8, "tensor 'b' lies at [4, 8)"},
        Hostile{R"({"a":)" T("1", "4", "8") "}", 8, "lies at [4, 8)"},
        Hostile{R"({"a":)" T("1", "0", "8") "}", 4, "lies at [0, 8)"},
        Hostile{R"({"a":)" T("1", "4", "0") "}", 4, "lies at [4, 0)"},
        Hostile{R"({"a":)" T("2", "0", "4") "}", 4, "needs 8"},
        Hostile{R"({"a":)" T("", "0", "8") "}", 8, "needs 4"},
        Hostile{R"({"a":)" T("4294967296,4294967296", "0", "0") "}", 0, "overflows"},
        Hostile{R"({"a":)" T("9223372036854775808,0", "0", "0") "}", 0, "overflows"},
        Hostile{R"({"a":)" T("-1", "0", "4") "}", 4, "negative number"},
        Hostile{R"({"a":)" T("1.5", "0", "4") "}", 4, "fraction"},
        Hostile{R"({"a":)" T("18446744073709551617", "0", "4") "}", 4, "fraction"},
        Hostile{R"({"a":)" T("[1]", "0", "4") "}", 4, "an array where it does not belong"},
        Hostile{R"({"a":)" T("1", "0", "4,5") "}", 4, "other than two"},
        Hostile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "other than two"},
        Hostile{R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks dtype, shape or data_offsets"},
        Hostile{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4,
                "unknown or repeated key 'x'"},
        Hostile{R"({"a":{"shape":[1],"shape":[1]}})", 4, "unknown or repeated key 'shape'"},
        Hostile{R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", 4, "dtype BF16; only F32"},
        Hostile{R"({"a":{"dtype":7}})", 4, "a number where it does not belong"},
        Hostile{R"({"a":null})", 0, "null where it does not belong"},
        Hostile{R"({"a":"b"})", 0, "a string where it does not belong"},
        Hostile{R"({"__metadata__":{"a":1}})", 0, "a number where it does not belong"},
        Hostile{R"({"__metadata__":{"a":{"b":"c"}}})", 0, "an object where it does not belong"},
        Hostile{R"({"__metadata__":{"a":"1","a":"2"}})", 0, "occurs twice"},
        Hostile{R"({"__metadata__":{},"__metadata__":{}})", 0, "occurs twice"}));
#undef T

TEST(Safetensors, NestingCostsNothing) {
  std::string header = R"({"a":)";
  header += std::string(5'000'000, '[');
  EXPECT_FALSE(parse_safetensors(bytes(file_of(header, 0))));
  header.assign(R"({"a":{"shape":[)");
  for (int i = 0; i < 40; ++i) header += "1,";
  EXPECT_THAT(parse_safetensors(bytes(file_of(header, 0))).error().message,
              HasSubstr("more than 32 dimensions"));
}

TEST(Safetensors, AHeaderLengthBeyondTheFileIsRefusedBeforeMemoryIsAskedFor) {
  for (const std::uint64_t size :
       {std::uint64_t{200}, std::uint64_t{99'999'999}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::string file = golden();
    std::memcpy(file.data(), &size, 8);
    file.resize(100);
    EXPECT_THAT(parse_safetensors(bytes(file)).error().message, HasSubstr("header claims"));
    const TempDir dir;
    put(dir / "m", file);
    EXPECT_THAT(read_safetensors(dir / "m").error().message, HasSubstr("header claims"));
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = golden();
  const TempDir dir;
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(parse_safetensors(bytes(whole.substr(0, cut)))) << cut;
    if (cut % 13 == 0) {
      put(dir / "m", whole.substr(0, cut));
      EXPECT_FALSE(read_safetensors(dir / "m")) << cut;
    }
  }
  EXPECT_FALSE(parse_safetensors(bytes(whole + "x")));
}

// Whatever is accepted must be consistent in itself; sanitizers watch the rest.
TEST(Safetensors, RandomDamageIsRefusedOrHarmless) {
  Random random(11, Purpose::test);
  const std::string whole = golden();
  const std::string_view alphabet = "{}[]\",:0123456789-.eFx \\u";
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string file = whole;
    for (auto hits = 1 + random.below(3); hits > 0; --hits) {
      const std::size_t at = random.below(static_cast<std::uint32_t>(file.size()));
      file[at] = random.below(2) != 0 ? alphabet[random.below(static_cast<std::uint32_t>(alphabet.size()))]
                                      : static_cast<char>(random.below(256));
    }
    const auto model = parse_safetensors(bytes(file));
    if (!model) continue;
    ++accepted;
    EXPECT_EQ(model->values.size(), model->layout.size());
    EXPECT_EQ(model->values.size(), kSmallValues.size());
  }
  EXPECT_GT(accepted, 0);
}

TEST(Safetensors, SomethingThatIsNoFileIsRefused) {
  EXPECT_EQ(read_safetensors("/dev/zero").error().code, Errc::invalid_argument);
  EXPECT_EQ(read_safetensors("/tmp").error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace gossamer
