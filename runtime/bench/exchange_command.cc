#include "runtime/bench/exchange_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/bench/exchange_measure.h"
#include "runtime/exit_code.h"
#include "runtime/report/table.h"

namespace gossamer {
namespace {

struct Flags {
  bench::Exchange exchange;
  std::string parameters = "25M";
  std::size_t turns = 7;
  bool json = false;
  std::string serve;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// "25M" or "65536".
std::optional<std::size_t> count_of(const std::string& text) {
  std::size_t end = 0;
  double number = 0;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  const std::string unit = text.substr(end);
  const double factor = unit.empty() ? 1 : unit == "k" ? 1e3 : unit == "M" ? 1e6 : unit == "G" ? 1e9 : 0;
  if (!(number * factor >= 1) || number * factor > 4e9) return std::nullopt;
  return static_cast<std::size_t>(number * factor);
}

// All in seconds of a round, by turns.
class Bench {
 public:
  explicit Bench(const Flags& flags) : flags_(flags) {}

  Result<> run() {
    const bench::Exchange& exchange = flags_.exchange;
    std::map<std::string, bool> absent;
    for (std::size_t turn = 0; turn < flags_.turns; ++turn) {
      note(fmt::format("turn {} of {}", turn + 1, flags_.turns));
      floor_.push_back(bytes() / bench::copy_bandwidth(exchange));
      GOSSAMER_TRY_ASSIGN(const double seconds, bench::measure_exchange(exchange));
      ours_.push_back(seconds);
      for (const std::string reference : {"gloo", "mpi"}) {
        if (absent[reference]) continue;
        const auto measured = bench::measure_reference(reference, exchange);
        if (!measured && measured.error().code == Errc::unsupported) {
          absent[reference] = true;
          missing_.push_back(measured.error().message);
          continue;
        }
        if (!measured) return fail("the reference " + reference, measured.error());
        for (const auto& [what, time] : *measured) others_[what].push_back(time);
      }
    }
    note("");
    return {};
  }

  // What must cross memory: every peer reads its model and its neighbours', and writes one.
  double bytes() const {
    const std::size_t neighbours = std::min<std::size_t>(2, flags_.exchange.peers - 1);
    return static_cast<double>(flags_.exchange.peers * (neighbours + 2) * sizeof(float)) * static_cast<double>(flags_.exchange.parameters);
  }

  std::string text() const {
    const bench::Exchange& exchange = flags_.exchange;
    std::string text = fmt::format("{} floats, {} peers on a ring, {} turns of {} rounds; medians\n", exchange.parameters, exchange.peers,
                                   flags_.turns, exchange.rounds);
    std::vector<std::vector<std::string>> lines;
    const auto line = [&](const std::string& name, const std::vector<double>& times, const std::string& gain) {
      const double seconds = median(times);
      const std::string time = seconds < 1e-3 ? fmt::format("{:.1f} us", 1e6 * seconds) : fmt::format("{:.2f} ms", 1e3 * seconds);
      lines.push_back({name, time, fmt::format("{:.2f}", over(times, floor_)), gain});
    };
    line("gossamer", ours_, "");
    for (const auto& [what, times] : others_) line(what, times, fmt::format("{:.2f}", over(times, ours_)));
    text += text_table({"what", "a round", "of the floor", "of gossamer"}, lines);
    text += fmt::format("floor: {:.2f} GB at {:.1f} GB/s (a copy past the caches by all cores) take {:.2f} ms\n", bytes() / 1e9,
                        bytes() / median(floor_) / 1e9, 1e3 * median(floor_));
    for (const std::string& one : missing_) text += "not measured: " + one + "\n";
    return text;
  }

  std::string json() const {
    const bench::Exchange& exchange = flags_.exchange;
    nlohmann::ordered_json all = {{"parameters", exchange.parameters}, {"peers", exchange.peers}, {"rounds", exchange.rounds},
                                  {"turns", flags_.turns}, {"transport", exchange.transport}, {"lend_from", exchange.lend_from},
                                  {"spin_us", exchange.spin_us},
                                  {"floor", {{"bytes", bytes()}, {"seconds", median(floor_)}, {"runs", floor_}}},
                                  {"gossamer", {{"seconds", median(ours_)}, {"runs", ours_}, {"of_floor", over(ours_, floor_)}}}};
    all["others"] = nlohmann::ordered_json::object();
    for (const auto& [what, times] : others_)
      all["others"][what] = {{"seconds", median(times)}, {"runs", times}, {"of_floor", over(times, floor_)}, {"of_gossamer", over(times, ours_)}};
    all["not_measured"] = missing_;
    return all.dump(2) + "\n";
  }

 private:
  // The median over turns of the ratio in one turn.
  static double over(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
    return median(std::move(ratios));
  }
  void note(const std::string& text) const {
    if (!flags_.json) fmt::print(stderr, "\r{:40}\r{}", "", text);
  }

  const Flags& flags_;
  std::vector<double> ours_, floor_;
  std::map<std::string, std::vector<double>> others_;
  std::vector<std::string> missing_;
};

int bench_exchange(Flags& flags) {
  const auto refuse = [](const Error& error) {
    fmt::print(stderr, "gossamer: {}\n", error.message);
    return exit_code(error.code);
  };
  if (!flags.serve.empty()) {
    const auto served = bench::serve_exchange(flags.serve);
    return served ? 0 : refuse(served.error());
  }
  const auto parameters = count_of(flags.parameters);
  if (!parameters) return refuse({Errc::invalid_argument, "--parameters " + flags.parameters + ": a number from 1 to 4G, as 25M or 65536"});
  flags.exchange.parameters = *parameters;
  Bench bench(flags);
  if (const auto done = bench.run(); !done) return refuse(done.error());
  fmt::print("{}", flags.json ? bench.json() : bench.text());
  return 0;
}

}  // namespace

void add_bench_exchange(CLI::App& bench, int* code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand(
      "exchange", "A model between the neighbours of a ring of processes, beside the all-reduce of gloo and Open MPI and a ring by MPI");
  command->add_option("--parameters", flags->parameters, "Floats of the model, as 25M")->type_name("N");
  command->add_option("--peers", flags->exchange.peers, "Processes")->type_name("N")->check(CLI::Range(2, 64));
  command->add_option("--rounds", flags->exchange.rounds, "Of one measurement")->type_name("N")->check(CLI::Range(1, 50));
  command->add_option("--turns", flags->turns, "Measurements of each, in turn; medians are shown")->type_name("N")->check(CLI::Range(1, 1000));
  command->add_option("--transport", flags->exchange.transport, "ucx or libfabric")->type_name("KIND")->check(CLI::IsMember({"ucx", "libfabric"}));
  command->add_option("--lend-from", flags->exchange.lend_from, "Payloads of so many bytes are read in place, smaller ones copied")->type_name("BYTES");
  command->add_option("--spin", flags->exchange.spin_us, "How long a peer that waits looks for news before it sleeps")->type_name("MICROSECONDS");
  command->add_flag("--json", flags->json, "All figures, for programs");
  command->add_option("--serve", flags->serve)->group("");  // one of the processes, started by the bench
  command->callback([flags, code] { *code = bench_exchange(*flags); });
}

}  // namespace gossamer
