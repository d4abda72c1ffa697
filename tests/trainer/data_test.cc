// The loaders on good and malformed files, and the split.
#include <zlib.h>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <set>

#include "tests/trainer/testing.h"
#include "trainer/data_files.h"

namespace gossamer {
namespace {

void append_u32(std::string& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>(value >> shift);
}

std::string idx(unsigned char type, std::initializer_list<std::uint32_t> dimensions,
                std::string_view values) {
  std::string bytes{'\0', '\0', static_cast<char>(type), static_cast<char>(dimensions.size())};
  for (const std::uint32_t d : dimensions) append_u32(bytes, d);
  return bytes.append(values);
}

std::string gzipped(const ScratchFolder& folder, std::string_view bytes) {
  const std::string path = folder.path("temporary.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Idx : public testing::Test {
 protected:
  Result<RawDataset> read(std::string_view images, std::string_view labels, const DataOptions& options = {}) {
    return read_idx(folder_.file("images", images), folder_.file("labels", labels), options);
  }
  const std::string images_ =
      idx(0x08, {3, 2, 2}, std::string_view("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\xff", 12));
  const std::string labels_ = idx(0x08, {3}, std::string_view("\x01\x00\x07", 3));
  ScratchFolder folder_;
};

TEST_F(Idx, GivesEveryPixelScaledAndEveryLabel) {
  DataOptions options;
  options.scale = 0.5;
  const auto raw = read(images_, labels_, options);
  ASSERT_TRUE(raw) << raw.error().message;
  EXPECT_EQ(raw->data.samples, 3u);
  EXPECT_EQ(raw->data.features, 4u);
  EXPECT_EQ(raw->data.x, (std::vector<float>{0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 127.5}));
  EXPECT_EQ(raw->labels, (std::vector<double>{1, 0, 7}));
}

TEST_F(Idx, ReadsEveryNumberType) {
  // -2 as short and int, 1.5 as float and double.
  const std::pair<std::string, double> cases[] = {
      {idx(0x09, {1, 1}, "\xfe"), -2},
      {idx(0x0b, {1, 1}, "\xff\xfe"), -2},
      {idx(0x0c, {1, 1}, "\xff\xff\xff\xfe"), -2},
      {idx(0x0d, {1, 1}, std::string_view("\x3f\xc0\0\0", 4)), 1.5},
      {idx(0x0e, {1, 1}, std::string_view("\x3f\xf8\0\0\0\0\0\0", 8)), 1.5},
  };
  for (const auto& [bytes, value] : cases) {
    const auto raw = read(bytes, idx(0x08, {1}, "\x03"));
    ASSERT_TRUE(raw) << raw.error().message;
    EXPECT_EQ(raw->data.x[0], value);
  }
}

TEST_F(Idx, ReadsGzippedFilesAsIfTheyWereNot) {
  const auto plain = read(images_, labels_);
  const auto zipped = read_idx(folder_.file("i.gz", gzipped(folder_, images_)),
                               folder_.file("l.gz", gzipped(folder_, labels_)), {});
  ASSERT_TRUE(plain && zipped);
  EXPECT_EQ(plain->data.x, zipped->data.x);
  EXPECT_EQ(plain->labels, zipped->labels);
}

TEST_F(Idx, EveryTruncationIsRefused) {
  for (std::size_t size = 0; size < images_.size(); ++size)
    expect_failure(read(images_.substr(0, size), labels_), Errc::corrupt, {"images"});
  for (std::size_t size = 0; size < labels_.size(); ++size)
    expect_failure(read(images_, labels_.substr(0, size)), Errc::corrupt, {"labels"});
  expect_failure(read(images_.substr(0, 20), labels_), Errc::corrupt,
                 {"promises 12 values", "has 4 bytes", "incomplete"});
}

TEST_F(Idx, WrongMagicSaysWhatWasFound) {
  expect_failure(read("P5 28 28 255 and so on", labels_), Errc::corrupt, {"50 35 20", "00 00"});
  expect_failure(read(idx(0x0a, {1}, "x"), labels_), Errc::corrupt, {"00 00 0a 01"});
}

TEST_F(Idx, TrailingBytesAreRefused) {
  expect_failure(read(images_ + "x", labels_), Errc::corrupt, {"has 13 bytes"});
}

TEST_F(Idx, CountsThatDoNotMatchNameBothFiles) {
  expect_failure(read(images_, idx(0x08, {2}, "\x01\x02")), Errc::corrupt,
                 {"2 labels", "3 samples", "images", "labels", "do not belong together"});
}

TEST_F(Idx, ExchangedFilesAreNoticed) {
  expect_failure(read(labels_, images_), Errc::corrupt, {"exchanged"});
}

TEST_F(Idx, HugeDimensionsAreRefusedWithoutAllocatingThem) {
  expect_failure(read(idx(0x08, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, "xy"), labels_),
                 Errc::corrupt, {"images"});
  expect_failure(read(idx(0x08, {3, 0}, ""), labels_), Errc::corrupt, {"dimension 2 is 0"});
}

TEST_F(Idx, NumbersThatAreNoneAreRefused) {
  expect_failure(read(idx(0x0d, {1, 1}, std::string_view("\x7f\xc0\0\0", 4)), idx(0x08, {1}, "\x03")),
                 Errc::corrupt, {"sample 1", "not a finite float32 number"});
}

TEST(WholeFile, DamagedGzipIsRefused) {
  const ScratchFolder folder;
  std::string text;
  Random random(1, Purpose::test);
  for (int i = 0; i < 5000; ++i) text += std::to_string(random.below(10)) + (i % 10 == 9 ? "\n" : ",");
  const std::string zipped = gzipped(folder, text);
  EXPECT_EQ(*read_whole_file(folder.file("good.gz", zipped)), text);

  expect_failure(read_whole_file(folder.file("short.gz", zipped.substr(0, zipped.size() / 2))), Errc::corrupt,
                 {"short.gz", "ends early", "fetch it again"});
  expect_failure(read_whole_file(folder.file("cut.gz", zipped.substr(0, zipped.size() - 4))), Errc::corrupt,
                 {"ends early"});
  std::string flipped = zipped;
  flipped[zipped.size() - 8] = static_cast<char>(flipped[zipped.size() - 8] ^ 1);  // in the checksum
  expect_failure(read_whole_file(folder.file("flipped.gz", flipped)), Errc::corrupt,
                 {"flipped.gz", "damaged"});
  expect_failure(read_whole_file(folder.file("plain.gz", "1,2\n")), Errc::corrupt, {"not gzipped"});
}

TEST(WholeFile, SaysWhyThereIsNone) {
  const ScratchFolder folder;
  expect_failure(read_whole_file(folder.path("absent.csv")), Errc::not_found, {"absent.csv", "No such file"});
  expect_failure(read_whole_file(folder.file("empty.csv", "")), Errc::corrupt, {"empty"});
  expect_failure(read_whole_file(folder.path("")), Errc::io, {"directory"});
}

class Csv : public testing::Test {
 protected:
  Result<RawDataset> read(std::string_view text, const DataOptions& options = {}) {
    return read_csv(folder_.file("set.csv", text), options);
  }
  ScratchFolder folder_;
};

TEST_F(Csv, ReadsLabelLastAndFirst) {
  const auto last = read("1,2,0\n3,4,1\n");
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(last->data.features, 2u);
  EXPECT_EQ(last->data.x, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(last->labels, (std::vector<double>{0, 1}));
  DataOptions options;
  options.label_column = "first";
  options.scale = 2;
  const auto first = read("1,2,0\n3,4,1\n", options);
  EXPECT_EQ(first->data.x, (std::vector<float>{4, 0, 8, 2}));
  EXPECT_EQ(first->labels, (std::vector<double>{1, 3})) << "a label is not scaled";
}

TEST_F(Csv, TakesHeaderSeparatorSpacesSignsBlankLinesAndCarriageReturns) {
  DataOptions options;
  options.header = true;
  options.separator = ";";
  const auto raw = read("a;b;class\r\n +1.5e1 ; -2;0\r\n\r\n3; .5;1", options);
  ASSERT_TRUE(raw) << raw.error().message;
  EXPECT_EQ(raw->data.x, (std::vector<float>{15, -2, 3, 0.5}));
  options.separator = "tab";
  EXPECT_EQ(read("a\tb\n1\t0\n", options)->data.x, (std::vector<float>{1}));
}

TEST_F(Csv, BadCellsAreNamedByLineAndColumn) {
  expect_failure(read("1,2,0\n3,four,1\n"), Errc::corrupt, {"set.csv", "line 2, column 2", "'four'"});
  expect_failure(read("1,2,0\n3,,1\n"), Errc::corrupt, {"line 2, column 2", "''"});
  expect_failure(read("1,2,0\n3,nan,1\n"), Errc::corrupt, {"line 2, column 2", "'nan'"});
  expect_failure(read("1,2,0\n3,1e999,1\n"), Errc::corrupt, {"line 2, column 2"});
  expect_failure(read("1,2,0\n3,4 5,1\n"), Errc::corrupt, {"'4 5'"});
  expect_failure(read("x,y,label\n1,2,0\n"), Errc::corrupt, {"line 1, column 1", "header: true"});
}

TEST_F(Csv, NumbersBeyondFloat32AreRefusedBeforeAndAfterScaling) {
  expect_failure(read("1e39,0\n"), Errc::corrupt, {"line 1, column 1", "'1e39'", "float32"});
  DataOptions options;
  options.scale = 1e10;
  expect_failure(read("1,0\n1e30,1\n", options), Errc::corrupt, {"line 2, column 1", "lower the scale"});
}

TEST_F(Csv, RaggedRowsAreRefused) {
  expect_failure(read("1,2,0\n3,1\n"), Errc::corrupt, {"line 2 has 2 columns", "line 1 has 3"});
  expect_failure(read("1;2;0\n"), Errc::corrupt, {"line 1, column 1", "'1;2;0'"});
  expect_failure(read("1\n2\n"), Errc::corrupt, {"one column", "separator"});
  expect_failure(read("\n\n"), Errc::corrupt, {"no line holds a sample"});
}

TEST_F(Csv, FractionalLabelsNeedRegression) {
  expect_failure(read("1,0.5\n"), Errc::corrupt, {"line 1, column 2", "regression: true"});
  DataOptions options;
  options.regression = true;
  EXPECT_EQ(read("1,0.5\n", options)->labels[0], 0.5);
}

class Libsvm : public testing::Test {
 protected:
  Result<RawDataset> read(std::string_view text, const DataOptions& options = {}) {
    return read_libsvm(folder_.file("set.svm", text), options);
  }
  ScratchFolder folder_;
};

TEST_F(Libsvm, KeepsRowsSparse) {
  const auto raw = read("+1 1:0.5 4:-2 # a comment\n\n-1 2:3\n-1\n");
  ASSERT_TRUE(raw) << raw.error().message;
  EXPECT_EQ(raw->data.samples, 3u);
  EXPECT_EQ(raw->data.features, 4u);
  EXPECT_EQ(raw->data.row_begin, (std::vector<std::uint64_t>{0, 2, 3, 3}));
  EXPECT_EQ(raw->data.column, (std::vector<std::uint32_t>{0, 3, 1}));
  EXPECT_EQ(raw->data.value, (std::vector<float>{0.5, -2, 3}));
  EXPECT_EQ(raw->labels, (std::vector<double>{1, -1, -1}));
  float row[4];
  raw->data.gather(0, row);
  EXPECT_EQ(std::vector<float>(row, row + 4), (std::vector<float>{0.5, 0, 0, -2}));
}

TEST_F(Libsvm, MalformedLinesAreNamed) {
  expect_failure(read("+1 1:1\n-1 3:1 2:1\n"), Errc::corrupt,
                 {"line 2", "index 2 follows index 3", "ascend"});
  expect_failure(read("+1 1:1 1:2\n"), Errc::corrupt, {"index 1 follows index 1"});
  expect_failure(read("+1 0:1\n"), Errc::corrupt, {"index 0", "start at 1"});
  expect_failure(read("+1 1=1\n"), Errc::corrupt, {"line 1", "'1=1'", "index:value"});
  expect_failure(read("+1 a:1\n"), Errc::corrupt, {"'a:1'"});
  expect_failure(read("+1 1:\n"), Errc::corrupt, {"'1:'"});
  expect_failure(read("+1 99999999999:1\n"), Errc::corrupt, {"'99999999999:1'"});
  expect_failure(read("yes 1:1\n"), Errc::corrupt, {"line 1", "the label 'yes'"});
  expect_failure(read("0.5 1:1\n"), Errc::corrupt, {"regression: true"});
  expect_failure(read("1\n2\n"), Errc::corrupt, {"no line has a feature"});
  expect_failure(read("+1 4000000000:1\n"), Errc::corrupt, {"index 4000000000", "data.features"});
  DataOptions options;
  options.features = 3;
  EXPECT_EQ(read("+1 1:1\n", options)->data.features, 3u);
  expect_failure(read("+1 4:1\n", options), Errc::corrupt, {"index 4 is larger than features (3)"});
}

// Damaged input gives an error or a data set that keeps its promises, never a crash.
TEST(LoadData, DamagedFilesNeverGiveABrokenDataset) {
  const ScratchFolder folder;
  const std::string texts[] = {
      idx(0x0d, {3, 1}, std::string_view("\x3f\xc0\0\0\x3f\xc0\0\0\x40\xc0\0\0", 12)),
      "1,2,0\n3,4,1\n-5,6.5e1,0\n7,8,1\n", "+1 1:0.5 4:-2 # x\n-1 2:3\n+1 3:1e3\n-1 1:1\n"};
  const std::string labels = folder.file("labels", idx(0x08, {3}, std::string_view("\0\1\0", 3)));
  Random random(9, Purpose::test);
  int refused = 0, accepted = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    std::string bytes = texts[trial % 3];
    for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
      const std::size_t at = random.below(bytes.size());
      if (random.below(4) == 0)
        bytes.erase(at, 1 + random.below(3));
      else
        bytes[at] =
            trial % 3 == 0 ? static_cast<char>(random.below(256)) : "0123456789.,:-+e# \n"[random.below(19)];
      if (bytes.empty()) bytes = "?";
    }
    const std::string path = folder.file("set", bytes);
    const auto raw = trial % 3 == 0   ? read_idx(path, labels, {})
                     : trial % 3 == 1 ? read_csv(path, {})
                                      : read_libsvm(path, {});
    if (!raw) {
      ++refused;
      EXPECT_NE(raw.error().message.find("set"), std::string::npos) << raw.error().message;
      continue;
    }
    ++accepted;
    const Dataset& data = raw->data;
    ASSERT_EQ(raw->labels.size(), data.samples);
    std::vector<float> row(data.features);
    for (std::size_t i = 0; i < data.samples; ++i) {
      for (std::uint64_t e = data.sparse() ? data.row_begin[i] : 1;
           data.sparse() && e < data.row_begin[i + 1]; ++e)
        ASSERT_LT(data.column[e], data.features);
      data.gather(i, row.data());
      for (const float x : row) ASSERT_TRUE(std::isfinite(x));
    }
  }
  EXPECT_GT(refused, 250);
  EXPECT_GT(accepted, 250);
}

TEST(LoadData, DigitsAreWhatTheirReadmeSays) {
  const auto data = load_data(digits(), 1);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->train->samples + data->test->samples, 1797u);
  EXPECT_EQ(data->train->features, 64u);
  EXPECT_EQ(data->train->classes, 10u);
  // Class sizes of the UCI set's test half.
  std::vector<int> sizes(10);
  for (const auto* half : {data->train.get(), data->test.get()})
    for (const std::int32_t label : half->labels) ++sizes[static_cast<std::size_t>(label)];
  EXPECT_EQ(sizes, (std::vector<int>{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}));
  for (const float pixel : data->train->x) ASSERT_TRUE(pixel >= 0 && pixel <= 1);
}

TEST(LoadData, TrainingAndTestFilesShareOneNumberingOfClasses) {
  const ScratchFolder folder;
  DataOptions options;
  options.format = "csv";
  options.file = folder.file("train.csv", "1,-1\n2,5\n");
  options.test_file = folder.file("test.csv", "1,5\n2,3\n");
  const auto data = load_data(options, 1);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->train->classes, 3u);
  EXPECT_EQ(data->train->label_values, (std::vector<double>{-1, 3, 5}));
  EXPECT_EQ(data->train->labels, (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(data->test->labels, (std::vector<std::int32_t>{2, 1}));
  options.test_file = folder.file("test.csv", "1,2,5\n");
  expect_failure(load_data(options, 1), Errc::corrupt, {"has 1 features", "has 2"});
}

TEST(LoadData, LibsvmTakesTheLargestIndexOfBothFiles) {
  const ScratchFolder folder;
  DataOptions options;
  options.format = "libsvm";
  options.file = folder.file("train", "+1 1:1\n-1 2:1\n");
  options.test_file = folder.file("test", "+1 7:1\n");
  const auto data = load_data(options, 1);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->train->features, 7u);
  EXPECT_EQ(data->test->features, 7u);
}

TEST(LoadData, OneClassIsNoClassification) {
  const ScratchFolder folder;
  DataOptions options;
  options.format = "csv";
  options.file = folder.file("train.csv", "1,3\n2,3\n");
  expect_failure(load_data(options, 1), Errc::corrupt, {"every label is 3"});
}

TEST(LoadData, RegressionKeepsTargets) {
  const ScratchFolder folder;
  DataOptions options;
  options.format = "csv";
  options.regression = true;
  options.scale = 1;
  options.file = folder.file("train.csv", "1,0.5\n2,1.5\n3,2.5\n4,3.5\n");
  options.test_fraction = 0.25;
  const auto data = load_data(options, 1);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->train->classes, 0u);
  EXPECT_EQ(data->train->targets.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(data->train->targets[i], data->train->x[i] - 0.5f) << "rows stay whole";
}

TEST(Split, IsStratifiedExhaustiveAndDisjoint) {
  Dataset all = made_up(300, 1, 3);
  std::iota(all.x.begin(), all.x.end(), 0.0f);  // the feature names the sample
  const auto halves = split(all, 0.2, 7);
  ASSERT_TRUE(halves);
  std::set<float> seen;
  for (const auto* half : {halves->train.get(), halves->test.get()})
    for (std::size_t i = 0; i < half->samples; ++i) {
      EXPECT_TRUE(seen.insert(half->x[i]).second);
      EXPECT_EQ(half->labels[i], static_cast<std::int32_t>(half->x[i]) % 3)
          << "labels stay with their samples";
    }
  EXPECT_EQ(seen.size(), 300u);
  std::vector<int> test_sizes(3);
  for (const std::int32_t label : halves->test->labels) ++test_sizes[static_cast<std::size_t>(label)];
  EXPECT_EQ(test_sizes, (std::vector<int>{20, 20, 20}));
}

TEST(Split, IsAFunctionOfTheSeed) {
  const Dataset all = made_up(100, 2, 2);
  EXPECT_EQ(split(all, 0.3, 1)->train->x, split(all, 0.3, 1)->train->x);
  EXPECT_NE(split(all, 0.3, 1)->train->x, split(all, 0.3, 2)->train->x);
}

TEST(Split, SmallClassesAreInBothHalvesAndImpossibleSplitsAreRefused) {
  Dataset all = made_up(12, 1, 2);
  for (auto& label : all.labels) label = 0;
  all.labels[3] = all.labels[7] = 1;
  const auto halves = split(all, 0.1, 1);
  ASSERT_TRUE(halves);
  for (const auto* half : {halves->train.get(), halves->test.get()})
    EXPECT_EQ(std::count(half->labels.begin(), half->labels.end(), 1), 1);
  expect_failure(split(made_up(1, 1, 0), 0.2, 1), Errc::invalid_argument, {"1 samples cannot be split"});
}

TEST(Split, SparseRowsStayWhole) {
  const ScratchFolder folder;
  std::string text;
  for (int i = 1; i <= 20; ++i)
    text += (i % 2 ? "+1 " : "-1 ") + std::to_string(i) + ":" + std::to_string(i) + " 21:1\n";
  DataOptions options;
  options.format = "libsvm";
  options.file = folder.file("set", text);
  const auto data = load_data(options, 3);
  ASSERT_TRUE(data) << data.error().message;
  std::set<float> seen;
  std::vector<float> row(21);
  for (const auto* half : {data->train.get(), data->test.get()})
    for (std::size_t i = 0; i < half->samples; ++i) {
      half->gather(i, row.data());
      const float name = half->value[half->row_begin[i]];
      EXPECT_EQ(row[static_cast<std::size_t>(name) - 1], name);
      EXPECT_EQ(row[20], 1);
      EXPECT_EQ(half->labels[i], static_cast<int>(name) % 2);
      seen.insert(name);
    }
  EXPECT_EQ(seen.size(), 20u);
}

TEST(DataOptions, BadOnesAreRefusedWithTheRemedy) {
  const auto with = [](auto change) {
    DataOptions options;
    options.format = "csv";
    options.file = "x.csv";
    change(options);
    return validate(options);
  };
  EXPECT_TRUE(with([](DataOptions&) {}));
  expect_failure(with([](auto& o) { o.format = "parquet"; }), Errc::invalid_argument,
                 {"'parquet'", "idx, csv, libsvm"});
  expect_failure(with([](auto& o) { o.file = ""; }), Errc::invalid_argument, {"needs a file"});
  expect_failure(with([](auto& o) { o.images = "i"; }), Errc::invalid_argument, {"belong to idx"});
  expect_failure(with([](auto& o) { o.format = "idx"; }), Errc::invalid_argument, {"images and labels"});
  expect_failure(with([](auto& o) { o.test_fraction = 1; }), Errc::invalid_argument, {"test_fraction is 1"});
  expect_failure(with([](auto& o) { o.scale = std::numeric_limits<double>::infinity(); }),
                 Errc::invalid_argument, {"scale is inf"});
  expect_failure(with([](auto& o) { o.label_column = "middle"; }), Errc::invalid_argument,
                 {"'middle'", "first, last"});
  expect_failure(with([](auto& o) { o.separator = ", "; }), Errc::invalid_argument, {"one character"});
  expect_failure(with([](auto& o) { o.separator = "."; }), Errc::invalid_argument, {"no part of a number"});
  expect_failure(load_data({}, 1), Errc::invalid_argument, {"no data set is named"});
}

TEST(Scale, WithoutOneDenseFeaturesAreDividedByTheLargestOfBothHalves) {
  const ScratchFolder folder;
  DataOptions options;
  options.format = "csv";
  options.file = folder.file("train.csv", "1,-2,0\n0,4,1\n");
  options.test_file = folder.file("test.csv", "-8,2,0\n6,1,1\n");
  const auto data = load_data(options, 1);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->train->x, (std::vector<float>{0.125, -0.25, 0, 0.5}));
  EXPECT_EQ(data->test->x, (std::vector<float>{-1, 0.25, 0.75, 0.125}));

  options.file = folder.file("zeros.csv", "0,0,0\n0,0,1\n0,0,1\n0,0,0\n");
  options.test_file.clear();
  const auto zeros = load_data(options, 1);
  ASSERT_TRUE(zeros) << zeros.error().message;
  EXPECT_EQ(zeros->train->x, std::vector<float>(zeros->train->x.size(), 0.0f));

  options.format = "libsvm";
  options.file = folder.file("set.svm", "0 1:3\n1 1:5\n0 1:3\n1 1:5\n");
  const auto sparse = load_data(options, 1);
  ASSERT_TRUE(sparse) << sparse.error().message;
  for (const float value : sparse->train->value) EXPECT_TRUE(value == 3 || value == 5) << value;
}

TEST(Scale, OfDigitsIsFoundToTheBit) {
  DataOptions automatic = digits();
  automatic.scale = 0;
  const auto a = load_data(automatic, 1), b = load_data(digits(), 1);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->train->x, b->train->x);
  EXPECT_EQ(a->test->x, b->test->x);
}

}  // namespace
}  // namespace gossamer
