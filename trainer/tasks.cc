#include "trainer/tasks.h"

#include <fmt/core.h>
#include <cmath>

#include "base/check.h"
#include "trainer/losses.h"

namespace gossamer {
namespace {

Failure invalid(std::string message) {
  return fail(Errc::invalid_argument, std::move(message));
}

// The data a kind of task can learn from.
Result<> check_data(const TaskOptions& options, const Split& data) {
  if (!data.train || !data.test)
    return invalid(fmt::format("task {} learns from data, and none is named; set data.format and its files",
                               options.kind));
  const Dataset &train = *data.train, &test = *data.test;
  if (train.features != test.features || train.classes != test.classes)
    return invalid(fmt::format("{} and {} do not have the same features and classes", train.name, test.name));
  if (train.samples == 0 || test.samples == 0) return invalid(fmt::format("{} has no samples", train.name));
  if (options.kind == "linear" && train.classes != 0)
    return invalid(
        fmt::format("task linear predicts values, and {} has classes; set data.regression: true, or use "
                    "logistic or mlp",
                    train.name));
  if (options.kind != "linear" && train.classes == 0)
    return invalid(
        fmt::format("task {} tells classes apart, and {} has values to predict; use linear, or set "
                    "data.regression: false",
                    options.kind, train.name));
  return {};
}

}  // namespace

Result<> validate(const TaskOptions& o) {
  if (o.kind != "quadratic" && o.kind != "linear" && o.kind != "logistic" && o.kind != "mlp")
    return invalid(fmt::format("task '{}' is not known; known are quadratic, linear, logistic, mlp", o.kind));
  if (!(o.l2 >= 0) || std::isinf(o.l2))
    return invalid(fmt::format("l2 is {}; it must be finite and at least 0", o.l2));
  constexpr std::size_t kWidthMax = 1 << 20;  // beyond this a product of two widths is no model but a mistake
  for (const std::size_t width : o.hidden)
    if (width == 0 || width > kWidthMax)
      return invalid(fmt::format("a hidden layer of width {}; widths go from 1 to {}", width, kWidthMax));
  if (o.dimension == 0) return invalid("dimension is 0; it must be at least 1");
  if (o.tensors == 0 || o.tensors > o.dimension)
    return invalid(fmt::format("tensors is {}; it must be in [1, {}], the dimension", o.tensors, o.dimension));
  if (!(o.condition >= 1) || std::isinf(o.condition))
    return invalid(fmt::format(
        "condition is {}; the largest eigenvalue over the smallest is finite and at least 1", o.condition));
  if (!(o.heterogeneity >= 0) || std::isinf(o.heterogeneity))
    return invalid(fmt::format("heterogeneity is {}; it must be finite and at least 0", o.heterogeneity));
  if (!(o.noise >= 0) || std::isinf(o.noise))
    return invalid(fmt::format("noise is {}; it must be finite and at least 0", o.noise));
  if (o.steps_per_epoch == 0) return invalid("steps_per_epoch is 0; it must be at least 1");
  return {};
}

bool needs_data(const TaskOptions& options) {
  return options.kind != "quadratic";
}

Result<std::unique_ptr<Task>> make_task(const TaskOptions& options, const Split& data,
                                        std::vector<std::uint32_t> shard, std::size_t batch_size, PeerId peer,
                                        std::size_t peers, std::uint64_t seed) {
  GOSSAMER_TRY(validate(options));
  if (!needs_data(options)) return make_quadratic(options, batch_size, peer, peers, seed);
  if (batch_size == 0) return invalid("batch_size is 0; it must be at least 1");
  GOSSAMER_CHECK(peer < peers, "the peer is one of the peers");
  GOSSAMER_TRY(check_data(options, data));
  if (shard.empty()) return invalid(fmt::format("peer {} has no samples", peer));
  for (const std::uint32_t i : shard)
    GOSSAMER_CHECK(i < data.train->samples, "a shard holds indices of training samples");
  TaskParts parts{options, data, std::move(shard), batch_size, peer, seed};
  return options.kind == "mlp" ? make_mlp(std::move(parts)) : make_linear_model(std::move(parts));
}

}  // namespace gossamer
