// A small, strict reader of XML elements, written apart from the code it checks.
#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace gossamer::test {

// Empty when `text` is exactly one well-formed element, otherwise what is wrong.
inline std::string xml_problem(std::string_view text) {
  std::vector<std::string> open;
  bool closed = false;
  std::size_t i = 0;
  const auto name = [&] {
    const std::size_t from = i;
    while (i < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '-' || text[i] == ':'))
      ++i;
    return std::string(text.substr(from, i - from));
  };
  const auto entities_fine = [](std::string_view s) {
    for (std::size_t at = s.find('&'); at != std::string_view::npos; at = s.find('&', at + 1)) {
      bool known = false;
      for (const std::string_view entity : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"})
        known |= s.substr(at).starts_with(entity);
      if (!known) return false;
    }
    return true;
  };
  while (i < text.size()) {
    if (text[i] != '<') {
      const std::size_t end = std::min(text.find('<', i), text.size());
      const std::string_view inner = text.substr(i, end - i);
      if (open.empty()) return "text outside the element: " + std::string(inner.substr(0, 40));
      if (!entities_fine(inner) || inner.find('>') != std::string_view::npos)
        return "bad text: " + std::string(inner);
      i = end;
      continue;
    }
    if (closed) return "a second element";
    ++i;
    if (i < text.size() && text[i] == '/') {
      ++i;
      const std::string ended = name();
      if (open.empty() || open.back() != ended) return "unexpected </" + ended + ">";
      if (i >= text.size() || text[i] != '>') return "bad end of " + ended;
      ++i;
      open.pop_back();
      closed = open.empty();
      continue;
    }
    const std::string begun = name();
    if (begun.empty()) return "an element without a name";
    open.push_back(begun);
    std::vector<std::string> attributes;
    for (;;) {
      const std::size_t before = i;
      while (i < text.size() && std::isspace(static_cast<unsigned char>(text[i]))) ++i;
      if (text.substr(i).starts_with("/>")) {
        i += 2;
        open.pop_back();
        closed = open.empty();
        break;
      }
      if (i < text.size() && text[i] == '>') {
        ++i;
        break;
      }
      const std::string attribute = name();
      if (attribute.empty() || before == i) return "bad attribute in " + begun;
      for (const std::string& other : attributes)
        if (other == attribute) return attribute + " occurs twice in " + begun;
      attributes.push_back(attribute);
      if (!text.substr(i).starts_with("=\"")) return attribute + " without a quoted value";
      i += 2;
      const std::size_t end = text.find('"', i);
      if (end == std::string_view::npos) return "an open quote in " + begun;
      const std::string_view value = text.substr(i, end - i);
      if (!entities_fine(value) || value.find_first_of("<>") != std::string_view::npos)
        return "bad value of " + attribute;
      i = end + 1;
    }
  }
  return closed ? "" : "an element is not closed";
}

// Every outermost svg element of a page.
inline std::vector<std::string_view> svgs_of(std::string_view page) {
  std::vector<std::string_view> out;
  std::size_t at = page.find("<body");
  while ((at = page.find("<svg", at)) != std::string_view::npos) {
    std::size_t depth = 0, i = at;
    do {
      const std::size_t begin = page.find("<svg", i), end = page.find("</svg>", i);
      if (end == std::string_view::npos) return out.push_back(page.substr(at)), out;
      if (begin < end) {
        ++depth;
        i = begin + 4;
      } else {
        --depth;
        i = end + 6;
      }
    } while (depth > 0);
    out.push_back(page.substr(at, i - at));
    at = i;
  }
  return out;
}

}  // namespace gossamer::test
