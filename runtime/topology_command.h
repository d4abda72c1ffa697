// `gossamer topology make|check|draw`.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

// Adds the subcommand `topology` to `app`.  When one of its commands runs, it writes what was asked to
// standard output or to the file that was named, an error to standard error, and the exit code (exit_code.h)
// to `*exit_code`, which outlives the parsing.
void add_topology_command(CLI::App& app, int* exit_code);

}  // namespace gossamer
