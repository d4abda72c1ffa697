// "Did you mean": the known word that is most like the one somebody typed.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace gossamer {

// Edits (insert, delete, replace, swap two neighbours) that turn `a` into `b`.  Upper and lower case are the
// same letter, and so are `-`, `_` and space.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the fewest edits, the first of equals; empty when nothing is near enough to be what was
// meant.
std::string nearest(std::string_view word, std::span<const std::string_view> candidates);
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// The end of an error about an unknown word: "did you mean `x`?", or, when nothing is near, "known: a, b, c".
std::string suggestion(std::string_view word, std::span<const std::string> candidates);

}  // namespace gossamer
