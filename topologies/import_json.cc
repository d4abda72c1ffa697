// networkx node-link JSON.
//
//   {"directed": false, "multigraph": false, "nodes": [{"id": 0}, ...], "links": [{"source": 0, "target": 1},
//   ...]}
//
// networkx before 3.4 writes "links", later versions "edges".  "weight" of an edge is its mixing weight.
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "topologies/import_common.h"
#include "topologies/topology_file.h"

namespace gossamer {
namespace {

using Json = nlohmann::json;

// An iterator over text that tells how far the parser has come.
class Counted {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  Counted(const char* at, const char** reached) : at_(at), reached_(reached) {}
  const char& operator*() const { return *at_; }
  Counted& operator++() {
    ++at_;
    if (reached_ != nullptr) *reached_ = at_;
    return *this;
  }
  Counted operator++(int) {
    Counted before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Counted& a, const Counted& b) { return a.at_ == b.at_; }
  friend bool operator!=(const Counted& a, const Counted& b) { return a.at_ != b.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// A JSON document, and where the entries of its two lists begin.
struct Located {
  Json json;
  std::unordered_map<std::string, std::vector<std::size_t>> entries;  // key of the top object -> offsets
};

constexpr int kDeepest = 64;

Result<Located> parse(std::string_view text, const std::string& origin) {
  Located out;
  const char* reached = text.data();
  std::string key;
  bool too_deep = false;
  try {
    out.json =
        Json::parse(Counted(text.data(), &reached), Counted(text.data() + text.size(), nullptr),
                    [&](int depth, Json::parse_event_t event, Json& parsed) {
                      too_deep |= depth > kDeepest;
                      if (event == Json::parse_event_t::key && depth == 1) key = parsed.get<std::string>();
                      if (event == Json::parse_event_t::object_start && depth == 2)
                        out.entries[key].push_back(static_cast<std::size_t>(reached - text.data()) - 1);
                      return !too_deep;
                    });
  } catch (const Json::exception& error) {
    const auto offset = static_cast<std::size_t>(reached - text.data());
    std::string cause = error.what();
    if (const auto from = cause.find("column"); from != std::string::npos)
      if (const auto colon = cause.find(": ", from); colon != std::string::npos)
        cause = cause.substr(colon + 2);
    return fail(Errc::invalid_argument,
                fmt::format("{}: not JSON: {}; write it with networkx.node_link_data and json.dump",
                            position(origin, text, offset > 0 ? offset - 1 : 0), cause));
  }
  if (too_deep)
    return fail(Errc::invalid_argument,
                fmt::format("{}: nested more than {} deep, which no graph needs", origin, kDeepest));
  return out;
}

// Ids of networkx may be numbers, strings or (as lists) tuples.
std::string id_text(const Json& id) {
  return id.is_string() ? id.get<std::string>() : id.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Result<TopologySpec> import_node_link(std::string_view text, const std::string& origin) {
  GOSSAMER_TRY_ASSIGN(const Located located, parse(text, origin));
  const Json& json = located.json;
  const auto wrong = [&](const std::string& why) {
    return fail(Errc::invalid_argument, fmt::format("{}: {}", origin, why));
  };
  if (!json.is_object())
    return wrong("the top is not an object; node-link JSON is {\"nodes\": [...], \"links\": [...]}");
  const bool has_links = json.contains("links"), has_edges = json.contains("edges");
  if (!json.contains("nodes") || !json["nodes"].is_array())
    return wrong("\"nodes\" is missing or no list; node-link JSON has one");
  if (has_links == has_edges)
    return wrong(has_links ? "both \"links\" and \"edges\" are there; keep one"
                           : "neither \"links\" nor \"edges\" is there; add one");
  const std::string list = has_links ? "links" : "edges";
  if (!json[list].is_array()) return wrong(fmt::format("\"{}\" is no list", list));
  for (const auto* key : {"directed", "multigraph"})
    if (json.contains(key) && !json[key].is_boolean())
      return wrong(fmt::format("\"{}\" is neither true nor false", key));
  if (json.value("multigraph", false) && json[list].size() > 0)
    for (const auto& edge : json[list])
      if (edge.is_object() && edge.contains("key") && edge["key"] != 0)
        return wrong("the multigraph has parallel edges; convert it with networkx.Graph(G)");

  const auto at = [&](const std::string& key, std::size_t index) {
    const auto found = located.entries.find(key);
    return found != located.entries.end() && index < found->second.size() ? found->second[index] : 0;
  };
  const auto wrong_at = [&](const std::string& key, std::size_t index, const std::string& why) {
    return fail(Errc::invalid_argument,
                fmt::format("{}: {}[{}]: {}", position(origin, text, at(key, index)), key, index, why));
  };
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < json["nodes"].size(); ++i) {
    const Json& node = json["nodes"][i];
    if (!node.is_object() || !node.contains("id") || node["id"].is_null())
      return wrong_at("nodes", i, "a node is an object with an \"id\"");
    ids.push_back(id_text(node["id"]));
  }
  TopologySpec spec;
  spec.peers = ids.size();
  auto numbers = number_peers(ids, &spec.members);
  if (!numbers) return fail(origin, numbers.error());
  std::unordered_map<std::string_view, PeerId> peer;
  for (std::size_t i = 0; i < ids.size(); ++i) peer.emplace(ids[i], (*numbers)[i]);
  spec.schedule.resize(1);
  spec.schedule[0].directed = json.value("directed", false);
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < json[list].size(); ++i) {
    const Json& edge = json[list][i];
    if (!edge.is_object() || !edge.contains("source") || !edge.contains("target"))
      return wrong_at(list, i, "an edge is an object with \"source\" and \"target\"");
    PeerId ends[2];
    for (const int side : {0, 1}) {
      const std::string id = id_text(edge[side == 0 ? "source" : "target"]);
      const auto found = peer.find(id);
      if (found == peer.end())
        return wrong_at(list, i,
                        fmt::format("no node has the id {}; add it to \"nodes\" or correct the edge", id));
      ends[side] = found->second;
    }
    EdgeSpec entry{ends[0], ends[1], std::nullopt};
    if (edge.contains("weight") && !edge["weight"].is_null()) {
      if (!edge["weight"].is_number()) return wrong_at(list, i, "\"weight\" is not a number");
      entry.weight = edge["weight"].get<double>();
    }
    spec.schedule[0].edges.push_back(entry);
    offsets.push_back(at(list, i));
  }
  if (json.contains("graph") && json["graph"].is_object() && json["graph"].contains("name") &&
      json["graph"]["name"].is_string())
    spec.name = json["graph"]["name"].get<std::string>();
  return finish_import(std::move(spec), offsets, text, origin);
}

}  // namespace gossamer
