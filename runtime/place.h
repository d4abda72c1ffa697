// Which peer this process is, of how many, and where they meet: from flags, or from what the launcher
// (Gossamer's own, Slurm, Open MPI, PMI, torchrun) has left in the environment.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "runtime/environment.h"

namespace gossamer {

struct Place {
  PeerId rank = 0;
  std::size_t peers = 1;
  std::string rendezvous;  // host:port where rank 0 listens and everybody else calls
  std::string source;      // for people: "flags", "Slurm", ...
};

struct PlaceFlags {
  std::optional<std::size_t> rank;
  std::optional<std::size_t> peers;
  std::string rendezvous;
};

// Flags win over GOSSAMER_RANK, GOSSAMER_PEERS and GOSSAMER_RENDEZVOUS, these over a launcher's variables;
// each of the three is looked for by itself.  Errors: invalid_argument naming what is missing or
// contradictory.
Result<Place> find_place(const PlaceFlags& flags, const Environment& environment);

// "host:port" or "[v6 address]:port" with a port in 1 .. 65535.
Result<> check_rendezvous(const std::string& address);

// The first host of a Slurm node list: "node[07-09,12],login1" gives "node07".
std::string first_slurm_host(std::string_view list);

}  // namespace gossamer
