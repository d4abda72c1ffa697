// What `gossamer bench exchange` compares with, by gloo alone: its all-reduce of the model, by each of its algorithms.
//
//   exchange_gloo PEERS PARAMETERS WARMUP ROUNDS
//
// Starts its processes itself and says seconds of a round, of the slowest process.
#include <sys/wait.h>
#include <unistd.h>

#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

using Options = gloo::AllreduceOptions;

void all_reduce(const std::shared_ptr<gloo::Context>& context, Options::Algorithm algorithm, float* data, std::size_t count, std::uint32_t tag,
                void (*reduce)(void*, const void*, const void*, std::size_t) = &gloo::sum<float>) {
  Options options(context);
  options.setAlgorithm(algorithm);
  options.setOutput(data, count);
  options.setReduceFunction(reduce);
  options.setTag(tag);
  gloo::allreduce(options);
}

void peer(int rank, int peers, std::size_t count, int warm_up, int rounds, const std::string& folder) {
  gloo::transport::tcp::attr attributes;
  attributes.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  gloo::rendezvous::FileStore store(folder);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, peers);
  context->connectFullMesh(store, device);
  // Small enough that sums of sums stay numbers.
  std::vector<float> model(count, 1e-30f * static_cast<float>(rank + 1));
  std::uint32_t tag = 0;
  for (const auto& [name, algorithm] : {std::pair{"ring", Options::Algorithm::RING}, std::pair{"bcube", Options::Algorithm::BCUBE}}) {
    std::fill(model.begin(), model.end(), 1e-30f * static_cast<float>(rank + 1));
    for (int i = 0; i < warm_up; ++i) all_reduce(context, algorithm, model.data(), count, ++tag);
    float together = 0;
    all_reduce(context, algorithm, &together, 1, ++tag);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) all_reduce(context, algorithm, model.data(), count, ++tag);
    auto longest = static_cast<float>(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / rounds);
    all_reduce(context, algorithm, &longest, 1, ++tag, &gloo::max<float>);
    if (rank == 0) std::printf("gloo all-reduce, %s: %.9f\n", name, static_cast<double>(longest));
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "exchange_gloo PEERS PARAMETERS WARMUP ROUNDS\n");
    return 2;
  }
  const int peers = std::atoi(argv[1]), warm_up = std::atoi(argv[3]), rounds = std::atoi(argv[4]);
  const auto count = static_cast<std::size_t>(std::atoll(argv[2]));
  std::string folder = (std::filesystem::temp_directory_path() / "gossamer-gloo-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return 1;
  std::vector<pid_t> processes;
  for (int rank = 0; rank < peers; ++rank) {
    const pid_t process = ::fork();
    if (process == 0) {
      try {
        peer(rank, peers, count, warm_up, rounds, folder);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "exchange_gloo: %s\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    processes.push_back(process);
  }
  int worst = 0;
  for (const pid_t process : processes) {
    int status = 0;
    ::waitpid(process, &status, 0);
    if (status != 0) worst = 1;
  }
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  return worst;
}
