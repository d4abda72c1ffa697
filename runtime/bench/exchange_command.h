// `gossamer bench exchange`: a whole model between the neighbours of a ring of processes, beside what all-reduce and a ring
// written by hand take for it on the same machine in the same minutes.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

void add_bench_exchange(CLI::App& bench, int* code);

}  // namespace gossamer
