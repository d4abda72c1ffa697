#include "runtime/report/drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "runtime/report/text.h"

namespace gossamer {
namespace {

constexpr std::array<std::string_view, 14> kElements = {"svg",   "g",       "path",    "line",     "circle",
                                                        "rect",  "ellipse", "polygon", "polyline", "text",
                                                        "tspan", "title",   "desc",    "defs"};
constexpr std::array<std::string_view, 45> kAttributes = {"xmlns",
                                                          "viewBox",
                                                          "width",
                                                          "height",
                                                          "preserveAspectRatio",
                                                          "role",
                                                          "aria-label",
                                                          "class",
                                                          "transform",
                                                          "x",
                                                          "y",
                                                          "x1",
                                                          "y1",
                                                          "x2",
                                                          "y2",
                                                          "cx",
                                                          "cy",
                                                          "r",
                                                          "rx",
                                                          "ry",
                                                          "dx",
                                                          "dy",
                                                          "d",
                                                          "points",
                                                          "fill",
                                                          "fill-opacity",
                                                          "fill-rule",
                                                          "stroke",
                                                          "stroke-width",
                                                          "stroke-opacity",
                                                          "stroke-linecap",
                                                          "stroke-linejoin",
                                                          "stroke-dasharray",
                                                          "opacity",
                                                          "font-size",
                                                          "font-family",
                                                          "font-weight",
                                                          "text-anchor",
                                                          "dominant-baseline",
                                                          "color",
                                                          "version",
                                                          "vector-effect",
                                                          "paint-order",
                                                          "text-rendering",
                                                          "shape-rendering"};

constexpr std::string_view kSpace = " \t\r\n";

std::string_view skip_space(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(kSpace), text.size()));
}

bool name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == ':';
}

std::string_view take_name(std::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && name_character(text[end])) ++end;
  const std::string_view name = text.substr(0, end);
  text.remove_prefix(end);
  return name;
}

template <std::size_t N>
bool among(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Behind the XML declaration, comments and document type; empty where no svg element comes.
std::string_view root_of(std::string_view svg) {
  for (;;) {
    svg = skip_space(svg);
    std::string_view end;
    if (svg.starts_with("\xef\xbb\xbf")) {
      svg.remove_prefix(3);
      continue;
    }
    if (svg.starts_with("<?"))
      end = "?>";
    else if (svg.starts_with("<!--"))
      end = "-->";
    else if (svg.starts_with("<!DOCTYPE") && svg.substr(0, svg.find('>')).find('[') == std::string_view::npos)
      end = ">";
    else
      break;
    const std::size_t at = svg.find(end);
    if (at == std::string_view::npos) return {};
    svg.remove_prefix(at + end.size());
  }
  return svg.starts_with("<svg") && svg.size() > 4 && !name_character(svg[4]) ? svg : std::string_view();
}

// Whether `svg` is one well-formed element of known elements and attributes only.
bool plain(std::string_view svg) {
  std::vector<std::string_view> open;
  bool begun = false;
  while (!svg.empty()) {
    if (svg.front() != '<') {
      const std::size_t end = std::min(svg.find('<'), svg.size());
      if (open.empty() && !skip_space(svg.substr(0, end)).empty()) return false;
      svg.remove_prefix(end);
      continue;
    }
    if (svg.starts_with("<!--")) {
      const std::size_t end = svg.find("-->");
      if (end == std::string_view::npos) return false;
      svg.remove_prefix(end + 3);
      continue;
    }
    svg.remove_prefix(1);
    if (svg.starts_with("/")) {
      svg.remove_prefix(1);
      const std::string_view name = take_name(svg);
      svg = skip_space(svg);
      if (open.empty() || open.back() != name || !svg.starts_with(">")) return false;
      open.pop_back();
      svg.remove_prefix(1);
      continue;
    }
    const std::string_view name = take_name(svg);
    if (!among(name, kElements) || (begun && open.empty())) return false;
    begun = true;
    open.push_back(name);
    for (;;) {
      const std::size_t before = svg.size();
      svg = skip_space(svg);
      if (svg.starts_with("/>")) {
        open.pop_back();
        svg.remove_prefix(2);
        break;
      }
      if (svg.starts_with(">")) {
        svg.remove_prefix(1);
        break;
      }
      const std::string_view attribute = take_name(svg);
      if (svg.size() == before || !among(attribute, kAttributes)) return false;
      svg = skip_space(svg);
      if (!svg.starts_with("=")) return false;
      svg = skip_space(svg.substr(1));
      if (svg.empty() || (svg.front() != '"' && svg.front() != '\'')) return false;
      const std::size_t end = svg.find(svg.front(), 1);
      if (end == std::string_view::npos) return false;
      const std::string_view value = svg.substr(1, end - 1);
      if (value.find_first_of("<\\") != std::string_view::npos ||
          value.find("url") != std::string_view::npos || value.find("&#") != std::string_view::npos)
        return false;
      svg.remove_prefix(end + 1);
    }
  }
  return begun && open.empty();
}

std::string base64(std::string_view from) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((from.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < from.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < from.size() ? static_cast<unsigned char>(from[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k > from.size() ? '=' : kAlphabet[group >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace

std::string embed_drawing(std::string_view svg, std::string_view description, std::size_t size_max) {
  if (svg.size() > size_max)
    return fmt::format(
        "<p class=\"none\">The drawing is left out: it takes {}. Open topology.svg instead.</p>",
        format_bytes(static_cast<double>(svg.size())));
  const std::string_view root = root_of(svg);
  if (root.empty())
    return "<p class=\"none\">The drawing is left out: topology.svg is not an SVG document.</p>";
  if (plain(root) && escape_html(root).find("\xef\xbf\xbd") == std::string::npos)
    return fmt::format("<div class=\"drawing\">{}</div>", root);
  return fmt::format("<div class=\"drawing\"><img alt=\"{}\" src=\"data:image/svg+xml;base64,{}\"></div>",
                     escape_html(description), base64(root));
}

}  // namespace gossamer
