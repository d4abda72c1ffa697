#include "trainer/data.h"

#include <fmt/core.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/random.h"
#include "trainer/data_files.h"

namespace gossamer {
namespace {

Result<RawDataset> read_files(const DataOptions& o, bool test) {
  if (o.format == "idx") return read_idx(test ? o.test_images : o.images, test ? o.test_labels : o.labels, o);
  const std::string& file = test ? o.test_file : o.file;
  return o.format == "csv" ? read_csv(file, o) : read_libsvm(file, o);
}

// Turns the labels of both halves into classes with one numbering, or into targets.
Result<> finish(RawDataset& train, RawDataset* test, bool regression) {
  std::map<double, std::int32_t> classes;
  for (RawDataset* raw : {&train, test}) {
    if (raw == nullptr) continue;
    if (raw->data.samples > std::numeric_limits<std::uint32_t>::max())
      return fail(Errc::unsupported, raw->data.name + ": more than 2^32-1 samples");
    if (regression)
      raw->data.targets.assign(raw->labels.begin(), raw->labels.end());
    else
      for (const double label : raw->labels) classes.emplace(label, 0);
  }
  if (regression) return {};
  if (classes.size() < 2)
    return fail(Errc::corrupt,
                fmt::format("{}: every label is {}; a classification set needs two classes or more",
                            train.data.name, classes.begin()->first));
  constexpr std::size_t kClassesMax = 65536;
  if (classes.size() > kClassesMax)
    return fail(Errc::corrupt,
                fmt::format("{}: {} different labels; if they are values to predict and not classes, set "
                            "regression: true",
                            train.data.name, classes.size()));
  std::int32_t next = 0;
  std::vector<double> values;
  for (auto& [value, index] : classes) {
    index = next++;
    values.push_back(value);
  }
  for (RawDataset* raw : {&train, test}) {
    if (raw == nullptr) continue;
    raw->data.classes = static_cast<std::uint32_t>(classes.size());
    raw->data.label_values = values;
    raw->data.labels.reserve(raw->labels.size());
    for (const double label : raw->labels) raw->data.labels.push_back(classes.at(label));
  }
  return {};
}

// Divides the features by the largest absolute value of both halves.
void scale_by_largest(Dataset& train, Dataset* test) {
  double largest = 0;
  for (Dataset* half : {&train, test})
    if (half != nullptr)
      for (const float value : half->x) largest = std::max(largest, std::abs(static_cast<double>(value)));
  if (largest == 0) return;
  for (Dataset* half : {&train, test})
    if (half != nullptr)
      for (float& value : half->x) value = static_cast<float>(value / largest);
}

Dataset subset(const Dataset& all, const std::vector<std::uint32_t>& rows) {
  Dataset part;
  part.name = all.name;
  part.samples = rows.size();
  part.features = all.features;
  part.classes = all.classes;
  part.label_values = all.label_values;
  if (all.sparse()) part.row_begin.push_back(0);
  for (const std::uint32_t row : rows) {
    if (all.sparse()) {
      const auto begin = static_cast<std::ptrdiff_t>(all.row_begin[row]);
      const auto end = static_cast<std::ptrdiff_t>(all.row_begin[row + 1]);
      part.column.insert(part.column.end(), all.column.begin() + begin, all.column.begin() + end);
      part.value.insert(part.value.end(), all.value.begin() + begin, all.value.begin() + end);
      part.row_begin.push_back(part.column.size());
    } else {
      const auto begin = all.x.begin() + static_cast<std::ptrdiff_t>(row * all.features);
      part.x.insert(part.x.end(), begin, begin + static_cast<std::ptrdiff_t>(all.features));
    }
    if (!all.labels.empty()) part.labels.push_back(all.labels[row]);
    if (!all.targets.empty()) part.targets.push_back(all.targets[row]);
  }
  return part;
}

Failure invalid(std::string message) {
  return fail(Errc::invalid_argument, std::move(message));
}

}  // namespace

void Dataset::gather(std::size_t i, float* to) const {
  if (!sparse()) {
    std::copy_n(x.data() + i * features, features, to);
    return;
  }
  std::fill_n(to, features, 0.0f);
  for (std::uint64_t e = row_begin[i]; e < row_begin[i + 1]; ++e) to[column[e]] = value[e];
}

Result<> validate(const DataOptions& o) {
  if (o.format.empty()) return {};
  if (o.format != "idx" && o.format != "csv" && o.format != "libsvm")
    return invalid(fmt::format("data format '{}' is not known; known are idx, csv, libsvm", o.format));
  const bool idx = o.format == "idx";
  if (idx && (o.images.empty() || o.labels.empty()))
    return invalid("data format idx needs two files: images and labels");
  if (idx && (!o.file.empty() || !o.test_file.empty()))
    return invalid(
        "data format idx reads images and labels (test_images and test_labels), not file or test_file");
  if (!idx && o.file.empty()) return invalid(fmt::format("data format {} needs a file", o.format));
  if (!idx && !(o.images + o.labels + o.test_images + o.test_labels).empty())
    return invalid(
        fmt::format("data format {} reads file (and test_file); images and labels belong to idx", o.format));
  if (o.test_images.empty() != o.test_labels.empty())
    return invalid("test_images and test_labels go together; one of them is missing");
  if (!(o.test_fraction > 0 && o.test_fraction < 1))
    return invalid(
        fmt::format("test_fraction is {}; it must be between 0 and 1 (0.2, say)", o.test_fraction));
  if (!std::isfinite(o.scale)) return invalid(fmt::format("scale is {}; it must be a finite number", o.scale));
  if (o.label_column != "first" && o.label_column != "last")
    return invalid(fmt::format("label_column '{}' is not known; known are first, last", o.label_column));
  if (o.separator != "tab" &&
      (o.separator.size() != 1 || o.separator.find_first_of("+-.0123456789eE\r\n") == 0))
    return invalid(fmt::format("separator '{}' must be one character that is no part of a number, or 'tab'",
                               o.separator));
  if (o.features > std::numeric_limits<std::uint32_t>::max()) return invalid("features must be below 2^32");
  return {};
}

Result<Split> load_data(const DataOptions& options, std::uint64_t seed) {
  GOSSAMER_TRY(validate(options));
  if (options.format.empty())
    return invalid("no data set is named; set data.format (idx, csv or libsvm) and its files");
  const bool automatic = options.scale == 0 && options.format != "libsvm";
  GOSSAMER_TRY_ASSIGN(RawDataset train, read_files(options, false));
  if (options.test_file.empty() && options.test_images.empty()) {
    GOSSAMER_TRY(finish(train, nullptr, options.regression));
    if (automatic) scale_by_largest(train.data, nullptr);
    return split(train.data, options.test_fraction, seed);
  }
  GOSSAMER_TRY_ASSIGN(RawDataset test, read_files(options, true));
  if (options.format == "libsvm")
    train.data.features = test.data.features = std::max(train.data.features, test.data.features);
  if (train.data.features != test.data.features)
    return fail(Errc::corrupt,
                fmt::format("{} has {} features and {} has {}; the test set must have those of the "
                            "training set",
                            train.data.name, train.data.features, test.data.name, test.data.features));
  GOSSAMER_TRY(finish(train, &test, options.regression));
  if (automatic) scale_by_largest(train.data, &test.data);
  return Split{std::make_shared<const Dataset>(std::move(train.data)),
               std::make_shared<const Dataset>(std::move(test.data))};
}

Result<Split> split(const Dataset& all, double test_fraction, std::uint64_t seed) {
  if (!(test_fraction > 0 && test_fraction < 1))
    return invalid(fmt::format("test_fraction is {}; it must be between 0 and 1 (0.2, say)", test_fraction));
  std::vector<std::vector<std::uint32_t>> by_class(std::max<std::size_t>(all.classes, 1));
  for (std::size_t i = 0; i < all.samples; ++i)
    by_class[all.classes == 0 ? 0 : static_cast<std::size_t>(all.labels[i])].push_back(
        static_cast<std::uint32_t>(i));
  std::vector<std::uint32_t> train, test;
  for (std::size_t c = 0; c < by_class.size(); ++c) {
    auto& rows = by_class[c];
    Random(seed, Purpose::split, 0, c).shuffle(rows);
    auto off = static_cast<std::size_t>(std::llround(test_fraction * static_cast<double>(rows.size())));
    // Both halves see every class that has samples for both.
    if (rows.size() >= 2) off = std::clamp<std::size_t>(off, 1, rows.size() - 1);
    test.insert(test.end(), rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(off));
    train.insert(train.end(), rows.begin() + static_cast<std::ptrdiff_t>(off), rows.end());
  }
  if (train.empty() || test.empty())
    return fail(
        Errc::invalid_argument,
        fmt::format("{}: {} samples cannot be split into a training and a test set by test_fraction {}; name "
                    "test files, or use more samples",
                    all.name, all.samples, test_fraction));
  Random order(seed, Purpose::split, 1);
  order.shuffle(train);
  order.shuffle(test);
  return Split{std::make_shared<const Dataset>(subset(all, train)),
               std::make_shared<const Dataset>(subset(all, test))};
}

}  // namespace gossamer
