// The .edges importer and what all importers share.
#include <fmt/format.h>
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "topologies/explicit_graph.h"
#include "topologies/import_common.h"
#include "topologies/topology_file.h"

namespace gossamer {

std::string position(const std::string& origin, std::string_view text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const auto before = text.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto newline = before.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  return fmt::format("{}:{}:{}", origin, line, column);
}

Result<std::vector<PeerId>> number_peers(const std::vector<std::string>& ids,
                                         std::vector<PeerSpec>* members) {
  std::vector<PeerId> numbers(ids.size());
  std::vector<char> seen(ids.size(), 0);
  bool numbered = true;
  for (std::size_t i = 0; i < ids.size() && numbered; ++i) {
    const char* end = ids[i].data() + ids[i].size();
    const auto [stop, error] = std::from_chars(ids[i].data(), end, numbers[i]);
    numbered = error == std::errc{} && stop == end && numbers[i] < ids.size() && !seen[numbers[i]];
    if (numbered) seen[numbers[i]] = 1;
  }
  if (numbered) return numbers;
  std::unordered_map<std::string_view, std::size_t> first;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (const auto [at, fresh] = first.emplace(ids[i], i); !fresh)
      return fail(Errc::invalid_argument, fmt::format("node {} occurs twice (entries {} and {}); remove one",
                                                      ids[i], at->second + 1, i + 1));
    numbers[i] = static_cast<PeerId>(i);
    members->push_back({ids[i], "", 0});
  }
  // Names of digits alone would be taken for positions when the topology is written as YAML.
  for (auto& member : *members)
    if (std::all_of(member.name.begin(), member.name.end(),
                    [](unsigned char c) { return c >= '0' && c <= '9'; }))
      member.name = "node-" + member.name;
  return numbers;
}

Result<TopologySpec> finish_import(TopologySpec spec, const std::vector<std::size_t>& edge_offsets,
                                   std::string_view text, const std::string& origin) {
  if (spec.peers == 0)
    return fail(Errc::invalid_argument, fmt::format("{}: the graph has no nodes; add some", origin));
  const auto& edges = spec.schedule[0].edges;
  const auto weighted =
      std::count_if(edges.begin(), edges.end(), [](const EdgeSpec& e) { return e.weight.has_value(); });
  if (weighted > 0 && static_cast<std::size_t>(weighted) == edges.size()) spec.weights = WeightRule::given;
  if (const auto problem = check_edges(spec.schedule[0], spec.peers, spec.weights))
    return fail(
        Errc::invalid_argument,
        fmt::format("{}: {}", position(origin, text, edge_offsets[problem->index]), problem->message));
  if (const auto made = make_topology(spec); !made)
    return fail(
        made.error().code,
        fmt::format("{}: {}{}", origin, made.error().message,
                    weighted > 0
                        ? " (the edges' weights are taken as mixing weights; drop them for Metropolis "
                          "weights)"
                        : ""));
  return spec;
}

// First line the number of peers (optional), then "u v" or "u v weight" per line.  DecentralizePy writes each
// edge in both directions, so the reverse of an edge is the same edge.  "#" begins a comment.
Result<TopologySpec> import_edge_list(std::string_view text, const std::string& origin) {
  TopologySpec spec;
  spec.schedule.resize(1);
  auto& edges = spec.schedule[0].edges;
  std::vector<std::size_t> offsets;
  std::unordered_map<std::uint64_t, std::size_t> seen;  // ordered pair -> index of the edge
  std::size_t start = 0;
  bool any = false;
  PeerId most = 0;
  const auto wrong = [&](std::size_t offset, std::string why) {
    return fail(Errc::invalid_argument, fmt::format("{}: {}", position(origin, text, offset), why));
  };
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    line = line.substr(0, line.find('#'));
    std::vector<std::pair<std::string_view, std::size_t>> words;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t from = line.find_first_not_of(" \t\r,", at);
      if (from == std::string_view::npos) break;
      const std::size_t to = std::min(line.find_first_of(" \t\r,", from), line.size());
      words.emplace_back(line.substr(from, to - from), start + from);
      at = to;
    }
    start = end + 1;
    if (words.empty()) continue;
    if (words.size() == 3 && words[2].first == "{}") words.pop_back();  // networkx's write_edgelist
    const bool header = !any && words.size() == 1;
    any = true;
    if (!header && words.size() != 2 && words.size() != 3)
      return wrong(words[0].second,
                   "a line is \"u v\" or \"u v weight\" (and the first may be the number of peers)");
    PeerId ends[2] = {0, 0};
    for (std::size_t i = 0; i < (header ? 1u : 2u); ++i) {
      const auto [word, offset] = words[i];
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), ends[i]);
      if (error != std::errc{} || stop != word.data() + word.size() || ends[i] >= (PeerId{1} << 31))
        return wrong(offset, fmt::format("{} is not a peer's number; peers are numbered from 0", word));
    }
    if (header) {
      if (ends[0] == 0) return wrong(words[0].second, "the number of peers is 0; it must be at least 1");
      spec.peers = ends[0];
      continue;
    }
    EdgeSpec edge{ends[0], ends[1], std::nullopt};
    if (words.size() == 3) {
      double weight = 0;
      const auto [word, offset] = words[2];
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), weight);
      if (error != std::errc{} || stop != word.data() + word.size())
        return wrong(offset,
                     fmt::format("{} is not a weight; write a number such as 0.25, or leave it out", word));
      edge.weight = weight;
    }
    const auto forward = std::uint64_t{edge.from} << 32 | edge.to,
               backward = std::uint64_t{edge.to} << 32 | edge.from;
    if (const auto reverse = seen.find(backward);
        reverse != seen.end() && forward != backward && !seen.contains(forward)) {
      if (edges[reverse->second].weight != edge.weight)
        return wrong(words[0].second,
                     fmt::format("edge {} has another weight in the other direction; make them equal",
                                 describe(edge)));
      seen.emplace(forward, reverse->second);
      continue;
    }
    seen.emplace(forward, edges.size());
    most = std::max({most, edge.from, edge.to});
    edges.push_back(edge);
    offsets.push_back(words[0].second);
  }
  if (spec.peers == 0 && !edges.empty()) spec.peers = most + 1;
  return finish_import(std::move(spec), offsets, text, origin);
}

}  // namespace gossamer
