#include "runtime/report/safetensors.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/file_descriptor.h"

namespace gossamer {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's floats are read and written in place");

constexpr std::size_t kLengthSize = 8;
constexpr std::uint64_t kHeaderMax = 100'000'000;  // the limit of the reference implementation
constexpr std::size_t kRankMax = 32;
constexpr std::string_view kMetadata = "__metadata__";

struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<std::size_t> shape;
  std::vector<std::uint64_t> offsets;
  bool has_shape = false;
  bool has_offsets = false;
};

// Takes the header's JSON event by event and stops at the first one that does not belong there, so that
// neither nesting nor repetition can cost more than the text itself.
class HeaderReader {
 public:
  using Json = nlohmann::json;

  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool start_object(std::size_t) {
    switch (place_) {
      case Place::outside:
        place_ = Place::top;
        return true;
      case Place::tensor_value:
        place_ = Place::tensor;
        return true;
      case Place::metadata_value:
        place_ = Place::metadata;
        return true;
      default:
        return unexpected("an object");
    }
  }
  bool end_object() {
    switch (place_) {
      case Place::top:
        place_ = Place::after;
        return true;
      case Place::metadata:
        place_ = Place::top;
        return true;
      case Place::tensor: {
        const HeaderEntry& entry = entries.back();
        if (entry.dtype.empty() || !entry.has_shape || !entry.has_offsets)
          return refuse(fmt::format("tensor '{}' lacks dtype, shape or data_offsets", entry.name));
        place_ = Place::top;
        return true;
      }
      default:
        return unexpected("the end of an object");
    }
  }
  bool key(std::string& text) {
    switch (place_) {
      case Place::top:
        if (!names_.insert(text).second) return refuse(fmt::format("'{}' occurs twice", text));
        if (text == kMetadata) {
          place_ = Place::metadata_value;
        } else {
          place_ = Place::tensor_value;
          entries.push_back({.name = text});
        }
        return true;
      case Place::metadata:
        if (metadata.contains(text)) return refuse(fmt::format("metadata key '{}' occurs twice", text));
        metadata_key_ = text;
        place_ = Place::metadata_text;
        return true;
      case Place::tensor: {
        HeaderEntry& entry = entries.back();
        if (text == "dtype" && entry.dtype.empty()) {
          place_ = Place::dtype;
        } else if (text == "shape" && !entry.has_shape) {
          entry.has_shape = true;
          place_ = Place::shape_value;
        } else if (text == "data_offsets" && !entry.has_offsets) {
          entry.has_offsets = true;
          place_ = Place::offsets_value;
        } else {
          return refuse(fmt::format("tensor '{}' has an unknown or repeated key '{}'", entry.name, text));
        }
        return true;
      }
      default:
        return unexpected("a key");
    }
  }
  bool string(std::string& text) {
    if (place_ == Place::metadata_text) {
      metadata.emplace(metadata_key_, std::move(text));
      place_ = Place::metadata;
      return true;
    }
    if (place_ == Place::dtype) {
      if (text.empty()) return refuse(fmt::format("tensor '{}' has an empty dtype", entries.back().name));
      entries.back().dtype = std::move(text);
      place_ = Place::tensor;
      return true;
    }
    return unexpected("a string");
  }
  bool start_array(std::size_t) {
    if (place_ == Place::shape_value) return place_ = Place::shape, true;
    if (place_ == Place::offsets_value) return place_ = Place::offsets, true;
    return unexpected("an array");
  }
  bool end_array() {
    if (place_ == Place::offsets && entries.back().offsets.size() != 2)
      return refuse(fmt::format("tensor '{}' has other than two data_offsets", entries.back().name));
    if (place_ != Place::shape && place_ != Place::offsets) return unexpected("the end of an array");
    place_ = Place::tensor;
    return true;
  }
  bool number_unsigned(std::uint64_t value) {
    if (place_ == Place::shape) {
      if (entries.back().shape.size() == kRankMax)
        return refuse(fmt::format("tensor '{}' has more than {} dimensions", entries.back().name, kRankMax));
      entries.back().shape.push_back(value);
      return true;
    }
    if (place_ == Place::offsets) {
      if (entries.back().offsets.size() == 2)
        return refuse(fmt::format("tensor '{}' has other than two data_offsets", entries.back().name));
      entries.back().offsets.push_back(value);
      return true;
    }
    return unexpected("a number");
  }
  bool number_integer(std::int64_t) { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) { return unexpected("a number with a fraction"); }
  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a truth value"); }
  bool binary(Json::binary_t&) { return unexpected("binary"); }
  bool parse_error(std::size_t at, const std::string&, const Json::exception&) {
    return refuse(fmt::format("it is not JSON at byte {}", at));
  }

 private:
  enum class Place {
    outside,
    top,
    after,
    metadata_value,
    metadata,
    metadata_text,
    tensor_value,
    tensor,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets,
  };

  bool refuse(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  bool unexpected(std::string_view what) {
    if (place_ >= Place::tensor_value && !entries.empty())
      return refuse(fmt::format("tensor '{}' has {} where it does not belong", entries.back().name, what));
    return refuse(fmt::format("it has {} where it does not belong", what));
  }

  Place place_ = Place::outside;
  std::set<std::string> names_;
  std::string metadata_key_;
};

Failure bad(std::string why) {
  return fail(Errc::corrupt, "not a valid safetensors file: " + why);
}

// The header's length, checked against what the file has.
Result<std::uint64_t> header_size(std::span<const std::byte, kLengthSize> from, std::uint64_t file_size) {
  std::uint64_t size = 0;
  std::memcpy(&size, from.data(), kLengthSize);
  if (size > kHeaderMax)
    return bad(fmt::format("its header claims {} bytes; at most {} are allowed", size, kHeaderMax));
  if (size > file_size - kLengthSize)
    return bad(fmt::format("its header claims {} bytes, and the file has {}", size, file_size));
  return size;
}

// Layout and metadata; everything is consistent with `data_size` bytes of tensors when this succeeds.
Result<SavedModel> parse_header(std::string_view text, std::uint64_t data_size) {
  if (text.empty() || text.front() != '{') return bad("its header does not start with '{'");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader))
    return bad("in its header, " + reader.problem);

  // Tensors without elements share their offsets with a neighbour and keep the header's order.
  std::stable_sort(reader.entries.begin(), reader.entries.end(),
                   [](const HeaderEntry& a, const HeaderEntry& b) { return a.offsets < b.offsets; });
  SavedModel model;
  std::uint64_t expected = 0;
  for (HeaderEntry& entry : reader.entries) {
    if (entry.dtype != "F32")
      return fail(Errc::unsupported,
                  fmt::format("tensor '{}' has dtype {}; only F32 can be read: convert the file first",
                              entry.name, entry.dtype));
    const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    if (begin != expected || end < begin || end > data_size)
      return bad(fmt::format("tensor '{}' lies at [{}, {}), where {} of {} bytes are taken", entry.name,
                             begin, end, expected, data_size));
    std::uint64_t bytes = sizeof(float);
    for (const std::uint64_t extent : entry.shape)
      if (__builtin_mul_overflow(bytes, extent, &bytes))
        return bad(fmt::format("the shape of tensor '{}' overflows", entry.name));
    if (bytes != end - begin)
      return bad(fmt::format("tensor '{}' has {} bytes for shape [{}], which needs {}", entry.name,
                             end - begin, fmt::join(entry.shape, ", "), bytes));
    model.layout.add(std::move(entry.name), std::move(entry.shape));
    expected = end;
  }
  if (expected != data_size)
    return bad(fmt::format("{} bytes follow the header, and its tensors cover {}", data_size, expected));
  model.metadata = std::move(reader.metadata);
  return model;
}

// A JSON string literal.  Throws where `text` is not UTF-8.
std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump();
}

Result<std::string> make_header(const Layout& layout, const std::map<std::string, std::string>& metadata) {
  std::string doing;
  try {
    std::string text = "{";
    const auto separate = [&] { return std::string(text.back() == '{' ? "" : ","); };
    if (!metadata.empty()) {
      text += json_text(kMetadata) + ":{";
      for (const auto& [key, value] : metadata) {
        doing = "metadata " + key;
        text += separate() + json_text(key) + ":" + json_text(value);
      }
      text += "}";
    }
    std::set<std::string_view> names;
    for (const Tensor& tensor : layout.tensors()) {
      doing = "tensor " + tensor.name;
      if (tensor.name == kMetadata || !names.insert(tensor.name).second)
        return fail(Errc::invalid_argument,
                    fmt::format("the model has two tensors named '{}', or one named {}; rename one",
                                tensor.name, kMetadata));
      text += fmt::format("{}{}:{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", separate(),
                          json_text(tensor.name), fmt::join(tensor.shape, ","), tensor.offset * sizeof(float),
                          (tensor.offset + tensor.count) * sizeof(float));
    }
    text += "}";
    text.append((8 - text.size() % 8) % 8, ' ');
    if (text.size() > kHeaderMax)
      return fail(Errc::invalid_argument,
                  fmt::format("the names of the tensors take {} bytes; at most {} fit a safetensors "
                              "header",
                              text.size(), kHeaderMax));
    return text;
  } catch (const nlohmann::json::exception&) {
    return fail(Errc::invalid_argument,
                fmt::format("{} is not UTF-8 text and cannot be named in a file", doing));
  }
}

// 0 and all bytes, or the errno; a file that ends early is EIO.
int read_all(int fd, std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t got = ::read(fd, to.data(), std::min<std::size_t>(to.size(), std::size_t{1} << 30));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;
    to = to.subspan(static_cast<std::size_t>(got));
  }
  return 0;
}

}  // namespace

Result<> write_safetensors(const std::string& path, std::span<const float> values, const Layout& layout,
                           const std::map<std::string, std::string>& metadata) {
  GOSSAMER_CHECK(values.size() == layout.size(), "a vector is written with its own layout");
  auto header = make_header(layout, metadata);
  if (!header) return fail("cannot write " + path, header.error());
  const std::uint64_t length = header->size();
  const std::array<std::string_view, 3> pieces = {
      std::string_view(reinterpret_cast<const char*>(&length), kLengthSize), *header,
      std::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes())};
  return write_file_atomically(path, pieces);
}

Result<SavedModel> parse_safetensors(std::span<const std::byte> file) {
  if (file.size() < kLengthSize) return bad(fmt::format("{} bytes are too few", file.size()));
  GOSSAMER_TRY_ASSIGN(const std::uint64_t length, header_size(file.first<kLengthSize>(), file.size()));
  const auto data = file.subspan(kLengthSize + length);
  GOSSAMER_TRY_ASSIGN(
      SavedModel model,
      parse_header({reinterpret_cast<const char*>(file.data()) + kLengthSize, length}, data.size()));
  model.values.resize(model.layout.size());
  if (!data.empty()) std::memcpy(model.values.data(), data.data(), data.size());
  return model;
}

Result<SavedModel> read_safetensors(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return system_failure("cannot read", path, errno);
  struct stat info = {};
  if (::fstat(file.number(), &info) != 0) return system_failure("cannot read", path, errno);
  if (!S_ISREG(info.st_mode))
    return fail(Errc::invalid_argument, fmt::format("{} is not a regular file", path));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  std::array<std::byte, kLengthSize> first;
  if (size < kLengthSize) return fail(path, bad(fmt::format("{} bytes are too few", size)).value());
  if (const int cause = read_all(file.number(), first)) return system_failure("cannot read", path, cause);
  const auto length = header_size(first, size);
  if (!length) return fail(path, length.error());
  std::string header(*length, '\0');
  if (const int cause = read_all(file.number(), std::as_writable_bytes(std::span(header))))
    return system_failure("cannot read", path, cause);
  auto model = parse_header(header, size - kLengthSize - *length);
  if (!model) return fail(path, model.error());
  model->values.resize(model->layout.size());
  if (const int cause = read_all(file.number(), std::as_writable_bytes(std::span(model->values))))
    return system_failure("cannot read", path, cause);
  return model;
}

Result<> check_same_layout(const Layout& wanted, const Layout& found) {
  const auto& a = wanted.tensors();
  const auto& b = found.tensors();
  const auto describe = [](const Tensor& t) {
    return fmt::format("'{}' [{}]", t.name, fmt::join(t.shape, ", "));
  };
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (a[i].name != b[i].name || a[i].shape != b[i].shape)
      return fail(Errc::invalid_argument,
                  fmt::format("tensor {} is {} where the model has {}", i, describe(b[i]), describe(a[i])));
  if (a.size() != b.size())
    return fail(Errc::invalid_argument,
                fmt::format("there are {} tensors where the model has {}", b.size(), a.size()));
  return {};
}

}  // namespace gossamer
