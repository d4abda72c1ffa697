// `gossamer algorithms`: what there is to choose from, and what goes with what.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

// Adds the command; when it is given, parsing runs it, prints the answer and sets `*exit_code` (runtime/exit_code.h), which
// outlives the parsing.
void add_algorithms_command(CLI::App& app, int* exit_code);

}  // namespace gossamer
