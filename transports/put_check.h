// What every backend checks of a put before it looks at its own kinds of regions and targets.
#pragma once

#include "transports/fabric.h"

namespace gossamer {

// The notice is short enough, bytes have a source and a target, and the put stays inside both.
inline bool within_bounds(const Put& put) {
  const auto inside = [&](std::size_t offset, std::size_t size) { return offset <= size && put.size <= size - offset; };
  if (put.notice.size() > kNoticeSizeMax || (put.size > 0 && (!put.source || !put.target))) return false;
  return (!put.source || inside(put.source_offset, put.source->memory().size)) &&
         (!put.target || inside(put.target_offset, put.target->size()));
}

}  // namespace gossamer
