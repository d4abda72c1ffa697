#include "runtime/presets.h"

#include "runtime/run_file.h"

namespace gossamer {
namespace {

constexpr std::size_t kPeers = 4;  // enough to see gossip, few enough for a laptop

constexpr Preset kPresets[] = {
    {"all-reduce", "the yardstick: every step averages the gradients of all peers exactly",
     [](RunFile& run) { run.topology = family_spec("complete", kPeers); }},
    {"d-psgd",
     "a ring is the topology of the paper, works for any number of peers, and costs two models per round",
     [](RunFile& run) { run.topology = family_spec("ring", kPeers); }},
    {"choco-sgd",
     "4 bits lose so little that any step size up to 1 converges; 0.4 leaves room for skewed data",
     [](RunFile& run) {
       run.topology = family_spec("ring", kPeers);
       run.compression = {.codec = CodecId::qsgd, .scope = Scope::tensor, .levels = 15};
       run.mixing.step_size = 0.4;
     }},
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

}  // namespace gossamer
