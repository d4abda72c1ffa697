#include "topologies/family.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <set>

#include "base/check.h"
#include "base/nearest.h"
#include "topologies/explicit_graph.h"
#include "topologies/family_list.h"

namespace gossamer {
namespace {

// Graphs one after another, then from the start.
class Schedule final : public Topology {
 public:
  Schedule(std::string name, std::vector<std::unique_ptr<Topology>> graphs,
           const std::vector<std::size_t>& rounds)
      : name_(std::move(name)), graphs_(std::move(graphs)) {
    for (const std::size_t count : rounds) ends_.push_back((ends_.empty() ? 0 : ends_.back()) + count);
  }
  std::string_view name() const override { return name_; }
  std::size_t peer_count() const override { return graphs_.front()->peer_count(); }
  std::size_t period() const override { return ends_.back(); }
  Neighbourhood at(Round round, PeerId self) const override {
    const std::size_t place = round % period();
    const auto end = std::upper_bound(ends_.begin(), ends_.end(), place);
    const auto which = static_cast<std::size_t>(end - ends_.begin());
    return graphs_[which]->at(place - (which == 0 ? 0 : ends_[which - 1]), self);
  }

 private:
  std::string name_;
  std::vector<std::unique_ptr<Topology>> graphs_;
  std::vector<std::size_t> ends_;  // first round after each graph
};

Result<std::unique_ptr<Topology>> make_graph(const TopologySpec& spec, const GraphSpec& graph,
                                             std::size_t place) {
  if (graph.family.empty())
    return make_explicit(spec.name.empty() ? "edges" : spec.name, graph, spec.peers, spec.weights);
  if (!graph.edges.empty())
    return fail(Errc::invalid_argument,
                fmt::format("a graph is either a family ({}) or a list of edges; remove one", graph.family));
  const Family* family = find_family(graph.family);
  if (family == nullptr) {
    std::vector<std::string> known;
    for (const auto& f : families()) known.emplace_back(f.name);
    return fail(Errc::invalid_argument,
                fmt::format("there is no family {}; {}", graph.family, suggestion(graph.family, known)));
  }
  GOSSAMER_TRY(check_options(*family, graph.options));
  return family->make({spec.peers, &graph.options, spec.weights, spec.seed, place});
}

constexpr std::pair<WeightRule, std::string_view> kRules[] = {
    {WeightRule::standard, "standard"}, {WeightRule::metropolis, "metropolis"},
    {WeightRule::uniform, "uniform"},   {WeightRule::max_degree, "max-degree"},
    {WeightRule::lazy, "lazy"},         {WeightRule::best_constant, "best-constant"},
    {WeightRule::given, "explicit"},
};

}  // namespace

std::string_view name(WeightRule rule) {
  for (const auto& [value, text] : kRules)
    if (value == rule) return text;
  return "unknown";
}

std::optional<WeightRule> weight_rule(std::string_view name) {
  for (const auto& [value, text] : kRules)
    if (text == name) return value;
  return std::nullopt;
}

std::span<const Family> families() {
  static const std::vector<Family> all = {
      ring_family(),
      path_family(),
      star_family(),
      complete_family(),
      torus_family(),
      hypercube_family(),
      circulant_family(),
      static_exponential_family(),
      one_peer_exponential_family(),
      one_peer_hypercube_family(),
      base_family(),
      random_regular_family(),
      erdos_renyi_family(),
      small_world_family(),
      binary_tree_family(),
  };
  return all;
}

const Family* find_family(std::string_view name) {
  for (const auto& family : families())
    if (family.name == name) return &family;
  return nullptr;
}

double FamilyRequest::number(std::string_view key, double otherwise) const {
  const auto found = options->find(key);
  return found == options->end() || found->second.empty() ? otherwise : found->second.front();
}

Result<> check_options(const Family& family, const FamilyOptions& options) {
  for (const auto& [key, values] : options) {
    const auto option = std::find_if(family.options.begin(), family.options.end(),
                                     [&key = key](const auto& o) { return o.key == key; });
    if (option == family.options.end()) {
      std::vector<std::string> known;
      for (const auto& o : family.options) known.emplace_back(o.key);
      return fail(Errc::invalid_argument,
                  fmt::format("{} has no option {}; {}", family.name, key,
                              known.empty() ? "it has none" : suggestion(key, known)));
    }
    if (values.empty() || (values.size() > 1 && option->kind != FamilyOption::Kind::counts))
      return fail(Errc::invalid_argument,
                  fmt::format("{}: {} takes one value, not {}", family.name, key, values.size()));
    for (const double v : values) {
      const bool whole = option->kind == FamilyOption::Kind::real || v == std::floor(v);
      if (!(v >= option->least && v <= option->most) || !whole)
        return fail(Errc::invalid_argument,
                    fmt::format("{}: {} is {}, and must be a {}number from {} to {}", family.name, key, v,
                                option->kind == FamilyOption::Kind::real ? "" : "whole ", option->least,
                                option->most));
    }
  }
  return {};
}

TopologySpec family_spec(std::string family, std::size_t peers, FamilyOptions options) {
  TopologySpec spec;
  spec.peers = peers;
  spec.schedule.resize(1);
  spec.schedule[0].family = std::move(family);
  spec.schedule[0].options = std::move(options);
  return spec;
}

Result<std::unique_ptr<Topology>> make_topology(const TopologySpec& spec) {
  constexpr std::size_t kMost = std::size_t{1} << 31;
  if (spec.peers == 0 || spec.peers > kMost)
    return fail(Errc::invalid_argument,
                fmt::format("a topology has 1 to {} peers, not {}; set peers", kMost, spec.peers));
  if (!spec.members.empty() && spec.members.size() != spec.peers)
    return fail(Errc::invalid_argument, fmt::format("{} peers are named and there are {}; name all or none",
                                                    spec.members.size(), spec.peers));
  if (spec.schedule.empty())
    return fail(Errc::invalid_argument, "a topology needs a graph: a family, edges, or a schedule of them");
  std::vector<std::unique_ptr<Topology>> graphs;
  std::vector<std::size_t> rounds;
  for (std::size_t i = 0; i < spec.schedule.size(); ++i) {
    auto graph = make_graph(spec, spec.schedule[i], i);
    if (!graph)
      return spec.schedule.size() == 1
                 ? std::move(graph)
                 : Failure(fail(fmt::format("graph {} of the schedule", i + 1), graph.error()));
    const std::size_t stay = spec.schedule[i].rounds == 0 ? (*graph)->period() : spec.schedule[i].rounds;
    GOSSAMER_CHECK(stay > 0, "a schedule without period inside a schedule has no length");
    if (spec.schedule.size() == 1 && stay == (*graph)->period()) return graph;
    rounds.push_back(stay);
    graphs.push_back(std::move(*graph));
  }
  return std::make_unique<Schedule>(spec.name.empty() ? "schedule" : spec.name, std::move(graphs), rounds);
}

std::vector<PeerId> potential_neighbours(const Topology& topology, PeerId self) {
  std::set<PeerId> met;
  if (topology.period() == 0)
    for (std::size_t i = 0; i < topology.peer_count(); ++i)
      if (i != self) met.insert(static_cast<PeerId>(i));
  for (Round round = 0; round < topology.period(); ++round) {
    const auto here = topology.at(round, self);
    for (const auto& e : here.in) met.insert(e.peer);
    for (const auto& e : here.out) met.insert(e.peer);
  }
  return {met.begin(), met.end()};
}

}  // namespace gossamer
