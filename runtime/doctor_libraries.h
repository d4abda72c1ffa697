// The libraries that `gossamer doctor` looks for.  Included by runtime/doctor*.cc only.
#pragma once

#include "runtime/doctor.h"

namespace gossamer {

Finding find_ucx();
Finding find_libfabric();
Finding find_cuda_driver();
Finding find_cuda_toolkit();
Finding find_nccl();

}  // namespace gossamer
