// The `trainer:` part of run files.
#include <fmt/format.h>

#include "runtime/run_file_reader.h"
#include "trainer/partition.h"

namespace gossamer::run_file_detail {
namespace {

// The floor below checks what belongs together; here the sentence gets its place in the file.
void check(const YamlMap& map, const Result<>& valid) {
  if (!valid) map.fail(valid.error().message);
}

void read_task(const YamlMap& map, TaskOptions* task) {
  task->kind = map.choice<std::string>(
      "task", {{"quadratic", "quadratic"}, {"linear", "linear"}, {"logistic", "logistic"}, {"mlp", "mlp"}},
      task->kind);
  const bool quadratic = task->kind == "quadratic", mlp = task->kind == "mlp";
  const auto belongs = [&](const char* key, std::string_view owner) {
    map.inapplicable(key, "task",
                     fmt::format("means nothing for task {}; it belongs to {}", task->kind, owner));
  };
  if (mlp) {
    const auto widths =
        map.counts("hidden", {task->hidden.begin(), task->hidden.end()}, {.least = 1, .most = 1 << 20});
    task->hidden.assign(widths.begin(), widths.end());
  } else {
    belongs("hidden", "mlp");
  }
  if (quadratic) {
    belongs("l2", "linear, logistic and mlp");
    task->dimension = map.count("dimension", task->dimension, {.least = 1, .most = 1'000'000'000});
    task->tensors = map.count("tensors", task->tensors, {.least = 1, .most = 10'000});
    task->condition = map.number("condition", task->condition, {.least = 1});
    task->heterogeneity = map.number("heterogeneity", task->heterogeneity, kNotNegative);
    task->noise = map.number("noise", task->noise, kNotNegative);
    task->steps_per_epoch = map.count("steps_per_epoch", task->steps_per_epoch, {.least = 1});
  } else {
    task->l2 = map.number("l2", task->l2, kNotNegative);
    for (const char* key : {"dimension", "tensors", "condition", "heterogeneity", "noise", "steps_per_epoch"})
      belongs(key, "quadratic");
  }
}

void read_data(const YamlMap& map, const Paths& paths, DataOptions* data) {
  data->format =
      map.choice<std::string>("format", {{"idx", "idx"}, {"csv", "csv"}, {"libsvm", "libsvm"}}, data->format);
  const bool idx = data->format == "idx", csv = data->format == "csv", libsvm = data->format == "libsvm";
  const auto path = [&](const char* key, bool applies, std::string_view owner, std::string* to) {
    if (!applies) {
      map.inapplicable(key, "format", fmt::format("belongs to format {}", owner));
    } else if (const YamlValue value = map.find(key); value.present()) {
      *to = paths.resolve(value);
    }
  };
  path("images", idx, "idx", &data->images);
  path("labels", idx, "idx", &data->labels);
  path("test_images", idx, "idx", &data->test_images);
  path("test_labels", idx, "idx", &data->test_labels);
  path("file", csv || libsvm, "csv or libsvm", &data->file);
  path("test_file", csv || libsvm, "csv or libsvm", &data->test_file);
  data->test_fraction = map.number("test_fraction", data->test_fraction,
                                   {.least = 0, .most = 1, .above_least = true, .below_most = true});
  data->scale = map.number("scale", data->scale);
  data->regression = map.boolean("regression", data->regression);
  if (csv) {
    data->label_column =
        map.choice<std::string>("label_column", {{"first", "first"}, {"last", "last"}}, data->label_column);
    data->header = map.boolean("header", data->header);
    data->separator = map.text("separator", data->separator);
  } else {
    for (const char* key : {"label_column", "header", "separator"})
      map.inapplicable(key, "format", "belongs to format csv");
  }
  if (libsvm)
    data->features = map.count("features", data->features, {.least = 0, .most = 0xffffffff});
  else
    map.inapplicable("features", "format", "belongs to format libsvm");
  if (idx && !map.has("images")) map.require("images");
  if (idx && !map.has("labels")) map.require("labels");
  if ((csv || libsvm) && !map.has("file")) map.require("file");
  check(map, validate(*data));
}

void read_partition(const YamlMap& map, PartitionOptions* partition) {
  partition->scheme = map.choice<std::string>(
      "scheme", {{"iid", "iid"}, {"by-label", "by-label"}, {"dirichlet", "dirichlet"}}, partition->scheme);
  const auto belongs = [&](const char* key, std::string_view owner) {
    map.inapplicable(key, "scheme",
                     fmt::format("means nothing for scheme {}; it belongs to {}", partition->scheme, owner));
  };
  if (partition->scheme == "dirichlet")
    partition->alpha = map.number("alpha", partition->alpha, kPositive);
  else
    belongs("alpha", "dirichlet");
  if (partition->scheme == "by-label")
    partition->shards = map.count("shards", partition->shards, {.least = 1});
  else
    belongs("shards", "by-label");
  partition->samples_min = map.count("samples_min", partition->samples_min, {.least = 1});
  check(map, validate(*partition));
}

void read_optimizer(const YamlMap& map, OptimizerOptions* optimizer) {
  constexpr NumberRange kDecay{.least = 0, .most = 1, .below_most = true};
  optimizer->name = map.choice<std::string>("name", {{"sgd", "sgd"}, {"adamw", "adamw"}}, optimizer->name);
  optimizer->learning_rate = map.number("learning_rate", optimizer->learning_rate, kPositive);
  optimizer->weight_decay = map.number("weight_decay", optimizer->weight_decay, kNotNegative);
  if (optimizer->name == "sgd") {
    optimizer->momentum = map.number("momentum", optimizer->momentum, kDecay);
    optimizer->nesterov = map.boolean("nesterov", optimizer->nesterov);
    for (const char* key : {"beta1", "beta2", "epsilon"})
      map.inapplicable(key, "name", "belongs to optimizer adamw");
  } else {
    optimizer->beta1 = map.number("beta1", optimizer->beta1, kDecay);
    optimizer->beta2 = map.number("beta2", optimizer->beta2, kDecay);
    optimizer->epsilon = map.number("epsilon", optimizer->epsilon, kPositive);
    for (const char* key : {"momentum", "nesterov"})
      map.inapplicable(key, "name", "belongs to optimizer sgd; adamw's momentum is beta1");
  }
  check(map, validate(*optimizer));
}

void read_schedule(const YamlMap& map, ScheduleOptions* schedule) {
  constexpr NumberRange kFraction{.least = 0, .most = 1};
  schedule->kind = map.choice<std::string>(
      "kind", {{"constant", "constant"}, {"step", "step"}, {"cosine", "cosine"}}, schedule->kind);
  schedule->warmup_epochs = map.number("warmup_epochs", schedule->warmup_epochs, kNotNegative);
  schedule->warmup_start = map.number("warmup_start", schedule->warmup_start, kFraction);
  if (schedule->kind == "step") {
    schedule->milestones = map.numbers("milestones", schedule->milestones, kPositive);
    schedule->factor = map.number("factor", schedule->factor, {.least = 0, .most = 1, .above_least = true});
  } else {
    for (const char* key : {"milestones", "factor"})
      map.inapplicable(key, "kind", "belongs to schedule step");
  }
  if (schedule->kind == "cosine")
    schedule->final_fraction = map.number("final_fraction", schedule->final_fraction, kFraction);
  else
    map.inapplicable("final_fraction", "kind", "belongs to schedule cosine");
  check(map, validate(*schedule));
}

}  // namespace

void read_trainer(const YamlMap& map, const Paths& paths, TrainerOptions* trainer) {
  read_task(map, &trainer->task);
  check(map, validate(trainer->task));
  const bool wants_data = needs_data(trainer->task);
  read_data(map.map("data"), paths, &trainer->data);
  if (wants_data && trainer->data.format.empty())
    map.map("data").require("format");
  else if (!wants_data && map.has("data"))
    map.inapplicable("data", "task", fmt::format("task {} makes its own; remove data", trainer->task.kind));
  read_partition(map.map("partition"), &trainer->partition);
  read_optimizer(map.map("optimizer"), &trainer->optimizer);
  read_schedule(map.map("schedule"), &trainer->schedule);
  trainer->batch_size = map.count("batch_size", trainer->batch_size, {.least = 1, .most = 1'000'000'000});
  trainer->epochs = map.number("epochs", trainer->epochs, kPositive);
  trainer->steps = map.count("steps", trainer->steps);
  trainer->pace = map.duration("pace", trainer->pace, {.least = 0, .most = 3600});
  const YamlMap slow = map.map("slow");
  trainer->slow.factor = slow.number("factor", trainer->slow.factor, {.least = 1, .most = 1e6});
  trainer->slow.peer = static_cast<PeerId>(slow.count("peer", trainer->slow.peer, {.least = 0, .most = 0xffffffff}));
  if (map.has("slow")) {
    slow.require("peer");
    slow.require("factor");
  }
}

}  // namespace gossamer::run_file_detail
