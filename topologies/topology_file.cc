#include "topologies/topology_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include "base/file.h"
#include "base/nearest.h"
#include "base/yaml.h"
#include "topologies/explicit_graph.h"
#include "topologies/family.h"

namespace gossamer {
namespace {

constexpr std::uint64_t kMostPeers = std::uint64_t{1} << 31;
constexpr std::array kWeights = {WeightRule::standard,   WeightRule::metropolis, WeightRule::uniform,
                                 WeightRule::max_degree, WeightRule::lazy,       WeightRule::best_constant,
                                 WeightRule::given};

void read_peers(const YamlValue& value, TopologySpec* spec) {
  if (!value.is_list()) {
    spec->peers = value.count({.least = 1, .most = kMostPeers});
    return;
  }
  for (const auto& item : value.items()) {
    PeerSpec peer;
    if (item.is_map()) {
      const YamlMap map = item.map();
      peer.name = map.text("name", "");
      peer.host = map.text("host", "");
      peer.port = static_cast<std::uint16_t>(map.count("port", 0, {.least = 0, .most = 65535}));
    } else {
      peer.name = item.text();
    }
    if (peer.name.empty()) peer.name = fmt::format("peer-{}", spec->members.size());
    if (std::all_of(peer.name.begin(), peer.name.end(), [](unsigned char c) { return std::isdigit(c); }))
      item.fail("a peer's name must not be a number, which edges take for a position; add a letter");
    for (const auto& other : spec->members)
      if (other.name == peer.name) item.fail(fmt::format("two peers are named {}; rename one", peer.name));
    spec->members.push_back(std::move(peer));
  }
  if (spec->members.empty()) value.fail("the list of peers is empty; name at least one");
  spec->peers = spec->members.size();
}

PeerId read_end(const YamlValue& value, const TopologySpec& spec) {
  if (!spec.members.empty() && value.is_scalar()) {
    const std::string text = value.text();
    for (std::size_t i = 0; i < spec.members.size(); ++i)
      if (spec.members[i].name == text) return static_cast<PeerId>(i);
    if (!std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); })) {
      std::vector<std::string> names;
      for (const auto& member : spec.members) names.push_back(member.name);
      value.fail(fmt::format("there is no peer {}; {}", text, suggestion(text, names)));
      return 0;
    }
  }
  return static_cast<PeerId>(value.count({.least = 0, .most = kMostPeers - 1}));
}

void read_edges(const YamlValue& list, const TopologySpec& spec, GraphSpec* graph) {
  if (!list.is_list()) {
    list.fail("edges is a list of [from, to] or [from, to, weight], for example [[0, 1], [1, 2]]");
    return;
  }
  const auto items = list.items();
  graph->edges.reserve(items.size());
  for (const auto& item : items) {
    const auto parts = item.is_list() ? item.items() : std::vector<YamlValue>{};
    if (parts.size() != 2 && parts.size() != 3) {
      item.fail("an edge is [from, to] or [from, to, weight]");
      return;
    }
    EdgeSpec edge{read_end(parts[0], spec), read_end(parts[1], spec), std::nullopt};
    if (parts.size() == 3) edge.weight = parts[2].number();
    graph->edges.push_back(edge);
  }
  if (spec.peers == 0) return;
  if (const auto problem = check_edges(*graph, spec.peers, spec.weights))
    items[problem->index].fail(problem->message);
}

void read_family(const YamlMap& map, GraphSpec* graph) {
  const YamlValue value = map.find("family");
  graph->family = value.text();
  const Family* family = find_family(graph->family);
  if (family == nullptr) {
    std::vector<std::string> names;
    for (const auto& f : families()) names.emplace_back(f.name);
    value.fail(fmt::format("there is no family {}; {}", graph->family, suggestion(graph->family, names)));
    return;
  }
  using Kind = FamilyOption::Kind;
  for (const auto& option : family->options) {
    const YamlValue given = map.find(option.key);
    if (!given.present()) continue;
    auto& values = graph->options[std::string(option.key)];
    const NumberRange range{.least = option.least, .most = option.most};
    const CountRange counts{static_cast<std::uint64_t>(option.least),
                            static_cast<std::uint64_t>(option.most)};
    switch (option.kind) {
      case Kind::flag:
        values = {given.boolean() ? 1.0 : 0.0};
        break;
      case Kind::count:
        values = {static_cast<double>(given.count(counts))};
        break;
      case Kind::real:
        values = {given.number(range)};
        break;
      case Kind::counts:
        for (const auto& item : given.items()) values.push_back(static_cast<double>(item.count(counts)));
        break;
    }
  }
  for (const auto& other : families())
    for (const auto& option : other.options) {
      const auto own = std::find_if(family->options.begin(), family->options.end(),
                                    [&](const auto& o) { return o.key == option.key; });
      if (own != family->options.end()) continue;
      map.inapplicable(option.key, "family",
                       fmt::format("{} is an option of {}, and {} has {}; remove it", option.key, other.name,
                                   family->name, family->options.empty() ? "none" : "others"));
    }
}

// `map` holds `family` with its options, or `edges`.
GraphSpec read_graph(const YamlMap& map, const TopologySpec& spec, bool in_schedule) {
  GraphSpec graph;
  if (map.has("family")) {
    read_family(map, &graph);
    map.inapplicable("edges", "family", "a graph is either a family or a list of edges; remove one");
  } else if (map.has("edges")) {
    graph.directed = map.boolean("directed", false);
    read_edges(map.find("edges"), spec, &graph);
  } else {
    map.fail("a graph needs family or edges, for example {family: ring} or {edges: [[0, 1], [1, 2]]}");
  }
  if (in_schedule) graph.rounds = map.count("rounds", 0, {.least = 1, .most = 1'000'000});
  return graph;
}

Result<TopologySpec> load_yaml(const std::string& path) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path));
  return parse_topology_yaml(text, path, std::filesystem::path(path).parent_path().string());
}

std::string flow(const GraphSpec& graph, const Family& family) {
  std::string text = "{family: " + graph.family;
  for (const auto& option : family.options) {
    const auto found = graph.options.find(option.key);
    if (found == graph.options.end()) continue;
    text += fmt::format(", {}: ", option.key);
    if (option.kind == FamilyOption::Kind::flag) {
      text += found->second[0] != 0 ? "true" : "false";
    } else if (option.kind == FamilyOption::Kind::counts) {
      text += fmt::format("[{}]", fmt::join(found->second, ", "));
    } else {
      text += yaml_number(found->second[0]);
    }
  }
  return text;
}

void write_graph(const GraphSpec& graph, const std::string& indent, std::string* text) {
  if (!graph.family.empty()) {
    *text += flow(graph, *find_family(graph.family));
    if (graph.rounds != 0) *text += fmt::format(", rounds: {}", graph.rounds);
    *text += "}\n";
    return;
  }
  // The mapping begins on the line of its key or dash when that is a dash, else on the next.
  const bool item = text->ends_with("- ");
  if (!item) *text += "\n";
  bool first = item;
  const auto key = [&](std::string_view line) {
    *text += (first ? "" : indent) + std::string(line) + "\n";
    first = false;
  };
  if (graph.directed) key("directed: true");
  if (graph.rounds != 0) key(fmt::format("rounds: {}", graph.rounds));
  if (graph.edges.empty()) key("edges: []");
  if (!graph.edges.empty()) key("edges:");
  for (const auto& e : graph.edges)
    *text += fmt::format("{}  - [{}, {}{}]\n", indent, e.from, e.to,
                         e.weight ? ", " + yaml_number(*e.weight) : "");
}

}  // namespace

TopologySpec read_topology(const YamlMap& map, const std::string& folder) {
  TopologySpec spec;
  if (map.has("file")) {
    for (const auto* key : {"name", "peers", "graph", "schedule", "family", "edges", "weights", "seed"})
      map.inapplicable(key, "file",
                       fmt::format("{} belongs into the file that is named; remove one of the two", key));
    const YamlValue value = map.find("file");
    auto loaded = load_topology((std::filesystem::path(folder) / value.text()).string());
    if (loaded) return *std::move(loaded);
    value.fail(loaded.error().message, loaded.error().code);
    return spec;
  }
  spec.name = map.text("name", "");
  read_peers(map.require("peers"), &spec);
  spec.seed = map.count("seed", 1);
  if (const YamlValue weights = map.find("weights"); weights.present()) {
    std::vector<std::string_view> words;
    for (const auto rule : kWeights) words.push_back(name(rule));
    if (const std::size_t index = weights.choice(words); index < kWeights.size())
      spec.weights = kWeights[index];
  }
  const int forms = map.has("graph") + map.has("schedule") + (map.has("family") || map.has("edges"));
  if (forms != 1) {
    map.fail(forms == 0 ? "no graph is given; add graph: {family: ring}, edges, or a schedule"
                        : "graph, schedule, and family or edges beside them exclude each other; keep one");
    return spec;
  }
  if (map.has("schedule")) {
    for (const auto& item : map.maps("schedule")) spec.schedule.push_back(read_graph(item, spec, true));
    if (spec.schedule.empty())
      map.find("schedule").fail("a schedule is a list of graphs; it must not be empty");
  } else {
    spec.schedule.push_back(read_graph(map.has("graph") ? map.map("graph") : map, spec, false));
  }
  // What only the whole can tell: shapes, stochastic weights, connectivity of random families.  (An error
  // that was recorded before stays the first.)
  if (const auto made = make_topology(spec); !made) map.fail(made.error().message);
  return spec;
}

Result<TopologySpec> parse_topology_yaml(std::string_view text, const std::string& origin,
                                         const std::string& folder) {
  GOSSAMER_TRY_ASSIGN(const YamlDocument document, YamlDocument::parse(text, origin));
  const YamlMap map = document.root();
  TopologySpec spec = read_topology(map, folder);
  GOSSAMER_TRY(document.finish());
  return spec;
}

Result<TopologySpec> load_topology(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  if (extension == ".yaml" || extension == ".yml") return load_yaml(path);
  using Import = Result<TopologySpec> (*)(std::string_view, const std::string&);
  const Import import = extension == ".json"      ? import_node_link
                        : extension == ".graphml" ? import_graphml
                        : extension == ".edges"   ? import_edge_list
                                                  : nullptr;
  if (import == nullptr)
    return fail(
        Errc::invalid_argument,
        fmt::format("{}: the extension {} says no format; a topology is a .yaml, .json (networkx node-link), "
                    ".graphml or .edges file",
                    path, extension.empty() ? "(none)" : extension));
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path));
  return import(text, path);
}

Result<std::string> to_yaml(const TopologySpec& spec) {
  GOSSAMER_TRY(make_topology(spec));
  std::string text;
  if (!spec.name.empty()) text += fmt::format("name: {}\n", yaml_text(spec.name));
  if (spec.members.empty()) {
    text += fmt::format("peers: {}\n", spec.peers);
  } else {
    text += "peers:\n";
    for (const auto& peer : spec.members) {
      text += fmt::format("  - {{name: {}", yaml_text(peer.name));
      if (!peer.host.empty()) text += fmt::format(", host: {}", yaml_text(peer.host));
      if (peer.port != 0) text += fmt::format(", port: {}", peer.port);
      text += "}\n";
    }
  }
  if (spec.schedule.size() == 1 && spec.schedule[0].rounds == 0) {
    text += spec.schedule[0].family.empty() ? "graph:" : "graph: ";
    write_graph(spec.schedule[0], "  ", &text);
  } else {
    text += "schedule:\n";
    for (const auto& graph : spec.schedule) {
      text += "  - ";
      write_graph(graph, "    ", &text);
    }
  }
  if (spec.weights != WeightRule::standard) text += fmt::format("weights: {}\n", name(spec.weights));
  text += fmt::format("seed: {}\n", spec.seed);
  return text;
}

}  // namespace gossamer
