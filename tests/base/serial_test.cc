#include "base/serial.h"

#include <gtest/gtest.h>

#include "base/layout.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/payload.h"

namespace gossamer {
namespace {

TEST(Serial, GivesBackWhatWasWritten) {
  Writer writer;
  writer.put<std::uint32_t>(7);
  writer.put(3.5);
  writer.text("peer");
  const std::vector<float> values = {1, 2, 3};
  writer.array(std::span(values));
  Reader reader(writer.view());
  EXPECT_EQ(reader.get<std::uint32_t>(), 7u);
  EXPECT_EQ(reader.get<double>(), 3.5);
  EXPECT_EQ(reader.text(), "peer");
  std::vector<float> back(3);
  reader.array(std::span(back));
  EXPECT_EQ(back, values);
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.left(), 0u);
}

TEST(Serial, EveryTruncationIsNoticed) {
  Writer writer;
  writer.put<std::uint64_t>(7);
  writer.text("a longer text");
  for (std::size_t cut = 0; cut < writer.view().size(); ++cut) {
    Reader reader(writer.view().first(cut));
    reader.get<std::uint64_t>();
    reader.text();
    EXPECT_FALSE(reader.ok()) << cut;
  }
}

TEST(Serial, AHostileLengthIsRefused) {
  Writer writer;
  writer.put<std::uint64_t>(~0ull);
  Reader reader(writer.view());
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(PayloadHeader, RoundTripsAndRefusesOthers) {
  PayloadHeader header;
  header.sender = 3;
  header.sequence = 9;
  header.used = 1234;
  std::array<std::byte, kPayloadHeaderSize> bytes;
  store(header, bytes);
  EXPECT_EQ(load_payload_header(bytes).value(), header);
  EXPECT_EQ(load_payload_header(std::span(bytes).first(63)).error().code, Errc::corrupt);
  auto other = bytes;
  other[4] = std::byte{99};
  EXPECT_EQ(load_payload_header(other).error().code, Errc::version);
  other = bytes;
  other[0] = std::byte{0};
  EXPECT_EQ(load_payload_header(other).error().code, Errc::corrupt);
}

TEST(Layout, TensorsAreGapless) {
  Layout layout;
  layout.add("w", {3, 4});
  layout.add("b", {4});
  EXPECT_EQ(layout.size(), 16u);
  EXPECT_EQ(layout.tensors()[1].offset, 12u);
}

TEST(AlignedBuffer, OfLargePagesIsAllZeroesAndWritableToItsEnds) {
  AlignedBuffer<float> buffer((std::size_t{5} << 20) / sizeof(float) + 3);
  for (std::size_t i = 0; i < buffer.size(); ++i) ASSERT_EQ(buffer[i], 0.0f) << i;
  buffer[0] = buffer[buffer.size() - 1] = 1.0f;
  EXPECT_EQ(buffer[0] + buffer[buffer.size() - 1], 2.0f);
}

TEST(AlignedBuffer, IsAlignedZeroedAndMovable) {
  AlignedBuffer<float> a(33);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % 64, 0u);
  EXPECT_EQ(a[32], 0.f);
  a[1] = 2;
  AlignedBuffer<float> b(std::move(a));
  EXPECT_EQ(b[1], 2.f);
  EXPECT_EQ(a.size(), 0u);
}

TEST(Log, CountsProblems) {
  Log log = Log::silent();
  log.info("fine {}", 1);
  log.warn("not fine {}", 2);
  log.error("worse");
  EXPECT_EQ(log.problems(), 2u);
}

}  // namespace
}  // namespace gossamer
