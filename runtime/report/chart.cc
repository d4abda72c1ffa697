#include "runtime/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

#include "runtime/report/text.h"

namespace gossamer {
namespace {

constexpr std::size_t kMarkersMax = 24;  // a line with no more points shows them

std::string_view axis_class(Against against) {
  switch (against) {
    case Against::step:
      return "x-step";
    case Against::seconds:
      return "x-time";
    case Against::bytes:
      return "x-bytes";
  }
  return "";
}

std::string_view axis_title(Against against) {
  switch (against) {
    case Against::step:
      return "steps of each peer";
    case Against::seconds:
      return "time since the start";
    case Against::bytes:
      return "bytes sent by each peer";
  }
  return "";
}

Unit axis_unit(Against against) {
  switch (against) {
    case Against::step:
      return Unit::count;
    case Against::seconds:
      return Unit::seconds;
    case Against::bytes:
      return Unit::bytes;
  }
  return Unit::number;
}

std::string_view unit_name(Unit unit) {
  switch (unit) {
    case Unit::number:
      return "number";
    case Unit::fraction:
      return "percent";
    case Unit::count:
      return "count";
    case Unit::seconds:
      return "seconds";
    case Unit::bytes:
      return "bytes";
  }
  return "";
}

std::string formatted(double value, Unit unit) {
  switch (unit) {
    case Unit::fraction:
      return format_percent(value);
    case Unit::bytes:
      return format_bytes(value);
    case Unit::seconds:
      return format_duration(value);
    default:
      return format_number(value);
  }
}

// A place in the 1000 by 1000 box of the lines, y downwards.
struct Box {
  const Axis& x;
  const Axis& y;
  std::string point(const Point& p) const {
    return fmt::format("{} {}", tenth(x.place(p.x)), tenth(1 - y.place(p.y)));
  }
  static std::string tenth(double at) {
    std::string text = fmt::format("{:.1f}", std::clamp(at, -0.5, 1.5) * 1000);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text == "-0" ? "0" : text;
  }
};

struct Range {
  double low = 0, high = 0;
  bool any = false;
  void include(double value) {
    low = any ? std::min(low, value) : value;
    high = any ? std::max(high, value) : value;
    any = true;
  }
};

void append_grid(std::string& out, const Axis& x, const Axis& y) {
  const auto to = std::back_inserter(out);
  for (const Tick& tick : y.ticks) {
    const double at = (1 - tick.at) * 100;
    fmt::format_to(to, "<line class=\"g\" x2=\"100%\" y1=\"{0:.2f}%\" y2=\"{0:.2f}%\"/>", at);
    fmt::format_to(to, "<text class=\"ty\" x=\"-8\" y=\"{:.2f}%\" dy=\".35em\">{}</text>", at,
                   escape_html(tick.label));
  }
  for (const Tick& tick : x.ticks) {
    const double at = tick.at * 100;
    fmt::format_to(to, "<line class=\"g\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y2=\"100%\"/>", at);
    fmt::format_to(to, "<text class=\"tx\" x=\"{:.2f}%\" y=\"100%\" dy=\"17\">{}</text>", at,
                   escape_html(tick.label));
  }
  out += "<line class=\"b\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/>";
}

std::string with_unit(std::string_view title, const std::string& unit) {
  return unit.empty() ? std::string(title) : fmt::format("{} ({})", title, unit);
}

// The band's places are already few; every n-th is kept, and the extremes between two kept ones with them.
ChartBand thin(const ChartBand& band, std::size_t points) {
  if (points == 0 || band.low.size() <= points) return band;
  const std::size_t stride = (band.low.size() + points - 1) / points;
  ChartBand out{band.name, {}, {}};
  for (std::size_t i = 0; i < band.low.size(); i += stride) {
    Point low = band.low[i], high = band.high[i];
    for (std::size_t k = i; k < std::min(i + stride, band.low.size()); ++k) {
      low.y = std::min(low.y, band.low[k].y);
      high.y = std::max(high.y, band.high[k].y);
    }
    if (i + stride >= band.low.size()) low.x = high.x = band.low.back().x;
    out.low.push_back(low);
    out.high.push_back(high);
  }
  return out;
}

void append_line(std::string& out, const ChartLine& line, const Box& box, bool log, std::size_t points) {
  const Line kept = thin(line.line, points, log);
  std::string path, marks;
  for (const Point& p : kept) {
    const std::string at = box.point(p);
    path += (path.empty() ? "M" : " ") + at;
    if (kept.size() <= kMarkersMax) marks += fmt::format("M{}h0", at);
  }
  const auto to = std::back_inserter(out);
  if (!marks.empty()) fmt::format_to(to, "<path class=\"k {}\" d=\"{}\"/>", colour_class(line.colour), marks);
  fmt::format_to(to, "<path class=\"l {}\" data-name=\"{}\" d=\"{}\"/>", colour_class(line.colour),
                 escape_html(line.name), path);
}

void append_band(std::string& out, const ChartBand& whole, const Box& box, std::size_t points) {
  const ChartBand band = thin(whole, points);
  std::string path;
  for (const Point& p : band.low) path += (path.empty() ? "M" : " ") + box.point(p);
  for (auto p = band.high.rbegin(); p != band.high.rend(); ++p) path += " " + box.point(*p);
  fmt::format_to(std::back_inserter(out), "<path class=\"a\" data-band=\"{}\" d=\"{}Z\"/>",
                 escape_html(band.name), path);
}

std::string plot(const Chart& chart, std::size_t index, std::size_t points) {
  const auto& lines = chart.lines[index];
  const auto& bands = chart.bands[index];
  const Against against = kAgainst[index];
  Range xs, ys;
  for (const ChartLine& line : lines)
    for (const Point& p : line.line) xs.include(p.x), ys.include(p.y);
  for (const ChartBand& band : bands)
    for (const Line* edge : {&band.low, &band.high})
      for (const Point& p : *edge) xs.include(p.x), ys.include(p.y);
  if (!ys.any) return fmt::format("<p class=\"none {}\">Nothing was recorded.</p>", axis_class(against));
  if (against == Against::bytes && xs.high <= 0)
    return fmt::format("<p class=\"none {}\">No bytes were sent.</p>", axis_class(against));

  const Axis x = make_axis(0, std::max(xs.high, chart.reach[index]), axis_unit(against), false, Ends::exact);
  const Axis y = make_axis(ys.low, ys.high, chart.unit, chart.log, Ends::round);
  std::string summary = chart.title;
  if (!lines.empty() && !lines.back().line.empty())
    summary += fmt::format(" by {}: {} goes from {} to {}", axis_title(against), lines.back().name,
                           formatted(lines.back().line.front().y, chart.unit),
                           formatted(lines.back().line.back().y, chart.unit));
  std::string out = fmt::format(
      "<div class=\"plot {}\" data-x=\"{}\" data-x0=\"{:.9g}\" data-x1=\"{:.9g}\" data-y=\"{}\" "
      "data-y0=\"{:.9g}\" "
      "data-y1=\"{:.9g}\"{}><svg role=\"img\" tabindex=\"0\" width=\"100%\" height=\"100%\" "
      "aria-label=\"{}\">",
      axis_class(against), unit_name(axis_unit(against)), x.low, x.high, unit_name(chart.unit), y.low, y.high,
      chart.log ? " data-log=\"1\"" : "", escape_html(summary));
  append_grid(out, x, y);
  fmt::format_to(std::back_inserter(out), "<text class=\"tt\" x=\"100%\" y=\"100%\" dy=\"34\">{}</text>",
                 escape_html(with_unit(axis_title(against), x.unit)));
  if (!y.unit.empty())
    fmt::format_to(std::back_inserter(out), "<text class=\"tu\" x=\"-8\" y=\"-10\">{}</text>",
                   escape_html(y.unit));
  out +=
      "<svg class=\"s\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" width=\"100%\" "
      "height=\"100%\">";
  const Box box{x, y};
  for (const ChartBand& band : bands) append_band(out, band, box, points);
  for (const ChartLine& line : lines) append_line(out, line, box, chart.log, points);
  out += "</svg></svg></div>";
  return out;
}

std::string caption(const std::string& title, const std::string& explanation) {
  return fmt::format("<figcaption><b>{}</b> <span>{}</span></figcaption>", escape_html(title),
                     escape_html(explanation));
}

}  // namespace

std::string colour_class(int colour) {
  if (colour < 0) return "m";
  return fmt::format("c{}{}", colour % kColours, colour / kColours % 2 == 1 ? " d" : "");
}

std::string chart_figure(const Chart& chart, std::size_t points) {
  std::string out = "<figure class=\"chart\">" + caption(chart.title, chart.explanation);
  for (std::size_t i = 0; i < kAgainst.size(); ++i) out += plot(chart, i, points);
  if (!chart.note.empty()) out += fmt::format("<p class=\"note\">{}</p>", escape_html(chart.note));
  return out + "</figure>\n";
}

std::string dots_figure(const std::string& title, const std::string& explanation, Unit x_unit, Unit y_unit,
                        const std::vector<Dot>& dots) {
  Range xs, ys;
  for (const Dot& dot : dots)
    if (std::isfinite(dot.y) && std::isfinite(dot.x) && dot.x > 0) xs.include(dot.x), ys.include(dot.y);
  std::string out = "<figure class=\"chart\">" + caption(title, explanation);
  if (!xs.any) return out + "<p class=\"none\">Nothing was recorded.</p></figure>\n";
  // Room beside the outermost dots.
  const bool log = xs.high / xs.low > 5;
  const double room = log ? std::pow(xs.high / xs.low, 0.08) : 1;
  const Axis x =
      make_axis(log ? xs.low / room : 0, log ? xs.high * room : xs.high * 1.05, x_unit, log, Ends::exact);
  const double air = (ys.high - ys.low) * 0.1;
  const Axis y = make_axis(ys.low - air, ys.high + air, y_unit, false, Ends::round);
  out += "<div class=\"plot\"><svg role=\"img\" width=\"100%\" height=\"100%\" aria-label=\"" +
         escape_html(title) + "\">";
  append_grid(out, x, y);
  const auto to = std::back_inserter(out);
  fmt::format_to(to, "<text class=\"tt\" x=\"100%\" y=\"100%\" dy=\"34\">{}</text>",
                 escape_html(with_unit("bytes sent by each peer", x.unit)));
  if (!y.unit.empty())
    fmt::format_to(to, "<text class=\"tu\" x=\"-8\" y=\"-10\">{}</text>", escape_html(y.unit));

  // Names from the top down, pushed apart where they would lie on each other.
  std::vector<const Dot*> order;
  for (const Dot& dot : dots)
    if (std::isfinite(dot.y) && std::isfinite(dot.x) && dot.x > 0) order.push_back(&dot);
  std::sort(order.begin(), order.end(), [](const Dot* a, const Dot* b) { return a->y > b->y; });
  constexpr double kNameHeight = 7;  // percent of the plot
  constexpr std::size_t kNamesMax = 10;
  double lowest = -kNameHeight;
  for (const Dot* dot : order) {
    const double at_x = x.place(dot->x) * 100, at_y = (1 - y.place(dot->y)) * 100;
    fmt::format_to(
        to, "<circle class=\"{}\" cx=\"{:.2f}%\" cy=\"{:.2f}%\" r=\"6\"><title>{}: {}, {}</title></circle>",
        colour_class(dot->colour), at_x, at_y, escape_html(dot->name), formatted(dot->y, y_unit),
        formatted(dot->x, x_unit));
    if (order.size() > kNamesMax) continue;
    const double name_y = std::max(at_y, lowest + kNameHeight);
    lowest = name_y;
    const bool left = at_x > 55;
    fmt::format_to(to, "<text class=\"tn{}\" x=\"{:.2f}%\" dx=\"{}\" y=\"{:.2f}%\" dy=\".35em\">{}</text>",
                   left ? " e" : "", at_x, left ? -11 : 11, name_y, escape_html(clip(dot->name, 24)));
  }
  return out + "</svg></div></figure>\n";
}

}  // namespace gossamer
