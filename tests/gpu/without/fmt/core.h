// Where libfmt-dev is not installed: as much of fmt::format as kernels/ uses, "{}" and nothing in it.
#pragma once

#include <sstream>
#include <string>
#include <string_view>

namespace fmt {

template <class... Arguments>
std::string format(std::string_view text, const Arguments&... arguments) {
  std::ostringstream to;
  const auto put = [&](const auto& argument) {
    const std::size_t at = text.find("{}");
    to << text.substr(0, at) << argument;
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 2);
  };
  (put(arguments), ...);
  to << text;
  return to.str();
}

}  // namespace fmt
