#include "trainer/data_files.h"

#include <fmt/core.h>
#include <zlib.h>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>

namespace gossamer {
namespace {

template <class... A>
Failure corrupt(const std::string& path, fmt::format_string<A...> text, A&&... a) {
  return fail(Errc::corrupt, path + ": " + fmt::format(text, std::forward<A>(a)...));
}

// ---- IDX ----

struct IdxType {
  std::size_t size;
  bool whole;  // holds whole numbers
};

std::optional<IdxType> idx_type(unsigned char code) {
  switch (code) {
    case 0x08:
      return IdxType{1, true};  // unsigned byte
    case 0x09:
      return IdxType{1, true};  // signed byte
    case 0x0b:
      return IdxType{2, true};  // short
    case 0x0c:
      return IdxType{4, true};  // int
    case 0x0d:
      return IdxType{4, false};  // float
    case 0x0e:
      return IdxType{8, false};  // double
    default:
      return std::nullopt;
  }
}

template <class T>
T big_endian(const char* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = static_cast<T>((value << 8) | static_cast<unsigned char>(from[i]));
  return value;
}

double idx_value(unsigned char code, const char* from) {
  switch (code) {
    case 0x08:
      return static_cast<unsigned char>(*from);
    case 0x09:
      return static_cast<signed char>(*from);
    case 0x0b:
      return static_cast<std::int16_t>(big_endian<std::uint16_t>(from));
    case 0x0c:
      return static_cast<std::int32_t>(big_endian<std::uint32_t>(from));
    case 0x0d: {
      const auto bits = big_endian<std::uint32_t>(from);
      float value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    default: {
      const auto bits = big_endian<std::uint64_t>(from);
      double value;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
  }
}

struct Idx {
  std::string bytes;
  unsigned char code = 0;
  IdxType type{};
  std::size_t count = 0;     // the first dimension
  std::size_t per_item = 1;  // the product of the others
  std::size_t start = 0;     // of the values in `bytes`

  double at(std::size_t i) const { return idx_value(code, bytes.data() + start + i * type.size); }
};

// IDX: two zero bytes, the type, the number of dimensions, each dimension as a big-endian u32, the values.
Result<Idx> read_idx_file(const std::string& path) {
  Idx idx;
  GOSSAMER_TRY_ASSIGN(idx.bytes, read_whole_file(path));
  const std::string& b = idx.bytes;
  if (b.size() < 4)
    return corrupt(path, "the file has {} bytes, too few for an IDX header; it is incomplete, fetch it again",
                   b.size());
  idx.code = static_cast<unsigned char>(b[2]);
  const auto type = idx_type(idx.code);
  if (b[0] != 0 || b[1] != 0 || !type)
    return corrupt(
        path,
        "the magic number is {:02x} {:02x} {:02x} {:02x}; an IDX file starts with 00 00, a type of 08, 09 "
        "or 0b to 0e, and the number of dimensions: this is another format",
        static_cast<unsigned char>(b[0]), static_cast<unsigned char>(b[1]), idx.code,
        static_cast<unsigned char>(b[3]));
  idx.type = *type;
  const std::size_t dimensions = static_cast<unsigned char>(b[3]);
  if (dimensions == 0)
    return corrupt(path, "the header names no dimensions; an IDX file of samples has at least one");
  idx.start = 4 + 4 * dimensions;
  if (b.size() < idx.start)
    return corrupt(path, "the file ends inside the header ({} of {} bytes); it is incomplete, fetch it again",
                   b.size(), idx.start);
  const std::size_t held = (b.size() - idx.start) / idx.type.size;
  idx.count = big_endian<std::uint32_t>(b.data() + 4);
  if (idx.count == 0) return corrupt(path, "the header promises 0 samples; there is nothing to learn from");
  for (std::size_t d = 1; d < dimensions; ++d) {
    const std::size_t extent = big_endian<std::uint32_t>(b.data() + 4 + 4 * d);
    if (extent == 0) return corrupt(path, "dimension {} is 0; every dimension must be at least 1", d + 1);
    // More than the file can hold ends up in the message below; the product itself must not overflow.
    idx.per_item = extent > std::numeric_limits<std::uint32_t>::max() / idx.per_item
                       ? std::numeric_limits<std::uint32_t>::max()
                       : idx.per_item * extent;
  }
  if (held != idx.count * idx.per_item || held * idx.type.size != b.size() - idx.start)
    return corrupt(
        path,
        "the header promises {} values ({} items of {}), {} bytes; after it the file has {} bytes; it is {}",
        idx.count * idx.per_item, idx.count, idx.per_item, idx.count * idx.per_item * idx.type.size,
        b.size() - idx.start,
        held < idx.count * idx.per_item ? "incomplete, fetch it again" : "not the file its header describes");
  return idx;
}

// ---- text ----

std::string_view trimmed(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

double factor(const DataOptions& options) { return options.scale == 0 ? 1 : options.scale; }

// Whether a number is still finite as float32, which features and targets become.
bool fits(double value) {
  return std::fabs(value) <= static_cast<double>(std::numeric_limits<float>::max());
}

// A finite float32 number that fills the whole of `s`; "+1" is one.
std::optional<double> number(std::string_view s) {
  if (s.size() > 1 && s[0] == '+' && s[1] != '-') s.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error != std::errc() || end != s.data() + s.size() || !fits(value)) return std::nullopt;
  return value;
}

// What stands in a cell, short enough for a message.
std::string quoted(std::string_view s) {
  std::string out = "'";
  for (const char c : s.substr(0, 24)) out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return out + (s.size() > 24 ? "...'" : "'");
}

// A class label is a whole number that an int64 holds.
bool whole(double label) {
  return std::trunc(label) == label && std::fabs(label) <= 0x1p53;
}

// Lines without their ends, numbered from 1.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const auto end = rest_.find('\n');
    line = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++number_;
    return true;
  }
  std::size_t number() const { return number_; }

 private:
  std::string_view rest_;
  std::size_t number_ = 0;
};

}  // namespace

Result<std::string> read_whole_file(const std::string& path) {
  errno = 0;
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) {
    const int why = errno;
    return fail(why == ENOENT || why == ENOTDIR ? Errc::not_found : Errc::io,
                fmt::format("{}: {}; check the path (relative paths start at the run file's folder)", path,
                            std::strerror(why)));
  }
  gzbuffer(file.get(), 1 << 17);
  std::string bytes;
  const auto gzip_error = [&]() -> std::optional<Error> {
    int code = Z_OK;
    const char* text = gzerror(file.get(), &code);
    if (code == Z_OK || code == Z_STREAM_END) return std::nullopt;
    if (code == Z_ERRNO) return Error{Errc::io, fmt::format("{}: {}", path, std::strerror(errno))};
    if (code == Z_BUF_ERROR)
      return Error{
          Errc::corrupt,
          fmt::format("{}: the gzip stream ends early, after {} bytes of data; the file is incomplete, fetch "
                      "it again",
                      path, bytes.size())};
    return Error{Errc::corrupt,
                 fmt::format("{}: gzip error after {} bytes of data: {}; the file is damaged, fetch it "
                             "again",
                             path, bytes.size(), text)};
  };
  constexpr std::size_t kChunk = 1 << 17;
  for (;;) {
    const std::size_t had = bytes.size();
    bytes.resize(had + kChunk);
    const int got = gzread(file.get(), bytes.data() + had, kChunk);
    bytes.resize(had + static_cast<std::size_t>(got > 0 ? got : 0));
    // A stream that is cut short gives the bytes it has, and Z_BUF_ERROR.
    if (auto error = gzip_error()) return Failure(std::move(*error));
    if (got <= 0) break;
  }
  if (path.ends_with(".gz") && !bytes.empty() && gzdirect(file.get()))
    return corrupt(path, "the name ends in .gz but the file is not gzipped; rename it, or fetch it again");
  if (bytes.empty()) return corrupt(path, "the file is empty");
  return bytes;
}

Result<RawDataset> read_idx(const std::string& images, const std::string& labels,
                            const DataOptions& options) {
  GOSSAMER_TRY_ASSIGN(const Idx x, read_idx_file(images));
  GOSSAMER_TRY_ASSIGN(const Idx y, read_idx_file(labels));
  if (y.per_item != 1)
    return corrupt(labels, "{} values per item; labels have one. Are the images and labels files exchanged?",
                   y.per_item);
  if (!y.type.whole && !options.regression)
    return corrupt(
        labels,
        "the labels are of type {:02x} (floating point); classes are whole numbers. Set regression: "
        "true if they are values to predict",
        y.code);
  if (x.count != y.count)
    return corrupt(labels, "{} labels for the {} samples of {}; the two files do not belong together",
                   y.count, x.count, images);
  const double scale = factor(options);
  RawDataset raw;
  raw.data.name = images;
  raw.data.samples = x.count;
  raw.data.features = x.per_item;
  raw.data.x.resize(x.count * x.per_item);
  for (std::size_t i = 0; i < raw.data.x.size(); ++i) {
    const double value = x.at(i);
    if (!fits(value) || !fits(value * scale))
      return corrupt(images, "value {} of sample {} is {}; times scale {} it is not a finite float32 number",
                     i % x.per_item + 1, i / x.per_item + 1, value, scale);
    raw.data.x[i] = static_cast<float>(value * scale);
  }
  raw.labels.resize(y.count);
  for (std::size_t i = 0; i < y.count; ++i) {
    raw.labels[i] = y.at(i);
    if (!fits(raw.labels[i])) return corrupt(labels, "label {} is not a finite float32 number", i + 1);
  }
  return raw;
}

Result<RawDataset> read_csv(const std::string& path, const DataOptions& options) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_whole_file(path));
  const char separator = options.separator == "tab" ? '\t' : options.separator[0];
  const bool label_first = options.label_column == "first";
  const double scale = factor(options);
  RawDataset raw;
  raw.data.name = path;
  std::size_t columns = 0, columns_line = 0;
  std::vector<double> cells;
  Lines lines(text);
  bool header_due = options.header;
  for (std::string_view line; lines.next(line);) {
    if (trimmed(line).empty()) continue;
    if (std::exchange(header_due, false)) continue;
    cells.clear();
    for (std::string_view rest = line;;) {
      const auto end = rest.find(separator);
      const std::string_view cell = trimmed(rest.substr(0, end));
      const auto value = number(cell);
      if (!value)
        return corrupt(path, "line {}, column {}: {} is not a finite float32 number{}", lines.number(),
                       cells.size() + 1, quoted(cell),
                       raw.data.samples == 0 && lines.number() == 1 && !options.header
                           ? "; if this line names the columns, set header: true"
                           : "");
      cells.push_back(*value);
      if (end == std::string_view::npos) break;
      rest = rest.substr(end + 1);
    }
    if (columns == 0) {
      columns = cells.size();
      columns_line = lines.number();
      if (columns < 2)
        return corrupt(
            path,
            "line {} has one column; a sample is at least one feature and a label. Is the separator "
            "really {}?",
            lines.number(), quoted(options.separator));
    }
    if (cells.size() != columns)
      return corrupt(path, "line {} has {} columns, line {} has {}; every line must have the same number",
                     lines.number(), cells.size(), columns_line, columns);
    const std::size_t label_at = label_first ? 0 : columns - 1;
    if (!options.regression && !whole(cells[label_at]))
      return corrupt(
          path,
          "line {}, column {}: the label {} is not a whole number; set regression: true if it is a "
          "value to predict, or check label_column",
          lines.number(), label_at + 1, cells[label_at]);
    for (std::size_t i = 0; i < columns; ++i) {
      if (i == label_at) continue;
      if (!fits(cells[i] * scale))
        return corrupt(path, "line {}, column {}: {} times scale {} is beyond float32; lower the scale",
                       lines.number(), i + 1, cells[i], scale);
      raw.data.x.push_back(static_cast<float>(cells[i] * scale));
    }
    raw.labels.push_back(cells[label_at]);
    ++raw.data.samples;
  }
  if (raw.data.samples == 0) return corrupt(path, "no line holds a sample");
  raw.data.features = columns - 1;
  return raw;
}

Result<RawDataset> read_libsvm(const std::string& path, const DataOptions& options) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_whole_file(path));
  const double scale = factor(options);
  RawDataset raw;
  raw.data.name = path;
  raw.data.row_begin.push_back(0);
  // A damaged index must not decide how much memory a model takes; a real one can be allowed.
  constexpr std::uint32_t kIndexGuessMax = 1u << 28;
  std::size_t largest = 0;
  Lines lines(text);
  for (std::string_view line; lines.next(line);) {
    std::string_view rest = trimmed(line.substr(0, line.find('#')));
    if (rest.empty()) continue;
    const auto word = [&] {
      const auto end = rest.find_first_of(" \t");
      const std::string_view head = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : trimmed(rest.substr(end));
      return head;
    };
    const std::string_view label_text = word();
    const auto label = number(label_text);
    if (!label)
      return corrupt(path,
                     "line {}: the label {} is not a finite float32 number; a line is 'label index:value "
                     "index:value ...'",
                     lines.number(), quoted(label_text));
    if (!options.regression && !whole(*label))
      return corrupt(
          path,
          "line {}: the label {} is not a whole number; set regression: true if it is a value to predict",
          lines.number(), *label);
    std::size_t last = 0;
    while (!rest.empty()) {
      const std::string_view pair = word();
      const auto colon = pair.find(':');
      std::uint32_t index = 0;
      const auto end = colon == std::string_view::npos ? pair.data() : pair.data() + colon;
      const auto [stop, error] = std::from_chars(pair.data(), end, index);
      const auto value = colon == std::string_view::npos ? std::nullopt : number(pair.substr(colon + 1));
      if (error != std::errc() || stop != end || !value)
        return corrupt(path, "line {}: {} is not 'index:value' with a whole index and a finite value",
                       lines.number(), quoted(pair));
      if (index <= last)
        return corrupt(
            path,
            "line {}: index {} follows index {}; indices start at 1 and ascend within a line. Sort the "
            "line's entries",
            lines.number(), index, last);
      if (options.features == 0 && index > kIndexGuessMax)
        return corrupt(
            path, "line {}: index {} makes a model of that many weights; set data.features if that is meant",
            lines.number(), index);
      if (options.features != 0 && index > options.features)
        return corrupt(path,
                       "line {}: index {} is larger than features ({}); raise data.features, or leave it out",
                       lines.number(), index, options.features);
      if (!fits(*value * scale))
        return corrupt(path, "line {}: {} times scale {} is beyond float32; lower the scale", lines.number(),
                       quoted(pair), scale);
      last = index;
      raw.data.column.push_back(index - 1);
      raw.data.value.push_back(static_cast<float>(*value * scale));
    }
    largest = std::max(largest, last);
    raw.data.row_begin.push_back(raw.data.column.size());
    raw.labels.push_back(*label);
    ++raw.data.samples;
  }
  if (raw.data.samples == 0) return corrupt(path, "no line holds a sample");
  raw.data.features = options.features != 0 ? options.features : largest;
  if (raw.data.features == 0)
    return corrupt(path, "no line has a feature; a line is 'label index:value index:value ...'");
  return raw;
}

}  // namespace gossamer
