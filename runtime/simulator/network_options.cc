#include "runtime/simulator/network_options.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/file.h"
#include "base/yaml.h"

namespace gossamer::sim {
namespace {

constexpr NumberRange kProbability{.least = 0, .most = 1};
// A run in which everything is lost never ends.
constexpr NumberRange kLoss{.least = 0, .most = 0.9};
constexpr CountRange kPeers{.most = 0xffffffff};

Delay read_delay(const YamlMap& map, std::string_view key, Delay fallback) {
  const YamlValue value = map.find(key);
  if (!value.present()) return fallback;
  Delay delay;
  if (!value.is_map()) {
    delay.base = value.duration();
    return delay;
  }
  const YamlMap how = value.map();
  if (const YamlValue uniform = how.find("uniform"); uniform.present()) {
    delay.kind = Delay::Kind::uniform;
    const auto ends = uniform.items();
    if (ends.size() != 2) {
      uniform.fail("needs two times; write for instance uniform: [10 us, 50 us]");
      return delay;
    }
    delay.base = ends[0].duration();
    delay.spread = ends[1].duration();
    if (delay.spread < delay.base) uniform.fail("the second time is the larger one; swap them");
  } else if (const YamlValue exponential = how.find("exponential"); exponential.present()) {
    delay.kind = Delay::Kind::exponential;
    delay.spread = exponential.duration();
    delay.base = how.duration("least", Duration{});
  } else if (const YamlValue lognormal = how.find("lognormal"); lognormal.present()) {
    delay.kind = Delay::Kind::lognormal;
    delay.base = lognormal.duration();
    delay.sigma = how.number("sigma", 0.5, {.least = 0, .most = 5});
  } else {
    how.fail("says no distribution; write a time (50 us), or one of uniform, exponential, lognormal");
  }
  return delay;
}

std::optional<Duration> read_restart(const YamlMap& map) {
  const YamlValue value = map.find("restart_after");
  return value.present() ? std::optional(value.duration()) : std::nullopt;
}

std::string restart_text(const std::optional<Duration>& after) {
  return after ? fmt::format(", restart_after: {}", yaml_duration(*after)) : "";
}

double read_bandwidth(const YamlMap& map, std::string_view key) {
  const YamlValue value = map.find(key);
  return value.present() ? static_cast<double>(value.bytes()) : 0;
}

std::string delay_text(const Delay& delay) {
  switch (delay.kind) {
    case Delay::Kind::constant: return yaml_duration(delay.base);
    case Delay::Kind::uniform: return fmt::format("{{uniform: [{}, {}]}}", yaml_duration(delay.base), yaml_duration(delay.spread));
    case Delay::Kind::exponential:
      return fmt::format("{{exponential: {}, least: {}}}", yaml_duration(delay.spread), yaml_duration(delay.base));
    case Delay::Kind::lognormal:
      return fmt::format("{{lognormal: {}, sigma: {}}}", yaml_duration(delay.base), yaml_number(delay.sigma));
  }
  return "";
}

std::string bandwidth_text(double bytes) { return fmt::format("{} B", static_cast<std::uint64_t>(bytes)); }

}  // namespace

Duration Delay::draw(Random& random) const {
  const auto scaled = [](Duration by, double factor) { return Duration(static_cast<std::int64_t>(static_cast<double>(by.count()) * factor)); };
  switch (kind) {
    case Kind::constant: return base;
    case Kind::uniform: return base + scaled(spread - base, random.uniform());
    case Kind::exponential: return base + scaled(spread, random.exponential());
    case Kind::lognormal: return scaled(base, std::exp(sigma * random.normal()));
  }
  return base;
}

Result<NetworkOptions> parse_network(std::string_view yaml, const std::string& origin) {
  GOSSAMER_TRY_ASSIGN(const YamlDocument document, YamlDocument::parse(yaml, origin));
  const YamlMap top = document.root();
  NetworkOptions network;
  network.latency = read_delay(top, "latency", network.latency);
  network.bandwidth = read_bandwidth(top, "bandwidth");
  network.card_bandwidth = read_bandwidth(top, "card_bandwidth");
  network.in_order = top.boolean("in_order", network.in_order);
  network.puts_in_flight_max = top.count("puts_in_flight", network.puts_in_flight_max, {.least = 1, .most = 1 << 20});
  network.resend_after = top.duration("resend_after", network.resend_after, kPositive);
  network.compute = read_delay(top, "compute", network.compute);
  if (top.has("control")) network.control = read_delay(top, "control", {});
  for (const YamlMap& map : top.maps("stragglers"))
    network.stragglers.push_back({static_cast<PeerId>(map.require("peer").count(kPeers)), map.require("factor").number(kPositive)});
  const YamlMap clocks = top.map("clocks");
  network.clock_offset = clocks.duration("offset", network.clock_offset);
  network.clock_drift = clocks.number("drift", network.clock_drift, {.least = 0, .most = 0.1});
  for (const YamlMap& map : top.maps("links")) {
    LinkOptions link;
    link.from = static_cast<PeerId>(map.require("from").count(kPeers));
    link.to = static_cast<PeerId>(map.require("to").count(kPeers));
    link.both_ways = map.boolean("both_ways", true);
    if (map.has("latency")) link.latency = read_delay(map, "latency", {});
    if (map.has("bandwidth")) link.bandwidth = read_bandwidth(map, "bandwidth");
    if (map.has("loss")) link.loss = map.number("loss", 0, kLoss);
    network.links.push_back(std::move(link));
  }
  GOSSAMER_TRY(document.finish());
  return network;
}

Result<FaultPlan> parse_faults(std::string_view yaml, const std::string& origin) {
  GOSSAMER_TRY_ASSIGN(const YamlDocument document, YamlDocument::parse(yaml, origin));
  const YamlMap top = document.root();
  FaultPlan faults;
  faults.loss = top.number("loss", faults.loss, kLoss);
  faults.duplicate = top.number("duplicate", faults.duplicate, kProbability);
  faults.reorder = top.number("reorder", faults.reorder, kProbability);
  faults.reorder_delay = top.duration("reorder_delay", faults.reorder_delay, kPositive);
  faults.refuse = top.number("refuse", faults.refuse, kLoss);
  faults.broken_puts = top.number("broken_puts", faults.broken_puts, kProbability);
  faults.repair = top.boolean("repair", faults.repair);
  for (const YamlMap& map : top.maps("partitions")) {
    CutOptions cut;
    cut.from = map.duration("from", {});
    cut.until = map.require("until").duration(kPositive);
    for (const std::uint64_t peer : map.counts("peers", {}, kPeers)) cut.peers.push_back(static_cast<PeerId>(peer));
    cut.one_way = map.boolean("one_way", false);
    if (cut.peers.empty()) map.fail("names no peers on its one side; write for instance peers: [0, 1]");
    if (cut.until <= cut.from) map.fail("ends before it begins; `until` must be later than `from`");
    faults.partitions.push_back(std::move(cut));
  }
  for (const YamlMap& map : top.maps("pauses"))
    faults.pauses.push_back({static_cast<PeerId>(map.require("peer").count(kPeers)), map.require("at").duration(),
                             map.require("length").duration(kPositive), read_restart(map)});
  for (const YamlMap& map : top.maps("crashes")) {
    CrashOptions crash;
    crash.peer = static_cast<PeerId>(map.require("peer").count(kPeers));
    crash.at = map.require("at").duration();
    const YamlValue noticed = map.find("noticed_after");
    if (noticed.present()) {
      if (noticed.is_scalar() && noticed.text() == "never")
        crash.noticed_after.reset();
      else
        crash.noticed_after = noticed.duration();
    }
    crash.restart_after = read_restart(map);
    faults.crashes.push_back(crash);
  }
  GOSSAMER_TRY(document.finish());
  return faults;
}

Result<NetworkOptions> load_network(const std::string& path) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path, 1 << 20));
  return parse_network(text, path);
}

Result<FaultPlan> load_faults(const std::string& path) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path, 1 << 20));
  return parse_faults(text, path);
}

Result<> validate(const NetworkOptions& network, const FaultPlan& faults, std::size_t peers) {
  const auto check = [&](std::string_view where, PeerId peer) -> Result<> {
    if (peer < peers) return {};
    return fail(Errc::invalid_argument, fmt::format("{} names peer {}, and the run has peers 0 to {}", where, peer, peers - 1));
  };
  for (const StragglerOptions& straggler : network.stragglers) GOSSAMER_TRY(check("network: stragglers", straggler.peer));
  for (const LinkOptions& link : network.links) {
    GOSSAMER_TRY(check("network: links", link.from));
    GOSSAMER_TRY(check("network: links", link.to));
  }
  for (const CutOptions& cut : faults.partitions)
    for (const PeerId peer : cut.peers) GOSSAMER_TRY(check("faults: partitions", peer));
  for (const PauseOptions& pause : faults.pauses) GOSSAMER_TRY(check("faults: pauses", pause.peer));
  for (const CrashOptions& crash : faults.crashes) GOSSAMER_TRY(check("faults: crashes", crash.peer));
  return {};
}

std::string to_yaml(const NetworkOptions& network) {
  std::string text = fmt::format("latency: {}\n", delay_text(network.latency));
  if (network.bandwidth > 0) text += fmt::format("bandwidth: {}\n", bandwidth_text(network.bandwidth));
  if (network.card_bandwidth > 0) text += fmt::format("card_bandwidth: {}\n", bandwidth_text(network.card_bandwidth));
  text += fmt::format("in_order: {}\nputs_in_flight: {}\nresend_after: {}\ncompute: {}\nclocks: {{offset: {}, drift: {}}}\n",
                      network.in_order, network.puts_in_flight_max, yaml_duration(network.resend_after), delay_text(network.compute),
                      yaml_duration(network.clock_offset), yaml_number(network.clock_drift));
  if (network.control) text += fmt::format("control: {}\n", delay_text(*network.control));
  if (!network.stragglers.empty()) text += "stragglers:\n";
  for (const StragglerOptions& one : network.stragglers)
    text += fmt::format("  - {{peer: {}, factor: {}}}\n", one.peer, yaml_number(one.factor));
  if (!network.links.empty()) text += "links:\n";
  for (const LinkOptions& link : network.links) {
    text += fmt::format("  - {{from: {}, to: {}, both_ways: {}", link.from, link.to, link.both_ways);
    if (link.latency) text += fmt::format(", latency: {}", delay_text(*link.latency));
    if (link.bandwidth) text += fmt::format(", bandwidth: {}", bandwidth_text(*link.bandwidth));
    if (link.loss) text += fmt::format(", loss: {}", yaml_number(*link.loss));
    text += "}\n";
  }
  return text;
}

std::string to_yaml(const FaultPlan& faults) {
  std::string text = fmt::format(
      "loss: {}\nduplicate: {}\nreorder: {}\nreorder_delay: {}\nrefuse: {}\nbroken_puts: {}\nrepair: {}\n", yaml_number(faults.loss),
      yaml_number(faults.duplicate), yaml_number(faults.reorder), yaml_duration(faults.reorder_delay), yaml_number(faults.refuse),
      yaml_number(faults.broken_puts), faults.repair);
  if (!faults.partitions.empty()) text += "partitions:\n";
  for (const CutOptions& cut : faults.partitions)
    text += fmt::format("  - {{from: {}, until: {}, peers: [{}], one_way: {}}}\n", yaml_duration(cut.from), yaml_duration(cut.until),
                        fmt::join(cut.peers, ", "), cut.one_way);
  if (!faults.pauses.empty()) text += "pauses:\n";
  for (const PauseOptions& pause : faults.pauses)
    text += fmt::format("  - {{peer: {}, at: {}, length: {}{}}}\n", pause.peer, yaml_duration(pause.at), yaml_duration(pause.length),
                        restart_text(pause.restart_after));
  if (!faults.crashes.empty()) text += "crashes:\n";
  for (const CrashOptions& crash : faults.crashes)
    text += fmt::format("  - {{peer: {}, at: {}, noticed_after: {}{}}}\n", crash.peer, yaml_duration(crash.at),
                        crash.noticed_after ? yaml_duration(*crash.noticed_after) : "never", restart_text(crash.restart_after));
  return text;
}

}  // namespace gossamer::sim
