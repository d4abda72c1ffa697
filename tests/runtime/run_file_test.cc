#include "runtime/run_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "base/random.h"
#include "gossip/algorithms.h"
#include "runtime/check_run.h"
#include "runtime/presets.h"

namespace gossamer {
namespace {

constexpr std::string_view kSmall = "trainer: {task: quadratic}\n";

Overrides no_environment() {
  return {.environment = Environment{}};
}

RunFile parsed(std::string_view text, const Overrides& overrides = no_environment()) {
  auto run = parse_run_file(text, "folder/ring.yaml", overrides);
  EXPECT_TRUE(run) << run.error().message;
  return run.value_or(RunFile{});
}

std::string refusal(std::string_view text, const Overrides& overrides = no_environment()) {
  const auto run = parse_run_file(text, "run.yaml", overrides);
  if (run) return "no error";
  EXPECT_EQ(run.error().code, Errc::invalid_argument);
  return run.error().message;
}

TEST(RunFile, ReadsTheWholeShape) {
  const RunFile run = parsed(R"(
algorithm: choco-sgd
topology: {family: one-peer-hypercube, peers: 8}
synchrony: {mode: bulk, local_steps: 3}
compression: {codec: qsgd, bits: 8, scope: model}
mixing: {step_size: 0.25}
overlap: delayed
trainer:
  task: mlp
  hidden: [128, 64]
  data: {format: idx, images: a.gz, labels: /b.gz, test_fraction: 0.25}
  partition: {scheme: dirichlet, alpha: 0.1}
  optimizer: {name: sgd, learning_rate: 0.2, momentum: 0.9}
  batch_size: 16
  epochs: 7
transport: {kind: ucx, interface: eth0}
deadlines: {join: 5 s, silence: 2500 ms, heartbeat: 500 ms}
report: {interval_steps: 25, save_models: false}
seed: 18446744073709551615
)");
  EXPECT_EQ(run.name, "ring");
  EXPECT_EQ(run.algorithm, "choco-sgd");
  EXPECT_EQ(run.topology.peers, 8u);
  ASSERT_EQ(run.topology.schedule.size(), 1u);
  EXPECT_EQ(run.topology.schedule[0].family, "one-peer-hypercube");
  EXPECT_EQ(run.synchrony.local_steps, 3u);
  EXPECT_EQ(run.compression.codec, CodecId::qsgd);
  EXPECT_EQ(run.compression.levels, 127u);
  EXPECT_EQ(run.compression.scope, Scope::model);
  EXPECT_EQ(run.mixing.step_size, 0.25);
  EXPECT_EQ(run.overlap, Overlap::delayed);
  EXPECT_EQ(run.trainer.task.hidden, (std::vector<std::size_t>{128, 64}));
  EXPECT_EQ(run.trainer.data.images, (std::filesystem::current_path() / "folder/a.gz").string())
      << "relative to the run file";
  EXPECT_EQ(run.trainer.data.labels, "/b.gz");
  EXPECT_EQ(run.trainer.data.test_fraction, 0.25);
  EXPECT_EQ(run.trainer.partition.alpha, 0.1);
  EXPECT_EQ(run.trainer.optimizer.momentum, 0.9);
  EXPECT_EQ(run.trainer.batch_size, 16u);
  EXPECT_EQ(run.trainer.epochs, 7);
  EXPECT_EQ(run.transport.interface, "eth0");
  EXPECT_EQ(run.deadlines.silence, std::chrono::milliseconds(2500));
  EXPECT_EQ(run.report.interval_steps, 25u);
  EXPECT_FALSE(run.report.save_models);
  EXPECT_EQ(run.seed, 18446744073709551615u);
}

TEST(RunFile, AnAlgorithmWithoutAPresetGetsTheSimplestGraphThatItCanWorkWith) {
  for (const auto& [shape, family] : {std::pair{Shape::any, "ring"}, {Shape::tree, "binary-tree"}, {Shape::star, "star"}}) {
    RunFile run;
    apply_preset({.name = "no such preset", .shape = shape, .asynchronous = true}, run);
    EXPECT_EQ(run.topology.schedule.front().family, family);
    EXPECT_EQ(run.synchrony.mode, Synchrony::async);
  }
}

TEST(RunFile, AnAlgorithmsNameIsACompleteChoice) {
  for (const Algorithm& algorithm : algorithms()) {
    const RunFile run = parsed("algorithm: " + std::string(algorithm.name) + "\n" + std::string(kSmall));
    EXPECT_EQ(run.algorithm, algorithm.name);
    EXPECT_GE(run.topology.peers, 2u);
    const auto fits = check_run(run);
    EXPECT_TRUE(fits) << algorithm.name << ": " << fits.error().message;
  }
  for (const Preset& preset : presets()) EXPECT_NE(find_algorithm(preset.algorithm), nullptr) << preset.algorithm;
  const RunFile choco = parsed("algorithm: choco-sgd\n" + std::string(kSmall));
  EXPECT_EQ(choco.compression.codec, CodecId::qsgd);
  EXPECT_EQ(choco.compression.levels, 7u);
  EXPECT_EQ(choco.mixing.step_size, 0.4);
  EXPECT_EQ(parsed("algorithm: d-psgd\n" + std::string(kSmall)).compression.codec, CodecId::none);
}

// Once such a run was refused for lazy weights, which nobody had written.
TEST(RunFile, APresetsWeightsAreNotForFamiliesThatBringTheirs) {
  const RunFile changing = parsed("algorithm: d2\ntopology: {family: one-peer-hypercube, peers: 8}\n" + std::string(kSmall));
  EXPECT_EQ(changing.topology.weights, WeightRule::standard);
  const auto fits = check_run(changing);
  ASSERT_FALSE(fits);
  EXPECT_NE(fits.error().message.find("never changes"), std::string::npos) << fits.error().message;
  EXPECT_EQ(parsed("algorithm: d2\ntopology: {family: torus, peers: 16}\n" + std::string(kSmall)).topology.weights, WeightRule::lazy);
}

TEST(RunFile, AnyPartOfAPresetIsOverridden) {
  const RunFile run =
      parsed("algorithm: choco-sgd\ncompression: {codec: top-k, ratio: 0.05}\ntopology: {peers: 6}\n" +
             std::string(kSmall));
  EXPECT_EQ(run.compression.codec, CodecId::top_k);
  EXPECT_EQ(run.compression.ratio, 0.05);
  EXPECT_EQ(run.mixing.step_size, 0.4) << "what the file does not say stays";
  EXPECT_EQ(run.topology.schedule[0].family, "ring");
  EXPECT_EQ(run.topology.peers, 6u);
}

TEST(RunFile, FlagWinsOverEnvironmentOverFileOverPresetOverDefault) {
  const std::string file = "algorithm: choco-sgd\nmixing: {step_size: 0.3}\n" + std::string(kSmall);
  Overrides overrides{.environment = Environment{{"HOME", "/"}, {"GOSSAMER_LOG", "debug"}}};
  EXPECT_EQ(RunFile{}.mixing.step_size, 1) << "default";
  EXPECT_EQ(parsed("algorithm: choco-sgd\n" + std::string(kSmall), overrides).mixing.step_size, 0.4)
      << "preset";
  EXPECT_EQ(parsed(file, overrides).mixing.step_size, 0.3) << "file";
  (*overrides.environment)["GOSSAMER_MIXING_STEP_SIZE"] = "0.2";
  EXPECT_EQ(parsed(file, overrides).mixing.step_size, 0.2) << "environment";
  overrides.sets = {{"mixing.step_size", "0.1"}};
  EXPECT_EQ(parsed(file, overrides).mixing.step_size, 0.1) << "flag";
  overrides.peers = 5;
  EXPECT_EQ(parsed(file, overrides).topology.peers, 5u);
  overrides.sets = {{"algorithm", "d-psgd"}};
  EXPECT_EQ(parsed(file, overrides).compression.codec, CodecId::none)
      << "the preset is that of the final algorithm";
}

TEST(RunFile, AFlagThatSwitchesTheCodecSwitchesOffTheFilesSettingsOfTheOther) {
  Overrides overrides = no_environment();
  const std::string file = "compression: {codec: qsgd, bits: 2}\n" + std::string(kSmall);
  overrides.sets = {{"compression.codec", "top-k"}, {"compression.ratio", "0.5"}};
  EXPECT_EQ(parsed(file, overrides).compression.ratio, 0.5);
  overrides.sets = {{"compression.codec", "top-k"}, {"compression.bits", "2"}};
  EXPECT_EQ(
      refusal(file, overrides),
      "--set compression.bits=2: compression.bits: codec top-k has a fixed precision; bits belongs to qsgd");
}

TEST(RunFile, AnUnknownVariableIsAnErrorThatSuggestsTheNearest) {
  Overrides overrides{.environment = Environment{{"GOSSAMER_TRAINER_EPOCH", "3"}}};
  EXPECT_EQ(refusal(kSmall, overrides),
            "environment variable GOSSAMER_TRAINER_EPOCH stands for no key of the run file; did you mean "
            "`GOSSAMER_TRAINER_EPOCHS`?");
  overrides.environment = Environment{{"GOSSAMER_TRAINER_EPOCHS", "-3"}};
  EXPECT_EQ(refusal(kSmall, overrides),
            "environment variable GOSSAMER_TRAINER_EPOCHS=-3: trainer.epochs: -3 is out of range; it must be "
            "greater than 0");
  overrides.environment = Environment{{"GOSSAMER_RANK", "0"},
                                      {"GOSSAMER_PEERS", "1"},
                                      {"GOSSAMER_RENDEZVOUS", "x"},
                                      {"GOSSAMER_DATA", "x"},
                                      {"GOSSAMER_LOG", "x"}};
  EXPECT_EQ(refusal(kSmall, overrides), "no error") << "reserved for other uses";
}

TEST(RunFile, VariablesStandForOneKeyEach) {
  std::set<std::string> variables(std::begin(kReservedVariables), std::end(kReservedVariables));
  const auto keys = run_file_keys();
  EXPECT_GT(keys.size(), 50u);
  for (const std::string& key : keys) EXPECT_TRUE(variables.insert(variable_of(key)).second) << key;
  EXPECT_EQ(variable_of("trainer.batch_size"), "GOSSAMER_TRAINER_BATCH_SIZE");
}

struct Bad {
  const char* text;
  const char* message;
};

class BadRunFile : public testing::TestWithParam<Bad> {};

TEST_P(BadRunFile, IsRefusedWithPlaceCauseAndRemedy) {
  std::string wanted = GetParam().message;
  if (const auto at = wanted.find("{algorithms}"); at != std::string::npos) {
    std::string names;
    for (const Algorithm& algorithm : algorithms()) names += (names.empty() ? "" : ", ") + std::string(algorithm.name);
    wanted.replace(at, std::string("{algorithms}").size(), names);
  }
  EXPECT_EQ(refusal(std::string(GetParam().text) + "\n"), wanted);
}

#define QUADRATIC "trainer: {task: quadratic}\n"
INSTANTIATE_TEST_SUITE_P(
    All, BadRunFile,
    testing::Values(
        Bad{QUADRATIC "algoritm: d-psgd", "run.yaml:2:1: algoritm: unknown key; did you mean `algorithm`?"},
        Bad{"trainer: {task: quadratic, epocs: 3}",
            "run.yaml:1:28: trainer.epocs: unknown key; did you mean `epochs`?"},
        Bad{QUADRATIC "algorithm: d-pgsd",
            "run.yaml:2:12: algorithm: `d-pgsd` is not known here; did you mean `d-psgd`? choose one of: "
            "{algorithms}"},
        Bad{QUADRATIC "compression: {codec: top-k, ratio: 0}",
            "run.yaml:2:36: compression.ratio: 0 is out of range; it must be in (0, 1]"},
        Bad{QUADRATIC "compression: {codec: qsgd, bits: 17}",
            "run.yaml:2:34: compression.bits: 17 is out of range; it must be in [2, 8]"},
        Bad{QUADRATIC "compression: {codec: qsgd, bits: 5}",
            "run.yaml:2:34: compression.bits: must be 2, 4 or 8, which fill a byte; levels says any precision up to 8 bits"},
        Bad{QUADRATIC "compression: {codec: int8, scales: single}",
            "run.yaml:2:36: compression.scales: codec int8 has no choice of scales; it belongs to qsgd and sign"},
        Bad{QUADRATIC "compression: {codec: sign, norm: two}",
            "run.yaml:2:34: compression.norm: codec sign has no choice of norm; it belongs to qsgd"},
        Bad{QUADRATIC "compression: {codec: qsgd, bits: 4, levels: 15}",
            "run.yaml:2:34: compression.bits: says the same as levels (levels = 2^(bits-1) - 1); keep one of "
            "them"},
        Bad{QUADRATIC "compression: {codec: top-k, bits: 4}",
            "run.yaml:2:35: compression.bits: codec top-k has a fixed precision; bits belongs to qsgd"},
        Bad{QUADRATIC "synchrony: {local_steps: 0}",
            "run.yaml:2:26: synchrony.local_steps: 0 is out of range; it must be in [1, 1000000]"},
        Bad{QUADRATIC "synchrony: {skips_max: 2}",
            "run.yaml:2:24: synchrony.skips_max: means something only with mode: async; remove it or set that "
            "mode"},
        Bad{QUADRATIC "synchrony: {mode: async, skips_max: 0}", "run.yaml:2:37: synchrony.skips_max: 0 is out of range; it must be in [1, 1000000]"},
        Bad{QUADRATIC "synchrony: {stale: 2}",
            "run.yaml:2:20: synchrony.stale: means something only with mode: stale; remove it or set that "
            "mode"},
        Bad{QUADRATIC "mixing: {step_size: 1.5}",
            "run.yaml:2:21: mixing.step_size: 1.5 is out of range; it must be in (0, 1]"},
        Bad{QUADRATIC "overlap: delay",
            "run.yaml:2:10: overlap: `delay` is not known here; did you mean `delayed`? choose one of: none, "
            "delayed, "
            "layerwise"},
        Bad{QUADRATIC "bucket_mib: 4",
            "run.yaml:2:13: bucket_mib: means something only with overlap: layerwise; remove it or set that overlap"},
        Bad{QUADRATIC "deadlines: {heartbeat: 10 s, silence: 11 s}",
            "run.yaml:2:39: deadlines.silence: peers that say every 10 s that they live would be taken for "
            "dead after "
            "11 s; make silence at least three times the heartbeat"},
        Bad{QUADRATIC "membership: {mode: elastic}\ndeadlines: {silence: 10 s, round: 8 s}",
            "run.yaml:3:35: deadlines.round: a round that waits for a paused peer would end the run after 8 s, before the peer is taken for "
            "dead after 10 s and the others go on (membership.mode: elastic); make round longer than silence"},
        Bad{QUADRATIC "name: a/b", "run.yaml:2:7: name: is part of a folder's name; write a word without /"},
        Bad{QUADRATIC "transport: {kind: ucx, provider: tcp}",
            "run.yaml:2:34: transport.provider: is a setting of libfabric; it belongs to kind: libfabric"},
        Bad{QUADRATIC "transport: {kind: loopback, tls: tcp}",
            "run.yaml:2:34: transport.tls: is a setting of UCX; it belongs to kind: ucx"},
        Bad{"trainer: {task: mlp}", "run.yaml:1:10: trainer.data.format: is missing; add it"},
        Bad{"trainer: {task: mlp, data: {format: idx, images: a}}",
            "run.yaml:1:28: trainer.data.labels: is missing; add it"},
        Bad{"trainer: {task: mlp, data: {format: csv, file: a, images: b}}",
            "run.yaml:1:59: trainer.data.images: belongs to format idx"},
        Bad{"trainer: {task: quadratic, hidden: [3]}",
            "run.yaml:1:36: trainer.hidden: means nothing for task quadratic; it belongs to mlp"},
        Bad{"trainer: {task: quadratic, optimizer: {name: adamw, momentum: 0.9}}",
            "run.yaml:1:63: trainer.optimizer.momentum: belongs to optimizer sgd; adamw's momentum is beta1"},
        Bad{"trainer: {task: quadratic, optimizer: {nesterov: true}}",
            "run.yaml:1:39: trainer.optimizer: nesterov needs momentum; set momentum (0.9, say) or leave "
            "nesterov off"},
        Bad{"trainer: {task: quadratic, schedule: {kind: step, milestones: [3, 2]}}",
            "run.yaml:1:38: trainer.schedule: milestone 2 is 2; milestones must be above 0 and ascend"},
        Bad{"trainer: {task: quadratic, batch_size: 0}",
            "run.yaml:1:40: trainer.batch_size: 0 is out of range; it must be in [1, 1000000000]"},
        Bad{"trainer: {task: quadratic", "run.yaml:2:1: not YAML: end of map flow not found"},
        Bad{QUADRATIC "seed: -1", "run.yaml:2:7: seed: -1 is out of range; it must be at least 0"},
        Bad{"- a", "run.yaml:1:1: is a list; write a mapping such as {key: value}"},
        Bad{QUADRATIC "topology: ring",
            "run.yaml:2:11: topology: is a single value; write a mapping such as {key: value}"}));

TEST(RunFile, AMisspeltFamilyIsRefusedWithItsLine) {
  const std::string message = refusal("topology: {family: rng, peers: 4}\n" + std::string(kSmall));
  EXPECT_EQ(message.rfind("run.yaml:1:", 0), 0u) << message;
  EXPECT_NE(message.find("ring"), std::string::npos) << message;
}

// A run with every choice drawn at random.
RunFile random_run(std::uint64_t seed) {
  Random random(seed, Purpose::test);
  const auto pick = [&](auto... values) {
    using T = std::common_type_t<decltype(values)...>;
    const T all[] = {values...};
    return all[random.below(sizeof...(values))];
  };
  const auto real = [&](double most) { return most * (1e-9 + random.uniform()); };
  RunFile run;
  run.name = pick("a", "true", "x y", "7");
  run.algorithm = pick("all-reduce", "d-psgd", "choco-sgd");
  if (const Preset* preset = find_preset(run.algorithm)) preset->apply(run);
  run.topology = family_spec(pick("ring", "complete", "torus"), 3 * (2 + random.below(4)));
  run.topology.seed = random.bits64();
  run.seed = random.bits64();
  run.synchrony.mode = pick(Synchrony::bulk, Synchrony::stale, Synchrony::async);
  run.synchrony.local_steps = static_cast<std::uint32_t>(1 + random.below(100));
  if (run.synchrony.mode == Synchrony::stale)
    run.synchrony.stale = static_cast<std::uint32_t>(1 + random.below(9));
  if (run.synchrony.mode == Synchrony::async) run.synchrony.skips_max = static_cast<std::uint32_t>(1 + random.below(20));
  CompressionOptions& c = run.compression;
  c.codec = pick(CodecId::none, CodecId::fp16, CodecId::bf16, CodecId::top_k, CodecId::random_k,
                 CodecId::sign, CodecId::qsgd, CodecId::fp8, CodecId::int8, CodecId::int4, CodecId::terngrad, CodecId::natural, CodecId::threshold,
                 CodecId::low_rank);
  if (c.codec != CodecId::none && c.codec != CodecId::bf16 && c.codec != CodecId::low_rank) c.scope = pick(Scope::tensor, Scope::model);
  if (c.codec == CodecId::top_k || c.codec == CodecId::random_k) c.ratio = real(0.9);
  if (c.codec == CodecId::threshold) c.threshold = real(0.9);
  if (c.codec == CodecId::low_rank) {
    c.rank = static_cast<std::uint32_t>(1 + random.below(4));
    c.power_iterations = static_cast<std::uint32_t>(random.below(9));
  }
  if (c.codec == CodecId::top_k || c.codec == CodecId::random_k || c.codec == CodecId::threshold) c.values = pick(CodecId::none, CodecId::int8, CodecId::fp16);
  if (c.codec == CodecId::qsgd) {
    c.levels = random.below(2) == 0 ? static_cast<std::uint32_t>(1 + random.below(127)) : pick(1u, 7u, 127u);
    c.norm = pick(Norm::max, Norm::two);
  }
  if (c.codec == CodecId::qsgd || c.codec == CodecId::sign) c.one_scale = random.below(2) == 0;
  if (c.codec == CodecId::qsgd || c.codec == CodecId::random_k || c.codec == CodecId::terngrad) c.unbiased = random.below(2) == 0;
  run.mixing = {real(0.9), pick(MixingOrder::adapt_then_combine, MixingOrder::combine_then_adapt),
                random.below(2) == 0, pick("auto", "per-edge", "aggregate")};
  run.overlap = pick(Overlap::none, Overlap::delayed, Overlap::layerwise);
  if (run.overlap == Overlap::layerwise) run.bucket_mib = 1e-3 + real(100);
  TrainerOptions& t = run.trainer;
  t.task.kind = pick("quadratic", "linear", "logistic", "mlp");
  if (t.task.kind == "quadratic") {
    t.task.dimension = 1 + random.below(1000);
    t.task.tensors = 1 + random.below(t.task.dimension);
    t.task.condition = 1 + real(1e6);
    t.task.noise = real(3);
    t.task.heterogeneity = real(3);
    t.task.steps_per_epoch = 1 + random.below(1000);
  } else {
    t.task.l2 = real(1e-3);
    t.data.format = pick("idx", "csv", "libsvm");
    if (t.data.format == "idx") {
      t.data.images = "/data/a b: #.gz";
      t.data.labels = "/data/\"l\\\".gz";
    } else {
      t.data.file = "/data/x.csv";
      if (random.below(2) == 0) t.data.test_file = "/data/y.csv";
    }
    if (t.data.format == "csv") {
      t.data.label_column = pick("first", "last");
      t.data.header = random.below(2) == 0;
      t.data.separator = pick(",", ";", "tab", "#", ":");
    }
    if (t.data.format == "libsvm") t.data.features = random.below(1000);
    t.data.test_fraction = 0.01 + real(0.9);
    t.data.scale = real(2);
    t.data.regression = random.below(2) == 0;
  }
  if (t.task.kind == "mlp") {
    t.task.hidden.clear();
    for (std::uint64_t i = random.below(4); i > 0; --i) t.task.hidden.push_back(1 + random.below(500));
  }
  t.partition.scheme = pick("iid", "by-label", "dirichlet");
  if (t.partition.scheme == "dirichlet") t.partition.alpha = real(10);
  if (t.partition.scheme == "by-label") t.partition.shards = 1 + random.below(9);
  t.partition.samples_min = 1 + random.below(50);
  t.optimizer.name = pick("sgd", "adamw");
  t.optimizer.learning_rate = real(1);
  t.optimizer.weight_decay = real(0.1);
  if (t.optimizer.name == "sgd") {
    t.optimizer.momentum = real(0.9);
    t.optimizer.nesterov = random.below(2) == 0;
  } else {
    t.optimizer.beta1 = real(0.99);
    t.optimizer.beta2 = real(0.99);
    t.optimizer.epsilon = real(1e-6);
  }
  t.schedule.kind = pick("constant", "step", "cosine");
  t.schedule.warmup_epochs = real(5);
  t.schedule.warmup_start = real(0.9);
  if (t.schedule.kind == "step") {
    t.schedule.milestones = {real(1), 1 + real(3), 5 + real(1)};
    t.schedule.factor = real(0.9);
  }
  if (t.schedule.kind == "cosine") t.schedule.final_fraction = real(0.9);
  t.batch_size = 1 + random.below(500);
  t.epochs = real(100);
  t.steps = random.below(1000);
  t.pace = std::chrono::milliseconds(random.below(1000));
  if (random.below(2) == 0) t.slow = {.peer = static_cast<PeerId>(random.below(2)), .factor = 1.5 + real(9)};
  run.transport.kind = pick("ucx", "libfabric", "loopback");
  run.transport.interface = pick("", "eth0", "10.0.0.0/8");
  if (run.transport.kind == "ucx") run.transport.tls = pick("", "tcp,self", "^ib");
  if (run.transport.kind == "libfabric") run.transport.provider = pick("", "tcp", "verbs;ofi_rxm");
  run.transport.checksum = random.below(2) == 0;
  run.transport.lend = random.below(2) == 0;
  run.transport.spin = std::chrono::microseconds(random.below(1000));
  run.deadlines.join = Duration(1 + static_cast<std::int64_t>(random.below(1'000'000'000'000)));
  run.deadlines.heartbeat = Duration(1 + static_cast<std::int64_t>(random.below(1'000'000'000)));
  run.deadlines.silence =
      3 * run.deadlines.heartbeat + Duration(static_cast<std::int64_t>(random.below(1'000'000'000)));
  run.deadlines.round = std::chrono::milliseconds(1 + random.below(100'000));
  run.mixing.verify_replicas = random.below(2) == 0;
  run.report.interval_steps = random.below(50);
  run.report.evaluate_every_epochs = real(3);
  run.report.save_models = random.below(2) == 0;
  return run;
}

// Everything, field by field; to_yaml alone could hide a field that it forgets.
void expect_same(const RunFile& a, const RunFile& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.algorithm, b.algorithm);
  EXPECT_TRUE(a.topology == b.topology);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.synchrony.mode, b.synchrony.mode);
  EXPECT_EQ(a.synchrony.stale, b.synchrony.stale);
  EXPECT_EQ(a.synchrony.skips_max, b.synchrony.skips_max);
  EXPECT_EQ(a.synchrony.local_steps, b.synchrony.local_steps);
  EXPECT_EQ(a.compression.codec, b.compression.codec);
  EXPECT_EQ(a.compression.scope, b.compression.scope);
  EXPECT_EQ(a.compression.ratio, b.compression.ratio);
  EXPECT_EQ(a.compression.levels, b.compression.levels);
  EXPECT_EQ(a.compression.norm, b.compression.norm);
  EXPECT_EQ(a.compression.threshold, b.compression.threshold);
  EXPECT_EQ(a.compression.values, b.compression.values);
  EXPECT_EQ(a.compression.one_scale, b.compression.one_scale);
  EXPECT_EQ(a.compression.unbiased, b.compression.unbiased);
  EXPECT_EQ(a.mixing.step_size, b.mixing.step_size);
  EXPECT_EQ(a.mixing.order, b.mixing.order);
  EXPECT_EQ(a.mixing.weigh_by_samples, b.mixing.weigh_by_samples);
  EXPECT_EQ(a.mixing.replicas, b.mixing.replicas);
  EXPECT_EQ(a.mixing.verify_replicas, b.mixing.verify_replicas);
  EXPECT_EQ(a.overlap, b.overlap);
  EXPECT_EQ(a.bucket_mib, b.bucket_mib);
  const TrainerOptions &s = a.trainer, &t = b.trainer;
  EXPECT_EQ(s.task.kind, t.task.kind);
  EXPECT_EQ(s.task.l2, t.task.l2);
  EXPECT_EQ(s.task.hidden, t.task.hidden);
  EXPECT_EQ(s.task.dimension, t.task.dimension);
  EXPECT_EQ(s.task.tensors, t.task.tensors);
  EXPECT_EQ(s.task.condition, t.task.condition);
  EXPECT_EQ(s.task.heterogeneity, t.task.heterogeneity);
  EXPECT_EQ(s.task.noise, t.task.noise);
  EXPECT_EQ(s.task.steps_per_epoch, t.task.steps_per_epoch);
  EXPECT_EQ(s.data.format, t.data.format);
  EXPECT_EQ(s.data.images, t.data.images);
  EXPECT_EQ(s.data.labels, t.data.labels);
  EXPECT_EQ(s.data.file, t.data.file);
  EXPECT_EQ(s.data.test_file, t.data.test_file);
  EXPECT_EQ(s.data.test_fraction, t.data.test_fraction);
  EXPECT_EQ(s.data.scale, t.data.scale);
  EXPECT_EQ(s.data.regression, t.data.regression);
  EXPECT_EQ(s.data.label_column, t.data.label_column);
  EXPECT_EQ(s.data.header, t.data.header);
  EXPECT_EQ(s.data.separator, t.data.separator);
  EXPECT_EQ(s.data.features, t.data.features);
  EXPECT_EQ(s.partition.scheme, t.partition.scheme);
  EXPECT_EQ(s.partition.alpha, t.partition.alpha);
  EXPECT_EQ(s.partition.shards, t.partition.shards);
  EXPECT_EQ(s.partition.samples_min, t.partition.samples_min);
  EXPECT_EQ(s.optimizer.name, t.optimizer.name);
  EXPECT_EQ(s.optimizer.learning_rate, t.optimizer.learning_rate);
  EXPECT_EQ(s.optimizer.momentum, t.optimizer.momentum);
  EXPECT_EQ(s.optimizer.nesterov, t.optimizer.nesterov);
  EXPECT_EQ(s.optimizer.weight_decay, t.optimizer.weight_decay);
  EXPECT_EQ(s.optimizer.beta1, t.optimizer.beta1);
  EXPECT_EQ(s.optimizer.beta2, t.optimizer.beta2);
  EXPECT_EQ(s.optimizer.epsilon, t.optimizer.epsilon);
  EXPECT_EQ(s.schedule.kind, t.schedule.kind);
  EXPECT_EQ(s.schedule.warmup_epochs, t.schedule.warmup_epochs);
  EXPECT_EQ(s.schedule.warmup_start, t.schedule.warmup_start);
  EXPECT_EQ(s.schedule.milestones, t.schedule.milestones);
  EXPECT_EQ(s.schedule.factor, t.schedule.factor);
  EXPECT_EQ(s.schedule.final_fraction, t.schedule.final_fraction);
  EXPECT_EQ(s.batch_size, t.batch_size);
  EXPECT_EQ(s.epochs, t.epochs);
  EXPECT_EQ(s.steps, t.steps);
  EXPECT_EQ(s.pace, t.pace);
  EXPECT_EQ(s.slow.peer, t.slow.peer);
  EXPECT_EQ(s.slow.factor, t.slow.factor);
  EXPECT_EQ(a.transport.kind, b.transport.kind);
  EXPECT_EQ(a.transport.interface, b.transport.interface);
  EXPECT_EQ(a.transport.tls, b.transport.tls);
  EXPECT_EQ(a.transport.provider, b.transport.provider);
  EXPECT_EQ(a.transport.checksum, b.transport.checksum);
  EXPECT_EQ(a.transport.lend, b.transport.lend);
  EXPECT_EQ(a.transport.spin, b.transport.spin);
  EXPECT_EQ(a.deadlines.join, b.deadlines.join);
  EXPECT_EQ(a.deadlines.heartbeat, b.deadlines.heartbeat);
  EXPECT_EQ(a.deadlines.silence, b.deadlines.silence);
  EXPECT_EQ(a.deadlines.round, b.deadlines.round);
  EXPECT_EQ(a.report.interval_steps, b.report.interval_steps);
  EXPECT_EQ(a.report.evaluate_every_epochs, b.report.evaluate_every_epochs);
  EXPECT_EQ(a.report.save_models, b.report.save_models);
}

TEST(RunFile, WhatIsWrittenReadsBackAsTheSameRun) {
  for (std::uint64_t seed = 0; seed < 300 && !testing::Test::HasFailure(); ++seed) {
    const RunFile run = random_run(seed);
    const std::string text = to_yaml(run);
    const auto back = parse_run_file(text, "other/file.yaml", no_environment());
    ASSERT_TRUE(back) << back.error().message << "\nseed " << seed << "\n" << text;
    expect_same(run, *back);
    EXPECT_EQ(to_yaml(*back), text);
    if (testing::Test::HasFailure()) ADD_FAILURE() << "seed " << seed << "\n" << text;
  }
}

TEST(RunFile, FilesThatAreNotThereAreNamedWithTheLineThatNamesThem) {
  std::string folder = (std::filesystem::temp_directory_path() / "gossamer-run-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/run.yaml";
  const std::string text = "trainer:\n  data: {format: csv, file: x.csv}\n";
  ASSERT_TRUE(write_file_atomically(path, std::string_view(text)));
  const auto missing = load_run_file(path, no_environment());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message.rfind(
                path + ":2:29: trainer.data.file: there is no file " + folder + "/x.csv", 0),
            0u)
      << missing.error().message;
  std::filesystem::create_directory(folder + "/data");
  ASSERT_TRUE(write_file_atomically(folder + "/data/x.csv", std::string_view("1,2\n")));
  const auto found = load_run_file(path, {.environment = Environment{{"GOSSAMER_DATA", folder + "/data"}}});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->trainer.data.file, folder + "/data/x.csv");
  const auto none = load_run_file(folder + "/none.yaml", no_environment());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::not_found);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace gossamer
