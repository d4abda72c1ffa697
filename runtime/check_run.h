// Whether the parts of a run go together, before any process is started: algorithm, topology, codec, synchrony
// and overlap.  What does not is refused with the reason and the nearest choice that works.
#pragma once

#include "base/result.h"
#include "runtime/run_file.h"

namespace gossamer {

// Touches no data file.  Errors: invalid_argument, unsupported; they begin with the run's name.
Result<> check_run(const RunFile& run);
// The same without that name: the sentence alone.
Result<> check_parts(const RunFile& run);

}  // namespace gossamer
