// How the command ends.  Documented in docs/commands.md; scripts depend on the numbers.
#pragma once

#include "base/result.h"

namespace gossamer {

inline int exit_code(Errc code) {
  switch (code) {
    case Errc::ok: return 0;
    case Errc::internal:
    case Errc::would_block: return 1;
    case Errc::invalid_argument: return 2;
    case Errc::not_found:
    case Errc::corrupt: return 3;
    case Errc::io: return 4;
    case Errc::peer_gone: return 5;
    case Errc::timed_out: return 6;
    case Errc::unsupported: return 7;
    case Errc::address_in_use: return 8;
    case Errc::version: return 9;
    case Errc::diverged: return 10;
    case Errc::interrupted: return 130;
  }
  return 1;
}

}  // namespace gossamer
