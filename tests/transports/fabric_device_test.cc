// Fabrics and memory of a device: what the suites of all backends do not say.
#include <gtest/gtest.h>

#include "tests/transports/fabric_fixture.h"
#include "tests/transports/fake_cuda.h"
#include "transports/loopback.h"
#include "transports/ofi.h"
#include "transports/ucx.h"

namespace gossamer::testing {
namespace {

class FabricDevice : public FabricFixture {
 protected:
  static std::unique_ptr<Region> allocate_host(Side& side, std::size_t size) {
    auto region = side.fabric->allocate(size);
    EXPECT_TRUE(region) << region.error().message;
    return std::move(*region);
  }
  bool is_fake() const { return GetParam().device == fake_cuda::device(); }

  // One put of all of a source, until it has come.
  static void exchange(Side& sender, Side& receiver, Link& link, const Region& source, const Region& sink, std::uint64_t number) {
    const std::size_t size = source.memory().size;
    fill_region(source, 0, size, number);
    const auto target = open(link, sink.remote());
    ASSERT_EQ(put_patiently(link, {.source = &source, .size = size, .target = target.get(), .notice = as_notice(number), .token = number},
                            {&sender, &receiver}),
              Errc::ok);
    ASSERT_TRUE(wait_until({&sender, &receiver}, [&] { return !receiver.events.notices.empty() && !sender.events.ended.empty(); })) << size;
    EXPECT_EQ(from_notice<std::uint64_t>(receiver.events.notices[0]), number);
    EXPECT_EQ(sender.events.ended[0].status, Errc::ok);
    EXPECT_EQ(first_wrong(sink, 0, size, number), size) << size;
    sender.events.clear();
    receiver.events.clear();
  }
};

TEST_P(FabricDevice, TakesMemoryOfADeviceAndOfTheHostAtOnce) {
  Side sender = make_side(), receiver = make_side();
  EXPECT_TRUE(sender.fabric->limits().device_memory);
  EXPECT_NE(sender.fabric->description().find(GetParam().device->name()), std::string::npos) << sender.fabric->description();
  auto link = connect(sender, receiver);
  std::uint64_t number = 0;
  for (const std::size_t size : {std::size_t{1}, std::size_t{500}, std::size_t{8'191}, std::size_t{70'001}, std::size_t{3'000'001}}) {
    const auto of_device = allocate(sender, size), to_device = allocate(receiver, size);
    const auto of_host = allocate_host(sender, size), to_host = allocate_host(receiver, size);
    EXPECT_EQ(of_device->memory().kind, MemoryKind::cuda);
    EXPECT_EQ(of_host->memory().kind, MemoryKind::host);
    exchange(sender, receiver, *link, *of_host, *to_device, ++number);
    exchange(sender, receiver, *link, *of_device, *to_host, ++number);
    exchange(sender, receiver, *link, *of_device, *to_device, ++number);
    exchange(sender, receiver, *link, *of_host, *to_host, ++number);
  }
}

TEST_P(FabricDevice, ItsMemoryIsNotMapped) {
  Side owner = make_side(), reader = make_side();
  const auto region = allocate(owner, 100'000);
  const auto sink = allocate_host(owner, 10), source = allocate_host(reader, 10);
  const auto link = connect(reader, owner);
  exchange(reader, owner, *link, *source, *sink, 1);  // connected, and heard of
  const auto mapping = link->map(region->remote());
  ASSERT_FALSE(mapping) << "whoever read it would die of it";
  EXPECT_EQ(mapping.error().code, Errc::unsupported);
}

TEST_P(FabricDevice, GivesItsMemoryBack) {
  if (!is_fake()) GTEST_SKIP() << "others use the GPU's memory, too";
  const std::size_t before = fake_cuda::bytes_in_use();
  {
    Side sender = make_side(), receiver = make_side();
    const auto source = allocate(sender, 100'000), sink = allocate(receiver, 100'000);
    EXPECT_GT(fake_cuda::bytes_in_use(), before);
    const auto link = connect(sender, receiver);
    exchange(sender, receiver, *link, *source, *sink, 1);
  }
  EXPECT_EQ(fake_cuda::bytes_in_use(), before);
  EXPECT_EQ(fake_cuda::contexts(), 0);
}

TEST_P(FabricDevice, ThatCannotBeReadIsSaidAndNothingIsStarted) {
  if (!is_fake()) GTEST_SKIP() << "a GPU cannot be made to fail";
  Side sender = make_side(), receiver = make_side();
  const auto link = connect(sender, receiver);
  const auto sink = allocate_host(receiver, 100'000);
  const auto target = open(*link, sink->remote());
  for (const std::size_t size : {std::size_t{100}, std::size_t{100'000}}) {
    const auto source = allocate(sender, size);
    exchange(sender, receiver, *link, *source, *sink, size);  // all is well
    const Put put{.source = source.get(), .size = size, .target = target.get(), .notice = as_notice(size), .token = 1};
    {
      const fake_cuda::Broken broken;
      EXPECT_EQ(link->put(put), Errc::io);
    }
    EXPECT_NE(sender.fabric->description().find("unspecified launch failure"), std::string::npos) << sender.fabric->description();
    (void)wait_until({&sender, &receiver}, [] { return false; }, std::chrono::milliseconds(20));
    EXPECT_TRUE(sender.events.empty() && receiver.events.empty());
    exchange(sender, receiver, *link, *source, *sink, size + 1);  // and again
  }
}

TEST_P(FabricDevice, ThatCannotBeWrittenBreaksTheLinkInsteadOfLosingThePut) {
  if (!is_fake()) GTEST_SKIP() << "a GPU cannot be made to fail";
  for (const std::size_t size : {std::size_t{100}, std::size_t{100'000}}) {
    Side sender = make_side(), receiver = make_side();
    const auto link = connect(sender, receiver);
    const auto source = allocate_host(sender, size), sink = allocate(receiver, size);
    exchange(sender, receiver, *link, *source, *sink, 1);
    const auto target = open(*link, sink->remote());
    const fake_cuda::Broken broken;
    const Errc status = link->put({.source = source.get(), .size = size, .target = target.get(), .notice = as_notice(size), .token = 1});
    if (status == Errc::io) continue;  // it is the sender who copies: he is told at once
    ASSERT_EQ(status, Errc::ok);
    EXPECT_TRUE(wait_until({&sender, &receiver}, [&] { return !sender.events.down.empty() && !sender.events.ended.empty(); })) << size;
    EXPECT_TRUE(receiver.events.notices.empty());
    EXPECT_NE(receiver.fabric->description().find("unspecified launch failure"), std::string::npos) << receiver.fabric->description();
  }
}

INSTANTIATE_TEST_SUITE_P(OnDevice, FabricDevice, ::testing::ValuesIn(device_backends()), [](const auto& info) { return info.param.name; });

class FabricWithoutDevice : public FabricFixture {};

TEST_P(FabricWithoutDevice, RefusesItsMemoryInWords) {
  const Side side = make_side();
  EXPECT_FALSE(side.fabric->limits().device_memory);
  const auto allocated = side.fabric->allocate_device(100);
  ASSERT_FALSE(allocated);
  EXPECT_EQ(allocated.error().code, Errc::unsupported);
  EXPECT_NE(allocated.error().message.find("no device"), std::string::npos) << allocated.error().message;
  std::byte byte{};
  const auto added = side.fabric->add_region({&byte, 1, MemoryKind::cuda});
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, Errc::unsupported);
  EXPECT_NE(added.error().message.find("no device"), std::string::npos) << added.error().message;
}

INSTANTIATE_TEST_SUITE_P(Over, FabricWithoutDevice, ::testing::ValuesIn(all_backends()), [](const auto& info) { return info.param.name; });

// A library that does not know the memory of the device says so when the fabric is made, not when the first put fails.
TEST(DirectDevice, IsRefusedByAUcxWithoutCuda) {
  if (ucx_version().empty()) GTEST_SKIP() << "this build has no UCX";
  if (ucx_knows_cuda()) GTEST_SKIP() << "this UCX knows CUDA memory";
  const auto fabric = make_ucx({.tls = "tcp,self", .net_devices = "lo", .device = {fake_cuda::device(), DevicePath::direct}});
  ASSERT_FALSE(fabric);
  EXPECT_EQ(fabric.error().code, Errc::unsupported);
  for (const char* word : {"UCX 1.", "knows no CUDA memory", "--with-cuda", "ucx-cuda", "staged"})
    EXPECT_NE(fabric.error().message.find(word), std::string::npos) << fabric.error().message;
}

TEST(DirectDevice, IsRefusedByALibfabricWithoutCuda) {
  if (ofi_version().empty()) GTEST_SKIP() << "this build has no libfabric";
  if (make_cuda_memory()) GTEST_SKIP() << "there is a GPU, and its libfabric may know it";
  for (const char* provider : {"", "tcp", "shm"}) {
    const auto fabric = make_ofi({.provider = provider, .device = {fake_cuda::device(), DevicePath::direct}});
    ASSERT_FALSE(fabric) << provider << ": " << (*fabric)->description();
    EXPECT_EQ(fabric.error().code, Errc::unsupported);
    for (const char* word : {"libfabric", "--with-cuda", "staged"})
      EXPECT_NE(fabric.error().message.find(word), std::string::npos) << fabric.error().message;
  }
}

}  // namespace
}  // namespace gossamer::testing
