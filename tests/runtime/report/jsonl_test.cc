#include "runtime/report/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/runtime/report/temp_dir.h"

namespace gossamer {
namespace {

using test::contents;
using test::FileSizeLimit;
using test::put;
using test::TempDir;
using testing::HasSubstr;

IntervalRecord full_record() {
  IntervalRecord r;
  r.peer = 3;
  r.step = 400;
  r.round = 398;
  r.epoch = 2.5;
  r.seconds = 12.125;
  r.loss = 0.1;
  r.test_loss = 0.25;
  r.accuracy = 0.9375;
  r.learning_rate = 1e-5;
  r.samples_per_s = 51200;
  r.bytes_sent = 18446744073709551615u;
  r.bytes_received = 7;
  r.correction_norm = 0.5;
  r.consensus_distance = 1e-12;
  r.staleness = {{2, 0}, {10, 4}};
  return r;
}

void expect_same(const IntervalRecord& a, const IntervalRecord& b) {
  EXPECT_EQ(to_json_line(a),
            to_json_line(b));  // every key is in it, and doubles are written so that they come back
  EXPECT_EQ(a.bytes_sent, b.bytes_sent);
  EXPECT_EQ(a.staleness, b.staleness);
  EXPECT_EQ(std::isnan(a.loss), std::isnan(b.loss));
}

TEST(RecordLine, HasEveryKeyInAStableOrder) {
  EXPECT_EQ(
      to_json_line(full_record()),
      R"({"peer":3,"step":400,"round":398,"epoch":2.5,"seconds":12.125,"loss":0.1,"test_loss":0.25,)"
      R"("accuracy":0.9375,"learning_rate":1e-05,"samples_per_s":51200,"bytes_sent":18446744073709551615,)"
      R"("bytes_received":7,"correction_norm":0.5,"consensus_distance":1e-12,"staleness":{"2":0,"10":4}})");
}

TEST(RecordLine, WritesWhatIsNotFiniteAsNull) {
  IntervalRecord record;
  record.accuracy = std::numeric_limits<double>::infinity();
  const std::string line = to_json_line(record);
  EXPECT_THAT(line, HasSubstr(R"("loss":null)"));
  EXPECT_THAT(line, HasSubstr(R"("accuracy":null)"));
  const auto back = parse_record(line);
  ASSERT_TRUE(back);
  EXPECT_TRUE(std::isnan(back->loss));
  EXPECT_TRUE(std::isnan(back->accuracy));
}

TEST(RecordLine, ComesBackToTheBit) {
  const auto back = parse_record(to_json_line(full_record()));
  ASSERT_TRUE(back) << back.error().message;
  expect_same(*back, full_record());
  Random random(5, Purpose::test);
  for (int i = 0; i < 200; ++i) {
    IntervalRecord r;
    r.loss = random.normal() * std::pow(10.0, static_cast<double>(random.below(60)) - 30);
    r.seconds = random.uniform();
    const auto again = parse_record(to_json_line(r));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->loss, r.loss);
    EXPECT_EQ(again->seconds, r.seconds);
  }
}

TEST(RecordLine, PassesOverKeysOfOtherVersions) {
  const auto back = parse_record(R"({"peer":1,"of_the_future":[1,2],"step":9})");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->step, 9u);
  EXPECT_TRUE(std::isnan(back->loss));
}

TEST(RecordLine, RefusesValuesOfAnotherKind) {
  for (const char* line : {"", "[]", "7", "{", R"({"step":-1})", R"({"step":1.5})", R"({"loss":"low"})",
                           R"({"peer":4294967296})", R"({"staleness":[]})", R"({"staleness":{"x":1}})",
                           R"({"staleness":{"1":-1}})", R"({} {})"})
    EXPECT_FALSE(parse_record(line)) << line;
  EXPECT_THAT(parse_record(R"({"step":-1})").error().message, HasSubstr("'step' should be a whole number"));
  EXPECT_THAT(parse_record("{\"a\":" + std::string(1'000'000, '[')).error().code, Errc::corrupt);
}

TEST(RecordFile, GivesBackItsRows) {
  const TempDir dir;
  const std::string path = dir / record_file_name(3);
  EXPECT_THAT(path, HasSubstr("/peer-3.jsonl"));
  auto writer = RecordWriter::open(path);
  ASSERT_TRUE(writer) << writer.error().message;
  IntervalRecord record = full_record();
  for (record.step = 1; record.step <= 100; ++record.step) {
    ASSERT_TRUE(writer->append(record));
    if (record.step == 7) {  // rows are there at once, for whoever watches
      const auto seen = read_records(path);
      ASSERT_TRUE(seen);
      EXPECT_EQ(seen->size(), 7u);
    }
  }
  const auto rows = read_records(path);
  ASSERT_TRUE(rows) << rows.error().message;
  ASSERT_EQ(rows->size(), 100u);
  EXPECT_EQ(rows->back().step, 100u);
  EXPECT_EQ(writer->lost(), 0u);
}

TEST(RecordFile, ResumesBehindTheLastWholeRow) {
  const TempDir dir;
  const std::string path = dir / "r";
  const std::string row = to_json_line(full_record()) + "\n";
  put(path, row + row + "{\"peer\":3,\"st");
  const auto torn = read_records(path);
  ASSERT_TRUE(torn) << torn.error().message;
  EXPECT_EQ(torn->size(), 2u);
  {
    auto writer = RecordWriter::open(path, RecordWriter::Start::resume);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->append(full_record()));
  }
  EXPECT_EQ(contents(path), row + row + row);
  auto fresh = RecordWriter::open(path);
  ASSERT_TRUE(fresh);
  EXPECT_EQ(contents(path), "");
}

TEST(RecordFile, NamesTheLineThatDoesNotParse) {
  const TempDir dir;
  put(dir / "r", to_json_line(full_record()) + "\n{\"step\":true}\n");
  const auto rows = read_records(dir / "r");
  ASSERT_FALSE(rows);
  EXPECT_THAT(rows.error().message, HasSubstr("r:2: 'step' should be"));
}

TEST(RecordFile, ReportsAFullDiskOnceAndKeepsWholeRows) {
  auto writer = RecordWriter::open("/dev/full");
  ASSERT_TRUE(writer) << writer.error().message;
  const auto first = writer->append(full_record());
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::io);
  EXPECT_THAT(first.error().message, HasSubstr("the disk is full; free some space"));
  EXPECT_TRUE(writer->append(full_record()));
  EXPECT_EQ(writer->lost(), 2u);

  const TempDir dir;
  auto half = RecordWriter::open(dir / "r");
  ASSERT_TRUE(half);
  const std::size_t size = to_json_line(full_record()).size() + 1;
  {
    const FileSizeLimit limit(size * 2 + size / 2);  // full in the middle of the third row
    EXPECT_TRUE(half->append(full_record()));
    EXPECT_TRUE(half->append(full_record()));
    EXPECT_FALSE(half->append(full_record()));
    EXPECT_TRUE(half->append(full_record()));
    EXPECT_EQ(contents(dir / "r").size(), size * 2);
  }
  EXPECT_TRUE(half->append(full_record()));  // somebody freed space
  const auto rows = read_records(dir / "r");
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_EQ(rows->size(), 3u);
  EXPECT_EQ(half->lost(), 2u);
}

}  // namespace
}  // namespace gossamer
