#include "runtime/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace gossamer {

Environment own_environment() {
  Environment all;
  for (char** variable = ::environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) all.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return all;
}

std::string_view value_of(const Environment& environment, std::string_view name) {
  const auto it = environment.find(name);
  return it == environment.end() ? std::string_view() : std::string_view(it->second);
}

std::vector<std::string> child_environment(const Environment& own, std::size_t cores, std::size_t children) {
  std::vector<std::string> all;
  for (const auto& [name, value] : own) {
    if (name.starts_with("GOSSAMER_") && name != "GOSSAMER_DATA" && name != "GOSSAMER_LOG") continue;
    all.push_back(name + "=" + value);
  }
  // Eight peers with as many threads each as there are cores would spend their time in the scheduler.
  const std::size_t share = std::max<std::size_t>(1, cores / std::max<std::size_t>(1, children));
  for (const char* name : {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"})
    if (!own.contains(name)) all.push_back(fmt::format("{}={}", name, share));
  return all;
}

}  // namespace gossamer
