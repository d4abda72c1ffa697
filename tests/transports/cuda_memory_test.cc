// Memory of a CUDA device: a GPU's where there is one, and everywhere that of a driver without a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <thread>
#include <vector>

#include "tests/transports/fabric_harness.h"
#include "tests/transports/fake_cuda.h"
#include "transports/device_memory.h"

namespace gossamer::testing {
namespace {

constexpr std::size_t kSize = 100'003;

class CudaMemory : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    auto made = GetParam() ? make_cuda_memory() : Result<std::shared_ptr<DeviceMemory>>(fake_cuda::device());
    if (!made && made.error().code == Errc::unsupported) GTEST_SKIP() << made.error().message;
    ASSERT_TRUE(made) << made.error().message;
    device_ = *made;
  }
  std::shared_ptr<DeviceMemory> device_;
};

TEST_P(CudaMemory, ComesZeroedAndBytesGoInAndOut) {
  auto memory = device_->allocate(kSize);
  ASSERT_TRUE(memory) << memory.error().message;
  std::vector<std::byte> bytes(kSize, std::byte{1});
  ASSERT_TRUE(device_->copy(*memory, bytes.data(), kSize));
  EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; }));
  fill(bytes, 3);
  ASSERT_TRUE(device_->copy(bytes.data() + 1, *memory + 1, kSize - 1));
  std::vector<std::byte> back(kSize);
  ASSERT_TRUE(device_->copy(*memory, back.data(), kSize));
  bytes[0] = std::byte{0};
  EXPECT_EQ(back, bytes);
  EXPECT_TRUE(device_->settle());
  EXPECT_TRUE(device_->copy(nullptr, nullptr, 0)) << "no bytes are no matter";
  device_->release(*memory);
}

TEST_P(CudaMemory, BytesGoFromOneAllocationToAnother) {
  auto first = device_->allocate(kSize), second = device_->allocate(kSize);
  ASSERT_TRUE(first && second);
  std::vector<std::byte> bytes(kSize);
  fill(bytes, 4);
  ASSERT_TRUE(device_->copy(bytes.data(), *first, kSize));
  ASSERT_TRUE(device_->copy(*first, *second, kSize));
  std::ranges::fill(bytes, std::byte{0});
  ASSERT_TRUE(device_->copy(*second, bytes.data(), kSize));
  EXPECT_EQ(first_difference(bytes, 4), kSize);
  device_->release(*first);
  device_->release(*second);
}

TEST_P(CudaMemory, MayBeUsedByManyThreads) {
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t round = 0; round < 20; ++round) {
        auto memory = device_->allocate(kSize);
        ASSERT_TRUE(memory) << memory.error().message;
        std::vector<std::byte> bytes(kSize), back(kSize);
        fill(bytes, t * 100 + round);
        EXPECT_TRUE(device_->copy(bytes.data(), *memory, kSize));
        EXPECT_TRUE(device_->copy(*memory, back.data(), kSize));
        EXPECT_EQ(back, bytes);
        device_->release(*memory);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST_P(CudaMemory, MoreThanThereIsIsRefusedInWords) {
  const auto memory = device_->allocate(std::size_t{1} << 50);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, Errc::io);
  EXPECT_NE(memory.error().message.find("1125899906842624 bytes"), std::string::npos) << memory.error().message;
  EXPECT_NE(memory.error().message.find("out of memory"), std::string::npos) << memory.error().message;
}

INSTANTIATE_TEST_SUITE_P(Of, CudaMemory, ::testing::Bool(), [](const auto& info) { return info.param ? "a_GPU" : "a_driver_without_GPU"; });

using FakeCudaDeathTest = ::testing::Test;

TEST(FakeCudaDeathTest, WhoeverTouchesItsMemoryPastTheDriverDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto device = fake_cuda::device();
  // No library's or sanitizer's handler makes more of it.
  EXPECT_DEATH(
      {
        std::signal(SIGSEGV, SIG_DFL);
        std::byte* const memory = *device->allocate(10);
        volatile std::byte seen = memory[3];
        (void)seen;
      },
      "");
  EXPECT_DEATH(
      {
        std::signal(SIGSEGV, SIG_DFL);
        std::byte* const memory = *device->allocate(10);
        volatile std::byte* const written = memory;
        *written = std::byte{1};
      },
      "");
}

TEST(FakeCuda, ContextsAndMemoryAreGivenBack) {
  const std::size_t before = fake_cuda::bytes_in_use();
  {
    const auto device = make_cuda_memory({.driver = fake_cuda::driver()}).value();
    auto memory = device->allocate(5000);
    ASSERT_TRUE(memory);
    EXPECT_GT(fake_cuda::bytes_in_use(), before);
    std::byte byte{};
    EXPECT_FALSE(device->copy(*memory + 4999, &byte, 2)) << "past its end";
    const fake_cuda::Broken broken;
    const auto copied = device->copy(*memory, &byte, 1);
    ASSERT_FALSE(copied);
    EXPECT_EQ(copied.error().message, "CUDA device 0, copying 1 bytes: unspecified launch failure (719)");
    device->release(*memory);
  }
  EXPECT_EQ(fake_cuda::bytes_in_use(), before);
  EXPECT_EQ(fake_cuda::contexts(), 0) << "a context was left current";
}

TEST(FakeCuda, WhatAdaptersHaveWrittenIsWaitedFor) {
  const int before = fake_cuda::flushes();
  ASSERT_TRUE(fake_cuda::device()->settle());
  EXPECT_EQ(fake_cuda::flushes(), before + 1);
}

TEST(NoCuda, IsSaidWithTheRemedy) {
  const auto none = make_cuda_memory({.driver = "libcuda_that_is_nowhere.so"});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::unsupported);
  EXPECT_NE(none.error().message.find("install the NVIDIA driver"), std::string::npos) << none.error().message;
  const auto other = make_cuda_memory({.driver = "libm.so.6"});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::unsupported);
  EXPECT_NE(other.error().message.find("cuMemcpyAsync"), std::string::npos) << other.error().message;
  const auto number = make_cuda_memory({.device = 3, .driver = fake_cuda::driver()});
  ASSERT_FALSE(number);
  EXPECT_EQ(number.error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace gossamer::testing
