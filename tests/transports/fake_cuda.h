// The GPU that is not there (fake_cuda_driver.cc): its memory kills whoever touches it past its driver.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "transports/device_memory.h"

namespace gossamer::testing::fake_cuda {

std::string driver();  // where it lies

// One for the whole process, like a GPU.
std::shared_ptr<DeviceMemory> device();

// The copy after that many good ones fails, and all behind it; -1: none.
void fail_after(int copies);
int flushes();
std::size_t bytes_in_use();
int contexts();  // that are current on this thread

// Copies fail while it lives.
struct Broken {
  Broken() { fail_after(0); }
  ~Broken() { fail_after(-1); }
};

}  // namespace gossamer::testing::fake_cuda
