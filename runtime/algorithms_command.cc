#include "runtime/algorithms_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/nearest.h"
#include "runtime/combinations.h"
#include "runtime/exit_code.h"
#include "runtime/presets.h"
#include "runtime/report/table.h"

namespace gossamer {
namespace {

using Names = std::vector<std::string>;

// One algorithm's cells: for each choice nothing, or why not.
std::vector<std::optional<std::string>> refusals(const Algorithm& algorithm, const std::vector<Choice>& all) {
  std::vector<std::optional<std::string>> cells;
  for (const Choice& choice : all) {
    const auto fits = combine(algorithm, {&choice, 1});
    cells.push_back(fits ? std::nullopt : std::optional(fits.error().message));
  }
  return cells;
}

std::string_view words(Weights weights) {
  switch (weights) {
    case Weights::any: return "any";
    case Weights::columns: return "what each peer keeps and gives away sums to 1";
    case Weights::doubly: return "rows and columns sum to 1";
    case Weights::symmetric: return "rows and columns sum to 1, and both directions of an edge weigh the same";
  }
  return "unknown";
}

std::string_view words(Shape shape) {
  switch (shape) {
    case Shape::any: return "any";
    case Shape::fixed: return "the same in every round";
    case Shape::tree: return "a tree";
    case Shape::star: return "a star";
    case Shape::power_of_two: return "any, of a power of two of peers";
  }
  return "unknown";
}

std::string_view words(Exchanges exchanges) { return exchanges == Exchanges::gradient ? "gradients" : "models"; }

// What an algorithm is and needs, by head.
std::vector<std::pair<std::string, std::string>> facts(const Algorithm& algorithm) {
  const Preset* preset = find_preset(algorithm.name);
  return {{"summary", std::string(algorithm.summary)},
          {"source", std::string(algorithm.source)},
          {"exchanges", std::string(words(algorithm.exchanges))},
          {"weights", std::string(words(algorithm.weights))},
          {"graph", std::string(words(algorithm.shape))},
          {"optimizer", algorithm.own_momentum ? "sgd without momentum" : "any"},
          {"preset", preset ? std::string(preset->why) : "the simplest graph that it can work with"}};
}

// The knobs, each with the indexes of its choices.
std::vector<std::pair<std::string_view, std::vector<std::size_t>>> knobs(const std::vector<Choice>& all) {
  std::vector<std::pair<std::string_view, std::vector<std::size_t>>> found;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (found.empty() || found.back().first != all[i].knob) found.emplace_back(all[i].knob, std::vector<std::size_t>{});
    found.back().second.push_back(i);
  }
  return found;
}

std::string to_text() {
  std::string text;
  for (const Algorithm& algorithm : algorithms())
    text += fmt::format("{}\n    {}\n    {}\n", algorithm.name, algorithm.summary, algorithm.source);
  const std::vector<Choice> all = choices();
  std::vector<std::vector<std::optional<std::string>>> cells;
  for (const Algorithm& algorithm : algorithms()) cells.push_back(refusals(algorithm, all));
  for (const auto& [knob, columns] : knobs(all)) {
    Names head = {std::string(knob)};
    for (const std::size_t column : columns) head.emplace_back(all[column].value);
    std::vector<Names> rows;
    for (std::size_t row = 0; row < cells.size(); ++row) {
      rows.push_back({std::string(algorithms()[row].name)});
      for (const std::size_t column : columns) rows.back().push_back(cells[row][column] ? "-" : "yes");
    }
    text += "\n" + text_table(head, rows);
  }
  return text + "\nWhy not: gossamer algorithms NAME\n";
}

std::string to_text(const Algorithm& algorithm) {
  std::string text = fmt::format("{}\n", algorithm.name);
  for (const auto& [head, fact] : facts(algorithm)) text += fmt::format("  {:<10} {}\n", head, fact);
  const std::vector<Choice> all = choices();
  const auto cells = refusals(algorithm, all);
  std::string_view knob;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].knob != knob) text += fmt::format("\n{}\n", all[i].knob);
    knob = all[i].knob;
    text += fmt::format("  {:<17}  {}\n", all[i].value, cells[i] ? "no: " + *cells[i] : "yes");
  }
  return text;
}

nlohmann::ordered_json to_json(const Algorithm& algorithm) {
  nlohmann::ordered_json one;
  one["name"] = algorithm.name;
  for (const auto& [head, fact] : facts(algorithm)) one[head] = fact;
  one["asynchronous"] = algorithm.asynchronous;
  one["keeps_mean"] = algorithm.keeps_mean;
  one["combines"] = nlohmann::ordered_json::array();
  const std::vector<Choice> all = choices();
  const auto cells = refusals(algorithm, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    nlohmann::ordered_json settings;
    for (const Choice::Setting& setting : all[i].settings) settings[std::string(setting.key)] = setting.value;
    nlohmann::ordered_json cell = {{"knob", all[i].knob}, {"value", all[i].value}, {"settings", settings}, {"yes", !cells[i]}};
    if (cells[i]) cell["why"] = *cells[i];
    one["combines"].push_back(std::move(cell));
  }
  return one;
}

// The sentence with "it" for the algorithm that it speaks of, so that the same sentence about several is one.
std::string about_it(const std::string& sentence, std::string_view name) {
  const auto part_of_word = [&](std::size_t at) {
    return at < sentence.size() && (std::isalnum(static_cast<unsigned char>(sentence[at])) != 0 || sentence[at] == '-');
  };
  std::string text;
  std::size_t start = 0;
  for (std::size_t at = 0; (at = sentence.find(name, at)) != std::string::npos;) {
    const std::size_t after = at + name.size();
    if (!part_of_word(at - 1) && !part_of_word(after)) {
      text += sentence.substr(start, at - start) + "it";
      start = after;
    }
    at = after;
  }
  return text + sentence.substr(start);
}

// For docs/algorithms.md, between the two comments that a test looks for.
std::string to_markdown() {
  const std::vector<Choice> all = choices();
  std::string text = "<!-- combinations: written by `gossamer algorithms --markdown` -->\n";
  std::string reasons = "| | algorithms | why not |\n|---|---|---|\n";
  std::vector<std::vector<std::optional<std::string>>> cells;
  for (const Algorithm& algorithm : algorithms()) cells.push_back(refusals(algorithm, all));
  for (const auto& [knob, columns] : knobs(all)) {
    std::string head = fmt::format("| {} |", knob), rule = "|---|";
    for (const std::size_t column : columns) {
      head += fmt::format(" {} |", all[column].value);
      rule += "---|";
      std::vector<std::pair<std::string, std::string>> why;  // sentence, algorithms
      for (std::size_t row = 0; row < cells.size(); ++row) {
        if (!cells[row][column]) continue;
        const std::string name(algorithms()[row].name), sentence = about_it(*cells[row][column], name);
        const auto same = std::find_if(why.begin(), why.end(), [&](const auto& one) { return one.first == sentence; });
        if (same == why.end()) {
          why.emplace_back(sentence, name);
        } else {
          same->second += ", " + name;
        }
      }
      for (const auto& [sentence, names] : why) reasons += fmt::format("| {}: {} | {} | {} |\n", knob, all[column].value, names, sentence);
    }
    text += head + "\n" + rule + "\n";
    for (std::size_t row = 0; row < cells.size(); ++row) {
      text += fmt::format("| `{}` |", algorithms()[row].name);
      for (const std::size_t column : columns) text += cells[row][column] ? " - |" : " yes |";
      text += "\n";
    }
    text += "\n";
  }
  return text + reasons + "<!-- end of combinations -->\n";
}

}  // namespace

void add_algorithms_command(CLI::App& app, int* code) {
  struct Flags {
    std::string name;
    bool json = false, markdown = false;
  };
  auto flags = std::make_shared<Flags>();  // lives in the command's callback
  CLI::App* command = app.add_subcommand("algorithms", "The algorithms, and which settings go with which of them");
  command->add_option("NAME", flags->name, "Only this one: what it needs, and why it does not go with what it does not go with");
  CLI::Option* json = command->add_flag("--json", flags->json, "For programs");
  command->add_flag("--markdown", flags->markdown, "The tables of docs/algorithms.md, of all algorithms")->excludes(json);
  command->callback([flags, code] {
    const auto refuse = [&](const std::string& why) {
      fmt::print(stderr, "gossamer algorithms: {}\n", why);
      *code = exit_code(Errc::invalid_argument);
    };
    const Algorithm* one = find_algorithm(flags->name);
    if (!flags->name.empty() && !one) {
      Names known;
      for (const Algorithm& algorithm : algorithms()) known.emplace_back(algorithm.name);
      return refuse(fmt::format("there is no algorithm {}; {}", flags->name, suggestion(flags->name, known)));
    }
    if (one && flags->markdown) return refuse("--markdown is about all algorithms; leave the name away");
    if (flags->json) {
      nlohmann::ordered_json all = nlohmann::ordered_json::array();
      if (!one)
        for (const Algorithm& algorithm : algorithms()) all.push_back(to_json(algorithm));
      fmt::print("{}\n", (one ? to_json(*one) : all).dump(2));
    } else {
      fmt::print("{}", flags->markdown ? to_markdown() : one ? to_text(*one) : to_text());
    }
    *code = 0;
  });
}

}  // namespace gossamer
