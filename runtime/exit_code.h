// How the command ends.  Documented in docs/commands.md; scripts depend on the numbers.
#pragma once

#include <string_view>

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

// What such a number means, for people.
inline std::string_view exit_words(int code) {
  switch (code) {
    case 0: return "ended well";
    case 1: return "an error inside of the program";
    case 2: return "a file, flag or environment variable asks for something that makes no sense";
    case 3: return "an input is missing or damaged";
    case 4: return "the operating system refused (disk, permission, limits)";
    case 5: return "a peer was lost";
    case 6: return "a deadline passed";
    case 7: return "this build or this machine lacks what the run needs";
    case 8: return "a network address is already in use";
    case 9: return "peers run different versions or different run files";
    case 10: return "training diverged: a value became NaN or infinite";
    case 126: return "the program could not be started";
    case 130: return "stopped by a signal";
    default: return "an exit code that is not one of Gossamer's";
  }
}

}  // namespace gossamer
