#include "trainer/partition.h"

#include <fmt/core.h>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"

namespace gossamer {
namespace {

using Shards = std::vector<std::vector<std::uint32_t>>;

// Appends part k of `parts` nearly equal ones.
void append_part(const std::vector<std::uint32_t>& all, std::size_t k, std::size_t parts,
                 std::vector<std::uint32_t>& to) {
  const auto at = [&](std::size_t i) {
    return all.begin() + static_cast<std::ptrdiff_t>(all.size() * i / parts);
  };
  to.insert(to.end(), at(k), at(k + 1));
}

std::vector<std::uint32_t> shuffled(std::size_t count, Random& random) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  random.shuffle(order);
  return order;
}

Shards cut_iid(const Dataset& data, std::size_t peers, Random& random) {
  Shards shards(peers);
  const auto order = shuffled(data.samples, random);
  for (std::size_t p = 0; p < peers; ++p) append_part(order, p, peers, shards[p]);
  return shards;
}

Shards cut_by_label(const Dataset& data, std::size_t peers, std::size_t per_peer, Random& random) {
  auto order = shuffled(data.samples, random);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return data.labels[a] < data.labels[b]; });
  const std::size_t pieces = peers * per_peer;
  const auto dealt = shuffled(pieces, random);
  Shards shards(peers);
  for (std::size_t i = 0; i < pieces; ++i) append_part(order, dealt[i], pieces, shards[i / per_peer]);
  return shards;
}

Shards cut_dirichlet(const Dataset& data, std::size_t peers, double alpha, Random& random) {
  std::vector<std::vector<std::uint32_t>> by_class(data.classes);
  for (const std::uint32_t i : shuffled(data.samples, random))
    by_class[static_cast<std::size_t>(data.labels[i])].push_back(i);
  Shards shards(peers);
  std::vector<double> share(peers);
  for (const auto& rows : by_class) {
    // Gamma draws of a tiny alpha can all underflow to 0; then one peer takes the class, which is the limit.
    for (double& s : share) s = random.gamma(alpha);
    if (std::accumulate(share.begin(), share.end(), 0.0) <= 0) share[random.below(peers)] = 1;
    const double total = std::accumulate(share.begin(), share.end(), 0.0);
    double cumulative = 0;
    std::size_t begin = 0;
    for (std::size_t p = 0; p < peers; ++p) {
      cumulative += share[p];
      const std::size_t end =
          p + 1 == peers ? rows.size()
                         : std::min(rows.size(), static_cast<std::size_t>(std::llround(
                                                     cumulative / total * static_cast<double>(rows.size()))));
      shards[p].insert(shards[p].end(), rows.begin() + static_cast<std::ptrdiff_t>(begin),
                       rows.begin() + static_cast<std::ptrdiff_t>(end));
      begin = end;
    }
  }
  return shards;
}

}  // namespace

Result<> validate(const PartitionOptions& o) {
  if (o.scheme != "iid" && o.scheme != "by-label" && o.scheme != "dirichlet")
    return fail(
        Errc::invalid_argument,
        fmt::format("partition scheme '{}' is not known; known are iid, by-label, dirichlet", o.scheme));
  if (!(o.alpha > 0) || std::isinf(o.alpha))
    return fail(Errc::invalid_argument, fmt::format("alpha is {}; it must be finite and above 0", o.alpha));
  if (o.shards == 0) return fail(Errc::invalid_argument, "shards is 0; every peer needs at least one");
  if (o.samples_min == 0)
    return fail(Errc::invalid_argument, "samples_min is 0; every peer needs at least one sample to train on");
  return {};
}

Result<Shards> partition(const Dataset& data, const PartitionOptions& options, std::size_t peers,
                         std::uint64_t seed) {
  GOSSAMER_TRY(validate(options));
  if (peers == 0) return fail(Errc::invalid_argument, "a partition needs at least one peer");
  if (options.samples_min > data.samples / peers)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "{} training samples are too few for {} peers with at least {} each; use fewer peers or more "
            "data",
            data.samples, peers, options.samples_min));
  if (options.scheme != "iid" && data.classes == 0)
    return fail(Errc::invalid_argument,
                fmt::format("partition scheme {} divides by class, and {} has none; use iid", options.scheme,
                            data.name));
  if (options.scheme == "by-label" && options.shards > data.samples / peers)
    return fail(
        Errc::invalid_argument,
        fmt::format(
            "{} peers with {} shards each make more pieces than the {} training samples; lower shards", peers,
            options.shards, data.samples));

  Random random(seed, Purpose::partition);
  Shards shards = options.scheme == "iid"        ? cut_iid(data, peers, random)
                  : options.scheme == "by-label" ? cut_by_label(data, peers, options.shards, random)
                                                 : cut_dirichlet(data, peers, options.alpha, random);
  for (auto& shard : shards) std::sort(shard.begin(), shard.end());
  const auto by_size = [](const auto& a, const auto& b) { return a.size() < b.size(); };
  for (auto& needy : shards)
    while (needy.size() < options.samples_min) {
      auto& rich = *std::max_element(shards.begin(), shards.end(), by_size);
      needy.insert(std::upper_bound(needy.begin(), needy.end(), rich.back()), rich.back());
      rich.pop_back();
    }
  return shards;
}

}  // namespace gossamer
