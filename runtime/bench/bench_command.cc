#include "runtime/bench/bench_command.h"

#include <CLI/CLI.hpp>

#include "runtime/bench/exchange_command.h"
#include "runtime/bench/kernels_command.h"
#include "runtime/bench/transport_command.h"

namespace gossamer {

void add_bench_command(CLI::App& app, int* code) {
  CLI::App* bench = app.add_subcommand("bench", "How fast the parts are on this machine");
  bench->require_subcommand(1);
  add_bench_kernels(*bench, code);
  add_bench_transport(*bench, code);
  add_bench_exchange(*bench, code);
}

}  // namespace gossamer
