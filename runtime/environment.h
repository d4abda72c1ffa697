// The environment variables of a process, as a value, so that whoever reads them can be tested.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gossamer {

using Environment = std::map<std::string, std::string, std::less<>>;

// Those of this process.
Environment own_environment();

// The value, or empty when there is none.
std::string_view value_of(const Environment& environment, std::string_view name);

// Variables that begin with GOSSAMER_ and are no keys of the run file.
inline constexpr std::string_view kReservedVariables[] = {
    "GOSSAMER_RANK", "GOSSAMER_PEERS", "GOSSAMER_RENDEZVOUS", "GOSSAMER_DATA", "GOSSAMER_LOG"};

// What the children of a launcher get, as "NAME=value".  The launcher has read the variables that stand for
// keys of the run file and has written the resolved file: they are left out, or they would win over --set
// flags there. Numerical libraries are told their share of `cores`, unless the user has told them something.
std::vector<std::string> child_environment(const Environment& own, std::size_t cores, std::size_t children);

}  // namespace gossamer
