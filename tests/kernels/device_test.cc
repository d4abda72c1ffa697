// The cases of device_cases.h, on the emulated device and, where there is one, on each CUDA device's stream.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "kernels/cuda/cuda.h"
#include "tests/kernels/device_cases.h"
#include "tests/kernels/emulated_stream.h"

namespace gossamer {
namespace {

class Device : public testing::TestWithParam<DeviceCase> {};

TEST_P(Device, EmulatedGivesWhatTheHostGives) {
  EmulatedStream stream;
  EXPECT_EQ(GetParam().run(stream), "");
}

TEST_P(Device, CudaGivesWhatTheHostGives) {
  auto stream = make_cuda_stream(0);
  if (!stream) {
    ASSERT_EQ(stream.error().code, Errc::unsupported);
    GTEST_SKIP() << stream.error().message;
  }
  EXPECT_EQ(GetParam().run(**stream), "");
}

INSTANTIATE_TEST_SUITE_P(All, Device, testing::ValuesIn(device_cases()), [](const testing::TestParamInfo<DeviceCase>& info) {
  std::string name = info.param.name;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace gossamer
