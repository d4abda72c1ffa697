#include "runtime/bench/exchange_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "base/serial.h"
#include "gossip/algorithms.h"
#include "gossip/engine.h"
#include "kernels/implementations.h"
#include "runtime/bench/talk.h"
#include "runtime/engine_driver.h"
#include "topologies/topology_spec.h"
#include "transports/transports.h"

namespace gossamer::bench {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr int kDeadline_s = 120;
constexpr std::size_t kValues = 7;  // different elements of a model

// What peer `peer` begins with at element i; every 7th element is alike, so that the end can be computed.
float first_value(std::size_t peer, std::size_t i) {
  return static_cast<float>(peer) + 0.25f * static_cast<float>(i % kValues);
}

// The elements of every peer after so many rounds, by the definition of the algorithm.
std::vector<std::vector<float>> expected(const Topology& topology, std::size_t rounds) {
  std::vector<std::vector<float>> x(topology.peer_count(), std::vector<float>(kValues));
  for (std::size_t peer = 0; peer < x.size(); ++peer)
    for (std::size_t i = 0; i < kValues; ++i) x[peer][i] = first_value(peer, i);
  for (Round round = 0; round < rounds; ++round) {
    const auto before = x;
    for (PeerId peer = 0; peer < x.size(); ++peer)
      for (std::size_t i = 0; i < kValues; ++i) {
        float d = 0;
        bool first = true;
        for (const Edge& edge : topology.at(round, peer).in) {
          const float term = static_cast<float>(edge.weight) * (before[edge.peer][i] - before[peer][i]);
          d = first ? term : d + term;
          first = false;
        }
        x[peer][i] = before[peer][i] + d;
      }
  }
  return x;
}

class ExchangePeer {
 public:
  ExchangePeer(const Exchange& exchange, PeerId self, int descriptor) : exchange_(exchange), self_(self), talk_(descriptor) {}

  Result<> run() {
    GOSSAMER_TRY(join());
    GOSSAMER_TRY(rounds(kExchangeWarmUp));
    talk_.send("ready");
    GOSSAMER_TRY(talk_.receive().map([](const std::string&) {}));
    const auto start = std::chrono::steady_clock::now();
    GOSSAMER_TRY(rounds(exchange_.rounds));
    const double seconds = Seconds(std::chrono::steady_clock::now() - start).count();
    const auto values = expected(*topology_, kExchangeWarmUp + exchange_.rounds)[self_];
    for (std::size_t i = 0; i < model_.size(); ++i)
      if (model_[i] != values[i % kValues])
        return fail(Errc::io, fmt::format("peer {}: element {} is {}, and should be {}", self_, i, model_[i], values[i % kValues]));
    talk_.send(fmt::format("{}", seconds));
    // The others may still read what this one lent.
    (void)talk_.receive().has_value();
    return {};
  }

 private:
  Result<> join() {
    GOSSAMER_TRY_ASSIGN(topology_, make_topology(family_spec("ring", exchange_.peers)));
    FabricOptions options;
    options.kind = exchange_.transport;
    GOSSAMER_TRY_ASSIGN(fabric_, make_fabric(options));
    talk_.send(fabric_->address());
    layout_ = Layout::flat(exchange_.parameters);
    GOSSAMER_TRY_ASSIGN(compressor_, make_compressor({}));
    GOSSAMER_TRY_ASSIGN(mixer_, make_mixer("d-psgd", {.self = self_, .peers = exchange_.peers, .layout = &layout_,
                                                      .topology = topology_.get(), .compressor = compressor_.get()}));
    transport_ = std::make_unique<Transport>(TransportSetup{.self = self_,
                                                            .peers = exchange_.peers,
                                                            .run = 1,
                                                            .payload_size_max = mixer_->payload_capacity(),
                                                            .lend_size_min = exchange_.lend_from},
                                             *fabric_, clock_);
    GOSSAMER_TRY_ASSIGN(const std::string everybody, talk_.receive());
    Reader reader(std::as_bytes(std::span(everybody.data(), everybody.size())));
    for (PeerId peer = 0; peer < exchange_.peers; ++peer) {
      std::string address = reader.text();
      if (peer != self_) GOSSAMER_TRY(transport_->set_peer(peer, std::move(address), 1));
    }
    engine_ = std::make_unique<Engine>(EngineSetup{.self = self_, .peers = exchange_.peers, .vector_size = exchange_.parameters,
                                                   .trainer_waits = true},
                                       clock_, *topology_, *mixer_, *transport_, stream_);
    driver_ = std::make_unique<EngineDriver>(*engine_, *fabric_, clock_, -1, false,
                                             std::chrono::microseconds(exchange_.spin_us));
    memory_ = AlignedBuffer<float>(exchange_.parameters);
    model_ = memory_.span();
    for (std::size_t i = 0; i < model_.size(); ++i) model_[i] = first_value(self_, i);
    return {};
  }

  // As a worker that computes nothing.
  Result<> rounds(std::size_t count) {
    for (std::size_t round = 0; round < count; ++round) {
      engine_->publish(model_, 0);
      GOSSAMER_TRY(driver_->nudge());
      while (engine_->open_rounds() > 0) GOSSAMER_TRY(driver_->wait(std::chrono::milliseconds(100)));
      model_ = engine_->apply(model_);
      GOSSAMER_TRY(driver_->nudge());
    }
    return {};
  }

  Exchange exchange_;
  PeerId self_;
  Talk talk_;
  SteadyClock clock_;
  Stream stream_;
  Layout layout_;
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Compressor> compressor_;
  std::unique_ptr<Mixer> mixer_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<EngineDriver> driver_;
  AlignedBuffer<float> memory_;
  std::span<float> model_;
};

}  // namespace

Result<double> measure_exchange(const Exchange& exchange) {
  std::vector<std::unique_ptr<OtherSide>> sides;
  for (std::size_t rank = 0; rank < exchange.peers; ++rank) {
    GOSSAMER_TRY_ASSIGN(auto side, OtherSide::process("exchange", fmt::format("{} {} {} {} {} {} {}", rank, exchange.peers, exchange.parameters,
                                                                              exchange.rounds, exchange.lend_from, exchange.spin_us, exchange.transport)));
    sides.push_back(std::move(side));
  }
  // What a process says when it fails goes to standard error; here it has ended.
  const auto hear = [&](std::size_t rank) -> Result<std::string> {
    auto text = sides[rank]->talk().receive();
    if (!text) return fail(fmt::format("process {} of the exchange", rank), text.error());
    return text;
  };
  Writer everybody;
  for (std::size_t rank = 0; rank < exchange.peers; ++rank) {
    GOSSAMER_TRY_ASSIGN(const std::string address, hear(rank));
    everybody.text(address);
  }
  const std::string text(reinterpret_cast<const char*>(everybody.view().data()), everybody.view().size());
  for (const auto& side : sides) side->talk().send(text);
  for (std::size_t rank = 0; rank < exchange.peers; ++rank) GOSSAMER_TRY(hear(rank).map([](const std::string&) {}));
  for (const auto& side : sides) side->talk().send("go");
  double longest = 0;
  for (std::size_t rank = 0; rank < exchange.peers; ++rank) {
    GOSSAMER_TRY_ASSIGN(const std::string seconds, hear(rank));
    longest = std::max(longest, std::strtod(seconds.c_str(), nullptr));
  }
  for (const auto& side : sides) side->talk().send("end");
  return longest / static_cast<double>(exchange.rounds);
}

Result<> serve_exchange(const std::string& what) {
  std::istringstream words(what);
  std::size_t rank = 0;
  Exchange exchange;
  if (!(words >> rank >> exchange.peers >> exchange.parameters >> exchange.rounds >> exchange.lend_from >> exchange.spin_us >> exchange.transport))
    return fail(Errc::invalid_argument, "bench exchange --serve: it is started by the bench itself");
  return ExchangePeer(exchange, static_cast<PeerId>(rank), 0).run();
}

// Built beside this program, and not installed: nobody but this bench needs them.
Result<std::map<std::string, double>> measure_reference(const std::string& name, const Exchange& exchange) {
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::string program = (folder / "bench" / ("exchange_" + name)).string();
  if (!std::filesystem::exists(program, error))
    return fail(Errc::unsupported, fmt::format("{} is not in this build (`tools/setup bench` installs what it needs)", name));
  std::vector<std::string> words;
  if (name == "mpi")
    words = {"mpirun", "--allow-run-as-root", "--oversubscribe", "-np", std::to_string(exchange.peers)};
  words.push_back(program);
  for (const std::size_t number : {exchange.peers, exchange.parameters, kExchangeWarmUp, exchange.rounds}) words.push_back(std::to_string(number));
  GOSSAMER_TRY_ASSIGN(Program running, Program::start(words, {}));
  GOSSAMER_TRY_ASSIGN(const std::string said, running.output(kDeadline_s));
  std::map<std::string, double> seconds;
  std::istringstream lines(said);
  std::string line;
  while (std::getline(lines, line)) {
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) seconds[line.substr(0, colon)] = std::strtod(line.c_str() + colon + 2, nullptr);
  }
  if (seconds.empty()) return fail(Errc::io, fmt::format("{} says what nobody understands: {}", program, said));
  return seconds;
}

double copy_bandwidth(const Exchange& exchange) {
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t threads = std::min(exchange.peers, cores);
  std::vector<AlignedBuffer<float>> from, to;
  for (std::size_t t = 0; t < threads; ++t) {
    from.emplace_back(exchange.parameters);
    to.emplace_back(exchange.parameters);
  }
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    std::atomic<std::size_t> ready = 0;
    std::vector<double> each(threads);
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t)
      running.emplace_back([&, t] {
        ++ready;
        while (ready < threads) std::this_thread::yield();
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t round = 0; round < exchange.rounds; ++round)
          best_kernels().copy(from[t].data(), to[t].data(), exchange.parameters, true);
        each[t] = Seconds(std::chrono::steady_clock::now() - start).count();
      });
    for (std::thread& thread : running) thread.join();
    times.push_back(*std::ranges::max_element(each));
  }
  std::ranges::nth_element(times, times.begin() + 2);
  return 2.0 * sizeof(float) * static_cast<double>(exchange.parameters * exchange.rounds * threads) / times[2];
}

}  // namespace gossamer::bench
