#include "runtime/run_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/nearest.h"
#include "base/yaml.h"
#include "gossip/algorithms.h"
#include "kernels/quantizer.h"
#include "runtime/presets.h"
#include "runtime/run_file_reader.h"
#include "topologies/family.h"

namespace gossamer {

using run_file_detail::choose;
using run_file_detail::Paths;

namespace {

constexpr Synchrony kSynchronies[] = {Synchrony::bulk, Synchrony::stale, Synchrony::async};
constexpr Overlap kOverlaps[] = {Overlap::none, Overlap::delayed, Overlap::layerwise};
constexpr MembershipMode kMembershipModes[] = {MembershipMode::fixed, MembershipMode::elastic};
constexpr MixingOrder kOrders[] = {MixingOrder::adapt_then_combine, MixingOrder::combine_then_adapt};
constexpr Scope kScopes[] = {Scope::tensor, Scope::model};
constexpr CodecId kCodecs[] = {CodecId::none, CodecId::fp16, CodecId::bf16,     CodecId::fp8,     CodecId::int8,  CodecId::int4,
                               CodecId::qsgd, CodecId::sign, CodecId::terngrad, CodecId::natural, CodecId::top_k, CodecId::threshold, CodecId::random_k,
                               CodecId::low_rank};
constexpr CodecId kValues[] = {CodecId::none, CodecId::fp16, CodecId::bf16, CodecId::fp8, CodecId::int8, CodecId::int4, CodecId::natural};
constexpr Norm kNorms[] = {Norm::max, Norm::two};

// Layers of YamlDocument::set.
constexpr std::uint32_t kFromPreset = 0, kFromEnvironment = 1, kFromFlags = 2;

void read_synchrony(const YamlMap& map, SynchronyOptions* options) {
  options->mode = choose(map, "mode", kSynchronies, options->mode);
  options->local_steps = static_cast<std::uint32_t>(
      map.count("local_steps", options->local_steps, {.least = 1, .most = 1'000'000}));
  if (options->mode == Synchrony::stale)
    options->stale =
        static_cast<std::uint32_t>(map.count("stale", options->stale, {.least = 1, .most = 1'000'000}));
  else
    map.inapplicable("stale", "mode", "means something only with mode: stale; remove it or set that mode");
  if (options->mode == Synchrony::async)
    options->skips_max = static_cast<std::uint32_t>(map.count("skips_max", options->skips_max, {.least = 1, .most = 1'000'000}));
  else
    map.inapplicable("skips_max", "mode", "means something only with mode: async; remove it or set that mode");
}

void read_compression(const YamlMap& map, CompressionOptions* options) {
  options->codec = choose(map, "codec", kCodecs, options->codec);
  const CodecId codec = options->codec;
  const bool sparse = codec == CodecId::top_k || codec == CodecId::random_k, qsgd = codec == CodecId::qsgd;
  const std::string_view word = name(codec);

  if (codec == CodecId::none || codec == CodecId::bf16)
    map.inapplicable("scope", "codec",
                     fmt::format("codec {} treats every number by itself and has no scope; remove it", word));
  else if (codec == CodecId::low_rank)
    map.inapplicable("scope", "codec", "codec low-rank takes the matrices of the model one by one and has no scope; remove it");
  else
    options->scope = choose(map, "scope", kScopes, options->scope);

  if (sparse)
    options->ratio = map.number("ratio", options->ratio, {.least = 0, .most = 1, .above_least = true});
  else
    map.inapplicable("ratio", "codec",
                     fmt::format("codec {} keeps every number; ratio belongs to top-k and random-k", word));

  if (codec == CodecId::threshold)
    options->threshold = map.number("threshold", options->threshold, {.least = 0x1p-80, .most = 0x1p120});
  else
    map.inapplicable("threshold", "codec", fmt::format("codec {} has no threshold; remove it or set codec: threshold", word));
  if (sparse || codec == CodecId::threshold)
    options->values = choose(map, "values", kValues, options->values);
  else
    map.inapplicable("values", "codec", fmt::format("codec {} sends every number; values belongs to top-k, threshold and random-k", word));

  if (codec == CodecId::low_rank) {
    options->rank = static_cast<std::uint32_t>(map.count("rank", options->rank, {.least = 1, .most = 4}));
    options->power_iterations = static_cast<std::uint32_t>(map.count("power_iterations", options->power_iterations, {.least = 0, .most = 8}));
  } else {
    for (const char* key : {"rank", "power_iterations"})
      map.inapplicable(key, "codec", fmt::format("codec {} has no factors; {} belongs to low-rank (and, under mixing, to power-gossip)", word, key));
  }

  if (qsgd) {
    options->norm = choose(map, "norm", kNorms, options->norm);
    const YamlValue bits = map.find("bits"), levels = map.find("levels");
    if (bits.present() && levels.present() && bits.layer() == levels.layer())
      bits.fail("says the same as levels (levels = 2^(bits-1) - 1); keep one of them");
    const bool use_bits = bits.present() && (!levels.present() || bits.layer() > levels.layer());
    if (use_bits) {
      // Where it is refused, count() says 0 and the reading goes on.
      const std::uint64_t count = std::max<std::uint64_t>(bits.count({.least = 2, .most = 8}), 2);
      if (!std::has_single_bit(count)) bits.fail("must be 2, 4 or 8, which fill a byte; levels says any precision up to 8 bits");
      options->levels = (std::uint32_t{1} << (count - 1)) - 1;
    } else if (levels.present()) {
      options->levels = static_cast<std::uint32_t>(levels.count({.least = 1, .most = 127}));
    }
  } else {
    map.inapplicable("norm", "codec", fmt::format("codec {} has no choice of norm; it belongs to qsgd", word));
    for (const char* key : {"bits", "levels"})
      map.inapplicable(key, "codec",
                       fmt::format("codec {} has a fixed precision; {} belongs to qsgd", word, key));
  }

  if (qsgd || codec == CodecId::sign)
    options->one_scale =
        map.choice<bool>("scales", {{"per-block", false}, {"single", true}}, options->one_scale);
  else
    map.inapplicable("scales", "codec", fmt::format("codec {} has no choice of scales; it belongs to qsgd and sign", word));

  if (qsgd || codec == CodecId::random_k || codec == CodecId::terngrad)
    options->unbiased = map.boolean("unbiased", options->unbiased);
  else
    map.inapplicable("unbiased", "codec",
                     fmt::format("codec {} has no choice of bias; random-k, qsgd and terngrad have it", word));
}

void read_mixing(const YamlMap& map, MixingOptions* options) {
  options->step_size =
      map.number("step_size", options->step_size, {.least = 0, .most = 1, .above_least = true});
  options->order = choose(map, "order", kOrders, options->order);
  options->weigh_by_samples = map.boolean("weigh_by_samples", options->weigh_by_samples);
  options->replicas = map.choice<std::string>(
      "replicas", {{"auto", "auto"}, {"per-edge", "per-edge"}, {"aggregate", "aggregate"}},
      options->replicas);
  options->verify_replicas = map.boolean("verify_replicas", options->verify_replicas);
  options->momentum = map.number("momentum", options->momentum, {.least = 0, .most = 1, .below_most = true});
  options->clip = map.number("clip", options->clip, {.least = 0});
  options->rank = map.count("rank", options->rank, {.least = 1, .most = 64});
  options->power_iterations = map.count("power_iterations", options->power_iterations, {.least = 1, .most = 64});
}

void read_transport(const YamlMap& map, TransportOptions* options) {
  options->kind = map.choice<std::string>("kind", {{"ucx", "ucx"}, {"libfabric", "libfabric"}, {"loopback", "loopback"}}, options->kind);
  options->checksum = map.boolean("checksum", options->checksum);
  options->lend = map.boolean("lend", options->lend);
  options->spin = map.duration("spin", options->spin, {.least = 0, .most = 60});
  options->interface = map.text("interface", options->interface);
  if (options->kind == "ucx")
    options->tls = map.text("tls", options->tls);
  else
    map.inapplicable("tls", "kind", "is a setting of UCX; it belongs to kind: ucx");
  if (options->kind == "libfabric")
    options->provider = map.text("provider", options->provider);
  else
    map.inapplicable("provider", "kind", "is a setting of libfabric; it belongs to kind: libfabric");
}

void read_deadlines(const YamlMap& map, DeadlineOptions* options) {
  // A deadline of years is a mistake, and would overflow where deadlines are added up.
  constexpr NumberRange kRange{.least = 0, .most = 31'536'000, .above_least = true};
  options->join = map.duration("join", options->join, kRange);
  options->heartbeat = map.duration("heartbeat", options->heartbeat, kRange);
  options->silence = map.duration("silence", options->silence, kRange);
  options->round = map.duration("round", options->round, kRange);
  if (options->silence < 3 * options->heartbeat) {
    const YamlValue silence = map.find("silence"), heartbeat = map.find("heartbeat");
    (silence.present() ? silence : heartbeat)
        .fail(fmt::format(
            "peers that say every {} that they live would be taken for dead after {}; make silence at "
            "least three times the heartbeat",
            yaml_duration(options->heartbeat), yaml_duration(options->silence)));
  }
}

void read_membership(const YamlMap& map, MembershipOptions* options) {
  options->mode = choose(map, "mode", kMembershipModes, options->mode);
  if (options->mode == MembershipMode::elastic) {
    options->restarts = map.count("restarts", options->restarts, {.least = 0, .most = 1'000'000});
    options->restart_after = map.duration("restart_after", options->restart_after, {.least = 0, .most = 86'400});
  } else {
    for (const char* key : {"restarts", "restart_after"})
      map.inapplicable(key, "mode", "peers return to a run only with mode: elastic");
  }
}

void read_report(const YamlMap& map, ReportOptions* options) {
  options->interval_steps = map.count("interval_steps", options->interval_steps);
  options->evaluate_every_epochs =
      map.number("evaluate_every_epochs", options->evaluate_every_epochs, kNotNegative);
  options->save_models = map.boolean("save_models", options->save_models);
}

// What the file leaves open about the graph comes from the preset.
void complete_topology(YamlDocument& document, const RunFile& preset) {
  const std::string origin = fmt::format("the preset of {}", preset.algorithm);
  const YamlValue topology = document.root().find("topology");
  if (topology.present() && !topology.is_map()) return;  // which is an error that reading it will tell
  const auto absent = [&](std::initializer_list<const char*> keys) {
    return std::none_of(keys.begin(), keys.end(),
                        [&](const char* key) { return topology.present() && topology.map().has(key); });
  };
  // Neither can fail: `topology` is a mapping or will be one.
  const bool needs_graph = absent({"file", "family", "edges", "graph", "schedule"});
  const bool needs_peers = absent({"file", "peers"});
  if (needs_graph)
    (void)document.set("topology.family", preset.topology.schedule.front().family, origin, kFromPreset);
  if (needs_peers)
    (void)document.set("topology.peers", std::to_string(preset.topology.peers), origin, kFromPreset);
  const Family* family = absent({"family"}) ? nullptr : find_family(topology.map().text("family", ""));
  const bool own_weights = family != nullptr && family->own_weights;
  if (preset.topology.weights != WeightRule::standard && !own_weights && absent({"file", "edges", "graph", "schedule", "weights"}))
    (void)document.set("topology.weights", std::string(name(preset.topology.weights)), origin, kFromPreset);
}

// Everything but `name`, which needs the file's.  Errors are left in the document.
RunFile read(YamlDocument& document, const Paths& paths) {
  RunFile run;
  const YamlMap top = document.root();
  run.name = top.text("name", "");
  if (top.has("name") && (run.name.empty() || run.name.find('/') != std::string::npos))
    top.find("name").fail("is part of a folder's name; write a word without /");

  std::vector<std::string_view> words;
  for (const Algorithm& algorithm : algorithms()) words.push_back(algorithm.name);
  if (const YamlValue value = top.find("algorithm"); value.present())
    if (const std::size_t index = value.choice(words); index < words.size()) run.algorithm = words[index];
  const Algorithm* algorithm = find_algorithm(run.algorithm);
  if (algorithm != nullptr) apply_preset(*algorithm, run);

  run.seed = top.count("seed", run.seed);
  if (algorithm != nullptr) complete_topology(document, run);
  const YamlMap topology = top.map("topology");
  run.topology =
      read_topology(topology, topology.find("file").layer() == kFromPreset ? paths.file_folder : "");
  read_synchrony(top.map("synchrony"), &run.synchrony);
  read_compression(top.map("compression"), &run.compression);
  read_mixing(top.map("mixing"), &run.mixing);
  run.overlap = choose(top, "overlap", kOverlaps, run.overlap);
  if (run.overlap == Overlap::layerwise)
    run.bucket_mib = top.number("bucket_mib", run.bucket_mib, {.least = 0, .most = 65536, .above_least = true});
  else
    top.inapplicable("bucket_mib", "overlap", "means something only with overlap: layerwise; remove it or set that overlap");
  run_file_detail::read_trainer(top.map("trainer"), paths, &run.trainer);
  if (const YamlValue slow = top.map("trainer").map("slow").find("peer"); slow.present() && run.trainer.slow.peer >= run.topology.peers)
    slow.fail(fmt::format("there is no peer {} among {}; ranks begin at 0", run.trainer.slow.peer, run.topology.peers));
  read_transport(top.map("transport"), &run.transport);
  read_deadlines(top.map("deadlines"), &run.deadlines);
  read_membership(top.map("membership"), &run.membership);
  if (run.membership.mode == MembershipMode::elastic && run.deadlines.round <= run.deadlines.silence) {
    const YamlValue round = top.map("deadlines").find("round"), silence = top.map("deadlines").find("silence");
    (round.present() ? round : silence)
        .fail(fmt::format("a round that waits for a paused peer would end the run after {}, before the peer is taken for dead after {} and the "
                          "others go on (membership.mode: elastic); make round longer than silence",
                          yaml_duration(run.deadlines.round), yaml_duration(run.deadlines.silence)));
  }
  read_report(top.map("report"), &run.report);
  return run;
}

Result<> apply_environment(const Environment& environment, YamlDocument* document) {
  const std::vector<std::string> keys = run_file_keys();
  std::vector<std::string> variables(std::begin(kReservedVariables), std::end(kReservedVariables));
  for (const std::string& key : keys) variables.push_back(variable_of(key));
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("GOSSAMER_")) continue;
    const auto known = std::find(variables.begin(), variables.end(), variable);
    if (known == variables.end())
      return fail(Errc::invalid_argument,
                  fmt::format("environment variable {} stands for no key of the run file; {}", variable,
                              suggestion(variable, variables)));
    const auto index = static_cast<std::size_t>(known - variables.begin());
    if (index < std::size(kReservedVariables)) continue;
    GOSSAMER_TRY(document->set(keys[index - std::size(kReservedVariables)], value,
                               fmt::format("environment variable {}={}", variable, value), kFromEnvironment));
  }
  return {};
}

Result<RunFile> parse(std::string_view text, const std::string& origin, const Overrides& overrides,
                      Paths paths) {
  GOSSAMER_TRY_ASSIGN(YamlDocument document, YamlDocument::parse(text, origin));
  const Environment environment = overrides.environment ? *overrides.environment : own_environment();
  GOSSAMER_TRY(apply_environment(environment, &document));
  for (const auto& [key, value] : overrides.sets)
    GOSSAMER_TRY(document.set(key, value, fmt::format("--set {}={}", key, value), kFromFlags));
  if (overrides.peers)
    GOSSAMER_TRY(document.set("topology.peers", std::to_string(*overrides.peers),
                              fmt::format("--peers {}", *overrides.peers), kFromFlags));
  paths.file_folder = std::filesystem::path(origin).parent_path().string();
  paths.data_folder = value_of(environment, "GOSSAMER_DATA");
  RunFile run = read(document, paths);
  GOSSAMER_TRY(document.finish());
  if (run.name.empty()) run.name = std::filesystem::path(origin).stem().string();
  if (run.name.empty()) run.name = "run";
  return run;
}

}  // namespace

namespace run_file_detail {

std::string Paths::resolve(const YamlValue& value) const {
  namespace fs = std::filesystem;
  const std::string text = value.text();
  if (text.empty()) {
    value.fail("is empty; write the path of a file");
    return {};
  }
  std::error_code error;
  // What somebody types on the command line is meant from where they are.
  const fs::path beside = value.layer() == 0 ? fs::path(file_folder) / text : fs::path(text);
  fs::path path = beside;
  if (!fs::exists(beside, error) && !data_folder.empty() && fs::exists(fs::path(data_folder) / text, error))
    path = fs::path(data_folder) / text;
  path = fs::absolute(path, error).lexically_normal();
  if (check && !fs::is_regular_file(path, error))
    value.fail(fmt::format("there is no file {}; check the path (a relative one in a run file is relative to the run "
                           "file's folder, else to the folder in GOSSAMER_DATA)",
                           path.string()),
               Errc::not_found);
  return path.string();
}

}  // namespace run_file_detail

Result<RunFile> load_run_file(const std::string& path, const Overrides& overrides) {
  GOSSAMER_TRY_ASSIGN(const std::string text, read_file(path, 16u << 20));
  return parse(text, path, overrides, {.check = true});
}

Result<RunFile> parse_run_file(std::string_view text, const std::string& origin, const Overrides& overrides) {
  return parse(text, origin, overrides, {});
}

std::vector<std::string> run_file_keys() {
  // The reader itself knows best: an empty file makes it ask for everything.
  auto document = YamlDocument::parse("", "run file");
  std::vector<std::string> leaves;
  if (!document) return leaves;
  read(*document, {});
  const std::vector<std::string> known = document->known_keys();
  for (const std::string& key : known) {
    const bool is_map = std::any_of(known.begin(), known.end(),
                                    [&](const std::string& other) { return other.starts_with(key + "."); });
    if (!is_map) leaves.push_back(key);
  }
  return leaves;
}

std::string variable_of(std::string_view key) {
  std::string variable = "GOSSAMER_";
  for (const char c : key)
    variable += c == '.' || c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return variable;
}

std::string_view name(Synchrony mode) {
  switch (mode) {
    case Synchrony::bulk:
      return "bulk";
    case Synchrony::stale:
      return "stale";
    case Synchrony::async:
      return "async";
  }
  return "unknown";
}

std::string_view name(MembershipMode mode) {
  switch (mode) {
    case MembershipMode::fixed: return "fixed";
    case MembershipMode::elastic: return "elastic";
  }
  return "unknown";
}

std::string_view name(Overlap overlap) {
  switch (overlap) {
    case Overlap::none:
      return "none";
    case Overlap::delayed:
      return "delayed";
    case Overlap::layerwise:
      return "layerwise";
  }
  return "unknown";
}

std::string_view name(MixingOrder order) {
  switch (order) {
    case MixingOrder::adapt_then_combine:
      return "adapt-then-combine";
    case MixingOrder::combine_then_adapt:
      return "combine-then-adapt";
  }
  return "unknown";
}

std::string_view name(CodecId codec) { return codec_name(codec); }

std::string_view name(Norm norm) {
  return norm == Norm::two ? "two" : "max";
}

std::string_view name(Scope scope) {
  switch (scope) {
    case Scope::tensor:
      return "tensor";
    case Scope::model:
      return "model";
  }
  return "unknown";
}

}  // namespace gossamer
