// The style sheet and the script of the report, as they stand in the page.
#pragma once

#include <string_view>

namespace gossamer {

extern const std::string_view kPageStyle;
extern const std::string_view kPageScript;

}  // namespace gossamer
