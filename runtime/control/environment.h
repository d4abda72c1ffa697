// Which peer this process is, as the program that started it says.
//
// Launchers tell a process its rank by environment variables.  Read are, from the inside to the outside: Gossamer's own
// (GOSSAMER_RANK, GOSSAMER_PEERS, GOSSAMER_RENDEZVOUS), torchrun's, Open MPI's, another PMIx launcher's, and those of a Slurm
// step.  A launcher inside a Slurm step wins over Slurm, and GOSSAMER_RANK wins over all; any other two
// that disagree are an error that names both, since a process under a wrong rank would train a wrong share.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace gossamer {

struct LaunchEnvironment {
  std::optional<PeerId> rank;
  std::optional<std::size_t> peers;
  std::string rendezvous;         // host:port; empty where the launcher does not tell
  std::optional<int> local_rank;  // on this machine
  std::string source;             // for people: "torchrun (RANK=3, WORLD_SIZE=8)"; empty where nothing was found
};

// The value of an environment variable; empty where it is not set.
using EnvironmentLookup = std::function<std::optional<std::string>(std::string_view name)>;

// A pure function of what `lookup` answers.
Result<LaunchEnvironment> discover_launch(const EnvironmentLookup& lookup);

// Slurm's compressed host lists: "n[1-3,07],login" is n1 n2 n3 n07 login.  At most `limit` hosts are made.
Result<std::vector<std::string>> expand_hostlist(std::string_view list, std::size_t limit = 100'000);

}  // namespace gossamer
