// Puts a drawing that comes from outside into the page.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gossamer {

// HTML that shows `svg`.  A document of plain shapes and text becomes part of the page, so that it takes the
// page's colours; anything else (style sheets, references, scripts, elements this does not know) is shown as
// an image, in which browsers run no script and fetch nothing.  What is larger than `size_max` or is no SVG
// is replaced by a sentence that says so.
std::string embed_drawing(std::string_view svg, std::string_view description, std::size_t size_max);

}  // namespace gossamer
