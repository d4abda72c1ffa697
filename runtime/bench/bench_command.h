// `gossamer bench`: how fast the parts are on this machine, beside what else moves or computes the same.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

// `code` receives what the process is to end with.
void add_bench_command(CLI::App& app, int* code);

}  // namespace gossamer
