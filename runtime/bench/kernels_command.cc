#include "runtime/bench/kernels_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/cuda/cuda.h"
#include "runtime/bench/device_measure.h"
#include "runtime/bench/kernels_measure.h"
#include "runtime/exit_code.h"

namespace gossamer {
namespace {

struct Options {
  std::vector<double> millions = {1, 25, 100};
  KernelBench bench;
  std::string implementation;
  bool json = false;
};

nlohmann::ordered_json to_json(const KernelRow& row) {
  nlohmann::ordered_json one = {{"name", row.name},
                                {"elements", row.elements},
                                {"threads", row.threads},
                                {"seconds", row.seconds},
                                {"best_seconds", row.best_seconds},
                                {"bytes", row.bytes},
                                {"bytes_per_second", row.bytes / row.seconds},
                                {"limit", row.limit},
                                {"limit_bytes_per_second", row.limit_bytes_per_second},
                                {"ratio", row.ratio},
                                {"machine_was_busy", row.busy}};
  if (!row.peer.empty()) {
    one["peer"] = row.peer;
    one["peer_seconds"] = row.peer_seconds;
    one["gain"] = row.gain;
  }
  return one;
}

void print(const KernelRow& row) {
  const std::string peer = row.peer.empty() ? "" : fmt::format("{:.1f} x {}", row.gain, row.peer);
  fmt::print("{:<34} {:>6.4g} M {:>2} {:>9.3f} ms {:>7.1f} GB/s  {:>5.2f}{} of {} {:.1f} GB/s  {}\n", row.name,
             static_cast<double>(row.elements) / 1e6, row.threads, row.seconds * 1e3, row.bytes / row.seconds / 1e9, row.ratio,
             row.busy ? "*" : " ", row.limit, row.limit_bytes_per_second / 1e9, peer);
  std::fflush(stdout);
}

// The rows of the first GPU, or why there are none.
Result<std::string> measure_gpu(const Options& options, const std::function<void(const KernelRow&)>& row) {
  GOSSAMER_TRY_ASSIGN(const std::vector<CudaDevice> devices, cuda_devices());
  GOSSAMER_TRY_ASSIGN(const auto stream, make_cuda_stream(0));
  GOSSAMER_TRY(measure_device(*stream, {options.bench.elements, options.bench.repetitions, options.bench.only}, row));
  return devices.front().name;
}

int run(Options options) {
  options.bench.elements.clear();
  for (const double millions : options.millions) options.bench.elements.push_back(static_cast<std::size_t>(millions * 1e6));
  options.bench.kernels = &best_kernels();
  const bool only_gpu = options.implementation == "cuda";
  if (!options.implementation.empty() && !only_gpu) {
    options.bench.kernels = nullptr;
    std::string names;
    for (const Kernels* kernels : all_kernels()) {
      if (kernels->name == options.implementation) options.bench.kernels = kernels;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", kernels->name);
    }
    if (options.bench.kernels == nullptr) {
      fmt::print(stderr, "gossamer: --implementation {}: this processor has {}; a GPU is cuda\n", options.implementation, names);
      return exit_code(Errc::invalid_argument);
    }
  }
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  bool busy = false;
  const auto show = [&](const KernelRow& row) {
    busy = busy || row.busy;
    if (options.json)
      rows.push_back(to_json(row));
    else
      print(row);
  };
  if (!options.json) fmt::print("implementation: {}\n", only_gpu ? "cuda" : options.bench.kernels->name);
  TorchFound torch{.version = "", .skipped = "its rows are those of the processor"};
  if (!only_gpu) {
    auto measured = measure_kernels(options.bench, show);
    if (!measured) {
      fmt::print(stderr, "gossamer: {}\n", measured.error().message);
      return exit_code(measured.error().code);
    }
    torch = std::move(*measured);
  }
  // On a GPU only what was asked for, or what comes after all the rows of the processor.
  Result<std::string> gpu = fail(Errc::unsupported, fmt::format("--implementation {} was asked for", options.implementation));
  if (only_gpu || options.implementation.empty()) gpu = measure_gpu(options, show);
  if (only_gpu && !gpu) {
    fmt::print(stderr, "gossamer: --implementation cuda: {}\n", gpu.error().message);
    return exit_code(gpu.error().code);
  }
  if (options.json) {
    nlohmann::ordered_json all{{"implementation", only_gpu ? "cuda" : options.bench.kernels->name}, {"rows", rows}};
    if (!torch.version.empty()) all["torch"] = torch.version;
    if (!torch.skipped.empty()) all["torch_skipped"] = torch.skipped;
    all[gpu ? "gpu" : "gpu_skipped"] = gpu ? *gpu : gpu.error().message;
    fmt::print("{}\n", all.dump(2));
    return 0;
  }
  if (busy) fmt::print("* the machine was busy: processor time, not that of the clock\n");
  if (!torch.version.empty()) fmt::print("torch: {}, which finds the same k-th magnitude\n", torch.version);
  if (!torch.skipped.empty()) fmt::print("torch's rows skipped: {}\n", torch.skipped);
  if (gpu)
    fmt::print("rows of 0 threads: {}\n", *gpu);
  else
    fmt::print("GPU rows skipped: {}\n", gpu.error().message);
  return 0;
}

}  // namespace

void add_bench_kernels(CLI::App& bench, int* code) {
  auto options = std::make_shared<Options>();
  CLI::App* const kernels = bench.add_subcommand("kernels", "Codecs and passes over vectors, beside a copy or a read of the same moment");
  kernels->add_option("--millions", options->millions, "Lengths of the vectors, in millions of floats; default 1 25 100")
      ->check(CLI::Range(1e-6, 1e5));
  kernels->add_option("--threads", options->bench.threads, "Numbers of threads; default 1 2")->check(CLI::Range(1, 1024));
  kernels->add_option("--repetitions", options->bench.repetitions, "Measurements of which the median is given; default 9")->check(CLI::Range(1, 10000));
  kernels->add_option("--only", options->bench.only, "Only rows whose name contains this")->type_name("TEXT");
  kernels->add_option("--implementation", options->implementation, "Who does the work, instead of the best one and the GPU: scalar, AVX2, ..., cuda")->type_name("NAME");
  kernels->add_option("--torch", options->bench.torch, "The Python whose torch is measured beside ours; default python3, and nothing for \"\"")->type_name("PROGRAM");
  kernels->add_flag("--json", options->json, "As JSON");
  kernels->callback([options, code] { *code = run(*options); });
}

}  // namespace gossamer
