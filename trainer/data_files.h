// The file formats behind load_data(): IDX, CSV, LIBSVM, each plain or gzipped.  Internal to trainer/.
//
// A malformed file gives Errc::corrupt and one sentence with the file, the place, what is wrong there and
// what to do.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "trainer/data.h"

namespace gossamer {

// A file as it was read: features in `data`, labels still as the file's numbers.
struct RawDataset {
  Dataset data;
  std::vector<double> labels;  // one per sample; whole numbers unless DataOptions::regression
};

// The whole file, decompressed if it is gzipped.
Result<std::string> read_whole_file(const std::string& path);

// `options` gives scale (0: values as they are), regression and what belongs to the format; its paths are not read.
Result<RawDataset> read_idx(const std::string& images, const std::string& labels, const DataOptions& options);
Result<RawDataset> read_csv(const std::string& path, const DataOptions& options);
// data.features is the largest index of this file where options.features is 0.
Result<RawDataset> read_libsvm(const std::string& path, const DataOptions& options);

}  // namespace gossamer
