// A run written as the run file that gives it again.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/yaml.h"
#include "runtime/run_file.h"

namespace gossamer {
namespace {

// Lines of one mapping at one depth.
class Section {
 public:
  Section(std::string* to, int depth) : to_(to), depth_(depth) {}

  Section map(std::string_view key) const {
    line(key, "");
    return Section(to_, depth_ + 1);
  }
  void text(std::string_view key, std::string_view value) const { line(key, yaml_text(value)); }
  void number(std::string_view key, double value) const { line(key, yaml_number(value)); }
  void count(std::string_view key, std::uint64_t value) const { line(key, fmt::format("{}", value)); }
  void boolean(std::string_view key, bool value) const { line(key, value ? "true" : "false"); }
  void duration(std::string_view key, Duration value) const { line(key, yaml_duration(value)); }
  template <class T>
  void list(std::string_view key, const std::vector<T>& values) const {
    line(key, fmt::format("[{}]", fmt::join(values, ", ")));
  }
  // A mapping that is YAML already.
  void block(std::string_view key, std::string_view lines) const {
    line(key, "");
    while (!lines.empty()) {
      const std::size_t end = std::min(lines.find('\n'), lines.size());
      if (end > 0) *to_ += fmt::format("{:{}}{}\n", "", 2 * (depth_ + 1), lines.substr(0, end));
      lines.remove_prefix(std::min(end + 1, lines.size()));
    }
  }

 private:
  void line(std::string_view key, std::string_view value) const {
    *to_ += fmt::format("{:{}}{}:{}{}\n", "", 2 * depth_, key, value.empty() ? "" : " ", value);
  }

  std::string* to_;
  int depth_;
};

void write(const Section& at, const CompressionOptions& options) {
  const CodecId codec = options.codec;
  at.text("codec", name(codec));
  if (codec != CodecId::none && codec != CodecId::bf16 && codec != CodecId::low_rank) at.text("scope", name(options.scope));
  if (codec == CodecId::top_k || codec == CodecId::random_k) at.number("ratio", options.ratio);
  if (codec == CodecId::threshold) at.number("threshold", options.threshold);
  if (codec == CodecId::top_k || codec == CodecId::random_k || codec == CodecId::threshold) at.text("values", name(options.values));
  if (codec == CodecId::low_rank) {
    at.count("rank", options.rank);
    at.count("power_iterations", options.power_iterations);
  }
  if (codec == CodecId::qsgd) {
    if (options.levels == 1 || options.levels == 7 || options.levels == 127)
      at.count("bits", static_cast<std::uint64_t>(std::bit_width(options.levels)) + 1);
    else
      at.count("levels", options.levels);
    at.text("norm", name(options.norm));
  }
  if (codec == CodecId::qsgd || codec == CodecId::sign) at.text("scales", options.one_scale ? "single" : "per-block");
  if (codec == CodecId::qsgd || codec == CodecId::random_k || codec == CodecId::terngrad) at.boolean("unbiased", options.unbiased);
}

void write_task(const Section& at, const TaskOptions& task) {
  at.text("task", task.kind);
  if (task.kind == "mlp") at.list("hidden", task.hidden);
  if (task.kind == "quadratic") {
    at.count("dimension", task.dimension);
    at.count("tensors", task.tensors);
    at.number("condition", task.condition);
    at.number("heterogeneity", task.heterogeneity);
    at.number("noise", task.noise);
    at.count("steps_per_epoch", task.steps_per_epoch);
  } else {
    at.number("l2", task.l2);
  }
}

void write(const Section& at, const DataOptions& data) {
  const auto path = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) at.text(key, value);
  };
  at.text("format", data.format);
  path("images", data.images);
  path("labels", data.labels);
  path("test_images", data.test_images);
  path("test_labels", data.test_labels);
  path("file", data.file);
  path("test_file", data.test_file);
  at.number("test_fraction", data.test_fraction);
  at.number("scale", data.scale);
  at.boolean("regression", data.regression);
  if (data.format == "csv") {
    at.text("label_column", data.label_column);
    at.boolean("header", data.header);
    at.text("separator", data.separator);
  }
  if (data.format == "libsvm") at.count("features", data.features);
}

void write(const Section& at, const PartitionOptions& partition) {
  at.text("scheme", partition.scheme);
  if (partition.scheme == "dirichlet") at.number("alpha", partition.alpha);
  if (partition.scheme == "by-label") at.count("shards", partition.shards);
  at.count("samples_min", partition.samples_min);
}

void write(const Section& at, const OptimizerOptions& optimizer) {
  at.text("name", optimizer.name);
  at.number("learning_rate", optimizer.learning_rate);
  at.number("weight_decay", optimizer.weight_decay);
  if (optimizer.name == "sgd") {
    at.number("momentum", optimizer.momentum);
    at.boolean("nesterov", optimizer.nesterov);
  } else {
    at.number("beta1", optimizer.beta1);
    at.number("beta2", optimizer.beta2);
    at.number("epsilon", optimizer.epsilon);
  }
}

void write(const Section& at, const ScheduleOptions& schedule) {
  at.text("kind", schedule.kind);
  at.number("warmup_epochs", schedule.warmup_epochs);
  at.number("warmup_start", schedule.warmup_start);
  if (schedule.kind == "step") {
    at.list("milestones", schedule.milestones);
    at.number("factor", schedule.factor);
  }
  if (schedule.kind == "cosine") at.number("final_fraction", schedule.final_fraction);
}

void write(const Section& at, const TrainerOptions& trainer) {
  write_task(at, trainer.task);
  if (!trainer.data.format.empty()) write(at.map("data"), trainer.data);
  write(at.map("partition"), trainer.partition);
  write(at.map("optimizer"), trainer.optimizer);
  write(at.map("schedule"), trainer.schedule);
  at.count("batch_size", trainer.batch_size);
  at.number("epochs", trainer.epochs);
  at.count("steps", trainer.steps);
  at.duration("pace", trainer.pace);
  if (trainer.slow.factor > 1) {
    const Section slow = at.map("slow");
    slow.count("peer", trainer.slow.peer);
    slow.number("factor", trainer.slow.factor);
  }
}

}  // namespace

std::string to_yaml(const RunFile& run) {
  std::string text;
  const Section top(&text, 0);
  top.text("name", run.name);
  top.text("algorithm", run.algorithm);
  top.count("seed", run.seed);
  const auto topology = to_yaml(run.topology);
  GOSSAMER_CHECK(topology, "the topology of a run was checked when its file was read");
  top.block("topology", *topology);

  const Section synchrony = top.map("synchrony");
  synchrony.text("mode", name(run.synchrony.mode));
  if (run.synchrony.mode == Synchrony::stale) synchrony.count("stale", run.synchrony.stale);
  if (run.synchrony.mode == Synchrony::async) synchrony.count("skips_max", run.synchrony.skips_max);
  synchrony.count("local_steps", run.synchrony.local_steps);

  write(top.map("compression"), run.compression);

  const Section mixing = top.map("mixing");
  mixing.number("step_size", run.mixing.step_size);
  mixing.text("order", name(run.mixing.order));
  mixing.boolean("weigh_by_samples", run.mixing.weigh_by_samples);
  mixing.text("replicas", run.mixing.replicas);
  mixing.boolean("verify_replicas", run.mixing.verify_replicas);
  mixing.number("momentum", run.mixing.momentum);
  mixing.number("clip", run.mixing.clip);
  mixing.count("rank", run.mixing.rank);
  mixing.count("power_iterations", run.mixing.power_iterations);

  top.text("overlap", name(run.overlap));
  if (run.overlap == Overlap::layerwise) top.number("bucket_mib", run.bucket_mib);
  write(top.map("trainer"), run.trainer);

  const Section transport = top.map("transport");
  transport.text("kind", run.transport.kind);
  if (!run.transport.interface.empty()) transport.text("interface", run.transport.interface);
  if (!run.transport.tls.empty()) transport.text("tls", run.transport.tls);
  if (!run.transport.provider.empty()) transport.text("provider", run.transport.provider);
  transport.boolean("checksum", run.transport.checksum);
  transport.boolean("lend", run.transport.lend);
  transport.duration("spin", run.transport.spin);

  const Section deadlines = top.map("deadlines");
  deadlines.duration("join", run.deadlines.join);
  deadlines.duration("heartbeat", run.deadlines.heartbeat);
  deadlines.duration("silence", run.deadlines.silence);
  deadlines.duration("round", run.deadlines.round);

  const Section membership = top.map("membership");
  membership.text("mode", name(run.membership.mode));
  if (run.membership.mode == MembershipMode::elastic) {
    membership.count("restarts", run.membership.restarts);
    membership.duration("restart_after", run.membership.restart_after);
  }

  const Section report = top.map("report");
  report.count("interval_steps", run.report.interval_steps);
  report.number("evaluate_every_epochs", run.report.evaluate_every_epochs);
  report.boolean("save_models", run.report.save_models);
  return text;
}

}  // namespace gossamer
