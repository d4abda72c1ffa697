#include "gossip/algorithms.h"

#include <cmath>
#include <fmt/format.h>
#include <vector>

#include "gossip/mixers/mixers.h"

namespace gossamer {
namespace {

constexpr Algorithm kAlgorithms[] = {
    {.name = "all-reduce",
     .summary = "Exact average of the gradients by a ring of slices; equals one big batch under any optimizer.",
     .source = "Patarasuk and Yuan 2009 (ring all-reduce)",
     .exchanges = Exchanges::gradient,
     .make = make_all_reduce},
    {.name = "d-psgd",
     .summary = "Every peer averages its model with its neighbours' models.",
     .source = "Lian et al., NeurIPS 2017, arXiv 1705.09056",
     .needs_doubly_stochastic = true,
     .make = make_dpsgd},
    {.name = "choco-sgd",
     .summary = "Gossip on compressed differences to replicas that both ends keep.",
     .source = "Koloskova et al., ICML 2019 and ICLR 2020, arXiv 1902.00340 and 1907.09356",
     .needs_doubly_stochastic = true,
     .lossy_codecs = true,
     .make = make_choco},
};

bool lossless_enough(CodecId codec) {
  return codec == CodecId::none || codec == CodecId::fp16 || codec == CodecId::bf16;
}

// How far row and column sums are from 1 over (at most) one period, seen from this peer.
Result<> check_weights(const Algorithm& algorithm, const MixerSetup& setup) {
  const Topology& topology = *setup.topology;
  const std::size_t rounds = std::min<std::size_t>(topology.period() ? topology.period() : 64, 64);
  for (Round round = 0; round < rounds; ++round) {
    const Neighbourhood edges = topology.at(round, setup.self);
    double row = edges.self_weight, column = edges.self_weight;
    for (const Edge& edge : edges.in) row += edge.weight;
    for (const Edge& edge : edges.out) column += edge.weight;
    if (std::abs(row - 1) > 1e-9 || std::abs(column - 1) > 1e-9)
      return fail(Errc::invalid_argument,
                  fmt::format("{} keeps the average only when rows and columns of W sum to 1; in round {} of {} those of peer {} sum to "
                              "{:.6g} and {:.6g}. Use weights: metropolis on an undirected graph",
                              algorithm.name, round, topology.name(), setup.self, row, column));
  }
  return {};
}

}  // namespace

std::span<const Algorithm> algorithms() { return kAlgorithms; }

const Algorithm* find_algorithm(std::string_view name) {
  for (const Algorithm& algorithm : kAlgorithms)
    if (algorithm.name == name) return &algorithm;
  return nullptr;
}

Result<std::unique_ptr<Mixer>> make_mixer(std::string_view name, const MixerSetup& setup) {
  const Algorithm* algorithm = find_algorithm(name);
  if (!algorithm) return fail(Errc::not_found, fmt::format("unknown algorithm '{}'", name));
  if (setup.topology->peer_count() != setup.peers)
    return fail(Errc::invalid_argument, fmt::format("the topology has {} peers and the run {}", setup.topology->peer_count(), setup.peers));
  if (!algorithm->lossy_codecs && !lossless_enough(setup.compressor->codec()))
    return fail(Errc::invalid_argument,
                fmt::format("{} has no memory of what the codec {} drops, so its models would drift or stall; use algorithm: choco-sgd, "
                            "or codec: none, fp16 or bf16",
                            name, setup.compressor->name()));
  if (algorithm->exchanges == Exchanges::gradient && setup.compressor->codec() != CodecId::none)
    return fail(Errc::invalid_argument, fmt::format("{} sends sums, which codec {} cannot carry; use codec: none", name, setup.compressor->name()));
  if (algorithm->needs_doubly_stochastic) GOSSAMER_TRY(check_weights(*algorithm, setup));
  return algorithm->make(setup);
}

}  // namespace gossamer
