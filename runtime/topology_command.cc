#include "runtime/topology_command.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <cctype>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/nearest.h"
#include "runtime/exit_code.h"
#include "topologies/check.h"
#include "topologies/draw.h"
#include "topologies/family.h"
#include "topologies/topology_file.h"

namespace gossamer {
namespace {

int end(const Result<>& result) {
  if (result) return 0;
  fmt::print(stderr, "gossamer: {}\n", result.error().message);
  return exit_code(result.error().code);
}

// "4x8", "4,8" or "3"; "true" and "false" for flags.
Result<std::vector<double>> numbers(const std::string& key, const std::string& text) {
  if (text == "true" || text == "false") return std::vector<double>{text == "true" ? 1.0 : 0.0};
  std::vector<double> values;
  std::size_t start = 0;
  while (start <= text.size()) {
    const std::size_t stop = std::min(text.find_first_of("x,", start), text.size());
    const std::string word = text.substr(start, stop - start);
    std::size_t used = 0;
    double value = 0;
    try {
      value = std::stod(word, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || used != word.size())
      return fail(Errc::invalid_argument,
                  fmt::format("--{} {}: not a number; write for instance 3, 0.5 or 4x8", key, text));
    values.push_back(value);
    start = stop + 1;
  }
  return values;
}

struct Make {
  std::string family, weights, out;
  std::size_t peers = 0;
  std::uint64_t seed = 1;
  std::map<std::string, std::string> options;  // by key, as typed
  std::map<std::string, bool> flags;
};

Result<> make(const Make& m) {
  TopologySpec spec = family_spec(m.family, m.peers);
  spec.seed = m.seed;
  for (const auto& [key, text] : m.options) {
    if (text.empty()) continue;
    GOSSAMER_TRY_ASSIGN(spec.schedule[0].options[key], numbers(key, text));
  }
  for (const auto& [key, set] : m.flags)
    if (set) spec.schedule[0].options[key] = {1};
  if (!m.weights.empty()) {
    const auto rule = weight_rule(m.weights);
    if (!rule)
      return fail(
          Errc::invalid_argument,
          fmt::format("--weights {}: {}", m.weights,
                      suggestion(m.weights, std::vector<std::string>{"metropolis", "uniform", "max-degree",
                                                                     "lazy", "best-constant"})));
    spec.weights = *rule;
  }
  GOSSAMER_TRY_ASSIGN(const std::string yaml, to_yaml(spec));
  if (m.out.empty() || m.out == "-") {
    fmt::print("{}", yaml);
    return {};
  }
  return write_file_atomically(m.out, yaml);
}

void add_make(CLI::App& topology, int* code) {
  auto m = std::make_shared<Make>();
  CLI::App* command = topology.add_subcommand("make", "Write a topology file of a family");
  command->add_option("FAMILY", m->family, "Which family; listed below")->required();
  command->add_option("--peers", m->peers, "How many peers take part")->type_name("N")->required();
  command->add_option("-o,--out", m->out, "The file to write; default standard output")->type_name("FILE");
  command
      ->add_option("--weights", m->weights,
                   "Mixing weights; default metropolis, or uniform on directed edges")
      ->type_name("RULE");
  command->add_option("--seed", m->seed, "Of the random families; default 1")->type_name("N");
  // The options of all families; which belong to which is checked when the topology is made.
  std::map<std::string, std::string> help;
  std::map<std::string, FamilyOption::Kind> kinds;
  std::string list = "Families:\n";
  for (const auto& family : families()) {
    list += fmt::format("  {:<21} {}\n", family.name, family.summary);
    for (const auto& option : family.options) {
      auto& text = help[std::string(option.key)];
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", family.name, option.help);
      kinds[std::string(option.key)] = option.kind;
    }
  }
  for (const auto& [key, text] : help) {
    if (kinds[key] == FamilyOption::Kind::flag)
      command->add_flag("--" + key, m->flags[key], text);
    else
      command->add_option("--" + key, m->options[key], text)
          ->type_name(kinds[key] == FamilyOption::Kind::counts ? "N,N,..."
                      : kinds[key] == FamilyOption::Kind::real ? "P"
                                                               : "N");
  }
  command->footer(list);
  command->callback([m, code] { *code = end(make(*m)); });
}

struct Check {
  std::string file;
  bool json = false, compute = false;
  std::size_t parameters = CheckOptions{}.parameters;
};

Result<> check(const Check& c) {
  GOSSAMER_TRY_ASSIGN(const TopologySpec spec, load_topology(c.file));
  GOSSAMER_TRY_ASSIGN(const auto topology, make_topology(spec));
  GOSSAMER_TRY_ASSIGN(const TopologyReport report,
                      check_topology(*topology, {.parameters = c.parameters, .use_theory = !c.compute}));
  fmt::print("{}", c.json ? to_json(report) : to_text(report));
  return {};
}

void add_check(CLI::App& topology, int* code) {
  auto c = std::make_shared<Check>();
  CLI::App* command = topology.add_subcommand(
      "check", "Say how fast a topology mixes, what it costs and which algorithms it suits");
  command->add_option("FILE", c->file, "A .yaml, .json (networkx), .graphml or .edges file")->required();
  command->add_flag("--json", c->json, "For programs");
  command->add_option("--parameters", c->parameters, "Of the model, for the bytes; default 1000000")
      ->type_name("N");
  command->add_flag("--compute", c->compute, "Compute everything, also where a family has a closed form");
  command->callback([c, code] { *code = end(check(*c)); });
}

struct Draw {
  std::string file, out, title;
  std::size_t rounds = DrawOptions{}.rounds_max;
};

Result<> draw(const Draw& d) {
  GOSSAMER_TRY_ASSIGN(const TopologySpec spec, load_topology(d.file));
  GOSSAMER_TRY_ASSIGN(const auto topology, make_topology(spec));
  if (topology->peer_count() > kDrawnPeersMax)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "{}: {} peers are too many to see in a picture (at most {}); `gossamer topology check` describes "
            "them in numbers",
            d.file, topology->peer_count(), kDrawnPeersMax));
  DrawOptions options;
  options.title = d.title;
  options.rounds_max = d.rounds;
  for (const auto& member : spec.members) options.labels.push_back(member.name);
  const std::string svg = draw_svg(*topology, options);
  if (d.out == "-") {
    fmt::print("{}", svg);
    return {};
  }
  return write_file_atomically(d.out, svg);
}

void add_draw(CLI::App& topology, int* code) {
  auto d = std::make_shared<Draw>();
  CLI::App* command = topology.add_subcommand("draw", "Draw a topology as SVG");
  command->add_option("FILE", d->file, "A .yaml, .json (networkx), .graphml or .edges file")->required();
  command->add_option("-o,--out", d->out, "The file to write; - is standard output")
      ->type_name("FILE")
      ->required();
  command->add_option("--title", d->title, "Default: the topology's name and the number of peers");
  command->add_option("--rounds", d->rounds, "How many rounds of a schedule to draw; default 12")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{100}));
  command->callback([d, code] { *code = end(draw(*d)); });
}

}  // namespace

void add_topology_command(CLI::App& app, int* exit_code) {
  CLI::App* topology = app.add_subcommand("topology", "Make, check and draw topologies");
  topology->require_subcommand(1);
  add_make(*topology, exit_code);
  add_check(*topology, exit_code);
  add_draw(*topology, exit_code);
}

}  // namespace gossamer
