#include "runtime/simulator/consensus.h"

#include <cmath>
#include <fmt/format.h>

#include "base/random.h"
#include "kernels/vector.h"

namespace gossamer::sim {
namespace {

std::vector<double> mean_of(const std::vector<float>& models, std::size_t peers, std::size_t d) {
  std::vector<double> mean(d);
  for (std::size_t p = 0; p < peers; ++p)
    for (std::size_t i = 0; i < d; ++i) mean[i] += models[p * d + i];
  for (double& value : mean) value /= static_cast<double>(peers);
  return mean;
}

double distance(const std::vector<float>& models, const std::vector<double>& mean, std::size_t peers) {
  const std::size_t d = mean.size();
  double sum = 0;
  for (std::size_t p = 0; p < peers; ++p)
    for (std::size_t i = 0; i < d; ++i) sum += (models[p * d + i] - mean[i]) * (models[p * d + i] - mean[i]);
  return std::sqrt(sum / static_cast<double>(peers));
}

}  // namespace

void consensus_start(std::uint64_t seed, PeerId peer, std::span<float> model) {
  Random random(seed, Purpose::initial_model, peer);
  for (float& value : model) value = static_cast<float>(random.normal());
}

Result<ConsensusOutcome> run_consensus(const ConsensusSetup& setup) {
  const Topology& topology = *setup.topology;
  const std::size_t n = topology.peer_count(), d = setup.dimension;
  ConsensusOutcome outcome;
  std::vector<float> now(n * d), next(n * d), sum(d);
  for (std::size_t p = 0; p < n; ++p) consensus_start(setup.seed, static_cast<PeerId>(p), std::span(now).subspan(p * d, d));
  const std::vector<double> mean = mean_of(now, n, d);
  outcome.distance.push_back(distance(now, mean, n));
  for (Round round = 0; round < setup.rounds; ++round) {
    for (std::size_t p = 0; p < n; ++p) {
      const Neighbourhood edges = topology.at(round, static_cast<PeerId>(p));
      double row = edges.self_weight, column = edges.self_weight;
      for (const Edge& edge : edges.in) row += edge.weight;
      for (const Edge& edge : edges.out) column += edge.weight;
      if (std::abs(row - 1) > 1e-9 || std::abs(column - 1) > 1e-9)
        return fail(Errc::invalid_argument,
                    fmt::format("in round {} of {} the weights of peer {} do not sum to 1 (row {:.6g}, column {:.6g}), so averaging with them "
                                "does not keep the mean; use a graph with doubly stochastic weights",
                                round, topology.name(), p, row, column));
      outcome.payloads += edges.out.size();
      const float* own = now.data() + p * d;
      std::fill(sum.begin(), sum.end(), 0.f);
      for (const Edge& edge : edges.in) {
        const auto weight = static_cast<float>(edge.weight);
        const float* theirs = now.data() + edge.peer * d;
        for (std::size_t i = 0; i < d; ++i) sum[i] += weight * (theirs[i] - own[i]);
      }
      const std::span<float> to = std::span(next).subspan(p * d, d);
      copy({own, d}, to);
      axpy(1, sum, to);
    }
    now.swap(next);
    outcome.distance.push_back(distance(now, mean, n));
  }
  const std::vector<double> end = mean_of(now, n, d);
  for (std::size_t i = 0; i < d; ++i) outcome.mean_drift += (end[i] - mean[i]) * (end[i] - mean[i]);
  outcome.mean_drift = std::sqrt(outcome.mean_drift);
  outcome.models = std::move(now);
  return outcome;
}

}  // namespace gossamer::sim
