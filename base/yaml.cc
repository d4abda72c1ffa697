#include "base/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/nearest.h"
#include "base/yaml_node.h"

namespace gossamer {

using yaml_detail::Node;
using yaml_detail::State;

namespace {

std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "no value";
    case Node::Kind::scalar:
      return "a single value";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::map:
      return "a mapping";
  }
  return "something else";
}

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

template <class T>
bool parse_all(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// `format` turns a bound into words, so that durations can be spoken of with their unit.
std::string range_words(const NumberRange& range, const char* unit) {
  const bool low = std::isfinite(range.least), high = std::isfinite(range.most);
  if (low && high)
    return fmt::format("in {}{}, {}{}{}", range.above_least ? '(' : '[', range.least, range.most,
                       range.below_most ? ')' : ']', unit);
  if (low) return fmt::format("{} {}{}", range.above_least ? "greater than" : "at least", range.least, unit);
  if (high) return fmt::format("{} {}{}", range.below_most ? "less than" : "at most", range.most, unit);
  return "any number";
}

bool contains(const NumberRange& range, double value) {
  return (range.above_least ? value > range.least : value >= range.least) &&
         (range.below_most ? value < range.most : value <= range.most);
}

template <class Range>
std::string range_words(const Range& range) {
  using T = decltype(range.least);
  if (range.most == std::numeric_limits<T>::max()) return fmt::format("at least {}", range.least);
  if (range.least == std::numeric_limits<T>::min() && std::is_signed_v<T>)
    return fmt::format("at most {}", range.most);
  return fmt::format("in [{}, {}]", range.least, range.most);
}

// Splits "500 ms" into 500 and "ms".
bool split_unit(std::string_view text, double* value, std::string_view* unit) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error != std::errc()) return false;
  *unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!unit->empty() && unit->front() == ' ') unit->remove_prefix(1);
  return true;
}

struct Unit {
  std::string_view name;
  double factor;
};
constexpr Unit kDurations[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}};
constexpr Unit kSizes[] = {{"B", 1},         {"kB", 1e3},      {"MB", 1e6},     {"GB", 1e9},
                           {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

const Unit* find_unit(std::span<const Unit> units, std::string_view name) {
  const auto it =
      std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
  return it == units.end() ? nullptr : &*it;
}

}  // namespace

// ---- YamlValue

void YamlValue::fail(std::string why, Errc code) const {
  if (node_ != nullptr) state_->record(*node_, path_, why, false, code);
}

std::string YamlValue::where() const {
  return node_ == nullptr ? "" : state_->where(*node_);
}
std::uint32_t YamlValue::layer() const {
  return node_ == nullptr ? 0 : node_->layer;
}
bool YamlValue::is_scalar() const {
  return node_ != nullptr && node_->kind == Node::Kind::scalar;
}
bool YamlValue::is_list() const {
  return node_ != nullptr && node_->kind == Node::Kind::list;
}
bool YamlValue::is_map() const {
  return node_ != nullptr && node_->kind == Node::Kind::map;
}

const std::string* YamlValue::scalar(std::string_view wanted) const {
  if (node_ == nullptr) return nullptr;
  if (node_->kind == Node::Kind::scalar) return &node_->scalar;
  if (node_->kind == Node::Kind::null)
    fail(fmt::format("has no value; write {} behind it or remove the key", wanted));
  else
    fail(fmt::format("is {}; write {}", kind_name(node_->kind), wanted));
  return nullptr;
}

std::string YamlValue::text() const {
  const std::string* from = scalar("text");
  return from == nullptr ? "" : *from;
}

std::int64_t YamlValue::integer(IntegerRange range) const {
  const std::string* from = scalar("a whole number");
  if (from == nullptr) return 0;
  std::int64_t value = 0;
  if (node_->quoted || !parse_all(*from, &value))
    fail(fmt::format("{} is not a whole number; write one {}", yaml_detail::shown(*node_),
                     range_words(range)));
  else if (value < range.least || value > range.most)
    fail(fmt::format("{} is out of range; it must be {}", value, range_words(range)));
  else
    return value;
  return 0;
}

std::uint64_t YamlValue::count(CountRange range) const {
  const std::string* from = scalar("a whole number");
  if (from == nullptr) return 0;
  std::uint64_t value = 0;
  std::int64_t negative = 0;
  if (node_->quoted || !parse_all(*from, &value)) {
    if (!node_->quoted && parse_all(*from, &negative))
      fail(fmt::format("{} is out of range; it must be {}", negative, range_words(range)));
    else
      fail(fmt::format("{} is not a whole number; write one {}", yaml_detail::shown(*node_),
                       range_words(range)));
  } else if (value < range.least || value > range.most) {
    fail(fmt::format("{} is out of range; it must be {}", value, range_words(range)));
  } else {
    return value;
  }
  return 0;
}

double YamlValue::number(NumberRange range) const {
  const std::string* from = scalar("a number");
  if (from == nullptr) return 0;
  double value = 0;
  if (node_->quoted || !parse_all(*from, &value) || !std::isfinite(value))
    fail(fmt::format("{} is not a number; write one {}", yaml_detail::shown(*node_), range_words(range, "")));
  else if (!contains(range, value))
    fail(fmt::format("{} is out of range; it must be {}", *from, range_words(range, "")));
  else
    return value;
  return 0;
}

bool YamlValue::boolean() const {
  const std::string* from = scalar("true or false");
  if (from == nullptr) return false;
  if (!node_->quoted && *from == "true") return true;
  if (node_->quoted || *from != "false")
    fail(fmt::format("{} is neither true nor false; write one of them", yaml_detail::shown(*node_)));
  return false;
}

Duration YamlValue::duration(NumberRange seconds) const {
  const std::string* from = scalar("a duration such as `10 s`");
  if (from == nullptr) return {};
  double value = 0;
  std::string_view unit;
  if (!split_unit(*from, &value, &unit) || !std::isfinite(value)) {
    fail(fmt::format("{} is not a duration; write a number and a unit, such as `10 s` or `500 ms`",
                     yaml_detail::shown(*node_)));
    return {};
  }
  const Unit* known = find_unit(kDurations, unit);
  if (known == nullptr) {
    fail(unit.empty()
             ? fmt::format("{} has no unit; write for instance `{} s` (units: ns, us, ms, s, min, h)", *from,
                           *from)
             : fmt::format("`{}` is not a unit of time; use ns, us, ms, s, min or h", unit));
    return {};
  }
  const double ns = value * known->factor;
  if (!contains(seconds, ns * 1e-9) || std::abs(ns) >= 9.2e18) {
    NumberRange shown = seconds;
    shown.most = std::min(shown.most, 9.2e9);
    fail(fmt::format("{} is out of range; it must be {}", *from, range_words(shown, " s")));
    return {};
  }
  return Duration(std::llround(ns));
}

std::uint64_t YamlValue::bytes() const {
  const std::string* from = scalar("a size such as `64 MiB`");
  if (from == nullptr) return 0;
  double value = 0;
  std::string_view unit;
  if (!split_unit(*from, &value, &unit) || !std::isfinite(value) || value < 0) {
    fail(fmt::format("{} is not a size; write a number and a unit, such as `64 MiB`",
                     yaml_detail::shown(*node_)));
    return 0;
  }
  const Unit* known = find_unit(kSizes, unit);
  if (known == nullptr) {
    fail(
        unit.empty()
            ? fmt::format("{} has no unit; write for instance `{} MiB` (units: B, kB, MB, GB, KiB, MiB, GiB)",
                          *from, *from)
            : fmt::format("`{}` is not a unit of size; use B, kB, MB, GB, KiB, MiB or GiB", unit));
    return 0;
  }
  const double bytes = value * known->factor;
  if (bytes >= 1.8e19) {
    fail(fmt::format("{} is out of range; it must be less than 16 EiB", *from));
    return 0;
  }
  return static_cast<std::uint64_t>(std::llround(bytes));
}

std::size_t YamlValue::choice(std::span<const std::string_view> words) const {
  const std::string* from = scalar("a word");
  if (from == nullptr) return words.size();
  const auto it = std::find(words.begin(), words.end(), *from);
  if (it != words.end()) return static_cast<std::size_t>(it - words.begin());
  const std::string near = nearest(*from, words);
  fail(fmt::format("`{}` is not known here; {}choose one of: {}", *from,
                   near.empty() ? std::string() : fmt::format("did you mean `{}`? ", near),
                   fmt::join(words, ", ")));
  return words.size();
}

std::vector<YamlValue> YamlValue::items() const {
  std::vector<YamlValue> values;
  if (node_ == nullptr) return values;
  if (node_->kind != Node::Kind::list) {
    fail(node_->kind == Node::Kind::null
             ? "has no value; write a list such as [1, 2]"
             : fmt::format("is {}; write a list such as [1, 2]", kind_name(node_->kind)));
    return values;
  }
  for (std::size_t i = 0; i < node_->items.size(); ++i)
    values.push_back(YamlValue(state_, node_->items[i], fmt::format("{}[{}]", path_, i)));
  return values;
}

YamlMap YamlValue::map() const {
  if (node_ != nullptr && node_->kind != Node::Kind::map)
    fail(node_->kind == Node::Kind::null
             ? "has no value; write a mapping such as {key: value}"
             : fmt::format("is {}; write a mapping such as {{key: value}}", kind_name(node_->kind)));
  // A map that is not there still learns which keys are asked for.
  const Node* node = node_ != nullptr && node_->kind == Node::Kind::map ? node_ : state_->empty_map(node_);
  state_->open(node, path_);
  return YamlMap(state_, node, path_);
}

// ---- YamlMap

YamlValue YamlMap::find(std::string_view key) const {
  state_->ask(node_, path_, key);
  return YamlValue(state_, node_->find(key), join(path_, key));
}

bool YamlMap::has(std::string_view key) const {
  return find(key).present();
}

YamlValue YamlMap::require(std::string_view key) const {
  YamlValue value = find(key);
  if (!value.present()) state_->record(*node_, join(path_, key), "is missing; add it", true);
  return value;
}

std::string YamlMap::text(std::string_view key, std::string fallback) const {
  const YamlValue value = find(key);
  return value.present() ? value.text() : std::move(fallback);
}
std::int64_t YamlMap::integer(std::string_view key, std::int64_t fallback, IntegerRange range) const {
  const YamlValue value = find(key);
  return value.present() ? value.integer(range) : fallback;
}
std::uint64_t YamlMap::count(std::string_view key, std::uint64_t fallback, CountRange range) const {
  const YamlValue value = find(key);
  return value.present() ? value.count(range) : fallback;
}
double YamlMap::number(std::string_view key, double fallback, NumberRange range) const {
  const YamlValue value = find(key);
  return value.present() ? value.number(range) : fallback;
}
bool YamlMap::boolean(std::string_view key, bool fallback) const {
  const YamlValue value = find(key);
  return value.present() ? value.boolean() : fallback;
}
Duration YamlMap::duration(std::string_view key, Duration fallback, NumberRange seconds) const {
  const YamlValue value = find(key);
  return value.present() ? value.duration(seconds) : fallback;
}
std::uint64_t YamlMap::bytes(std::string_view key, std::uint64_t fallback) const {
  const YamlValue value = find(key);
  return value.present() ? value.bytes() : fallback;
}

std::vector<std::string> YamlMap::texts(std::string_view key, std::vector<std::string> fallback) const {
  const YamlValue value = find(key);
  if (!value.present()) return fallback;
  std::vector<std::string> list;
  for (const YamlValue& item : value.items()) list.push_back(item.text());
  return list;
}
std::vector<std::uint64_t> YamlMap::counts(std::string_view key, std::vector<std::uint64_t> fallback,
                                           CountRange range) const {
  const YamlValue value = find(key);
  if (!value.present()) return fallback;
  std::vector<std::uint64_t> list;
  for (const YamlValue& item : value.items()) list.push_back(item.count(range));
  return list;
}
std::vector<double> YamlMap::numbers(std::string_view key, std::vector<double> fallback,
                                     NumberRange range) const {
  const YamlValue value = find(key);
  if (!value.present()) return fallback;
  std::vector<double> list;
  for (const YamlValue& item : value.items()) list.push_back(item.number(range));
  return list;
}

YamlMap YamlMap::map(std::string_view key) const {
  const YamlValue value = find(key);
  if (value.present()) return value.map();
  // What is missing in it is missing here.
  const Node* node = state_->empty_map(node_);
  state_->open(node, value.path());
  return YamlMap(state_, node, value.path());
}

std::vector<YamlMap> YamlMap::maps(std::string_view key) const {
  std::vector<YamlMap> list;
  for (const YamlValue& item : find(key).items()) list.push_back(item.map());
  return list;
}

void YamlMap::inapplicable(std::string_view key, std::string_view owner, std::string why) const {
  const YamlValue value = find(key);
  const YamlValue owning = find(owner);
  if (!value.present() || (owning.present() && value.node_->layer < owning.node_->layer)) return;
  value.fail(std::move(why));
}

std::vector<std::pair<std::string, YamlValue>> YamlMap::entries() const {
  std::vector<std::pair<std::string, YamlValue>> list;
  for (const auto& entry : node_->entries) list.emplace_back(entry.key, find(entry.key));
  return list;
}

void YamlMap::fail(std::string why) const {
  state_->record(*node_, path_, why, false);
}
std::string YamlMap::where() const {
  return state_->where(*node_);
}

// ---- YamlDocument

YamlDocument::YamlDocument(std::unique_ptr<State> state) : state_(std::move(state)) {}
YamlDocument::YamlDocument(YamlDocument&&) noexcept = default;
YamlDocument& YamlDocument::operator=(YamlDocument&&) noexcept = default;
YamlDocument::~YamlDocument() = default;

Result<YamlDocument> YamlDocument::parse(std::string_view text, std::string origin) {
  auto state = std::make_unique<State>();
  GOSSAMER_TRY_ASSIGN(state->top, yaml_detail::build(*state, text, std::move(origin), 0, true));
  return YamlDocument(std::move(state));
}

Result<> YamlDocument::set(std::string_view path, std::string_view value, std::string origin,
                           std::uint32_t layer) {
  GOSSAMER_TRY_ASSIGN(Node * leaf, yaml_detail::build(*state_, value, origin, layer, false));
  Node* at = state_->top;
  std::string so_far;
  for (std::string_view rest = path;;) {
    const std::size_t dot = rest.find('.');
    const std::string key(rest.substr(0, dot));
    if (key.empty())
      return fail(
          Errc::invalid_argument,
          fmt::format("{}: `{}` is not the path of a key; write for instance trainer.epochs", origin, path));
    if (at->kind == Node::Kind::null) at->kind = Node::Kind::map;
    if (at->kind != Node::Kind::map)
      return fail(Errc::invalid_argument,
                  fmt::format("{}: {} is {}, so there is no `{}` in it; set {} itself", origin, so_far,
                              kind_name(at->kind), key, so_far));
    so_far = join(so_far, key);
    Node** slot = at->slot(key);
    if (dot == std::string_view::npos) {
      *slot = leaf;
      return {};
    }
    if (*slot == nullptr) {
      *slot = state_->make(Node::Kind::map, leaf->origin, layer);
    }
    at = *slot;
    rest.remove_prefix(dot + 1);
  }
}

YamlValue YamlDocument::top() const {
  return YamlValue(state_.get(), state_->top, "");
}
YamlMap YamlDocument::root() const {
  return top().map();
}

Result<> YamlDocument::so_far() const {
  if (state_->first) return Failure(*state_->first);
  return {};
}

Result<> YamlDocument::finish() const {
  // A key that is missing is most often one that was misspelt: then the unknown key is the better message.
  if (!state_->first || state_->first_is_missing) {
    if (auto unknown = state_->unknown_key()) return Failure(std::move(*unknown));
  }
  return so_far();
}

std::vector<std::string> YamlDocument::known_keys() const {
  return {state_->asked.begin(), state_->asked.end()};
}

}  // namespace gossamer
