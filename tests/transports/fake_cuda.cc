#include "tests/transports/fake_cuda.h"

#include <dlfcn.h>

#include "base/check.h"

namespace gossamer::testing::fake_cuda {
namespace {

template <class F>
F* function(const char* name) {
  void* const library = ::dlopen(FAKE_CUDA_DRIVER, RTLD_NOW | RTLD_LOCAL);
  GOSSAMER_CHECK(library != nullptr, "the fake CUDA driver is not built: ninja tests/transports/libfake_cuda_driver.so");
  auto* const found = reinterpret_cast<F*>(::dlsym(library, name));
  GOSSAMER_CHECK(found != nullptr, "the fake CUDA driver is another one");
  return found;
}

}  // namespace

std::string driver() { return FAKE_CUDA_DRIVER; }

std::shared_ptr<DeviceMemory> device() {
  static const std::shared_ptr<DeviceMemory> one = make_cuda_memory({.driver = driver()}).value();
  return one;
}

void fail_after(int copies) { function<void(int)>("fake_cuda_fail_after")(copies); }
int flushes() { return function<int()>("fake_cuda_flushes")(); }
std::size_t bytes_in_use() { return function<std::size_t()>("fake_cuda_bytes_in_use")(); }
int contexts() { return function<int()>("fake_cuda_contexts")(); }

}  // namespace gossamer::testing::fake_cuda
