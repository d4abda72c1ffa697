// Numbers and strings as people read them; shared by the page, the tables and the status line.
//
// What is not finite becomes "-".  A space stands between a number and its unit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gossamer {

std::string format_bytes(double bytes);       // "312 B", "1.25 MB": powers of 1000, as networks are sold
std::string format_duration(double seconds);  // "0.35 s", "42 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"
std::string format_count(double count);       // "950", "12.3 k", "1.25 M"
std::string format_percent(double fraction);  // 0.9731: "97.31 %"
std::string format_number(double value, int digits = 4);  // significant digits: "0.1234", "1.2e-05"

// Safe in the text and in a double-quoted attribute of HTML or XML: markup escaped, bytes that are not UTF-8
// and control characters replaced by U+FFFD.
std::string escape_html(std::string_view text);

// How many columns of a terminal `text` takes, one per character; enough for the letters of most alphabets.
std::size_t display_width(std::string_view text);

// The first `characters` of `text` without cutting one in two; "..." is the end of a text that was cut, where
// it fits.
std::string clip(std::string_view text, std::size_t characters);

}  // namespace gossamer
