// The tree behind base/yaml.h.  Included by base/yaml*.cc only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gossamer::yaml_detail {

struct Node;

struct Entry {
  std::string key;
  std::int32_t line = 0, column = 0;  // of the key; 0 where the value is no part of a file
  std::uint32_t origin = 0;
  Node* value = nullptr;
};

struct Node {
  enum class Kind : std::uint8_t { null, scalar, list, map };
  Kind kind = Kind::null;
  bool quoted = false;
  std::uint32_t origin = 0;           // index into State::origins
  std::int32_t line = 0, column = 0;  // from 1
  std::uint32_t layer = 0;            // 0 is the file; YamlDocument::set names the others
  std::string scalar;
  std::vector<Node*> items;
  std::vector<Entry> entries;  // in the order of the file

  const Node* find(std::string_view key) const;
  Node** slot(const std::string& key);  // of this key, made when absent
};

struct State {
  std::deque<Node> nodes;  // stable addresses
  std::vector<std::string> origins;
  Node* top = nullptr;

  std::optional<Error> first;
  bool first_is_missing = false;

  // Which keys were asked for, per mapping that was opened, in the order of opening.
  struct Opened {
    const Node* node;
    std::string path;
    std::vector<std::string> keys;
  };
  std::vector<Opened> opened;
  std::map<const Node*, std::size_t> opened_index;
  std::set<std::string> asked;

  Node* make(Node::Kind kind, std::uint32_t origin, std::uint32_t layer);
  const Node* empty_map(const Node* instead_of);
  std::string where(const Node& node) const;
  std::string where(std::uint32_t origin, std::int32_t line, std::int32_t column) const;
  void record(const Node& node, const std::string& path, const std::string& why, bool missing,
              Errc code = Errc::invalid_argument);
  void open(const Node* node, const std::string& path);
  void ask(const Node* node, const std::string& path, std::string_view key);
  std::optional<Error> unknown_key() const;
};

// The value as it was written, for messages.
std::string shown(const Node& node);

// Parses `text` into nodes of `state`.  `whole`: a file, where an empty text is an empty mapping.
Result<Node*> build(State& state, std::string_view text, std::string origin, std::uint32_t layer, bool whole);

}  // namespace gossamer::yaml_detail
