// Samples and labels: what a data set is in memory, which files it comes from, how it is divided.
//
// A Dataset is immutable once loaded and may be shared between threads.  Loading is a pure function of
// the files and the seed: every peer that loads the same files sees the same samples in the same order,
// in the same training and test halves.
//
// docs/tasks-and-data.md describes the formats and every option.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace gossamer {

struct Dataset {
  std::string name;
  std::size_t samples = 0;
  std::size_t features = 0;
  std::uint32_t classes = 0;  // 0: regression

  // Dense samples, row-major, samples * features; empty when the set is sparse.
  std::vector<float> x;

  // Sparse samples (compressed rows): the entries of row i are row_begin[i] .. row_begin[i+1]-1, columns
  // ascending from 0.  Empty when the set is dense.
  std::vector<std::uint64_t> row_begin;
  std::vector<std::uint32_t> column;
  std::vector<float> value;

  std::vector<std::int32_t> labels;  // 0 .. classes-1; empty for regression
  std::vector<double> label_values;  // what the file calls class c, ascending (-1 and +1, say)
  std::vector<float> targets;        // regression; empty for classes

  bool sparse() const { return !row_begin.empty(); }

  // Writes row i, dense, to `to` (features floats).
  void gather(std::size_t i, float* to) const;
};

struct DataOptions {
  std::string format;  // idx | csv | libsvm; empty: no data, the task makes its own (quadratic)

  // Every file may be gzipped (name.gz).
  std::string file;            // csv, libsvm
  std::string images, labels;  // idx: the samples and their labels
  // A test set of its own.  Without one, `test_fraction` of the samples is split off, class by class.
  std::string test_file;
  std::string test_images, test_labels;
  double test_fraction = 0.2;  // in (0, 1)

  // Every feature is multiplied by it.  0: idx and csv divide by the largest absolute value of training and test
  // samples together (16 for digits, 255 for MNIST), so that features lie in [-1, 1]; libsvm keeps the file's values.
  double scale = 0;
  bool regression = false;  // labels are numbers to predict, not classes

  std::string label_column = "last";  // csv: first | last
  bool header = false;                // csv: the first line names the columns
  std::string separator = ",";        // csv: one character; "tab" for a tabulator

  std::size_t features = 0;  // libsvm: columns; 0 takes the largest index of the training and test files
};

// The range and the consistency of the options; touches no file.
Result<> validate(const DataOptions& options);

// Each half is shared, so that many tasks of one process (the simulator's peers) hold it once.
struct Split {
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> test;
};

// Reads the files.  Without test files, shuffles with `seed` (Purpose::split) and splits `test_fraction` of
// every class off, rounded to whole samples; a class of two or more samples is in both halves.
Result<Split> load_data(const DataOptions& options, std::uint64_t seed);

// The seeded, stratified split of load_data by itself.
Result<Split> split(const Dataset& all, double test_fraction, std::uint64_t seed);

// How the training samples are divided among the peers (trainer/partition.h).
struct PartitionOptions {
  std::string scheme = "iid";   // iid | by-label | dirichlet
  double alpha = 0.5;           // dirichlet: concentration; large is near iid, small is skewed
  std::size_t shards = 2;       // by-label: pieces of the label-sorted set that each peer gets
  std::size_t samples_min = 1;  // what every peer gets at least
};

}  // namespace gossamer
