// `gossamer bench kernels`: codecs and passes over vectors, beside the speed of memory and what they replace.
#pragma once

namespace CLI {
class App;
}

namespace gossamer {

// `code` receives what the process is to end with.
void add_bench_kernels(CLI::App& bench, int* code);

}  // namespace gossamer
