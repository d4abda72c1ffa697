// The cases of tests/kernels/device_cases.h and the rows of `gossamer bench kernels` for a GPU, without a test framework.
//
//     gpu_check tests emulated|cuda [FIRST]   one line for each case from number FIRST on; 1 when one failed, 3 when one failed that
//                                             leaves the device of no more use to this process, 77 when there is no device
//     gpu_check bench TABLE                   a table in Markdown; 1 when a row could not be measured
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "kernels/cuda/cuda.h"
#include "runtime/bench/device_measure.h"
#include "tests/gpu/sort.h"
#include "tests/kernels/device_cases.h"
#include "tests/kernels/emulated_stream.h"

namespace gossamer {
namespace {

constexpr int kNoDevice = 77, kDeviceLost = 3;

int absent(const Error& error) {
  std::printf("skipped: %s\n", error.message.c_str());
  return error.code == Errc::unsupported ? kNoDevice : 1;
}

// False after an error that a device keeps, such as an address that was none.
bool of_use(DeviceStream& stream) {
  const int sent = 1234;
  int came = 0;
  const auto there = DeviceBuffer<int>::make(stream, 1);
  if (!there) return false;
  stream.upload(&sent, there->data(), sizeof sent);
  stream.download(there->data(), &came, sizeof came);
  return stream.finish() && came == sent;
}

int run_tests(bool emulated, std::size_t first) {
  EmulatedStream host;
  std::unique_ptr<DeviceStream> cuda;
  if (!emulated) {
    auto made = make_cuda_stream(0);
    if (!made) return absent(made.error());
    cuda = std::move(*made);
  }
  DeviceStream& stream = emulated ? static_cast<DeviceStream&>(host) : *cuda;
  int passed = 0, failed = 0;
  const std::vector<DeviceCase> cases = device_cases();
  for (std::size_t c = first; c < cases.size(); ++c) {
    const DeviceCase& one = cases[c];
    const std::string found = one.run(stream);
    std::printf("%s %s%s%s\n", found.empty() ? "passed" : "FAILED", one.name.c_str(), found.empty() ? "" : ": ", found.c_str());
    std::fflush(stdout);
    ++(found.empty() ? passed : failed);
    if (!found.empty() && !of_use(stream)) return kDeviceLost;
  }
  std::printf("%s: %d passed, %d failed\n", emulated ? "emulated" : "cuda", passed, failed);
  return failed == 0 ? 0 : 1;
}

int run_bench(const char* path) {
  const auto devices = cuda_devices();
  if (!devices) return absent(devices.error());
  auto stream = make_cuda_stream(0);
  if (!stream) return absent(stream.error());
  std::FILE* const table = std::fopen(path, "w");
  if (table == nullptr) {
    std::perror(path);
    return 1;
  }
  const CudaDevice& device = devices->front();
  std::fprintf(table, "%s, compute capability %d.%d\n\n", device.name.c_str(), device.major, device.minor);
  std::fprintf(table, "| pass | elements | ms | GB/s | device copy GB/s | ratio |\n|---|---|---|---|---|---|\n");
  DeviceBench bench;
  bool all = true;
  bench.failed = [&](const std::string& name, std::size_t elements, const Error& why) {
    all = false;
    std::fprintf(table, "| %s | %zu | FAILED: %s | | | |\n", name.c_str(), elements, why.message.c_str());
    std::printf("FAILED %s of %zu: %s\n", name.c_str(), elements, why.message.c_str());
    std::fflush(table);
  };
  const auto done = measure_device(**stream, bench, [&](const KernelRow& row) {
    std::fprintf(table, "| %s | %zu | %.4f | %.0f | %.0f | %.2f |\n", row.name.c_str(), row.elements, 1e3 * row.seconds,
                 row.bytes / row.seconds / 1e9, row.limit_bytes_per_second / 1e9, row.ratio);
    std::fflush(table);
  });
  for (const std::size_t elements : bench.elements)
    if (const double seconds = cub_sort_seconds(elements); seconds > 0)
      std::fprintf(table, "| CUB radix sort, for comparison with top-k | %zu | %.4f | | | |\n", elements, 1e3 * seconds);
    else
      std::fprintf(table, "| CUB radix sort | %zu | failed | | | |\n", elements);
  std::fclose(table);
  if (!done) std::printf("FAILED: %s\n", done.error().message.c_str());
  return done && all ? 0 : 1;
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  if ((argc == 3 || argc == 4) && std::strcmp(argv[1], "tests") == 0)
    return gossamer::run_tests(std::strcmp(argv[2], "emulated") == 0, argc == 4 ? std::strtoul(argv[3], nullptr, 10) : 0);
  if (argc == 3 && std::strcmp(argv[1], "bench") == 0) return gossamer::run_bench(argv[2]);
  std::fprintf(stderr, "usage: gpu_check tests emulated|cuda [FIRST] | gpu_check bench TABLE\n");
  return 2;
}
