#include "runtime/report/text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>

namespace gossamer {
namespace {

constexpr std::string_view kUnknownText = "-";

// Three significant digits without an exponent, for 0 <= value < 1000 or so.
std::string three_digits(double value) {
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}", value, decimals);
}

std::string with_prefix(double value, std::string_view unit, std::string_view kilo) {
  const std::array<std::string_view, 6> prefixes = {"", kilo, "M", "G", "T", "P"};
  std::size_t prefix = 0;
  while (std::abs(value) >= 999.5 && prefix + 1 < prefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  const std::string number =
      (prefix == 0 && value == std::floor(value) ? fmt::format("{:.0f}", value)
                                                 : (value < 0 ? "-" : "") + three_digits(std::abs(value)));
  const std::string suffix = fmt::format("{}{}", prefixes[prefix], unit);
  return suffix.empty() ? number : number + " " + suffix;
}

// The length of the valid UTF-8 character at the front, or 0.
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what lies beyond the last code point.
  if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f) || (lead == 0xf0 && at(1) < 0x90) ||
      (lead == 0xf4 && at(1) > 0x8f))
    return 0;
  return length;
}

}  // namespace

std::string format_bytes(double bytes) {
  return std::isfinite(bytes) ? with_prefix(bytes, "B", "k") : std::string(kUnknownText);
}

std::string format_count(double count) {
  return std::isfinite(count) ? with_prefix(count, "", "k") : std::string(kUnknownText);
}

std::string format_duration(double s) {
  if (!std::isfinite(s) || s < 0) return std::string(kUnknownText);
  if (s < 59.95)
    return fmt::format("{} s", s == 0      ? "0"
                               : s < 9.995 ? fmt::format("{:.2f}", s)
                                           : fmt::format("{:.1f}", s));
  if (s > 1e9) return fmt::format("{:.3g} s", s);
  const auto whole = static_cast<std::uint64_t>(std::llround(s));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

std::string format_percent(double fraction) {
  if (!std::isfinite(fraction)) return std::string(kUnknownText);
  const double percent = fraction * 100;
  // A ratio of bytes can be far below one percent and must not read as nothing.
  if (percent != 0 && std::abs(percent) < 0.1) return fmt::format("{:.2g} %", percent);
  return std::abs(percent) >= 999.5 ? fmt::format("{:.0f} %", percent) : fmt::format("{:.2f} %", percent);
}

std::string format_number(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}g}", value, digits) : std::string(kUnknownText);
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' && c != '\r';
    if (length == 0 || control || c == 0x7f) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

std::string clip(std::string_view text, std::size_t characters) {
  if (display_width(text) <= characters) return std::string(text);
  constexpr std::string_view kDots = "...";
  const bool dots = characters > kDots.size();
  std::size_t left = dots ? characters - kDots.size() : characters;
  std::size_t end = 0;
  while (end < text.size()) {
    if ((static_cast<unsigned char>(text[end]) & 0xc0) != 0x80 && left-- == 0) break;
    ++end;
  }
  return std::string(text.substr(0, end)) + std::string(dots ? kDots : "");
}

}  // namespace gossamer
