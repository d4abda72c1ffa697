#include "runtime/run_command.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <mutex>
#include <thread>

#include "base/file.h"
#include "base/nearest.h"
#include "base/reserved_port.h"
#include "runtime/check_run.h"
#include "runtime/exit_code.h"
#include "runtime/launch.h"
#include "runtime/stop_signals.h"
#include "transports/loopback.h"

namespace gossamer {
namespace {

int report(const Error& error) {
  fmt::print(stderr, "gossamer: {}\n", error.message);
  return exit_code(error.code);
}

std::size_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<std::size_t>(CPU_COUNT(&set)) : 1;
}

std::string time_words() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
  return text;
}

// Whatever is in the way of the output is the machine's refusal, not a missing input.
Failure cannot_make(const std::string& folder, int error) {
  return fail(Errc::io, system_failure("cannot make the output folder", folder, error).value().message);
}

// Names that a run writes into its folder.
bool left_by_a_run(const std::string& name) {
  return name == "run.yaml" || name == "summary.json" || name == "report.html" || name == "topology.svg" ||
         name == "model.safetensors" || name.starts_with("peer-") || name.starts_with("model-");
}

// One thread per peer.  The first peer that fails stops the others.
int run_in_threads(const RunFile& run, const std::string& out, const std::string& rendezvous, LogLevel log,
                   bool status_line, const PeerMain& peer_main) {
  const StopSignals signals;
  std::atomic<bool> stop{false};
  const std::size_t peers = run.topology.peers;
  const auto hub = std::make_shared<LoopbackHub>();
  std::mutex mutex;
  std::vector<std::pair<std::size_t, Error>> failed;  // in the order in which they ended
  std::vector<std::thread> threads;
  std::atomic<std::size_t> ended{0};
  for (std::size_t rank = 0; rank < peers; ++rank) {
    threads.emplace_back([&, rank] {
      PeerProcess process{.place = {static_cast<PeerId>(rank), peers, rendezvous, "one process"},
                          .run = run,
                          .out = out,
                          .log = log,
                          .hub = hub,
                          .stop = &stop,
                          .status_line = status_line};
      if (auto done = peer_main(process); !done) {
        const std::lock_guard lock(mutex);
        failed.emplace_back(rank, std::move(done).error());
        stop = true;
      }
      ++ended;
    });
  }
  while (ended < peers) {
    if (signals.stop()) stop = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  for (std::thread& thread : threads) thread.join();
  if (failed.empty()) return 0;
  // Who was stopped or noticed a loss is not the cause.
  const auto cause = std::find_if(failed.begin(), failed.end(), [](const auto& failure) {
    const Errc code = failure.second.code;
    return code != Errc::interrupted && code != Errc::peer_gone && code != Errc::timed_out;
  });
  const auto& [rank, error] = cause == failed.end() ? failed.front() : *cause;
  fmt::print(stderr, "gossamer: peer {}: {}\n", rank, error.message);
  return signals.stop() ? exit_code(Errc::interrupted) : exit_code(error.code);
}

Result<int> start_run(const RunArguments& arguments, const PeerMain& peer_main) {
  const Environment environment = own_environment();
  GOSSAMER_TRY_ASSIGN(const LogLevel log, log_level(arguments.quiet, arguments.verbose, environment));
  GOSSAMER_TRY_ASSIGN(const RunFile run, load_run_file(arguments.file, arguments.overrides));
  GOSSAMER_TRY(check_run(run));
  const std::size_t peers = run.topology.peers;

  const std::string out =
      arguments.out.empty() ? fmt::format("out/{}-{}", run.name, time_words()) : arguments.out;
  GOSSAMER_TRY(prepare_output(out, arguments.force));
  const std::string resolved = out + "/run.yaml";
  GOSSAMER_TRY(write_file_atomically(resolved, std::string_view(to_yaml(run))));

  GOSSAMER_TRY_ASSIGN(const ReservedPort port, reserve_port());
  const std::string rendezvous = fmt::format("127.0.0.1:{}", port.number);
  if (!arguments.quiet)
    fmt::print(stderr, "gossamer: {} peers, {}, transport {}; output in {}\n", peers, run.algorithm,
               run.transport.kind, out);
  const auto ended = [&](int code) {
    std::error_code error;
    const std::string page = out + "/report.html";
    if (code == 0 && !arguments.quiet && std::filesystem::exists(page, error)) fmt::print("report: {}\n", page);
    return code;
  };
  if (run.transport.kind == "loopback")
    return ended(run_in_threads(run, out, rendezvous, log, !arguments.quiet, peer_main));

  LaunchOptions options;
  for (std::size_t rank = 0; rank < peers; ++rank) {
    auto& words = options.arguments.emplace_back(
        std::vector<std::string>{"peer", resolved, "--rank", std::to_string(rank), "--peers",
                                 std::to_string(peers), "--rendezvous", rendezvous, "--out", out});
    if (arguments.quiet) words.push_back("--quiet");
    if (arguments.verbose) words.push_back("--verbose");
  }
  options.environment = child_environment(environment, usable_cores(), peers);
  options.stop_deadline = arguments.stop_deadline;
  options.elastic = run.membership.mode == MembershipMode::elastic;
  options.restarts = run.membership.restarts;
  options.restart_after = run.membership.restart_after;

  const SteadyClock clock;
  GOSSAMER_TRY_ASSIGN(const LaunchReport end, launch(options, clock));
  if (!end.message.empty()) fmt::print(stderr, "gossamer: {}\n", end.message);
  return ended(end.exit_code);
}

Result<> be_peer(const PeerArguments& arguments, const PeerMain& peer_main) {
  const Environment environment = own_environment();
  PeerProcess process;
  GOSSAMER_TRY_ASSIGN(process.log, log_level(arguments.quiet, arguments.verbose, environment));
  process.status_line = !arguments.quiet;
  GOSSAMER_TRY_ASSIGN(process.place, find_place(arguments.place, environment));
  GOSSAMER_TRY_ASSIGN(process.run, load_run_file(arguments.file, arguments.overrides));
  GOSSAMER_TRY(check_run(process.run));
  if (process.run.topology.peers != process.place.peers)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "the topology has {} peers, but this process is one of {} ({}); start as many as the topology "
            "has, or set topology.peers",
            process.run.topology.peers, process.place.peers, process.place.source));
  process.out = arguments.out.empty() ? "out/" + process.run.name : arguments.out;
  if (process.run.transport.kind == "loopback" && process.place.peers > 1)
    return fail(Errc::invalid_argument,
                "the loopback transport joins the threads of one process; use `gossamer run`, or "
                "transport.kind: ucx (or libfabric)");
  // All peers write here, so what is there already may be a neighbour's.
  std::error_code error;
  std::filesystem::create_directories(process.out, error);
  if (error) return cannot_make(process.out, error.value());
  const StopSignals signals;
  process.stop = &signals.stop();
  return peer_main(process);
}

}  // namespace

Result<LogLevel> log_level(bool quiet, bool verbose, const Environment& environment) {
  if (quiet && verbose)
    return fail(Errc::invalid_argument, "--quiet and --verbose contradict each other; keep one");
  if (quiet) return LogLevel::warn;
  if (verbose) return LogLevel::debug;
  const std::string_view wanted = value_of(environment, "GOSSAMER_LOG");
  if (wanted.empty()) return LogLevel::info;
  const std::vector<std::string> names = {"debug", "info", "warn", "error", "off"};
  const auto it = std::find(names.begin(), names.end(), wanted);
  if (it == names.end())
    return fail(Errc::invalid_argument, fmt::format("environment variable GOSSAMER_LOG: `{}` is no level; {}",
                                                    wanted, suggestion(wanted, names)));
  return static_cast<LogLevel>(it - names.begin());
}

Result<> prepare_output(const std::string& folder, bool force) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error))
    return fail(Errc::invalid_argument,
                fmt::format("the output folder {} is a file; name another with --out", folder));
  fs::create_directories(folder, error);
  if (error) return cannot_make(folder, error.value());
  fs::directory_iterator entries(folder, error);
  if (error) return system_failure("cannot look into the output folder", folder, error.value());
  std::vector<fs::path> old;
  for (const fs::directory_entry& entry : entries) {
    if (!force)
      return fail(
          Errc::invalid_argument,
          fmt::format(
              "the output folder {} is not empty; name another with --out, or write over it with --force",
              folder));
    if (left_by_a_run(entry.path().filename().string()) && entry.is_regular_file(error))
      old.push_back(entry.path());
  }
  for (const fs::path& path : old) {
    fs::remove(path, error);
    if (error) return system_failure("cannot remove", path.string(), error.value());
  }
  return {};
}

int run_command(const RunArguments& arguments, const PeerMain& peer_main) {
  const auto code = start_run(arguments, peer_main);
  return code ? *code : report(code.error());
}

int peer_command(const PeerArguments& arguments, const PeerMain& peer_main) {
  const auto done = be_peer(arguments, peer_main);
  return done ? 0 : report(done.error());
}

}  // namespace gossamer
