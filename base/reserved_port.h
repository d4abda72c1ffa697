// A TCP port of this machine's loopback interface that stays reserved while the object lives: it is bound but does
// not listen, so that a socket with SO_REUSEADDR can still bind and listen there, and nobody is given it by chance.
#pragma once

#include <cstdint>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace gossamer {

struct ReservedPort {
  FileDescriptor socket;
  std::uint16_t number = 0;
};

// Outside of the range from which the kernel takes the ports of outgoing connections where there is room: in
// there a connection of anybody may come to sit on the reserved port, and who was to listen there cannot.
Result<ReservedPort> reserve_port();

}  // namespace gossamer
