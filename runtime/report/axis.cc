#include "runtime/report/axis.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/check.h"

namespace gossamer {
namespace {

struct Scale {
  double factor = 1;
  std::string_view name;
};

// The unit whose labels stay short when the largest value is `most`.
Scale scale_for(Unit unit, double most) {
  if (unit == Unit::fraction) return {100, "%"};
  if (unit == Unit::seconds) {
    if (most >= 3 * 86400) return {1.0 / 86400, "d"};
    if (most >= 3 * 3600) return {1.0 / 3600, "h"};
    if (most >= 180) return {1.0 / 60, "min"};
    return most > 0 && most < 0.5 ? Scale{1000, "ms"} : Scale{1, "s"};
  }
  if (unit == Unit::bytes || unit == Unit::count) {
    const bool bytes = unit == Unit::bytes;
    if (most >= 2e12) return {1e-12, bytes ? "TB" : "trillion"};
    if (most >= 2e9) return {1e-9, bytes ? "GB" : "billion"};
    if (most >= 2e6) return {1e-6, bytes ? "MB" : "million"};
    if (most >= (bytes ? 2e3 : 2e4)) return {1e-3, bytes ? "kB" : "thousand"};
    return {1, bytes ? "B" : ""};
  }
  return {};
}

// 1, 2 or 5 times a power of ten, near range/ticks.
double nice_step(double range, std::size_t ticks) {
  const double raw = range / static_cast<double>(std::max<std::size_t>(ticks, 1));
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double leading = raw / power;
  return power * (leading < 1.5 ? 1 : leading < 3.5 ? 2 : leading < 7.5 ? 5 : 10);
}

std::string label(double value, double step) {
  if (value == 0) return "0";
  if (std::abs(value) >= 1e6 || std::abs(value) < 1e-4) return fmt::format("{:.3g}", value);
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8);
  return fmt::format("{:.{}f}", value, decimals);
}

std::string power_label(int exponent) {
  if (exponent >= -2 && exponent <= 3) return fmt::format("{:g}", std::pow(10.0, exponent));
  static constexpr std::array<std::string_view, 10> kDigits = {"⁰", "¹", "²", "³", "⁴",
                                                               "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(exponent)))
    text += kDigits[static_cast<std::size_t>(digit - '0')];
  return text;
}

void linear_ticks(Axis& axis, double low, double high, std::size_t wanted, Ends ends, bool fraction) {
  if (!(high > low)) {  // one value: show it in the middle of something sensible
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    high = low + room;
    low = ends == Ends::exact ? low : low - room;
  }
  const double step = nice_step(high - low, wanted);
  if (ends == Ends::round) {
    low = std::floor(low / step + 1e-9) * step;
    const double most = high;
    high = std::ceil(high / step - 1e-9) * step;
    if (fraction && most <= 100) high = std::min(high, 100.0);  // 105 % is no accuracy
  }
  axis.low = low;
  axis.high = high;
  const auto first = static_cast<long long>(std::ceil(low / step - 1e-9));
  for (long long i = first; static_cast<double>(i) * step <= high + step * 1e-9 && axis.ticks.size() < 50;
       ++i) {
    const double value = static_cast<double>(i) * step;
    axis.ticks.push_back({(value - low) / (high - low), label(value, step)});
  }
}

// The logarithm of the next 1, 2 or 5 times a power of ten at or below 10^exponent.  (Its negative is the
// next one above for the negative: 1/2 and 1/5 are 5 and 2 tenths.)
double round_down(double exponent) {
  const double whole = std::floor(exponent + 1e-9), rest = exponent + 1e-9 - whole;
  return whole + (rest >= std::log10(5.0) ? std::log10(5.0) : rest >= std::log10(2.0) ? std::log10(2.0) : 0);
}

void log_ticks(Axis& axis, double low, double high, std::size_t wanted, Ends ends) {
  double a = std::log10(low), b = std::log10(high);
  if (b - a < 1e-9) {
    a -= 0.5;
    b += 0.5;
  }
  if (ends == Ends::round && b - a >= 1) {
    a = round_down(a);
    b = -round_down(-b);
  } else if (ends == Ends::round) {
    const double room = (b - a) * 0.08;
    a -= room;
    b += room;
  }
  axis.low = a;
  axis.high = b;
  const int first = static_cast<int>(std::ceil(a - 1e-9)), last = static_cast<int>(std::floor(b + 1e-9));
  const auto at = [&](double value) { return (std::log10(value) - a) / (b - a); };
  if (last - first >= 2) {
    const int stride = std::max(1, (last - first + static_cast<int>(wanted)) / static_cast<int>(wanted + 1));
    for (int e = first; e <= last; e += stride) axis.ticks.push_back({(e - a) / (b - a), power_label(e)});
    return;
  }
  // Less than three decades: round values within them, and where even those are too few, evenly spread ones.
  for (int e = first - 1; e <= last; ++e)
    for (const int leading : {1, 2, 5}) {
      const double value = leading * std::pow(10.0, e);
      if (at(value) > -1e-9 && at(value) < 1 + 1e-9)
        axis.ticks.push_back({at(value), fmt::format("{:.3g}", value)});
    }
  if (axis.ticks.size() >= 3) return;
  axis.ticks.clear();
  const double from = std::pow(10.0, a), to = std::pow(10.0, b), step = nice_step(to - from, wanted);
  for (double value = std::ceil(from / step) * step; value <= to; value += step)
    axis.ticks.push_back({at(value), fmt::format("{:.4g}", value)});
}

}  // namespace

double Axis::place(double value) const {
  return ((log ? std::log10(value) : value) - low) / (high - low);
}

Axis make_axis(double low, double high, Unit unit, bool log, Ends ends, std::size_t ticks) {
  GOSSAMER_CHECK(std::isfinite(low) && std::isfinite(high) && (!log || low > 0),
                 "an axis spans finite values");
  const Scale scale = scale_for(unit, std::max(std::abs(low), std::abs(high)));
  Axis axis;
  axis.log = log;
  axis.unit = scale.name;
  if (log)
    log_ticks(axis, low * scale.factor, high * scale.factor, ticks, ends);
  else
    linear_ticks(axis, low * scale.factor, high * scale.factor, ticks, ends, unit == Unit::fraction);
  // Back from the unit of the labels to that of the data.
  if (log) {
    axis.low -= std::log10(scale.factor);
    axis.high -= std::log10(scale.factor);
  } else {
    axis.low /= scale.factor;
    axis.high /= scale.factor;
  }
  return axis;
}

}  // namespace gossamer
