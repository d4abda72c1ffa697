// GraphML, as networkx, igraph, Gephi and yEd write it: one graph of nodes and edges.
//
// pugixml rather than Boost.Graph's reader: it knows the offset of every element, so that errors can name the
// line, and it expands no entities, so that a hostile file stays as large as it is.
#include <fmt/format.h>
#include <pugixml.hpp>
#include <set>
#include <unordered_map>

#include "topologies/import_common.h"
#include "topologies/topology_file.h"

namespace gossamer {

Result<TopologySpec> import_graphml(std::string_view text, const std::string& origin) {
  const auto wrong = [&](std::size_t offset, const std::string& why) {
    return fail(Errc::invalid_argument, fmt::format("{}: {}", position(origin, text, offset), why));
  };
  pugi::xml_document document;
  const auto parsed =
      document.load_buffer(text.data(), text.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed)
    return wrong(static_cast<std::size_t>(std::max<std::ptrdiff_t>(parsed.offset, 0)),
                 fmt::format("not XML: {}; write it with networkx.write_graphml", parsed.description()));
  const auto offset = [](const pugi::xml_node& node) {
    return static_cast<std::size_t>(std::max<std::ptrdiff_t>(node.offset_debug() - 1, 0));
  };
  const pugi::xml_node root = document.child("graphml");
  if (!root) return wrong(0, "there is no <graphml> element; is this GraphML?");
  const pugi::xml_node graph = root.child("graph");
  if (!graph) return wrong(offset(root), "<graphml> has no <graph>");
  if (const auto second = graph.next_sibling("graph"))
    return wrong(offset(second), "there are several graphs; a topology is one, keep one per file");

  // The key whose name is "weight", for edges.
  std::string weight_key;
  for (const auto key : root.children("key")) {
    const std::string_view target = key.attribute("for").as_string("all");
    if (key.attribute("attr.name").as_string() == std::string_view("weight") &&
        (target == "edge" || target == "all"))
      weight_key = key.attribute("id").as_string();
  }
  const std::string_view direction = graph.attribute("edgedefault").as_string("undirected");
  if (direction != "directed" && direction != "undirected")
    return wrong(offset(graph), fmt::format("edgedefault is {}; write directed or undirected", direction));
  TopologySpec spec;
  spec.schedule.resize(1);
  spec.schedule[0].directed = direction == "directed";

  std::vector<std::string> ids;
  for (const auto node : graph.children("node")) {
    if (!node.attribute("id")) return wrong(offset(node), "a <node> needs an id");
    if (node.child("graph")) return wrong(offset(node), "a node holds a graph of its own; flatten it");
    ids.emplace_back(node.attribute("id").as_string());
  }
  if (const auto hyper = graph.child("hyperedge"))
    return wrong(offset(hyper), "hyperedges join more than two nodes; a topology has edges between two");
  spec.peers = ids.size();
  auto numbers = number_peers(ids, &spec.members);
  if (!numbers) return fail(position(origin, text, offset(graph)), numbers.error());
  std::unordered_map<std::string_view, PeerId> peer;
  for (std::size_t i = 0; i < ids.size(); ++i) peer.emplace(ids[i], (*numbers)[i]);

  std::vector<std::size_t> offsets;
  for (const auto edge : graph.children("edge")) {
    if (const auto own = edge.attribute("directed"); own && own.as_bool() != spec.schedule[0].directed)
      return wrong(offset(edge),
                   "directed and undirected edges are mixed; write an undirected one as two directed ones");
    PeerId ends[2];
    for (const int side : {0, 1}) {
      const char* name = side == 0 ? "source" : "target";
      const auto end = edge.attribute(name);
      if (!end) return wrong(offset(edge), fmt::format("an <edge> needs a {}", name));
      const auto found = peer.find(end.as_string());
      if (found == peer.end())
        return wrong(offset(edge),
                     fmt::format("no <node> has the id {}; add it or correct the edge", end.as_string()));
      ends[side] = found->second;
    }
    EdgeSpec entry{ends[0], ends[1], std::nullopt};
    for (const auto data : edge.children("data")) {
      if (weight_key.empty() || data.attribute("key").as_string() != weight_key) continue;
      char* rest = nullptr;
      const char* word = data.child_value();
      entry.weight = std::strtod(word, &rest);
      while (*rest == ' ' || *rest == '\n' || *rest == '\t' || *rest == '\r') ++rest;
      if (rest == word || *rest != '\0')
        return wrong(offset(data), fmt::format("the weight \"{}\" is not a number", word));
    }
    spec.schedule[0].edges.push_back(entry);
    offsets.push_back(offset(edge));
  }
  return finish_import(std::move(spec), offsets, text, origin);
}

}  // namespace gossamer
