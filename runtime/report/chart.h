// Charts of the report: an inline SVG per x axis, readable without any script.
//
// Places are in percent, labels have the size of the page's text and lines keep their width, so that one
// drawing serves a phone and a wide screen.  The page's style sheet gives the colours (classes c0..c7, m for
// the mean) and shows the plot of the chosen x axis; its script reads the values back from the paths and the
// data attributes.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "runtime/report/axis.h"
#include "runtime/report/series.h"

namespace gossamer {

inline constexpr int kColours = 8;
inline constexpr int kMeanColour = -1;
inline constexpr std::array<Against, 3> kAgainst = {Against::step, Against::seconds, Against::bytes};

struct ChartLine {
  std::string name;
  int colour = kMeanColour;  // beyond kColours they come again, dashed
  Line line;
};

struct ChartBand {
  std::string name;
  Line low, high;  // at the same places
};

struct Chart {
  std::string title;
  std::string explanation;
  Unit unit = Unit::number;
  bool log = false;
  // By kAgainst.
  std::array<std::vector<ChartLine>, 3> lines;
  std::array<std::vector<ChartBand>, 3> bands;
  // How far each x axis reaches at least, so that the charts of a page can be compared at a glance.
  std::array<double, 3> reach = {};
  std::string note;  // below the chart
};

// A <figure>.  Each line is thinned to `points` points.
std::string chart_figure(const Chart& chart, std::size_t points);

// One dot per run: what accuracy was had for how many bytes.
struct Dot {
  std::string name;
  int colour = 0;
  double x = 0;
  double y = 0;
};
std::string dots_figure(const std::string& title, const std::string& explanation, Unit x_unit, Unit y_unit,
                        const std::vector<Dot>& dots);

// The classes of a line or swatch of this colour.
std::string colour_class(int colour);

}  // namespace gossamer
