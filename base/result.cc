#include "base/result.h"

namespace gossamer {

std::string_view name(Errc code) {
  switch (code) {
    case Errc::ok: return "ok";
    case Errc::would_block: return "would_block";
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::not_found: return "not_found";
    case Errc::io: return "io";
    case Errc::corrupt: return "corrupt";
    case Errc::unsupported: return "unsupported";
    case Errc::peer_gone: return "peer_gone";
    case Errc::timed_out: return "timed_out";
    case Errc::version: return "version";
    case Errc::address_in_use: return "address_in_use";
    case Errc::interrupted: return "interrupted";
    case Errc::diverged: return "diverged";
    case Errc::internal: return "internal";
  }
  return "unknown";
}

}  // namespace gossamer
