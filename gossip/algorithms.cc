#include "gossip/algorithms.h"

#include <fmt/format.h>

#include "gossip/requirements.h"

namespace gossamer {

// The list is that of gossip/mixers/meson.build.
#define GOSSAMER_ALGORITHM(name) Algorithm name##_algorithm();
#include "gossip/mixers/list.inc"
#undef GOSSAMER_ALGORITHM

std::span<const Algorithm> algorithms() {
  static const Algorithm kAll[] = {
#define GOSSAMER_ALGORITHM(name) name##_algorithm(),
#include "gossip/mixers/list.inc"
#undef GOSSAMER_ALGORITHM
  };
  return kAll;
}

const Algorithm* find_algorithm(std::string_view name) {
  for (const Algorithm& algorithm : algorithms())
    if (algorithm.name == name) return &algorithm;
  return nullptr;
}

Result<std::unique_ptr<Mixer>> make_mixer(std::string_view name, const MixerSetup& setup) {
  const Algorithm* algorithm = find_algorithm(name);
  if (!algorithm) return fail(Errc::not_found, fmt::format("unknown algorithm '{}'", name));
  GOSSAMER_TRY(check_requirements(*algorithm, setup));
  return algorithm->make(setup);
}

}  // namespace gossamer
