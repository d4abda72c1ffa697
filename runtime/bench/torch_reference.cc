#include "runtime/bench/torch_reference.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/file_descriptor.h"
#include "runtime/bench/talk.h"

namespace gossamer::bench {
namespace {

constexpr int kDeadline_s = 300;

// Each line of the answer: what it is of, and its fields, by tabs.
constexpr const char* kScript = R"python(
import sys, time
try:
    import torch
except ImportError as why:
    print("absent", why, sep="\t")
    sys.exit(0)
path, n, k, threads, repetitions = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
x = torch.from_file(path, size=n, dtype=torch.float32).clone()
y, z = x.clone(), x.clone()
whole = x[:n // 256 * 256].view(-1, 256)
scale = float(x.abs().max()) / 127

def blocks(levels):
    s = whole.abs().amax(1, keepdim=True) / 127
    return levels(whole / s).to(torch.int8), s

all = [("encode top-k 1 %", "torch.topk", lambda: torch.topk(x.abs(), k, sorted=False)),
       ("encode bf16", "torch, to(bfloat16)", lambda: x.to(torch.bfloat16)),
       ("encode int8", "torch.quantize_per_tensor, one scale that is known", lambda: torch.quantize_per_tensor(x, scale, 0, torch.qint8)),
       ("encode int8", "torch, blocks of 256", lambda: blocks(torch.round_)),
       ("encode qsgd 8 bits", "torch, blocks of 256", lambda: blocks(lambda v: v.add_(torch.rand_like(v)).floor_())),
       ("mix of 3", "torch, mul and 2 add_", lambda: (0.5 * x).add_(y, alpha=0.25).add_(z, alpha=0.25))]
print("version", torch.__version__, sep="\t")
for row, what, work in all:
    if whole.numel() == 0 and "blocks" in what:
        continue
    kept = work()
    if "topk" in what:
        print("least", float(kept.values.min()).hex(), sep="\t")
    times = []
    for _ in range(repetitions):
        begin, used = time.perf_counter(), time.process_time()
        work()
        # The second where somebody else had the processors.
        times.append(min(time.perf_counter() - begin, time.process_time() - used))
    print("time", row, what, sorted(times)[repetitions // 2], sep="\t", flush=True)
)python";

std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> all;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, '\t');) all.push_back(field);
  return all;
}

// The vector as a file that lies in memory and has no name of its own.
Result<FileDescriptor> file_of(std::span<const float> x) {
  FileDescriptor file(::memfd_create("gossamer-bench", MFD_CLOEXEC));
  const auto failed = [] { return fail(Errc::io, fmt::format("cannot make a file in memory: {}", std::strerror(errno))); };
  if (!file) return failed();
  const auto bytes = std::as_bytes(x);
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t put = ::write(file.number(), bytes.data() + at, bytes.size() - at);
    if (put <= 0) return failed();
    at += static_cast<std::size_t>(put);
  }
  return file;
}

}  // namespace

Result<TorchTimes> measure_torch(const TorchRun& run) {
  GOSSAMER_TRY_ASSIGN(const FileDescriptor file, file_of(run.x));
  std::vector<std::string> words = {run.python, "-c", kScript, fmt::format("/proc/{}/fd/{}", ::getpid(), file.number())};
  for (const std::size_t number : {run.x.size(), run.kept, run.threads, run.repetitions}) words.push_back(std::to_string(number));
  GOSSAMER_TRY_ASSIGN(Program running, Program::start(words, {}));
  GOSSAMER_TRY_ASSIGN(const std::string said, running.output(kDeadline_s));
  TorchTimes found;
  std::istringstream lines(said);
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> words_of = fields(line);
    const auto is = [&](const char* kind, std::size_t size) { return words_of.size() == size && words_of[0] == kind; };
    if (is("absent", 2)) return fail(Errc::unsupported, fmt::format("{} has no torch ({}): pip install torch, or name another Python", run.python, words_of[1]));
    if (is("version", 2)) found.version = words_of[1];
    if (is("least", 2)) found.least_kept = std::strtof(words_of[1].c_str(), nullptr);
    if (is("time", 4)) found.times.push_back({words_of[1], words_of[2], std::strtod(words_of[3].c_str(), nullptr)});
  }
  if (found.version.empty() || found.times.empty()) return fail(Errc::io, fmt::format("{} says what nobody understands: {}", run.python, said));
  return found;
}

}  // namespace gossamer::bench
