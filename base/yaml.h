// Strict reading of YAML files that people write.
//
// A YamlDocument is parsed once; YamlMap and YamlValue are light handles into it and must not outlive it.
// Getters never fail on the spot: the first thing that is wrong is remembered and finish() returns it, so a
// reader is straight-line code:
//
//     GOSSAMER_TRY_ASSIGN(YamlDocument document, YamlDocument::parse(text, "run.yaml"));
//     YamlMap top = document.root();
//     options.epochs = top.number("epochs", 10, {.least = 0});
//     GOSSAMER_TRY(document.finish());
//
// Every error reads "file:line:column: path.to.key: cause; remedy".  A key that no getter has asked for is an
// error that names the nearest key that one has; so is a key that occurs twice.  Syntax errors carry line and
// column too.  All errors are Errc::invalid_argument but those for which a caller of fail() says otherwise.
//
// Belongs to one thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace gossamer {

// Bounds are inclusive unless the matching flag says otherwise.
struct NumberRange {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool above_least = false;  // least itself is not permitted
  bool below_most = false;
};
inline constexpr NumberRange kPositive{.least = 0, .above_least = true};
inline constexpr NumberRange kNotNegative{.least = 0};

struct IntegerRange {
  std::int64_t least = std::numeric_limits<std::int64_t>::min();
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
};
struct CountRange {
  std::uint64_t least = 0;
  std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
};

namespace yaml_detail {
struct Node;
struct State;
}  // namespace yaml_detail

class YamlMap;

// Something in the document, or nothing: a value that is absent (or was already refused) gives zeros and
// empty lists and records no further error.
class YamlValue {
 public:
  bool present() const { return node_ != nullptr; }
  bool is_scalar() const;
  bool is_list() const;
  bool is_map() const;

  std::string text() const;
  std::int64_t integer(IntegerRange range = {}) const;
  std::uint64_t count(CountRange range = {}) const;
  double number(NumberRange range = {}) const;
  bool boolean() const;
  Duration duration(
      NumberRange seconds = kNotNegative) const;  // "10 s", "500 ms", "2 min"; the unit is required
  std::uint64_t bytes() const;                    // "64 MiB", "10 kB", "512 B"; the unit is required
  // The index of the word among `words`; an unknown word is an error that names the nearest.
  std::size_t choice(std::span<const std::string_view> words) const;

  std::vector<YamlValue> items() const;  // of a list
  YamlMap map() const;

  // Records an error here: `why` is "cause; remedy".
  void fail(std::string why, Errc code = Errc::invalid_argument) const;
  std::string where() const;    // "file:line:column"
  std::uint32_t layer() const;  // 0 for what is in the file or absent
  const std::string& path() const { return path_; }

 private:
  friend class YamlMap;
  friend class YamlDocument;
  YamlValue(yaml_detail::State* state, const yaml_detail::Node* node, std::string path)
      : state_(state), node_(node), path_(std::move(path)) {}
  // The scalar's characters, or null after recording that it is something else than `wanted`.
  const std::string* scalar(std::string_view wanted) const;

  yaml_detail::State* state_;
  const yaml_detail::Node* node_;
  std::string path_;
};

// A mapping.  One that is absent from the document is empty: its getters give their fallbacks.
class YamlMap {
 public:
  // Each getter makes its key a known one.
  bool has(std::string_view key) const;
  YamlValue find(std::string_view key) const;
  YamlValue require(std::string_view key) const;  // an error when absent

  std::string text(std::string_view key, std::string fallback) const;
  std::int64_t integer(std::string_view key, std::int64_t fallback, IntegerRange range = {}) const;
  std::uint64_t count(std::string_view key, std::uint64_t fallback, CountRange range = {}) const;
  double number(std::string_view key, double fallback, NumberRange range = {}) const;
  bool boolean(std::string_view key, bool fallback) const;
  Duration duration(std::string_view key, Duration fallback, NumberRange seconds = kNotNegative) const;
  std::uint64_t bytes(std::string_view key, std::uint64_t fallback) const;

  std::vector<std::string> texts(std::string_view key, std::vector<std::string> fallback) const;
  std::vector<std::uint64_t> counts(std::string_view key, std::vector<std::uint64_t> fallback,
                                    CountRange range = {}) const;
  std::vector<double> numbers(std::string_view key, std::vector<double> fallback,
                              NumberRange range = {}) const;

  YamlMap map(std::string_view key) const;
  std::vector<YamlMap> maps(std::string_view key) const;  // a list of mappings; empty when absent

  // One of several words, each standing for a value of E.
  template <class E>
  E choice(std::string_view key, std::initializer_list<std::pair<std::string_view, E>> words,
           E fallback) const {
    const YamlValue value = find(key);
    if (!value.present()) return fallback;
    std::vector<std::string_view> names;
    for (const auto& word : words) names.push_back(word.first);
    const std::size_t index = value.choice(names);
    return index < words.size() ? words.begin()[index].second : fallback;
  }

  // `key` is known but means nothing here, because of what `owner` (a key of this map) says.  An error when
  // it is present, unless it comes from a lower layer than `owner`: a flag that switches the codec also
  // switches off the file's settings of the other codec.  `why` is "cause; remedy".
  void inapplicable(std::string_view key, std::string_view owner, std::string why) const;

  // The keys in the order of the file, for mappings whose keys are data.  Makes all of them known.
  std::vector<std::pair<std::string, YamlValue>> entries() const;

  void fail(std::string why) const;  // records an error at this mapping
  std::string where() const;
  const std::string& path() const { return path_; }

 private:
  friend class YamlValue;
  friend class YamlDocument;
  YamlMap(yaml_detail::State* state, const yaml_detail::Node* node, std::string path)
      : state_(state), node_(node), path_(std::move(path)) {}

  yaml_detail::State* state_;
  const yaml_detail::Node* node_;
  std::string path_;
};

class YamlDocument {
 public:
  // `origin` is the file's name for messages.  An empty text is an empty mapping.
  static Result<YamlDocument> parse(std::string_view text, std::string origin);
  YamlDocument(YamlDocument&&) noexcept;
  YamlDocument& operator=(YamlDocument&&) noexcept;
  ~YamlDocument();

  // Puts a value over what the file says, creating mappings on the way: path "trainer.epochs", value as YAML.
  // Errors about it begin with `origin` ("--set trainer.epochs=x").  The file is layer 0; see inapplicable().
  Result<> set(std::string_view path, std::string_view value, std::string origin, std::uint32_t layer = 1);

  YamlValue top() const;
  YamlMap root() const;  // an error when the top is not a mapping

  // The first error, then any key that nobody asked for.
  Result<> finish() const;
  // The first error so far; unknown keys are not looked for.
  Result<> so_far() const;

  // Every "path.to.key" that a getter asked for, sorted; items of lists are "path[]".
  std::vector<std::string> known_keys() const;

 private:
  explicit YamlDocument(std::unique_ptr<yaml_detail::State> state);
  std::unique_ptr<yaml_detail::State> state_;
};

// Writing: scalars that read back as the same value.
std::string yaml_text(std::string_view text);  // quoted where it must be
std::string yaml_number(double number);        // the shortest digits that give the same bits
std::string yaml_duration(Duration duration);  // exact: "10 s", "1500 ms", "7 ns"

}  // namespace gossamer
