// Topologies as files: reading and writing the YAML form, importing what other programs write.
//
// docs/topologies.md describes every key and format.  Errors read "file:line:column: cause; remedy".
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "topologies/topology_spec.h"

namespace gossamer {

class YamlMap;

// By extension: .yaml and .yml; .json (networkx node-link, edges under "links" or "edges"); .graphml; .edges
// (DecentralizePy: the number of peers, then "u v" per line).  Whatever comes back is accepted by
// make_topology().
Result<TopologySpec> load_topology(const std::string& path);

// The mapping of a topology file, wherever it stands: at the top of such a file or under `topology:` of a run
// file, where {file: ring.yaml} may stand instead.  Relative files are found from `folder`.  Errors are
// recorded in the map's document and returned by its finish(); what comes back is meaningful only when there
// are none.
TopologySpec read_topology(const YamlMap& map, const std::string& folder);

// The YAML form; load_topology() of it gives an equal spec.  Fails when make_topology() would.
Result<std::string> to_yaml(const TopologySpec& spec);

// The importers, from text; `origin` is the file's name for messages.
Result<TopologySpec> parse_topology_yaml(std::string_view text, const std::string& origin,
                                         const std::string& folder);
Result<TopologySpec> import_node_link(std::string_view text, const std::string& origin);
Result<TopologySpec> import_graphml(std::string_view text, const std::string& origin);
Result<TopologySpec> import_edge_list(std::string_view text, const std::string& origin);

}  // namespace gossamer
