// Where libexpected-dev is not installed: the standard library's, which is the same thing (C++23).
#pragma once

#include <expected>

namespace tl {
using std::expected;
using std::unexpected;
}  // namespace tl
