#include "runtime/simulator/simulate_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "runtime/exit_code.h"
#include "runtime/report/table.h"
#include "runtime/run_file.h"
#include "runtime/simulator/consensus.h"
#include "runtime/simulator/simulation.h"
#include "topologies/topology_spec.h"

namespace gossamer {
namespace {

constexpr std::size_t kPeersShown = 16;

struct Flags {
  std::string run, network, faults;
  std::vector<std::string> sets;
  std::optional<std::size_t> peers;
  std::uint64_t seed = 1;
  bool json = false;
  bool no_checks = false;
  bool consensus = false;
  std::uint64_t rounds = 20;
  std::size_t dimension = 1;
};

// The command that does all this again.
std::string replay(const Flags& flags) {
  std::string text = "gossamer simulate " + flags.run;
  if (!flags.network.empty()) text += " --network " + flags.network;
  if (!flags.faults.empty()) text += " --faults " + flags.faults;
  for (const std::string& set : flags.sets) text += " --set '" + set + "'";
  if (flags.peers) text += fmt::format(" --peers {}", *flags.peers);
  return text + fmt::format(" --seed {}", flags.seed);
}

std::string hex(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

nlohmann::json number(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr); }

std::string to_json(const Flags& flags, const RunFile& run, const sim::SimulationOutcome& outcome) {
  nlohmann::ordered_json top;
  top["algorithm"] = run.algorithm;
  top["peers"] = outcome.peers.size();
  top["seed"] = flags.seed;
  top["good"] = outcome.good();
  top["virtual_seconds"] = outcome.seconds;
  top["seconds_per_round"] = outcome.seconds_per_round;
  top["loss"] = number(outcome.loss);
  top["accuracy"] = number(outcome.accuracy);
  top["consensus_distance"] = number(outcome.consensus_distance);
  top["view"] = outcome.view;
  top["events"] = outcome.events;
  top["trace"] = hex(outcome.trace_hash);
  top["models"] = hex(outcome.models_hash);
  const sim::NetworkCounts& network = outcome.network;
  top["network"] = {{"puts", network.puts}, {"notices", network.notices}, {"lost", network.lost}, {"duplicated", network.duplicated},
                    {"reordered", network.reordered}, {"refused", network.refused}, {"broken", network.broken}};
  top["curve"] = nlohmann::ordered_json::array();
  for (const sim::CurvePoint& point : outcome.curve)
    top["curve"].push_back({{"step", point.step}, {"seconds", point.seconds}, {"loss", number(point.loss)},
                            {"consensus_distance", number(point.consensus_distance)}});
  top["per_peer"] = nlohmann::ordered_json::array();
  for (const sim::PeerOutcome& peer : outcome.peers) {
    nlohmann::ordered_json one = {{"steps", peer.steps}, {"rounds", peer.rounds}, {"finished_s", peer.finished_s}, {"compute_s", peer.compute_s},
                                  {"wait_s", peer.wait_s}, {"loss", number(peer.loss)}, {"accuracy", number(peer.accuracy)},
                                  {"bytes_sent", peer.bytes_sent}, {"bytes_received", peer.bytes_received}, {"memory_most", peer.memory_most},
                                  {"crashed", peer.crashed}, {"lives", peer.lives}, {"cut_short", peer.cut_short}};
    if (peer.error) one["error"] = peer.error->message;
    top["per_peer"].push_back(std::move(one));
  }
  top["violations_found"] = outcome.violations_found;
  top["violations"] = nlohmann::ordered_json::array();
  for (const sim::Violation& violation : outcome.violations)
    top["violations"].push_back({{"checker", violation.checker}, {"peer", violation.peer}, {"round", violation.round},
                                 {"seconds", violation.seconds}, {"what", violation.what}});
  if (outcome.error) top["error"] = outcome.error->message;
  if (!outcome.good()) top["replay"] = replay(flags);
  return top.dump(2) + "\n";
}

std::string to_text(const Flags& flags, const RunFile& run, const sim::SimulationOutcome& outcome) {
  double sent = 0;
  for (const sim::PeerOutcome& peer : outcome.peers) sent += static_cast<double>(peer.bytes_sent) / static_cast<double>(outcome.peers.size());
  std::string text = fmt::format(
      "{} with {} peers, seed {}: {:.6g} s of virtual time, {:.4g} s per round, {:.0f} bytes sent per peer\n"
      "mean model: loss {:.6g}, accuracy {:.4g}; consensus distance {:.4g}\n"
      "network: {} puts, {} notices; {} lost, {} duplicated, {} reordered, {} refused\n"
      "{} events, trace {}, models {}\n\n",
      run.algorithm, outcome.peers.size(), flags.seed, outcome.seconds, outcome.seconds_per_round, sent, outcome.loss, outcome.accuracy,
      outcome.consensus_distance, outcome.network.puts, outcome.network.notices, outcome.network.lost, outcome.network.duplicated,
      outcome.network.reordered, outcome.network.refused, outcome.events, hex(outcome.trace_hash), hex(outcome.models_hash));
  if (outcome.view > 0) {
    const auto alive = std::count_if(outcome.peers.begin(), outcome.peers.end(), [](const auto& peer) { return !peer.crashed && !peer.error; });
    text += fmt::format("{} views after the first one; {} of {} peers live at the end\n\n", outcome.view, alive, outcome.peers.size());
  }
  std::vector<std::vector<std::string>> rows;
  for (const sim::CurvePoint& point : outcome.curve)
    rows.push_back({std::to_string(point.step), fmt::format("{:.6g}", point.seconds), fmt::format("{:.6g}", point.loss),
                    fmt::format("{:.4g}", point.consensus_distance)});
  if (!rows.empty()) text += text_table({"step", "seconds", "training loss", "consensus distance"}, rows) + "\n";
  rows.clear();
  for (std::size_t id = 0; id < outcome.peers.size() && id < kPeersShown; ++id) {
    const sim::PeerOutcome& peer = outcome.peers[id];
    const double pace = peer.finished_s > 0 ? static_cast<double>(peer.steps) / peer.finished_s : 0;
    rows.push_back({std::to_string(id), std::to_string(peer.steps), std::to_string(peer.rounds), fmt::format("{:.4g}", pace),
                    fmt::format("{:.4g}", peer.compute_s), fmt::format("{:.4g}", peer.wait_s), fmt::format("{}", peer.bytes_sent),
                    fmt::format("{:.6g}", peer.loss), fmt::format("{:.4g}", peer.accuracy)});
  }
  text += text_table({"peer", "steps", "rounds", "steps/s", "compute s", "wait s", "bytes sent", "loss", "accuracy"}, rows);
  if (outcome.peers.size() > kPeersShown) text += fmt::format("and {} more; --json shows all\n", outcome.peers.size() - kPeersShown);
  for (std::size_t id = 0; id < outcome.peers.size(); ++id)
    if (outcome.peers[id].error) text += fmt::format("peer {} failed after {:.6g} s: {}\n", id, outcome.peers[id].finished_s, outcome.peers[id].error->message);
  for (const sim::Violation& violation : outcome.violations)
    text += fmt::format("VIOLATION of {} at peer {}, round {}, {:.6g} s: {}\n", violation.checker, violation.peer, violation.round,
                        violation.seconds, violation.what);
  if (outcome.violations_found > outcome.violations.size())
    text += fmt::format("and {} more violations\n", outcome.violations_found - outcome.violations.size());
  if (!outcome.good()) text += "replay: " + replay(flags) + "\n";
  return text;
}

Result<int> consensus(const Flags& flags, const RunFile& run) {
  GOSSAMER_TRY_ASSIGN(const auto topology, make_topology(run.topology));
  const SteadyClock clock;
  const Time begin = clock.now();
  GOSSAMER_TRY_ASSIGN(const auto outcome, sim::run_consensus({.topology = topology.get(), .dimension = flags.dimension, .rounds = flags.rounds,
                                                              .seed = flags.seed}));
  const double took = seconds(clock.now() - begin);
  if (flags.json) {
    const nlohmann::ordered_json top = {{"topology", topology->name()}, {"peers", topology->peer_count()}, {"dimension", flags.dimension},
                                        {"rounds", flags.rounds}, {"seed", flags.seed}, {"distance", outcome.distance},
                                        {"mean_drift", outcome.mean_drift}, {"payloads", outcome.payloads}, {"real_seconds", took}};
    fmt::print("{}\n", top.dump(2));
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (std::size_t round = 0; round < outcome.distance.size(); ++round)
    rows.push_back({std::to_string(round), fmt::format("{:.6g}", outcome.distance[round])});
  fmt::print("{}\n{} of {} peers, {} numbers each: the mean moved by {:.3g}; {} payloads; {:.3g} s of real time\n",
             text_table({"after round", "consensus distance"}, rows), topology->name(), topology->peer_count(), flags.dimension,
             outcome.mean_drift, outcome.payloads, took);
  return 0;
}

Result<int> simulate_command(const Flags& flags) {
  Overrides overrides;
  for (const std::string& set : flags.sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0)
      return fail(Errc::invalid_argument, fmt::format("--set {}: a key and a value are needed; write for instance --set trainer.epochs=3", set));
    overrides.sets.emplace_back(set.substr(0, equals), set.substr(equals + 1));
  }
  overrides.peers = flags.peers;
  GOSSAMER_TRY_ASSIGN(const RunFile run, load_run_file(flags.run, overrides));
  if (flags.consensus) return consensus(flags, run);
  sim::SimulationSetup setup{.run = run, .seed = flags.seed, .check = !flags.no_checks};
  if (!flags.network.empty()) {
    GOSSAMER_TRY_ASSIGN(setup.network, sim::load_network(flags.network));
  }
  if (!flags.faults.empty()) {
    GOSSAMER_TRY_ASSIGN(setup.faults, sim::load_faults(flags.faults));
  }
  GOSSAMER_TRY_ASSIGN(const auto outcome, sim::simulate(setup));
  fmt::print("{}", flags.json ? to_json(flags, run, outcome) : to_text(flags, run, outcome));
  if (outcome.error) return exit_code(outcome.error->code);
  return outcome.good() ? 0 : exit_code(Errc::internal);
}

}  // namespace

void add_simulate_command(CLI::App& app, int* code) {
  auto flags = std::make_shared<Flags>();  // lives in the command's callback
  CLI::App* command = app.add_subcommand("simulate", "Run all peers in virtual time on one thread, over a network as you describe it");
  command->add_option("RUN_FILE", flags->run, "The run file")->required();
  command->add_option("--network", flags->network, "Latency, bandwidth, computing times, stragglers, clocks (YAML)")->type_name("FILE");
  command->add_option("--faults", flags->faults, "Loss, duplicates, reordering, partitions, pauses, crashes (YAML)")->type_name("FILE");
  command->add_option("--seed", flags->seed, "Of network and faults; default 1")->type_name("S");
  command->add_option("--peers", flags->peers, "How many peers take part, instead of topology.peers")->type_name("N");
  command->add_option("--set", flags->sets, "Put a value over the run file's, as in --set trainer.epochs=3; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_flag("--json", flags->json, "Print everything as JSON");
  command->add_flag("--no-checks", flags->no_checks, "Without the checkers, which take time and memory");
  CLI::Option* consensus = command->add_flag("--consensus", flags->consensus,
                                             "Averaging alone, without engines: for a million peers. Uses only the file's topology");
  command->add_option("--rounds", flags->rounds, "With --consensus: how many; default 20")->needs(consensus);
  command->add_option("--dimension", flags->dimension, "With --consensus: numbers per peer; default 1")->needs(consensus)->check(CLI::PositiveNumber);
  command->callback([flags, code] {
    const auto done = simulate_command(*flags);
    if (!done) fmt::print(stderr, "gossamer simulate: {}\n", done.error().message);
    *code = done ? *done : exit_code(done.error().code);
  });
}

}  // namespace gossamer
