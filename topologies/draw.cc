#include "topologies/draw.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <map>

namespace gossamer {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
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
      default:
        if (static_cast<unsigned char>(c) >= 0x20) out += c;  // XML has no place for control characters
    }
  }
  return out;
}

// Plain colours first, for viewers that know neither variables nor media queries; they can be read on dark
// paper too.
constexpr std::string_view kStyle = R"css(<style>
.gossamer-topology { font-family: Inter, "Helvetica Neue", "Segoe UI", sans-serif; }
.gossamer-topology .card { fill: #7f8b98; fill-opacity: 0.09; }
.gossamer-topology .edge { stroke: #3d6fb4; fill: none; stroke-linecap: round; }
.gossamer-topology .tip { fill: #3d6fb4; }
.gossamer-topology .node { fill: #2a5ca8; stroke: #ffffff; stroke-width: 1.5; }
.gossamer-topology .hub { fill: #c2571a; }
.gossamer-topology .idle { fill: #8a95a1; }
.gossamer-topology .id { fill: #ffffff; text-anchor: middle; dominant-baseline: central; font-weight: 600; }
.gossamer-topology .title { fill: #35506f; font-weight: 650; }
.gossamer-topology .note { fill: #75818d; }
@media (prefers-color-scheme: dark) {
.gossamer-topology .card { fill: #9aa7b4; fill-opacity: 0.12; }
.gossamer-topology .edge { stroke: #7fb0ee; }
.gossamer-topology .tip { fill: #7fb0ee; }
.gossamer-topology .node { fill: #4f8ad6; stroke: #12181f; }
.gossamer-topology .hub { fill: #dd7f3c; }
.gossamer-topology .idle { fill: #66727f; }
.gossamer-topology .title { fill: #e8edf2; }
.gossamer-topology .note { fill: #9aa7b4; }
}
</style>)css";

struct Line {
  PeerId from, to;
  double weight;
  bool directed;
};

// Edges of one round; the two directions of an undirected one are one line.
std::vector<Line> lines_of(const Topology& topology, Round round) {
  std::map<std::pair<PeerId, PeerId>, double> edges;
  for (PeerId i = 0; i < topology.peer_count(); ++i)
    for (const auto& e : topology.at(round, i).out) edges[{i, e.peer}] = e.weight;
  std::vector<Line> lines;
  for (const auto& [ends, weight] : edges) {
    const auto back = edges.find({ends.second, ends.first});
    const bool both = back != edges.end() && std::abs(back->second - weight) <= 1e-12;
    if (both && ends.first > ends.second) continue;
    lines.push_back({ends.first, ends.second, weight, !both});
  }
  return lines;
}

struct Frame {
  double x, y, size;  // of one picture, in pixels
};

class Picture {
 public:
  Picture(const Topology& topology, const DrawOptions& options)
      : topology_(topology), options_(options), n_(topology.peer_count()), places_(layout_peers(topology)) {
    round_ = lies_on_circle(topology.name());
    grid_ = topology.name() == "torus";
    const std::size_t period = std::max<std::size_t>(topology.period(), 1);
    rounds_ = std::max<std::size_t>(1, std::min(period, options.rounds_max));
    for (Round r = 0; r < rounds_; ++r) {
      lines_.push_back(lines_of(topology, r));
      for (const auto& line : lines_.back()) {
        least_ = std::min(least_, line.weight);
        most_ = std::max(most_, line.weight);
        directed_ |= line.directed;
      }
    }
    for (std::size_t i = 0; i < n_; ++i)
      for (std::size_t j = 0; j < i; ++j)
        nearest_ = std::min(nearest_, std::hypot(places_[i].x - places_[j].x, places_[i].y - places_[j].y));
    for (PeerId i = 0; i < n_; ++i) degree_ = std::max(degree_, topology.at(0, i).out.size());
  }

  std::string draw() {
    const std::size_t columns = rounds_ == 1 ? 1 : std::min<std::size_t>(rounds_, rounds_ <= 4 ? rounds_ : 4);
    const std::size_t rows = (rounds_ + columns - 1) / columns;
    const double cell = rounds_ == 1   ? 640
                        : columns <= 2 ? 360
                                       : 280,
                 gap = 16, head = 74, foot = options_.legend ? 64 : 16;
    const double width = std::max(560.0, static_cast<double>(columns) * (cell + gap) + gap);
    const double height = head + static_cast<double>(rows) * (cell + gap) + foot;
    begin(width, height);
    const double left = (width - static_cast<double>(columns) * (cell + gap) + gap) / 2;
    for (std::size_t r = 0; r < rounds_; ++r)
      panel(r, {left + static_cast<double>(r % columns) * (cell + gap),
                head + static_cast<double>(r / columns) * (cell + gap), cell});
    if (options_.legend) legend(height - 40, width);
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  void begin(double width, double height) {
    const std::string title = options_.title.empty()
                                  ? fmt::format("{}, {} {}", topology_.name(), n_, n_ == 1 ? "peer" : "peers")
                                  : options_.title;
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"gossamer-topology\" role=\"img\" viewBox=\"0 0 "
        "{:.0f} {:.0f}\" "
        "width=\"{:.0f}\" height=\"{:.0f}\">\n<title>{}</title>\n{}\n",
        width, height, width, height, escaped(title), kStyle);
    if (directed_)
      out_ +=
          "<defs><marker id=\"gossamer-tip\" viewBox=\"0 0 10 10\" refX=\"8\" refY=\"5\" markerWidth=\"11\" "
          "markerHeight=\"11\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"tip\" d=\"M0 1 "
          "L10 5 L0 9 L2.5 5 z\"/>"
          "</marker></defs>\n";
    std::string note = fmt::format("{}, degree up to {}", directed_ ? "directed" : "undirected", degree_);
    if (topology_.period() != 1)
      note += topology_.period() == 0 ? ", never repeats"
                                      : fmt::format(", repeats after {} rounds", topology_.period());
    if (topology_.period() > rounds_) note += fmt::format(" (the first {} are shown)", rounds_);
    out_ += fmt::format(
        "<text class=\"title\" x=\"20\" y=\"34\" font-size=\"20\">{}</text>\n"
        "<text class=\"note\" x=\"20\" y=\"56\" font-size=\"13\">{}</text>\n",
        escaped(title), note);
  }

  double node_radius(double size) const {
    const double n = static_cast<double>(std::max<std::size_t>(n_, 1));
    const double room = round_ ? size * 0.8 * 3.14159 / n / 2.6 : size * 0.8 / std::sqrt(n) / 3.2;
    return std::clamp(std::min(room, 0.44 * nearest_ * size * 0.85), 1.6, size > 400 ? 17.0 : 12.0);
  }

  double width_of(double weight) const {
    const double share = most_ > 0 ? weight / most_ : 1;
    // Thin where there are many.
    std::size_t lines = 0;
    for (const auto& round : lines_) lines = std::max(lines, round.size());
    const double full = lines > 600 ? 1.0 : lines > 150 ? 2.0 : 4.0;
    return std::max(0.35, full * share);
  }

  void panel(std::size_t round, const Frame& frame) {
    out_ += fmt::format(
        "<g><rect class=\"card\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"14\"/>\n",
        frame.x, frame.y, frame.size, frame.size);
    if (rounds_ > 1)
      out_ += fmt::format("<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\">round {}</text>\n",
                          frame.x + 14, frame.y + 22, round);
    const double radius = node_radius(frame.size), margin = radius + 26 + (grid_ ? 14 : 0);
    const double span = frame.size - 2 * margin;
    const auto place = [&](PeerId i) -> Position {
      return {frame.x + margin + places_[i].x * span, frame.y + margin + places_[i].y * span};
    };
    const double opacity = lines_[round].size() > 4000  ? 0.12
                           : lines_[round].size() > 600 ? 0.3
                           : lines_[round].size() > 150 ? 0.5
                                                        : 0.85;
    std::vector<char> busy(n_, 0);
    out_ += fmt::format("<g opacity=\"{}\">\n", opacity);
    for (const auto& line : lines_[round]) {
      busy[line.from] = busy[line.to] = 1;
      edge(line, place(line.from), place(line.to), radius, frame);
    }
    out_ += "</g>\n";
    for (PeerId i = 0; i < n_; ++i) {
      const Position p = place(i);
      const bool hub = n_ > 3 && topology_.period() == 1 && topology_.name() == "star" && i == 0;
      out_ += fmt::format("<circle class=\"node{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"/>\n",
                          hub       ? " hub"
                          : busy[i] ? ""
                                    : " idle",
                          p.x, p.y, radius);
    }
    for (PeerId i = 0; i < n_; ++i) label(i, place(i), radius);
    out_ += "</g>\n";
  }

  void label(PeerId i, const Position& p, double radius) {
    const std::string text = i < options_.labels.size() ? options_.labels[i] : std::to_string(i);
    // Inside where it fits, beside where it does not.
    const double size = std::min(13.0, radius * 1.05);
    if (radius < 5 && n_ > 40) return;
    if (size >= 6 && static_cast<double>(text.size()) * size * 0.6 <= 2 * radius)
      out_ += fmt::format("<text class=\"id\" x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.1f}\">{}</text>\n",
                          p.x, p.y + 0.5, size, escaped(text));
    else
      out_ += fmt::format(
          "<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"10\" "
          "text-anchor=\"middle\">{}</text>\n",
          p.x, p.y + radius + 11, escaped(text));
  }

  // Chords of a circle bend towards its middle, wrap-around edges of a grid bend outwards around their row or
  // column, and the two directions of an unequal pair bend apart.
  void edge(const Line& line, const Position& a, const Position& b, double radius, const Frame& frame) {
    const double dx = b.x - a.x, dy = b.y - a.y, length = std::hypot(dx, dy);
    if (length < 1e-9) return;
    Position control{(a.x + b.x) / 2, (a.y + b.y) / 2};
    const Position middle{frame.x + frame.size / 2, frame.y + frame.size / 2};
    if (round_) {
      // Neighbours follow the rim, long chords bow towards the middle.
      const double pull = 0.22 * std::clamp(length / frame.size / 0.3 - 1, -0.12, 1.0);
      control.x += (middle.x - control.x) * pull;
      control.y += (middle.y - control.y) * pull;
    }
    const double step = frame.size / std::sqrt(static_cast<double>(n_));
    if (grid_ && length > 1.5 * step && length > 3 * radius) {
      const double bend = std::min(28.0, 0.16 * length);
      control.x += dy / length * bend;
      control.y -= dx / length * bend;
    }
    if (line.directed && !round_) {
      control.x += dy / length * 0.08 * length;
      control.y -= dx / length * 0.08 * length;
    }
    // Ends at the rim of the nodes.
    const auto towards = [](const Position& from, const Position& to, double by) -> Position {
      const double l = std::max(1e-9, std::hypot(to.x - from.x, to.y - from.y));
      return {from.x + (to.x - from.x) / l * by, from.y + (to.y - from.y) / l * by};
    };
    const Position start = towards(a, control, radius),
                   end = towards(b, control, radius + (line.directed ? 2.5 : 0));
    out_ += fmt::format(
        "<path class=\"edge\" stroke-width=\"{:.2f}\" d=\"M{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}\"{}/>\n",
        width_of(line.weight), start.x, start.y, control.x, control.y, end.x, end.y,
        line.directed ? " marker-end=\"url(#gossamer-tip)\"" : "");
  }

  void legend(double y, double width) {
    if (most_ <= 0) return;
    double x = 20;
    const auto sample = [&](double weight, bool tip) {
      out_ += fmt::format(
          "<path class=\"edge\" stroke-width=\"{:.2f}\" d=\"M{:.1f} {:.1f}h36\"{}/>\n"
          "<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\">weight {:.4g}</text>\n",
          width_of(weight), x, y, tip ? " marker-end=\"url(#gossamer-tip)\"" : "", x + 46, y + 4, weight);
      x += 150;
    };
    sample(most_, directed_);
    if (least_ < most_ * (1 - 1e-9)) sample(least_, directed_);
    if (x + 200 > width) return;
    out_ += fmt::format("<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\">{}</text>\n", x,
                        y + 4, directed_ ? "arrows point from sender to receiver" : "lines go both ways");
  }

  const Topology& topology_;
  const DrawOptions& options_;
  std::size_t n_;
  std::vector<Position> places_;
  std::vector<std::vector<Line>> lines_;
  std::size_t rounds_ = 1, degree_ = 0;
  bool round_ = false, grid_ = false, directed_ = false;
  double least_ = 1e300, most_ = 0;
  double nearest_ = 1;  // distance of the two nearest peers
  std::string out_;
};

std::string size_card(const Topology& topology, const DrawOptions& options) {
  const std::string title = options.title.empty() ? std::string(topology.name()) : options.title;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"gossamer-topology\" role=\"img\" viewBox=\"0 0 560 "
      "150\" width=\"560\" "
      "height=\"150\">\n<title>{0}</title>\n{1}\n<rect class=\"card\" x=\"8\" y=\"8\" width=\"544\" "
      "height=\"134\" rx=\"14\"/>\n"
      "<text class=\"title\" x=\"28\" y=\"58\" font-size=\"20\">{0}</text>\n"
      "<text class=\"note\" x=\"28\" y=\"88\" font-size=\"13\">{2} peers: too many to draw (up to {3} are "
      "drawn)</text>\n</svg>\n",
      escaped(title), kStyle, topology.peer_count(), kDrawnPeersMax);
}

}  // namespace

std::string draw_svg(const Topology& topology, const DrawOptions& options) {
  const std::size_t n = topology.peer_count();
  if (n > kDrawnPeersMax) return size_card(topology, options);
  std::size_t edges = 0;
  for (PeerId i = 0; i < n; ++i) edges += topology.at(0, i).out.size();
  if (edges > 20 * kDrawnPeersMax) return size_card(topology, options);
  return Picture(topology, options).draw();
}

}  // namespace gossamer
