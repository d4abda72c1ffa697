#include "runtime/report/table.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/report/text.h"

namespace gossamer {

std::string text_table(const std::vector<std::string>& head,
                       const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::string& text : head) widths.push_back(display_width(text));
  for (const auto& row : rows) {
    GOSSAMER_CHECK(row.size() == head.size(), "a row has a text for every column");
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  const auto line = [&](const std::vector<std::string>& row) {
    std::string out;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string pad(widths[c] - display_width(row[c]), ' ');
      if (c > 0) out += "  ";
      out += c == 0 ? row[c] + pad : pad + row[c];
    }
    return out.substr(0, out.find_last_not_of(' ') + 1) + "\n";
  };
  std::string out = line(head);
  std::vector<std::string> rule;
  for (const std::size_t width : widths) rule.emplace_back(width, '-');
  out += line(rule);
  for (const auto& row : rows) out += line(row);
  return out;
}

std::string comparison_text(const std::vector<std::pair<std::string, RunSummary>>& runs) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, s] : runs) {
    // A line break or an escape sequence in a name must not reach the terminal.
    std::string shown = clip(name, 40);
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
        '?');
    rows.push_back(
        {std::move(shown), format_percent(s.mean_model_accuracy), format_number(s.mean_model_loss),
         format_bytes(s.bytes_sent_per_peer),
         format_percent(s.all_reduce_bytes_per_peer > 0 ? s.bytes_sent_per_peer / s.all_reduce_bytes_per_peer
                                                        : kUnknown),
         format_duration(s.wall_s)});
  }
  return text_table({"run", "accuracy", "loss", "bytes per peer", "vs all-reduce", "wall time"}, rows);
}

}  // namespace gossamer
