#include "gossip/requirements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <vector>

#include "gossip/algorithms.h"

namespace gossamer {
namespace {

constexpr double kRounding = 1e-9;

template <class... Args>
Failure refuse(fmt::format_string<Args...> text, Args&&... args) {
  return fail(Errc::invalid_argument, fmt::format(text, std::forward<Args>(args)...));
}

Result<> check_codec(const Algorithm& algorithm, const Compressor& compressor) {
  const CodecId codec = compressor.codec();
  const bool rounds_only = codec == CodecId::none || codec == CodecId::fp16 || codec == CodecId::bf16;
  if (!algorithm.lossy_codecs && !rounds_only)
    return refuse("{} has no memory of what the codec {} drops, so its models would drift or stall; use algorithm: choco-sgd, "
                  "or codec: none, fp16 or bf16",
                  algorithm.name, compressor.name());
  if (algorithm.plain_floats && codec != CodecId::none)
    return refuse("{} sends sums, which codec {} cannot carry; use codec: none", algorithm.name, compressor.name());
  return {};
}

bool same_edges(const std::vector<Edge>& in, const std::vector<Edge>& out) {
  return std::equal(in.begin(), in.end(), out.begin(), out.end(),
                    [](const Edge& a, const Edge& b) { return a.peer == b.peer && std::abs(a.weight - b.weight) <= kRounding; });
}

Result<> check_weights(const Algorithm& algorithm, const MixerSetup& setup) {
  const Topology& topology = *setup.topology;
  const std::size_t rounds = std::min<std::size_t>(topology.period() ? topology.period() : 64, 64);
  for (Round round = 0; round < rounds; ++round) {
    const Neighbourhood edges = topology.at(round, setup.self);
    double row = edges.self_weight, column = edges.self_weight;
    for (const Edge& edge : edges.in) row += edge.weight;
    for (const Edge& edge : edges.out) column += edge.weight;
    const bool rows = std::abs(row - 1) <= kRounding, columns = std::abs(column - 1) <= kRounding;
    if (algorithm.weights == Weights::columns && !columns)
      return refuse("{} loses mass unless what each peer gives away and keeps sums to 1; in round {} of {} peer {}'s sums to {:.6g}. Use weights: "
                    "uniform",
                    algorithm.name, round, topology.name(), setup.self, column);
    if (algorithm.weights >= Weights::doubly && !(rows && columns))
      return refuse("{} keeps the average only when rows and columns of W sum to 1; in round {} of {} those of peer {} sum to {:.6g} and "
                    "{:.6g}. Use weights: metropolis on an undirected graph, or algorithm: sgp",
                    algorithm.name, round, topology.name(), setup.self, row, column);
    if (algorithm.weights == Weights::symmetric && !same_edges(edges.in, edges.out))
      return refuse("{} needs the same weight in both directions of every edge; in round {} of {} peer {} has other senders than receivers. Use "
                    "an undirected graph, or algorithm: choco-sgd or sgp",
                    algorithm.name, round, topology.name(), setup.self);
  }
  return {};
}

// Undirected, connected, n-1 edges.
bool is_tree(const Topology& topology) {
  const std::size_t n = topology.peer_count();
  if (topology.period() != 1) return false;
  std::vector<char> seen(n);
  std::vector<PeerId> next = {0};
  seen[0] = 1;
  std::size_t reached = 1, directions = 0;
  while (!next.empty()) {
    const Neighbourhood edges = topology.at(0, next.back());
    next.pop_back();
    if (!std::equal(edges.in.begin(), edges.in.end(), edges.out.begin(), edges.out.end(), [](const Edge& a, const Edge& b) { return a.peer == b.peer; }))
      return false;
    directions += edges.out.size();
    for (const Edge& edge : edges.out)
      if (!seen[edge.peer]) {
        seen[edge.peer] = 1;
        ++reached;
        next.push_back(edge.peer);
      }
  }
  return reached == n && directions == 2 * (n - 1);
}

// A tree in which somebody is everybody's neighbour.
bool is_star(const Topology& topology) {
  if (!is_tree(topology)) return false;
  const std::size_t n = topology.peer_count();
  for (PeerId peer = 0; peer < n; ++peer)
    if (topology.at(0, peer).out.size() == n - 1) return true;
  return false;
}

Result<> check_shape(const Algorithm& algorithm, const MixerSetup& setup) {
  const Topology& topology = *setup.topology;
  const bool looks_at_whole = setup.self == 0;
  switch (algorithm.shape) {
    case Shape::any: return {};
    case Shape::fixed:
      if (topology.period() == 1) return {};
      return refuse("{} needs a graph that never changes, and {} does; use a static graph, or algorithm: d-psgd", algorithm.name, topology.name());
    case Shape::tree:
      if (!looks_at_whole || is_tree(topology)) return {};
      return refuse("{} relays along a tree, and {} is none; use family: binary-tree, path or star", algorithm.name, topology.name());
    case Shape::star:
      if (setup.peers >= 2 && (!looks_at_whole || is_star(topology))) return {};
      return refuse("{} needs one hub that everybody talks to, and {} has none; use family: star with at least 2 peers", algorithm.name, topology.name());
    case Shape::power_of_two:
      if (std::has_single_bit(setup.peers)) return {};
      return refuse("{} needs a power of two of peers, not {}; use algorithm: all-reduce", algorithm.name, setup.peers);
  }
  return {};
}

}  // namespace

Result<> check_requirements(const Algorithm& algorithm, const MixerSetup& setup) {
  if (setup.topology->peer_count() != setup.peers)
    return refuse("the topology has {} peers and the run {}", setup.topology->peer_count(), setup.peers);
  if (setup.rounds_open > 1 && !algorithm.rounds_overlap)
    return refuse("{} closes one round before it opens the next, so synchrony: stale with {} rounds behind makes no sense; use synchrony: {}, or "
                  "algorithm: d-psgd or sgp",
                  algorithm.name, setup.rounds_open - 1, algorithm.asynchronous ? "async" : "bulk");
  if (setup.elastic && !algorithm.elastic)
    return refuse("{} needs every peer that it began with, so membership.mode: elastic makes no sense; use membership.mode: fixed, or algorithm: "
                  "d-psgd or choco-sgd",
                  algorithm.name);
  GOSSAMER_TRY(check_codec(algorithm, *setup.compressor));
  GOSSAMER_TRY(check_shape(algorithm, setup));
  if (algorithm.weights == Weights::any) return {};
  return check_weights(algorithm, setup);
}

}  // namespace gossamer
