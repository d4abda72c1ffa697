// `gossamer simulate`: a run file in virtual time, on one thread of one machine.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

// Adds the command; when it is given, parsing runs it, prints the answer and sets `*exit_code` to how the process is
// to end (runtime/exit_code.h).  `exit_code` outlives the parsing.
void add_simulate_command(CLI::App& app, int* exit_code);

}  // namespace gossamer
