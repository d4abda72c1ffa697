#include "base/nearest.h"

#include <algorithm>
#include <vector>

namespace gossamer {
namespace {

char folded(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '_' || c == ' ' ? '-' : c;
}

// How many edits still count as a slip of the fingers.
std::size_t tolerance(std::size_t length) {
  return length <= 3 ? 1 : std::max<std::size_t>(2, length / 3);
}

template <class Word>
std::string_view nearest_of(std::string_view word, std::span<const Word> candidates) {
  std::string_view best;
  std::size_t best_edits = tolerance(word.size()) + 1;
  for (const std::string_view candidate : candidates) {
    // "momentu" and "lr" are starts of what was meant even when many letters are missing.
    const bool start = word.size() >= 3 && candidate.size() > word.size() &&
                       edit_distance(word, candidate.substr(0, word.size())) == 0;
    const std::size_t edits = start ? 1 : edit_distance(word, candidate);
    if (edits < best_edits) {
      best = candidate;
      best_edits = edits;
    }
  }
  return best;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string nearest(std::string_view word, std::span<const std::string_view> candidates) {
  return std::string(nearest_of(word, candidates));
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  return std::string(nearest_of(word, candidates));
}

std::string suggestion(std::string_view word, std::span<const std::string> candidates) {
  if (const auto near = nearest_of(word, candidates); !near.empty())
    return "did you mean `" + std::string(near) + "`?";
  if (candidates.empty()) return "nothing is known here";
  std::string text = "known: ";
  for (std::size_t i = 0; i < candidates.size(); ++i) text += (i == 0 ? "" : ", ") + candidates[i];
  return text;
}

}  // namespace gossamer
