#include "runtime/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>

#include "runtime/report/chart.h"
#include "runtime/report/drawing.h"
#include "runtime/report/page_assets.h"
#include "runtime/report/text.h"

namespace gossamer {
namespace {

// How much is shown.  The page is made with the first of kDetails with which it is small enough.
struct Detail {
  std::size_t points;         // per line
  std::size_t peer_lines;     // with more peers than this, a band and the mean
  std::size_t peer_rows;      // per run
  std::size_t text_bytes;     // of a run file
  std::size_t drawing_bytes;  // of a drawing of the graph
  std::size_t runs;           // shown one by one
  std::size_t rows;           // of the comparison
};
constexpr std::array<Detail, 4> kDetails = {{{240, 12, 1000, 65536, 400'000, 24, 300},
                                             {120, 8, 200, 32768, 120'000, 12, 200},
                                             {60, 6, 64, 16384, 50'000, 6, 150},
                                             {30, 0, 24, 4096, 10'000, 3, 100}}};

constexpr std::size_t kNameMax = 120;
constexpr std::size_t kCompareLines = 2 * kColours;  // more could not be told apart

struct MeasureText {
  Measure measure;
  const char* title;
  const char* explanation;
  Unit unit;
};
constexpr std::array<MeasureText, 3> kMeasures = {
    {{Measure::loss, "Training loss", "mean of each interval", Unit::number},
     {Measure::accuracy, "Accuracy", "of each peer's own model on the test set", Unit::fraction},
     {Measure::consensus, "Consensus distance", "how far the peers' models lie from their mean; logarithmic",
      Unit::number}}};

std::string name_of(const std::string& name) {
  return escape_html(clip(name, kNameMax));
}

// The page's dash for what is unknown.
std::string cell(std::string text) {
  return text == "-" ? "\u2013" : escape_html(text);
}

double ratio(const RunSummary& run) {
  return run.all_reduce_bytes_per_peer > 0 ? run.bytes_sent_per_peer / run.all_reduce_bytes_per_peer
                                           : kUnknown;
}

double accuracy_of(const RunSummary& run) {
  return run.mean_model_accuracy;
}

bool spans_decades(const std::vector<PeerLine>& lines) {
  double low = 0, high = 0;
  for (const PeerLine& line : lines)
    for (const Point& point : line.line) {
      if (point.y <= 0) return false;
      low = low == 0 ? point.y : std::min(low, point.y);
      high = std::max(high, point.y);
    }
  return low > 0 && high / low > 50;
}

void tile(std::string& out, const std::string& value, const std::string& what) {
  fmt::format_to(std::back_inserter(out), "<div class=\"tile\"><b>{}</b><span>{}</span></div>", cell(value),
                 escape_html(what));
}

std::string tiles(const RunSummary& s) {
  std::string out = "<div class=\"tiles\">";
  const std::string whose = s.hub ? fmt::format("the hub's model (peer {})", *s.hub) : "the mean model";
  tile(out, format_percent(s.mean_model_accuracy), "accuracy of " + whose);
  tile(out, format_number(s.mean_model_loss), "loss of " + whose);
  tile(out, format_bytes(s.bytes_sent_per_peer), "sent by each peer");
  tile(out, format_percent(ratio(s)),
       s.all_reduce_bytes_per_peer > 0
           ? fmt::format("of what all-reduce would send ({})", format_bytes(s.all_reduce_bytes_per_peer))
           : "of what all-reduce would send");
  tile(out, format_duration(s.wall_s), "wall time");
  tile(out, s.samples_per_s > 0 ? format_count(s.samples_per_s) + "/s" : "-", "samples, all peers together");
  tile(out, format_number(s.consensus_distance, 3), "final consensus distance");
  return out + "</div>\n";
}

std::string subtitle(const RunSummary& s) {
  std::string out = "<p class=\"sub\">";
  const auto part = [&](const std::string& text) {
    if (!text.empty()) out += "<span>" + escape_html(clip(text, kNameMax)) + "</span>";
  };
  part(s.algorithm);
  part(s.topology);
  part(s.codec.empty() || s.codec == "none" ? "no compression" : s.codec);
  part(s.transport);
  part(fmt::format("{} {}", s.peers.size(), s.peers.size() == 1 ? "peer" : "peers"));
  part(format_count(static_cast<double>(s.parameters)) + " parameters");
  part(fmt::format("seed {}", s.seed));
  return out + "</p>\n";
}

struct LegendEntry {
  std::string name;
  int colour = kMeanColour;
  bool band = false;
};

std::string legend(const std::vector<LegendEntry>& entries) {
  std::string out = "<ul class=\"legend\">";
  const auto to = std::back_inserter(out);
  for (const LegendEntry& entry : entries) {
    const std::string name = escape_html(entry.name);
    fmt::format_to(
        to, "<li data-name=\"{}\"><svg class=\"s\" width=\"22\" height=\"10\" aria-hidden=\"true\">", name);
    if (entry.band)
      out += "<path class=\"a\" d=\"M0 0H22V10H0Z\"/>";
    else
      fmt::format_to(to, "<path class=\"l {}\" d=\"M1 5H21\"/>", colour_class(entry.colour));
    fmt::format_to(to, "</svg>{}</li>", name);
  }
  return out + "</ul>";
}

std::string axis_bar(const std::vector<LegendEntry>& entries) {
  return "<div class=\"bar\"><div class=\"seg\" role=\"group\" aria-label=\"Horizontal axis\"><label "
         "for=\"xs\">steps</label>"
         "<label for=\"xt\">time</label><label for=\"xb\">bytes</label></div>" +
         legend(entries) + "</div>\n";
}

// Where the records end, by kAgainst.
void widen(std::array<double, 3>& reach, const std::vector<IntervalRecord>& records) {
  for (const IntervalRecord& record : records) {
    reach[0] = std::max(reach[0], static_cast<double>(record.step));
    if (std::isfinite(record.seconds)) reach[1] = std::max(reach[1], record.seconds);
    reach[2] = std::max(reach[2], static_cast<double>(record.bytes_sent));
  }
}

// Peers whose last interval has no finite loss have diverged, or did no step in it.
std::string loss_note(const std::vector<IntervalRecord>& records) {
  std::map<PeerId, const IntervalRecord*> last;
  for (const IntervalRecord& record : records) {
    const IntervalRecord*& held = last[record.peer];
    if (held == nullptr || record.step >= held->step) held = &record;
  }
  const auto lost =
      std::count_if(last.begin(), last.end(), [](const auto& l) { return !std::isfinite(l.second->loss); });
  if (lost == 0) return "";
  return fmt::format("{} of {} peers have no finite loss in their last interval.", lost, last.size());
}

// The charts of one run and their legend: a line per peer and the mean, or the range of all and the mean.
std::string run_charts(const ReportRun& run, const Detail& detail) {
  std::vector<LegendEntry> entries;
  std::string figures;
  bool banded = false, averaged = false;
  std::vector<PeerId> peers;
  for (const MeasureText& text : kMeasures) {
    Chart chart{.title = text.title, .explanation = text.explanation, .unit = text.unit};
    widen(chart.reach, run.records);
    const bool consensus = text.measure == Measure::consensus;
    const auto by_step = peer_lines(run.records, text.measure, Against::step, consensus);
    chart.log = consensus || (text.measure == Measure::loss && spans_decades(by_step));
    if (chart.log && !consensus) chart.explanation += "; logarithmic";
    for (std::size_t i = 0; i < kAgainst.size(); ++i) {
      const auto lines = i == 0 ? by_step : peer_lines(run.records, text.measure, kAgainst[i], consensus);
      const Together all = together(lines);
      if (lines.size() > std::max<std::size_t>(detail.peer_lines, 1)) {
        chart.bands[i].push_back({"all peers", all.low, all.high});
        banded = true;
      } else {
        for (const PeerLine& line : lines) {
          chart.lines[i].push_back(
              {fmt::format("peer {}", line.peer), static_cast<int>(line.peer % (2 * kColours)), line.line});
          if (std::find(peers.begin(), peers.end(), line.peer) == peers.end()) peers.push_back(line.peer);
        }
      }
      if (lines.size() > 1) {
        chart.lines[i].push_back({"mean of peers", kMeanColour, all.mean});
        averaged = true;
      }
    }
    if (text.measure == Measure::loss) chart.note = loss_note(run.records);
    if (consensus) {
      const auto zeros = std::count_if(run.records.begin(), run.records.end(),
                                       [](const IntervalRecord& r) { return r.consensus_distance == 0; });
      if (zeros > 0)
        chart.note = fmt::format(
            "{} records of exactly 0 are not drawn: models that are equal have no place on a logarithmic "
            "axis.",
            zeros);
    }
    figures += chart_figure(chart, detail.points);
  }
  if (averaged) entries.push_back({"mean of peers", kMeanColour});
  std::sort(peers.begin(), peers.end());
  for (const PeerId peer : peers)
    entries.push_back({fmt::format("peer {}", peer), static_cast<int>(peer % (2 * kColours))});
  if (banded) entries.push_back({"all peers", 0, true});
  if (!run.topology_svg.empty())
    figures += "<figure><figcaption><b>Who talks to whom</b> <span>" +
               escape_html(clip(run.summary.topology, kNameMax)) + "</span></figcaption>" +
               embed_drawing(run.topology_svg, "The graph of the run", detail.drawing_bytes) + "</figure>\n";
  return "<section>" + axis_bar(entries) + "<div class=\"charts\">" + figures + "</div></section>\n";
}

// The peers that are shown when not all can be: the least accurate and those that waited most.
std::vector<const PeerSummary*> chosen_peers(const std::vector<PeerSummary>& peers, std::size_t most) {
  std::vector<const PeerSummary*> all;
  for (const PeerSummary& peer : peers) all.push_back(&peer);
  if (all.size() > most) {
    const auto by = [&](auto key) {
      std::vector<const PeerSummary*> sorted = all;
      std::stable_sort(sorted.begin(), sorted.end(),
                       [&](const PeerSummary* a, const PeerSummary* b) { return key(*a) < key(*b); });
      sorted.resize(most / 2);
      return sorted;
    };
    // Unknown sorts as worst: it must not compare as NaN.
    const auto worst = by([](const PeerSummary& p) { return std::isfinite(p.accuracy) ? p.accuracy : -1; });
    const auto idle = by([](const PeerSummary& p) { return std::isfinite(p.wait_s) ? -p.wait_s : -1e300; });
    all = worst;
    for (const PeerSummary* peer : idle)
      if (std::find(all.begin(), all.end(), peer) == all.end()) all.push_back(peer);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const PeerSummary* a, const PeerSummary* b) { return a->peer < b->peer; });
  return all;
}

std::string peer_table(const ReportRun& run, const Detail& detail) {
  if (run.summary.peers.empty()) return "<p class=\"none\">The summary names no peers.</p>";
  const auto peers = chosen_peers(run.summary.peers, detail.peer_rows);
  std::string out =
      "<p class=\"note\">Time of each peer:<span class=\"key bc\"></span>computing<span class=\"key "
      "bw\"></span>waiting for "
      "neighbours</p><div class=\"scroll\"><table><thead><tr><th class=\"t\">peer</th><th "
      "class=\"t\">host</th><th>samples</th>"
      "<th>steps</th><th>rounds</th><th>loss</th><th>accuracy</th><th>sent</th><th>received</th><th>wall "
      "time</th>"
      "<th>computing</th><th>waiting</th></tr></thead><tbody>\n";
  const auto to = std::back_inserter(out);
  for (const PeerSummary* p : peers) {
    const double total = p->wall_s;
    const auto share = [&](double part) {
      return total > 0 && std::isfinite(part) ? std::clamp(part / total, 0.0, 1.0) : 0.0;
    };
    const double compute = share(p->compute_s), wait = std::min(share(p->wait_s), 1 - compute);
    fmt::format_to(
        to,
        "<tr><td class=\"t\">{}</td><td "
        "class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>"
        "<td>{}</td><td>{}</td><td>{}<span class=\"meter\"><i class=\"bc\" style=\"width:{:.1f}%\"></i>"
        "<i class=\"bw\" style=\"width:{:.1f}%\"></i></span></td><td>{}</td><td>{}</td></tr>\n",
        p->peer, escape_html(clip(p->host, 40)), p->samples, p->steps, p->rounds,
        cell(format_number(p->loss)), cell(format_percent(p->accuracy)),
        format_bytes(static_cast<double>(p->bytes_sent)),
        format_bytes(static_cast<double>(p->bytes_received)), cell(format_duration(p->wall_s)), compute * 100,
        wait * 100, cell(format_duration(p->compute_s)), cell(format_duration(p->wait_s)));
  }
  out += "</tbody></table></div>\n";
  if (peers.size() < run.summary.peers.size())
    fmt::format_to(to,
                   "<p class=\"note\">{} of {} peers: the least accurate and those that waited longest. "
                   "summary.json has "
                   "all.</p>",
                   peers.size(), run.summary.peers.size());
  return out;
}

std::string run_file(const std::string& yaml, const Detail& detail) {
  if (yaml.empty()) return "";
  const bool cut = yaml.size() > detail.text_bytes;
  return fmt::format(
      "<details><summary>Run file <span>resolved: every setting as it was "
      "used</span></summary><pre>{}{}</pre>"
      "</details>\n",
      escape_html(std::string_view(yaml).substr(0, detail.text_bytes)),
      cut ? "\n... the rest is in run.yaml" : "");
}

std::string run_body(const ReportRun& run, const Detail& detail) {
  return tiles(run.summary) + run_charts(run, detail) + "<h3>Peers</h3>" + peer_table(run, detail) +
         run_file(run.run_yaml, detail);
}

std::string comparison_table(const std::vector<ReportRun>& runs, const Detail& detail) {
  std::optional<double> best_accuracy, fewest_bytes;
  for (const ReportRun& run : runs) {
    const double accuracy = accuracy_of(run.summary), bytes = run.summary.bytes_sent_per_peer;
    if (std::isfinite(accuracy)) best_accuracy = std::max(best_accuracy.value_or(accuracy), accuracy);
    if (std::isfinite(bytes)) fewest_bytes = std::min(fewest_bytes.value_or(bytes), bytes);
  }
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th "
      "class=\"t\">run</th><th>accuracy</th><th>loss</th><th>bytes per peer</th>"
      "<th>all-reduce</th><th>ratio</th><th>wall time</th><th>samples/s</th><th>consensus</th><th>peers</th>"
      "<th class=\"t\">algorithm</th><th class=\"t\">topology</th><th "
      "class=\"t\">compression</th></tr></thead><tbody>\n";
  const auto to = std::back_inserter(out);
  for (std::size_t i = 0; i < std::min(runs.size(), detail.rows); ++i) {
    const RunSummary& s = runs[i].summary;
    const double part = ratio(s);
    // Only the runs that the charts show have a colour.
    const std::string swatch =
        i < kCompareLines
            ? fmt::format("<i class=\"sw\" style=\"background:var(--c{})\"></i>", i % kColours)
            : "";
    fmt::format_to(
        to,
        "<tr><td class=\"t name\" title=\"{0}\">{1}{0}</td>"
        "<td{2}>{3}</td><td>{4}</td><td{5}>{6}</td><td>{7}</td>",
        name_of(runs[i].name), swatch, best_accuracy == accuracy_of(s) ? " class=\"best\"" : "",
        cell(format_percent(accuracy_of(s))), cell(format_number(s.mean_model_loss)),
        fewest_bytes == s.bytes_sent_per_peer ? " class=\"best\"" : "",
        cell(format_bytes(s.bytes_sent_per_peer)),
        cell(s.all_reduce_bytes_per_peer > 0 ? format_bytes(s.all_reduce_bytes_per_peer) : "-"));
    fmt::format_to(
        to,
        "<td>{}<span class=\"meter\"><i class=\"bc\" "
        "style=\"width:{:.1f}%\"></i></span></td><td>{}</td><td>{}</td>"
        "<td>{}</td><td>{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td></tr>\n",
        cell(format_percent(part)), std::isfinite(part) ? std::clamp(part, 0.0, 1.0) * 100 : 0,
        cell(format_duration(s.wall_s)), cell(s.samples_per_s > 0 ? format_count(s.samples_per_s) : "-"),
        cell(format_number(s.consensus_distance, 3)), s.peers.size(), escape_html(clip(s.algorithm, 40)),
        escape_html(clip(s.topology, 40)), escape_html(clip(s.codec, 40)));
  }
  out +=
      "</tbody></table></div>\n<p class=\"note\">all-reduce: what ring all-reduce of the same float32 model, "
      "once per round, "
      "would have sent. ratio: bytes per peer as a part of that.</p>\n";
  if (runs.size() > detail.rows)
    fmt::format_to(to, "<p class=\"note\">The first {} of {} runs.</p>\n", detail.rows, runs.size());
  return out;
}

// The mean of each run's peers over each other, and accuracy against bytes.
std::string comparison_charts(const std::vector<ReportRun>& runs, const Detail& detail) {
  const std::size_t shown = std::min(runs.size(), kCompareLines);
  std::vector<LegendEntry> entries;
  for (std::size_t r = 0; r < shown; ++r)
    entries.push_back({clip(runs[r].name, kNameMax), static_cast<int>(r)});
  std::string figures;
  for (const MeasureText& text : kMeasures) {
    Chart chart{.title = text.title, .explanation = "mean of each run's peers", .unit = text.unit};
    for (std::size_t r = 0; r < shown; ++r) widen(chart.reach, runs[r].records);
    const bool consensus = text.measure == Measure::consensus;
    chart.log = consensus;
    if (consensus) chart.explanation += "; logarithmic";
    for (std::size_t i = 0; i < kAgainst.size(); ++i)
      for (std::size_t r = 0; r < shown; ++r) {
        Line mean = together(peer_lines(runs[r].records, text.measure, kAgainst[i], consensus)).mean;
        if (!mean.empty())
          chart.lines[i].push_back({clip(runs[r].name, kNameMax), static_cast<int>(r), std::move(mean)});
      }
    figures += chart_figure(chart, detail.points);
  }
  std::vector<Dot> dots;
  for (std::size_t r = 0; r < shown; ++r)
    dots.push_back({clip(runs[r].name, kNameMax), static_cast<int>(r), runs[r].summary.bytes_sent_per_peer,
                    accuracy_of(runs[r].summary)});
  figures += dots_figure("What accuracy costs", "accuracy of the mean model against bytes", Unit::bytes,
                         Unit::fraction, dots);
  std::string out =
      "<section class=\"cmp\">" + axis_bar(entries) + "<div class=\"charts\">" + figures + "</div>";
  if (shown < runs.size())
    out += fmt::format("<p class=\"note\">The charts show the first {} runs.</p>", shown);
  return out + "</section>\n";
}

std::string page(const ReportInput& input, const Detail& detail) {
  const std::string title = input.title.empty() ? "Gossamer report" : name_of(input.title);
  const bool single = input.runs.size() == 1;
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; img-src data:\">"
      "<meta name=\"generator\" content=\"gossamer report\"><title>" +
      title + "</title><style>";
  out += kPageStyle;
  out += "</style></head><body>\n<header><h1>" + title + "</h1>";
  if (single)
    out += subtitle(input.runs[0].summary);
  else
    out += fmt::format("<p class=\"sub\">{} runs</p>", input.runs.size());
  out +=
      "</header>\n<input class=\"pick\" type=\"radio\" name=\"x\" id=\"xs\" aria-label=\"steps\" checked>"
      "<input class=\"pick\" type=\"radio\" name=\"x\" id=\"xt\" aria-label=\"time\">"
      "<input class=\"pick\" type=\"radio\" name=\"x\" id=\"xb\" aria-label=\"bytes\">\n<main>\n";
  if (input.runs.empty()) {
    out += "<p class=\"none\">There is no run to show.</p>";
  } else if (single) {
    out += run_body(input.runs[0], detail);
  } else {
    out += "<h2>Comparison</h2>" + comparison_table(input.runs, detail) +
           comparison_charts(input.runs, detail) + "<h2>The runs one by one</h2>";
    for (std::size_t r = 0; r < std::min(input.runs.size(), detail.runs); ++r)
      out += fmt::format("<details class=\"run\"><summary>{}<span>{} on {}</span></summary>{}{}</details>\n",
                         name_of(input.runs[r].name), escape_html(clip(input.runs[r].summary.algorithm, 40)),
                         escape_html(clip(input.runs[r].summary.topology, 40)),
                         subtitle(input.runs[r].summary), run_body(input.runs[r], detail));
    if (input.runs.size() > detail.runs)
      out += fmt::format(
          "<p class=\"note\">The first {} of {} runs: ask for a report of fewer runs to see each in "
          "detail.</p>",
          detail.runs, input.runs.size());
  }
  out +=
      "\n</main>\n<footer><p>Consensus distance is the square root of the mean over peers of |x\u1d62 \u2212 "
      "x\u0304|\u00b2, x\u1d62 a "
      "peer's parameters and x\u0304 their mean. Bytes are counted at the transport.</p></footer>\n<script>";
  out += kPageScript;
  return out + "</script></body></html>\n";
}

}  // namespace

std::string report_html(const ReportInput& input) {
  std::string html;
  for (const Detail& detail : kDetails) {
    html = page(input, detail);
    if (html.size() <= kReportSizeMax) break;
  }
  return html;
}

}  // namespace gossamer
