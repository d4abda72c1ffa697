// How this folder's readers take numbers and texts out of JSON.  For .cc files only: it includes all of
// nlohmann json.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/records.h"

namespace gossamer {

// Parses text that should be one JSON object of at most `depth_max` levels.
inline Result<nlohmann::json> parse_json_object(std::string_view text, int depth_max) {
  // A value that nests deeper is not stored, so that no later recursion over it can be deep.
  bool deep = false;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > depth_max) deep = true;
    return depth <= depth_max;
  };
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), watch);
    if (deep) return fail(Errc::corrupt, fmt::format("it nests deeper than {} levels", depth_max));
    if (!value.is_object()) return fail(Errc::corrupt, "it is not a JSON object");
    return value;
  } catch (const nlohmann::json::exception& problem) {
    return fail(Errc::corrupt, problem.what());
  }
}

// Takes values by key and remembers the first that has the wrong kind.
class ObjectReader {
 public:
  explicit ObjectReader(const nlohmann::json& object) : object_(object) {}

  void take(const char* key, double& to) {
    if (const auto* value = find(key)) {
      if (value->is_number())
        to = value->get<double>();
      else if (value->is_null())
        to = kUnknown;
      else
        wrong(key, "a number or null");
    }
  }
  template <class T>
  requires std::is_unsigned_v<T>
  void take(const char* key, T& to) {
    if (const auto* value = find(key)) {
      if (value->is_number_unsigned() && value->get<std::uint64_t>() <= std::numeric_limits<T>::max())
        to = value->get<T>();
      else
        wrong(key, "a whole number that is not negative");
    }
  }
  void take(const char* key, std::string& to) {
    if (const auto* value = find(key)) {
      if (value->is_string())
        to = value->get<std::string>();
      else
        wrong(key, "a text");
    }
  }
  // Null where the key is absent; an error is kept where it is there and of another kind.
  const nlohmann::json* object(const char* key) {
    const auto* value = find(key);
    if (value && !value->is_object()) return wrong(key, "an object"), nullptr;
    return value;
  }
  const nlohmann::json* array(const char* key) {
    const auto* value = find(key);
    if (value && !value->is_array()) return wrong(key, "an array"), nullptr;
    return value;
  }
  void wrong(std::string_view key, std::string_view wanted) {
    if (problem_.empty()) problem_ = fmt::format("'{}' should be {}", key, wanted);
  }
  Result<> done() const { return problem_.empty() ? Result<>() : fail(Errc::corrupt, problem_); }

 private:
  const nlohmann::json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() ? nullptr : &*at;
  }
  const nlohmann::json& object_;
  std::string problem_;
};

}  // namespace gossamer
