// The `gossamer` command: reads the command line and hands over.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "base/nearest.h"
#include "runtime/algorithms_command.h"
#include "runtime/bench/bench_command.h"
#include "runtime/doctor.h"
#include "runtime/exit_code.h"
#include "runtime/peer.h"
#include "runtime/report_command.h"
#include "runtime/run_command.h"
#include "runtime/simulator/simulate_command.h"
#include "runtime/topology_command.h"

namespace gossamer {
namespace {

constexpr int kUsage = 2;  // exit_code(Errc::invalid_argument)

// What `run` and `peer` have in common.
struct RunOptions {
  std::vector<std::string> sets;
  std::optional<std::size_t> peers;
  std::string transport;

  void add_to(CLI::App& command) {
    command
        .add_option("--set", sets,
                    "Put a value over the run file's, as in --set trainer.epochs=3; may be repeated")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    command.add_option("--peers", peers, "How many peers take part, instead of topology.peers")
        ->type_name("N");
  }

  Result<Overrides> overrides() const {
    Overrides all;
    for (const std::string& set : sets) {
      const std::size_t equals = set.find('=');
      if (equals == std::string::npos || equals == 0)
        return fail(
            Errc::invalid_argument,
            fmt::format("--set {}: a key and a value are needed; write for instance --set trainer.epochs=3",
                        set));
      all.sets.emplace_back(set.substr(0, equals), set.substr(equals + 1));
    }
    if (!transport.empty()) all.sets.emplace_back("transport.kind", transport);
    all.peers = peers;
    return all;
  }
};

int refuse(const Error& error) {
  fmt::print(stderr, "gossamer: {}\n", error.message);
  return exit_code(error.code);
}

void add_run(CLI::App& app, const PeerMain& peer_main, int* code) {
  struct Options : RunOptions {
    RunArguments arguments;
  };
  auto options = std::make_shared<Options>();
  CLI::App* run = app.add_subcommand("run", "Start all peers of a run on this machine");
  run->add_option("FILE", options->arguments.file, "The run file")->required();
  options->add_to(*run);
  run->add_option("--transport", options->transport, "Same as --set transport.kind=KIND")
      ->type_name("loopback|ucx|libfabric");
  run->add_option("--out", options->arguments.out, "Output folder; default out/<name>-<time>")
      ->type_name("DIR");
  run->add_flag("--force", options->arguments.force, "Write into an output folder that is not empty");
  run->add_flag("--quiet", options->arguments.quiet, "Only warnings and errors, no status line");
  run->add_flag("--verbose", options->arguments.verbose, "Also what helps to find a problem");
  run->callback([options, peer_main, code] {
    auto overrides = options->overrides();
    if (overrides) options->arguments.overrides = std::move(*overrides);
    *code = overrides ? run_command(options->arguments, peer_main) : refuse(overrides.error());
  });
}

void add_peer(CLI::App& app, const PeerMain& peer_main, int* code) {
  struct Options : RunOptions {
    PeerArguments arguments;
  };
  auto options = std::make_shared<Options>();
  CLI::App* peer =
      app.add_subcommand("peer", "Be one peer of a run; srun, mpirun and torchrun are understood");
  peer->add_option("FILE", options->arguments.file, "The run file")->required();
  options->add_to(*peer);
  peer->add_option("--rank", options->arguments.place.rank, "Which peer this is, from 0")->type_name("N");
  peer->add_option("--rendezvous", options->arguments.place.rendezvous,
                   "Where rank 0 listens and all others call")
      ->type_name("HOST:PORT");
  peer->add_option("--transport", options->transport, "Same as --set transport.kind=KIND")
      ->type_name("loopback|ucx|libfabric");
  peer->add_option("--out", options->arguments.out, "Output folder; default out/<name>")->type_name("DIR");
  peer->add_flag("--quiet", options->arguments.quiet, "Only warnings and errors, no status line");
  peer->add_flag("--verbose", options->arguments.verbose, "Also what helps to find a problem");
  peer->callback([options, peer_main, code] {
    auto overrides = options->overrides();
    if (!overrides) {
      *code = refuse(overrides.error());
      return;
    }
    options->arguments.overrides = std::move(*overrides);
    options->arguments.place.peers = options->peers;
    *code = peer_command(options->arguments, peer_main);
  });
}

void add_doctor(CLI::App& app, int* code) {
  auto json = std::make_shared<bool>(false);
  CLI::App* doctor =
      app.add_subcommand("doctor", "What this build and this machine have for a run, and what is missing");
  doctor->add_flag("--json", *json, "For programs");
  doctor->callback([json, code] {
    const Diagnosis diagnosis = diagnose();
    fmt::print("{}", *json ? to_json(diagnosis) : to_text(diagnosis));
    *code = diagnosis.ready ? 0 : exit_code(Errc::unsupported);
  });
}

// The words that could have stood where something unknown does.
std::vector<std::string> known_words(const CLI::App& command, bool flags) {
  std::vector<std::string> words;
  if (flags) {
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  } else {
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      words.push_back(sub->get_name());
  }
  return words;
}

int explain(const CLI::App& app, const CLI::ParseError& error) {
  // The innermost subcommand that was recognised is the one the rest was meant for.
  const CLI::App* command = &app;
  std::string name = "gossamer";
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  std::string words = error.what();
  if (const auto rest = app.remaining(true); !rest.empty()) {
    const std::string word = rest.front().substr(0, rest.front().find('='));
    const bool flag = word.starts_with("-");
    const auto known = known_words(*command, flag);
    words = fmt::format("{}: unknown {} {}", name,
                        flag            ? "flag"
                        : known.empty() ? "argument"
                                        : "command",
                        word);
    if (!known.empty()) words += "; " + suggestion(word, known);
  } else {
    words = fmt::format("{}: {}", name, words);
  }
  fmt::print(stderr, "gossamer: {}\n          see: {} --help\n",
             words.substr(words.starts_with("gossamer: ") ? 10 : 0), name);
  return kUsage;
}

int run_main(int argc, char** argv) {
  CLI::App app{"Decentralized gossip-based training", "gossamer"};
  app.set_version_flag("--version", fmt::format("gossamer {}", gossamer_version()));
  app.set_help_all_flag("--help-all", "The help of all commands");
  app.require_subcommand(1);
  int code = 0;
  add_run(app, run_peer, &code);
  add_peer(app, run_peer, &code);
  add_topology_command(app, &code);
  add_report_command(app, &code);
  add_simulate_command(app, &code);
  add_algorithms_command(app, &code);
  add_bench_command(app, &code);
  add_doctor(app, &code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --help-all, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  return code;
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  // A file opened as descriptor 0, 1 or 2 would be taken for a standard stream.
  for (int number = 0; number <= 2; ++number)
    if (::fcntl(number, F_GETFD) < 0 && ::open("/dev/null", number == 0 ? O_RDONLY : O_WRONLY) < 0) return 4;
  return gossamer::run_main(argc, argv);
}
