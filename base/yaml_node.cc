#include "base/yaml_node.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "base/nearest.h"
#include "base/yaml.h"

namespace gossamer {
namespace yaml_detail {

const Node* Node::find(std::string_view key) const {
  for (const Entry& entry : entries)
    if (entry.key == key) return entry.value;
  return nullptr;
}

Node** Node::slot(const std::string& key) {
  for (Entry& entry : entries)
    if (entry.key == key) return &entry.value;
  entries.push_back({.key = key});
  return &entries.back().value;
}

Node* State::make(Node::Kind kind, std::uint32_t origin, std::uint32_t layer) {
  Node& node = nodes.emplace_back();
  node.kind = kind;
  node.origin = origin;
  node.layer = layer;
  return &node;
}

const Node* State::empty_map(const Node* instead_of) {
  Node* node = make(Node::Kind::map, instead_of == nullptr ? 0 : instead_of->origin, 0);
  if (instead_of != nullptr) {
    node->line = instead_of->line;
    node->column = instead_of->column;
  }
  return node;
}

std::string State::where(std::uint32_t origin, std::int32_t line, std::int32_t column) const {
  return line == 0 ? origins[origin] : fmt::format("{}:{}:{}", origins[origin], line, column);
}

std::string State::where(const Node& node) const {
  return where(node.origin, node.line, node.column);
}

void State::record(const Node& node, const std::string& path, const std::string& why, bool missing, Errc code) {
  if (first) return;
  first = Error{code, path.empty() ? fmt::format("{}: {}", where(node), why)
                                   : fmt::format("{}: {}: {}", where(node), path, why)};
  first_is_missing = missing;
}

void State::open(const Node* node, const std::string& path) {
  if (opened_index.emplace(node, opened.size()).second) opened.push_back({node, path, {}});
}

void State::ask(const Node* node, const std::string& path, std::string_view key) {
  open(node, path);
  auto& keys = opened[opened_index.at(node)].keys;
  if (std::find(keys.begin(), keys.end(), key) != keys.end()) return;
  keys.emplace_back(key);
  // "edges[3].weight" is asked for as "edges[].weight".
  std::string general;
  for (std::size_t i = 0; i < path.size(); ++i) {
    general += path[i];
    if (path[i] == '[') i = path.find(']', i) - 1;
  }
  asked.insert(general.empty() ? std::string(key) : general + "." + std::string(key));
}

std::optional<Error> State::unknown_key() const {
  for (const Opened& map : opened) {
    for (const Entry& entry : map.node->entries) {
      if (std::find(map.keys.begin(), map.keys.end(), entry.key) != map.keys.end()) continue;
      const std::string at =
          entry.line == 0 ? where(*entry.value) : where(entry.origin, entry.line, entry.column);
      const std::string path = map.path.empty() ? entry.key : map.path + "." + entry.key;
      return Error{Errc::invalid_argument,
                   fmt::format("{}: {}: unknown key; {}", at, path, suggestion(entry.key, map.keys))};
    }
  }
  return std::nullopt;
}

std::string shown(const Node& node) {
  constexpr std::size_t kLongest = 60;
  std::string text = node.scalar.size() <= kLongest ? node.scalar : node.scalar.substr(0, kLongest) + "...";
  return node.quoted ? "the quoted text \"" + text + "\"" : "`" + text + "`";
}

namespace {

// What the builder throws through the parser; caught in build().
struct Refused {
  YAML::Mark mark;
  std::string why;
};

// What is spelt out is bounded by the size of the file; this bounds what nested aliases can blow up to.
constexpr std::size_t kCopiesMax = 200'000;

class Builder final : public YAML::EventHandler {
 public:
  Builder(State& state, std::uint32_t origin, std::uint32_t layer, bool marks)
      : state_(state), origin_(origin), layer_(layer), marks_(marks) {}

  Node* top() const { return top_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Refused{mark, "a second document begins here; keep one per file"};
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, anchor, Node::Kind::null); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end() || !it->second.second)
      throw Refused{mark, "an alias inside of what it names; write the value out"};
    place(mark, copy(mark, *it->second.first));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    if (awaits_key()) {
      take_key(mark, value);
      return;
    }
    Node* node = add(mark, anchor, Node::Kind::scalar);
    node->scalar = value;
    node->quoted = tag == "!";
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    push(mark, anchor, Node::Kind::list);
  }
  void OnSequenceEnd() override { pop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    push(mark, anchor, Node::Kind::map);
  }
  void OnMapEnd() override { pop(); }

 private:
  struct Level {
    Node* node;
    YAML::anchor_t anchor;
    bool awaits_key;
  };

  [[noreturn]] static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    throw Refused{mark, fmt::format("the tag {} is not used here; remove it", tag)};
  }

  bool awaits_key() const {
    return !levels_.empty() && levels_.back().node->kind == Node::Kind::map && levels_.back().awaits_key;
  }

  void take_key(const YAML::Mark& mark, const std::string& key) {
    Level& level = levels_.back();
    for (const Entry& entry : level.node->entries) {
      if (entry.key != key) continue;
      throw Refused{mark, marks_ ? fmt::format("the key `{}` occurs twice (first in line {}); keep one", key,
                                               entry.line)
                                 : fmt::format("the key `{}` occurs twice; keep one", key)};
    }
    if (key == "<<") throw Refused{mark, "merge keys (<<) are not part of YAML 1.2; write the keys out"};
    level.node->entries.push_back({.key = key,
                                   .line = marks_ ? mark.line + 1 : 0,
                                   .column = marks_ ? mark.column + 1 : 0,
                                   .origin = origin_});
    level.awaits_key = false;
  }

  Node* make(const YAML::Mark& mark, Node::Kind kind) {
    Node* node = state_.make(kind, origin_, layer_);
    if (marks_) {
      node->line = mark.line + 1;
      node->column = mark.column + 1;
    }
    return node;
  }

  Node* copy(const YAML::Mark& mark, const Node& from) {
    if (++copies_ > kCopiesMax)
      throw Refused{mark, "the aliases make the file too large; write fewer of them"};
    Node* node = make(mark, from.kind);
    node->scalar = from.scalar;
    node->quoted = from.quoted;
    for (const Node* item : from.items) node->items.push_back(copy(mark, *item));
    for (Entry entry : from.entries) {
      entry.value = copy(mark, *entry.value);
      node->entries.push_back(std::move(entry));
    }
    return node;
  }

  void place(const YAML::Mark& mark, Node* node) {
    if (levels_.empty()) {
      top_ = node;
      return;
    }
    Level& level = levels_.back();
    if (level.node->kind == Node::Kind::list) {
      level.node->items.push_back(node);
      return;
    }
    if (level.awaits_key)
      throw Refused{mark, "a list or mapping stands where a key belongs; is a bracket left open?"};
    Entry& entry = level.node->entries.back();
    entry.value = node;
    level.awaits_key = true;
    if (node->kind == Node::Kind::null) {
      // The parser notices that there is no value only at what comes next; its key is the better place.
      node->line = entry.line;
      node->column = entry.column;
    }
  }

  Node* add(const YAML::Mark& mark, YAML::anchor_t anchor, Node::Kind kind) {
    Node* node = make(mark, kind);
    place(mark, node);
    if (anchor != 0) anchors_[anchor] = {node, true};
    return node;
  }

  void push(const YAML::Mark& mark, YAML::anchor_t anchor, Node::Kind kind) {
    Node* node = make(mark, kind);
    place(mark, node);
    if (anchor != 0) anchors_[anchor] = {node, false};
    levels_.push_back({node, anchor, true});
  }

  void pop() {
    if (levels_.back().anchor != 0) anchors_[levels_.back().anchor].second = true;
    levels_.pop_back();
  }

  State& state_;
  std::uint32_t origin_, layer_;
  bool marks_;
  int documents_ = 0;
  std::size_t copies_ = 0;
  Node* top_ = nullptr;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, std::pair<Node*, bool>> anchors_;  // and whether it is complete
};

}  // namespace

Result<Node*> build(State& state, std::string_view text, std::string origin, std::uint32_t layer,
                    bool whole) {
  const auto index = static_cast<std::uint32_t>(state.origins.size());
  state.origins.push_back(std::move(origin));
  if (text.find('\0') != std::string_view::npos)
    return fail(Errc::invalid_argument,
                fmt::format("{}: not a text file; it holds a zero byte", state.origins[index]));
  const auto refused = [&](const YAML::Mark& mark, const std::string& why) {
    const bool known = whole && !mark.is_null();
    return fail(Errc::invalid_argument,
                fmt::format("{}: {}",
                            state.where(index, known ? mark.line + 1 : 0, known ? mark.column + 1 : 0), why));
  };
  Builder builder(state, index, layer, whole);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refusal) {
    return refused(refusal.mark, refusal.why);
  } catch (const YAML::Exception& error) {
    return refused(error.mark, fmt::format("not YAML: {}", error.msg));
  }
  Node* top = builder.top();
  if (top == nullptr) top = state.make(Node::Kind::null, index, layer);
  if (whole && top->kind == Node::Kind::null) top->kind = Node::Kind::map;
  return top;
}

}  // namespace yaml_detail

// ---- writing

std::string yaml_text(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  };
  // What a reader (this one or another) could take for something else than text is quoted.
  constexpr std::string_view kSpecial[] = {"null", "true", "false", "yes", "no", "on", "off"};
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const bool safe =
      !text.empty() &&
      ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z') || text[0] == '/') &&
      std::all_of(text.begin(), text.end(), plain) &&
      std::find(std::begin(kSpecial), std::end(kSpecial), lower) == std::end(kSpecial);
  if (safe) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string yaml_number(double number) {
  return fmt::format("{}", number);
}

std::string yaml_duration(Duration duration) {
  const auto ns = duration.count();
  if (ns % 1'000'000'000 == 0) return fmt::format("{} s", ns / 1'000'000'000);
  if (ns % 1'000'000 == 0) return fmt::format("{} ms", ns / 1'000'000);
  if (ns % 1'000 == 0) return fmt::format("{} us", ns / 1'000);
  return fmt::format("{} ns", ns);
}

}  // namespace gossamer
