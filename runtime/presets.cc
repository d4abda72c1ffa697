#include "runtime/presets.h"

#include "gossip/algorithms.h"
#include "runtime/run_file.h"

namespace gossamer {
namespace {

constexpr std::size_t kPeers = 4;  // enough to see gossip, few enough for a laptop

constexpr Preset kPresets[] = {
    {"all-reduce", "the yardstick: every step averages the gradients of all peers exactly",
     [](RunFile& run) { run.topology = family_spec("complete", kPeers); }},
    {"all-reduce-halving-doubling", "the same yardstick with fewer, larger messages, for a power of two of peers",
     [](RunFile& run) { run.topology = family_spec("complete", kPeers); }},
    {"parameter-server", "a star, whose hub trains like its leaves",
     [](RunFile& run) { run.topology = family_spec("star", kPeers); }},
    {"parameter-server-models", "a star, whose hub trains like its leaves",
     [](RunFile& run) { run.topology = family_spec("star", kPeers); }},
    {"parameter-server-async", "a star, whose hub trains like its leaves; a slow leaf slows no other",
     [](RunFile& run) {
       run.topology = family_spec("star", kPeers);
       run.synchrony.mode = Synchrony::async;
     }},
    {"d-psgd",
     "a ring is the topology of the paper, works for any number of peers, and costs two models per round",
     [](RunFile& run) { run.topology = family_spec("ring", kPeers); }},
    {"choco-sgd",
     "4 bits lose so little that any step size up to 1 converges; 0.4 leaves room for skewed data",
     [](RunFile& run) {
       run.topology = family_spec("ring", kPeers);
       run.compression = {.codec = CodecId::qsgd, .scope = Scope::tensor, .levels = 7};
       run.mixing.step_size = 0.4;
     }},
    {"deep-squeeze", "it compresses models, not differences, so it gets 8 bits where choco-sgd gets 4",
     [](RunFile& run) {
       run.topology = family_spec("ring", kPeers);
       run.compression = {.codec = CodecId::qsgd, .scope = Scope::tensor, .levels = 127};
       run.mixing.step_size = 0.5;
     }},
    {"power-gossip", "rank 1 is the least that travels, and needs nothing tuned",
     [](RunFile& run) { run.topology = family_spec("ring", kPeers); }},
    {"ad-psgd", "a ring, and nobody waits: a slow peer slows no other",
     [](RunFile& run) {
       run.topology = family_spec("ring", kPeers);
       run.synchrony.mode = Synchrony::async;
     }},
    {"sgp", "one model per round to one receiver, exact after log2(peers) rounds for a power of two",
     [](RunFile& run) { run.topology = family_spec("one-peer-exponential", kPeers); }},
    {"relay-sgd", "a binary tree is the shallowest with three edges per peer at most",
     [](RunFile& run) { run.topology = family_spec("binary-tree", kPeers); }},
    {"gradient-tracking", "a ring; the tracker makes up for how the peers' data differ",
     [](RunFile& run) { run.topology = family_spec("ring", kPeers); }},
    {"d2", "a ring with lazy weights: with plain ones an even ring has the eigenvalue -1/3, where d2 diverges",
     [](RunFile& run) {
       run.topology = family_spec("ring", kPeers);
       run.topology.weights = WeightRule::lazy;
     }},
    {"qg-dsgdm", "a ring, and the paper's momentum of 0.9",
     [](RunFile& run) { run.topology = family_spec("ring", kPeers); }},
    {"clipped-gossip", "everybody hears everybody, so that one false peer is one of many",
     [](RunFile& run) { run.topology = family_spec("complete", kPeers); }},
};

}  // namespace

std::span<const Preset> presets() {
  return kPresets;
}

const Preset* find_preset(std::string_view algorithm) {
  for (const Preset& preset : kPresets)
    if (preset.algorithm == algorithm) return &preset;
  return nullptr;
}

void apply_preset(const Algorithm& algorithm, RunFile& run) {
  if (const Preset* preset = find_preset(algorithm.name)) return preset->apply(run);
  switch (algorithm.shape) {
    case Shape::tree: run.topology = family_spec("binary-tree", kPeers); break;
    case Shape::star: run.topology = family_spec("star", kPeers); break;
    case Shape::any:
    case Shape::fixed:
    case Shape::power_of_two: run.topology = family_spec("ring", kPeers); break;
  }
  if (algorithm.asynchronous) run.synchrony.mode = Synchrony::async;
}

}  // namespace gossamer
