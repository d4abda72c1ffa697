// `gossamer bench transport`: puts with notices between two processes, and what others reach on the same wire in the same
// minutes: ucx_perftest where it is installed, a bare libfabric loop, and a copy in memory.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

void add_bench_transport(CLI::App& bench, int* code);

}  // namespace gossamer
