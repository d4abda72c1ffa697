#include "runtime/bench/transport_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/bench/transport_measure.h"
#include "runtime/bench/transport_references.h"
#include "runtime/exit_code.h"
#include "runtime/report/table.h"

namespace gossamer {
namespace {

using bench::Amount;
using bench::Wire;

struct Flags {
  std::vector<std::string> wires;
  std::vector<std::uint64_t> sizes = {8, 4096, 65536, 1 << 20, 16 << 20, 256 << 20};
  std::vector<std::uint64_t> latency_sizes = {8, 4096};
  std::size_t links = 8;
  std::size_t repeat = 7;
  std::size_t round_trips = 2000;
  std::uint64_t volume = std::uint64_t{1} << 29;
  std::size_t wakes = 100;
  double idle_seconds = 1;
  std::string memory = "host";
  bool staged = false;
  bool json = false;
  std::string serve;
};

// One line of the table: the same thing measured `repeat` times, ours and the others' in turn.
struct Row {
  std::string wire, what;  // latency, bandwidth, wake, idle
  std::size_t size = 0, links = 1;
  std::vector<double> ours;
  std::vector<double> p99;  // of each measurement of wake, whose median is in `ours`
  std::map<std::string, std::vector<double>> others;
};

// What is beside ours for scale, and is no way between two processes.
constexpr const char *kMemcpy = "memcpy", *kDeviceCopy = "device copy";

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// At the least four puts, at the most 4000.
Amount amount_for(std::size_t size, std::uint64_t volume) {
  const std::size_t count = volume / std::max<std::size_t>(size, 1);
  return {size, std::clamp<std::size_t>(count, 4, 4000)};
}

// Of each pair, ours over the best of the others (latency: the shortest).
std::optional<double> ratio(const Row& row) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < row.ours.size(); ++i) {
    std::optional<double> best;
    for (const auto& [name, values] : row.others) {
      if (name == kMemcpy || name == kDeviceCopy || i >= values.size()) continue;
      best = !best ? values[i] : row.what == "latency" ? std::min(*best, values[i]) : std::max(*best, values[i]);
    }
    if (best) ratios.push_back(row.ours[i] / *best);
  }
  if (ratios.empty()) return std::nullopt;
  return median(std::move(ratios));
}

class Bench {
 public:
  explicit Bench(const Flags& flags) : flags_(flags) {}

  Result<> run() {
    if (flags_.staged && flags_.memory == "host") return fail(Errc::invalid_argument, "--staged is about memory of a device: give --memory cuda, too");
    if (flags_.memory == "cuda") {
      auto memory = make_cuda_memory();
      if (!memory) return fail("--memory cuda", memory.error());
      device_ = {std::move(*memory), flags_.staged ? DevicePath::staged : DevicePath::direct};
    }
    std::vector<Wire> wires = bench::all_wires(device_);
    for (const std::string& name : flags_.wires)
      if (std::ranges::find(wires, name, &Wire::name) == wires.end())
        return fail(Errc::invalid_argument, "--wires " + name + ": there is no such wire; there are " + names(wires));
    std::erase_if(wires, [&](const Wire& wire) {
      return !flags_.wires.empty() && std::ranges::find(flags_.wires, wire.name) == flags_.wires.end();
    });
    if (flags_.repeat == 0 || flags_.links == 0) return fail(Errc::invalid_argument, "--repeat and --links begin at 1");
    for (const Wire& wire : wires)
      for (std::size_t i = 0; i < flags_.repeat; ++i) {
        note(fmt::format("{}: {} of {}", wire.name, i + 1, flags_.repeat));
        const auto done = once(wire);
        if (!done && done.error().code == Errc::unsupported) {
          missing_.push_back(wire.name + ": " + done.error().message + (device_.is_direct() ? " (here: --staged)" : ""));
          break;
        }
        GOSSAMER_TRY(done);
      }
    note("");
    return {};
  }

  std::string text() const {
    std::vector<std::vector<std::string>> lines;
    for (const Row& row : rows_) {
      std::string others;
      for (const auto& [name, values] : row.others)
        others += fmt::format("{}{} {}", others.empty() ? "" : ", ", name, figure(row, median(values)));
      const auto compared = ratio(row);
      std::string own = figure(row, median(row.ours));
      if (!row.p99.empty()) own += fmt::format(" (p99 {})", figure(row, median(row.p99)));
      lines.push_back({row.wire, row.what, row.what == "idle" ? "-" : size_text(row.size), std::to_string(row.links), own,
                       compared ? fmt::format("{:.2f}", *compared) : "-", others});
    }
    std::string text = device_.memory ? "from " + device_.memory->name() + " to itself, " + path() + "\n" : "";
    text += text_table({"wire", "what", "size", "links", "gossamer", "ratio to the best", "others"}, lines);
    for (const std::string& line : missing_) text += "not measured: " + line + "\n";
    return text;
  }

  std::string json() const {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const Row& row : rows_) {
      nlohmann::ordered_json one = {{"wire", row.wire}, {"what", row.what}, {"unit", row.what == "bandwidth" ? "B/s" : row.what == "idle" ? "cores" : "us"},
                                    {"size", row.size}, {"links", row.links}, {"median", median(row.ours)}, {"runs", row.ours}};
      for (const auto& [name, values] : row.others) one["others"][name] = {{"median", median(values)}, {"runs", values}};
      if (!row.p99.empty()) one["p99"] = {{"median", median(row.p99)}, {"runs", row.p99}};
      const auto compared = ratio(row);
      one["ratio"] = compared ? nlohmann::ordered_json(*compared) : nlohmann::ordered_json(nullptr);
      all.push_back(std::move(one));
    }
    nlohmann::ordered_json report = {{"repeat", flags_.repeat}, {"memory", flags_.memory}};
    if (device_.memory) report.update({{"device", device_.memory->name()}, {"path", path()}});
    report.update({{"rows", all}, {"not_measured", missing_}});
    return report.dump(2) + "\n";
  }

 private:
  std::string path() const { return device_.is_direct() ? "direct" : "staged"; }
  static std::string names(const std::vector<Wire>& wires) {
    std::string text;
    for (const Wire& wire : wires) text += (text.empty() ? "" : ", ") + wire.name;
    return text;
  }
  static std::string figure(const Row& row, double value) {
    if (row.what == "idle") return fmt::format("{:.3f} % of a core", value * 100);
    return row.what == "bandwidth" ? fmt::format("{:.2f} GB/s", value / 1e9) : fmt::format("{:.2f} us", value);
  }
  static std::string size_text(std::size_t size) {
    if (size % (1 << 20) == 0 && size > 0) return fmt::format("{} MiB", size >> 20);
    if (size % 1024 == 0 && size > 0) return fmt::format("{} KiB", size >> 10);
    return fmt::format("{} B", size);
  }
  void note(const std::string& text) const {
    if (!flags_.json) fmt::print(stderr, "\r{:40}\r{}", "", text);
  }

  Row& row(const std::string& wire, const std::string& what, std::size_t size, std::size_t links) {
    for (Row& row : rows_)
      if (row.wire == wire && row.what == what && row.size == size && row.links == links) return row;
    return rows_.emplace_back(Row{wire, what, size, links, {}, {}});
  }

  // Of a side that sleeps, and what that costs it.
  Result<> sleep(const Wire& wire) {
    if (flags_.wakes > 0) {
      GOSSAMER_TRY_ASSIGN(auto ours, bench::measure_fabric(wire, 1, 8));
      GOSSAMER_TRY_ASSIGN(const bench::Wakes wakes, ours->wakes(flags_.wakes));
      Row& line = row(wire.name, "wake", 0, 1);
      line.ours.push_back(wakes.median);
      line.p99.push_back(wakes.p99);
    }
    if (flags_.idle_seconds <= 0) return {};
    for (const std::size_t links : std::set<std::size_t>{1, flags_.links}) {
      GOSSAMER_TRY_ASSIGN(auto ours, bench::measure_fabric(wire, links, 8));
      GOSSAMER_TRY_ASSIGN(const double share, ours->idle(flags_.idle_seconds));
      row(wire.name, "idle", 0, links).ours.push_back(share);
    }
    return {};
  }

  Result<> once(const Wire& wire) {
    for (const std::uint64_t size : flags_.latency_sizes) {
      GOSSAMER_TRY_ASSIGN(auto ours, bench::measure_fabric(wire, 1, size));
      GOSSAMER_TRY_ASSIGN(const double figure, ours->latency({size, flags_.round_trips}));
      ours.reset();
      Row& line = row(wire.name, "latency", size, 1);
      line.ours.push_back(figure);
      GOSSAMER_TRY(others(wire, {size, flags_.round_trips}, true, &line));
    }
    for (const std::uint64_t size : flags_.sizes)
      for (const std::size_t links : {std::size_t{1}, flags_.links}) {
        if (links > 1 && size > kManyLinksMax) continue;
        GOSSAMER_TRY_ASSIGN(auto ours, bench::measure_fabric(wire, links, size));
        GOSSAMER_TRY_ASSIGN(const double figure, ours->bandwidth(amount_for(size, flags_.volume)));
        ours.reset();
        Row& line = row(wire.name, "bandwidth", size, links);
        line.ours.push_back(figure);
        if (links == 1) GOSSAMER_TRY(others(wire, amount_for(size, flags_.volume), false, &line));
      }
    return device_.memory ? Result<>() : sleep(wire);  // notices are the host's
  }

  Result<> others(const Wire& wire, Amount amount, bool latency, Row* line) {
    const Amount some{amount.size, std::min<std::size_t>(amount.count, 50)};
    if (!latency && device_.memory) {
      GOSSAMER_TRY_ASSIGN(const double figure, bench::device_copy_bandwidth(*device_.memory, some));
      line->others[kDeviceCopy].push_back(figure);
    } else if (!latency) {
      line->others[kMemcpy].push_back(bench::memcpy_bandwidth(some));
    }
    if (!wire.ucx_tls.empty() && has_perftest_ && device_.memory && !ucx_knows_cuda()) {
      has_perftest_ = false;
      missing_.push_back("ucx_perftest -m cuda: this UCX knows no CUDA memory (`gossamer doctor`)");
    }
    if (!wire.ucx_tls.empty() && has_perftest_) {
      for (const std::string test : {"put", "am", "tag", "tag -e"}) {
        const bool told = test.ends_with(" -e");  // of a peer that dies, as our links are; over shared memory UCX cannot
        if (told && (latency || !wire.ucx_tls.starts_with("tcp"))) continue;
        // Emulated by small fragments: 20 MB/s at 64 MB, which is no match and takes minutes.
        if (test == "put" && !latency && wire.ucx_tls.starts_with("tcp") && amount.size > (1 << 20)) continue;
        const std::string name = told ? "tag_bw -e" : (test == "tag" ? "" : "ucp_") + test + (latency ? "_lat" : "_bw");
        const auto figure = bench::ucx_perftest(wire, name, amount);
        if (!figure && figure.error().code == Errc::unsupported) {
          has_perftest_ = false;
          missing_.push_back("ucx_perftest is not installed (Debian: ucx-utils)");
          return {};
        }
        if (!figure && device_.memory) {  // it may have been built without CUDA, though its library was not
          has_perftest_ = false;
          missing_.push_back("ucx_perftest -m cuda: " + figure.error().message);
          return {};
        }
        GOSSAMER_TRY_ASSIGN(const double value, figure);
        line->others[name].push_back(value);
      }
    }
    if (wire.bare_provider.empty()) return {};
    if (latency && has_pingpong_) {
      const auto figure = bench::fi_pingpong(wire, amount);
      if (!figure && figure.error().code == Errc::unsupported) {
        has_pingpong_ = false;
        missing_.push_back("fi_pingpong is not installed (Debian: libfabric-bin)");
      } else {
        GOSSAMER_TRY_ASSIGN(const double value, figure);
        line->others["fi_pingpong"].push_back(value);
      }
    }
    using bench::Bare;
    for (const Bare kind : {Bare::write, Bare::send, Bare::send_with_descriptor}) {
      if (kind == (latency ? Bare::write : Bare::send_with_descriptor)) continue;
      auto bare = bench::measure_bare_libfabric(wire, kind, amount.size);
      if (!bare && bare.error().code == Errc::unsupported) {
        if (kind == Bare::send_with_descriptor) break;
        const std::string reason = wire.name + ": " + bare.error().message;
        if (std::ranges::find(missing_, reason) == missing_.end()) missing_.push_back(reason);
        break;
      }
      GOSSAMER_TRY(bare);
      GOSSAMER_TRY_ASSIGN(const double value, latency ? (*bare)->latency(amount) : (*bare)->bandwidth(amount));
      line->others[kind == Bare::write ? "fi_write" : kind == Bare::send ? "fi_send" : "fi_send, FI_WAIT_FD"].push_back(value);
    }
    return {};
  }

  const Flags& flags_;
  Device device_;
  std::vector<Row> rows_;
  std::vector<std::string> missing_;
  bool has_perftest_ = true, has_pingpong_ = true;
  static constexpr std::size_t kManyLinksMax = 8 << 20;
};

int bench_transport(const Flags& flags) {
  const auto refuse = [](const Error& error) {
    fmt::print(stderr, "gossamer: {}\n", error.message);
    return exit_code(error.code);
  };
  if (!flags.serve.empty()) {
    const auto served = bench::serve(flags.serve);
    return served ? 0 : refuse(served.error());
  }
  Bench bench(flags);
  if (const auto done = bench.run(); !done) return refuse(done.error());
  fmt::print("{}", flags.json ? bench.json() : bench.text());
  return 0;
}

}  // namespace

void add_bench_transport(CLI::App& bench, int* code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand(
      "transport", "Puts between two processes, beside ucx_perftest, fi_pingpong, a bare libfabric loop and memcpy on the same wires");
  command->add_option("--wires", flags->wires, "Only these: loopback, ucx-shm, ucx-tcp, libfabric-shm, libfabric-tcp; with an RDMA device ucx-rc, libfabric-verbs")->delimiter(',')->type_name("WIRES");
  command->add_option("--sizes", flags->sizes, "Bytes per put whose bandwidth is measured")->delimiter(',')->type_name("BYTES")->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 30));
  command->add_option("--latency-sizes", flags->latency_sizes, "Bytes per put whose latency is measured")->delimiter(',')->type_name("BYTES")->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 20));
  command->add_option("--links", flags->links, "How many links share a wire, beside one alone (puts up to 8 MiB)")->type_name("N");
  command->add_option("--repeat", flags->repeat, "Paired measurements; medians are shown")->type_name("N");
  command->add_option("--round-trips", flags->round_trips, "Of one measurement of latency")->type_name("N")->check(CLI::Range(1, 1'000'000));
  command->add_option("--volume", flags->volume, "Bytes that one measurement of bandwidth moves")->type_name("BYTES")->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  command->add_option("--wakes", flags->wakes, "How often one measurement wakes a side that sleeps; 0 leaves it out")->type_name("N")->check(CLI::Range(0, 100'000));
  command->add_option("--idle-seconds", flags->idle_seconds, "How long a fabric waits for nothing while its use of the processor is measured; 0 leaves it out")->type_name("S")->check(CLI::Range(0.0, 600.0));
  command->add_option("--memory", flags->memory, "Where puts come from and go to: host, or cuda (the first device, both sides)")->type_name("KIND")->check(CLI::IsMember({"host", "cuda"}));
  command->add_flag("--staged", flags->staged, "With --memory cuda: through the host's memory at both ends, also where the wire's library knows the device's");
  command->add_flag("--json", flags->json, "All figures, for programs");
  command->add_option("--serve", flags->serve)->group("");  // the other side, started by the bench
  command->callback([flags, code] { *code = bench_transport(*flags); });
}

}  // namespace gossamer
