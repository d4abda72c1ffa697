// Random runs over random networks with random faults, each from one seed.
//
// What is drawn: algorithm, codec, graph, peers, synchrony, overlap, local steps, order of mixing, times, bandwidths, clocks,
// and for each kind of fault whether it happens at all and how often; a kind that is off lets others go deeper.  Algorithms come
// from algorithms(), so a new one takes part without being named here.
//
// What must hold: the run ends, no checker fires, no number is lost, and a bulk run gives the bits of the same run over a
// network without faults.
//
// In half of the runs that may be elastic peers die and return too, so that a majority should always be left; where deaths
// while a smaller view was being agreed on cost that one its majority, the run may end with that error.
//
//     swarm                      100 seeds, as the test suite does
//     swarm --seeds 5000         that many
//     swarm --first 77 --seeds 1 one again
//     swarm --first 77 --seeds 1 --write DIR   also writes its files, for gossamer simulate
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "runtime/check_run.h"
#include "runtime/simulator/simulation.h"
#include "topologies/family.h"

namespace gossamer {
namespace {

struct Request {
  std::uint64_t first = 1;
  std::uint64_t seeds = 100;
  std::string write;
};
Request& request() {
  static Request instance;
  return instance;
}

using std::chrono::microseconds;
using std::chrono::milliseconds;

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed, Purpose::swarm) {}
  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  bool chance(double probability) { return random_.uniform() < probability; }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) { return least + random_.below(most - least + 1); }
  template <class List>
  auto& of(const List& list) {
    return list[random_.below(std::size(list))];
  }
  // Over several orders of magnitude alike.
  Duration time(double least_us, double most_us) {
    return from_seconds(least_us * std::pow(most_us / least_us, random_.uniform()) * 1e-6);
  }
  double real(double most) { return most * random_.uniform(); }

 private:
  Random random_;
};

sim::Delay delay(Draw& draw, double least_us, double most_us) {
  sim::Delay delay{.base = draw.time(least_us, most_us)};
  switch (draw.between(0, 3)) {
    case 0: break;
    case 1: delay.kind = sim::Delay::Kind::uniform; delay.spread = delay.base + draw.time(least_us, most_us); break;
    case 2: delay.kind = sim::Delay::Kind::exponential; delay.spread = draw.time(least_us, most_us); break;
    case 3: delay.kind = sim::Delay::Kind::lognormal; delay.sigma = draw.real(1.5); break;
  }
  return delay;
}

// Trees and stars are rare among all families.
std::string draw_family(Draw& draw, const Algorithm& algorithm) {
  constexpr std::string_view kTrees[] = {"path", "star", "binary-tree"};
  if (algorithm.shape == Shape::star) return "star";
  if (algorithm.shape == Shape::tree) return std::string(draw.of(kTrees));
  return std::string(draw.of(families()).name);
}

RunFile draw_run(Draw& draw, std::uint64_t seed) {
  RunFile run;
  // Every algorithm has its turn.
  const Algorithm& algorithm = algorithms()[seed % algorithms().size()];
  run.name = fmt::format("swarm-{}", seed);
  run.algorithm = algorithm.name;
  run.seed = seed;
  run.topology = family_spec(draw_family(draw, algorithm),
                             algorithm.shape == Shape::power_of_two ? std::size_t{2} << draw.below(3) : draw.between(2, 12));
  run.topology.seed = seed;
  if (draw.chance(0.15)) run.topology.weights = WeightRule::lazy;
  constexpr CodecId kAny[] = {CodecId::none, CodecId::fp16, CodecId::bf16, CodecId::top_k, CodecId::random_k, CodecId::sign, CodecId::qsgd,
                              CodecId::fp8,  CodecId::int8, CodecId::int4, CodecId::terngrad, CodecId::natural, CodecId::threshold,
                              CodecId::low_rank};
  constexpr CodecId kExact[] = {CodecId::none, CodecId::fp16, CodecId::bf16};
  run.compression.codec = algorithm.plain_floats ? CodecId::none : algorithm.lossy_codecs ? draw.of(kAny) : draw.of(kExact);
  run.compression.ratio = 0.05 + draw.real(0.5);
  run.compression.threshold = 0.001 + 0.05 * run.compression.ratio;
  run.compression.levels = static_cast<std::uint32_t>(draw.between(3, 63));
  if (draw.chance(0.5) && run.compression.codec != CodecId::low_rank) run.compression.scope = Scope::model;
  run.mixing.step_size = algorithm.lossy_codecs ? 0.05 + draw.real(0.25) : 1;
  if (draw.chance(0.3)) run.mixing.replicas = "per-edge";
  if (draw.chance(0.3)) run.mixing.order = MixingOrder::combine_then_adapt;
  if (draw.chance(0.3)) run.overlap = Overlap::delayed;
  if (algorithm.asynchronous) run.synchrony.mode = Synchrony::async;
  else if (algorithm.rounds_overlap && draw.chance(0.4)) run.synchrony.mode = Synchrony::stale;
  run.synchrony.stale = static_cast<std::uint32_t>(draw.between(1, 4));
  if (algorithm.exchanges == Exchanges::model && draw.chance(0.4)) run.synchrony.local_steps = static_cast<std::uint32_t>(draw.between(2, 5));
  run.trainer.task = {.kind = "quadratic", .dimension = draw.between(1, 60), .condition = 4, .heterogeneity = 1, .noise = 0.1};
  run.trainer.batch_size = 1;
  run.trainer.steps = draw.between(1, 30);
  run.trainer.optimizer.learning_rate = 0.02 + draw.real(0.05);
  if (!algorithm.own_momentum && draw.chance(0.2)) run.trainer.optimizer.momentum = 0.5;
  run.transport.checksum = draw.chance(0.3);
  run.deadlines.round = std::chrono::seconds(600);
  return run;
}

void draw_network(Draw& draw, std::size_t peers, sim::SimulationSetup* setup) {
  sim::NetworkOptions& network = setup->network;
  network.latency = delay(draw, 1, 20000);
  if (draw.chance(0.3)) network.bandwidth = 1e4 * std::pow(10, draw.real(4));
  if (draw.chance(0.3)) network.card_bandwidth = 1e4 * std::pow(10, draw.real(4));
  network.in_order = draw.chance(0.5);
  network.puts_in_flight_max = draw.chance(0.3) ? 1 : draw.between(2, 64);
  network.resend_after = draw.time(1000, 500000);
  network.compute = delay(draw, 10, 50000);
  if (draw.chance(0.3)) network.stragglers = {{.peer = static_cast<PeerId>(draw.between(0, peers - 1)), .factor = 1 + draw.real(50)}};
  if (draw.chance(0.3)) network.clock_drift = draw.real(1e-3);
  if (draw.chance(0.3)) network.clock_offset = std::chrono::seconds(1000);
  sim::FaultPlan& faults = setup->faults;
  if (draw.chance(0.5)) faults.loss = draw.real(0.3);
  if (draw.chance(0.5)) faults.duplicate = draw.real(0.5);
  if (draw.chance(0.5)) faults.reorder = draw.real(0.5);
  faults.reorder_delay = draw.time(10, 1000000);
  if (draw.chance(0.4)) faults.refuse = draw.real(0.5);
  if (draw.chance(0.25)) {
    const Duration from = draw.time(100, 500000);
    sim::CutOptions cut{.from = from, .until = from + draw.time(1000, 3000000), .one_way = draw.chance(0.5)};
    for (PeerId peer = 0; peer < peers; ++peer)
      if (draw.chance(0.5)) cut.peers.push_back(peer);
    if (!cut.peers.empty()) faults.partitions.push_back(std::move(cut));
  }
  if (draw.chance(0.25))
    faults.pauses.push_back({.peer = static_cast<PeerId>(draw.between(0, peers - 1)), .at = draw.time(100, 500000), .length = draw.time(1000, 2000000)});
}

// Deaths, returns and silences, drawn apart from everything else.  `length` is how long the run takes without them.
void draw_churn(Draw& draw, double length, sim::SimulationSetup* setup) {
  const std::size_t peers = setup->run.topology.peers;
  const double us = 1e6 * length;
  // Where everything goes through a hub, nothing goes without it.
  const bool hub = find_algorithm(setup->run.algorithm)->shape == Shape::star;
  if (hub) std::erase_if(setup->faults.pauses, [](const sim::PauseOptions& pause) { return pause.peer == 0; });
  setup->run.deadlines.silence = draw.time(us / 20, us);
  if (draw.chance(0.5)) setup->network.control = delay(draw, us / 1000, us / 20);
  struct Absence {
    PeerId peer;
    Duration from, until;
  };
  constexpr Duration kNever = Duration::max();
  std::vector<Absence> absences;
  for (std::uint64_t events = draw.between(1, 8); events > 0; --events) {
    sim::CrashOptions crash{.peer = static_cast<PeerId>(draw.between(0, peers - 1)), .at = from_seconds(length * draw.real(1.1))};
    // Often shortly after another, when its change is being agreed on.
    if (!absences.empty() && draw.chance(0.4)) crash.at = (draw.chance(0.5) || absences.back().until == kNever ? absences.back().from : absences.back().until) + draw.time(us / 1000, us / 20);
    crash.noticed_after = draw.time(us / 10000, us / 20);
    if (draw.chance(0.75)) crash.restart_after = draw.time(us / 1000, us / 2);
    const Absence absence{crash.peer, crash.at, crash.restart_after ? crash.at + *crash.restart_after : kNever};
    std::set<PeerId> at_once{crash.peer};
    for (const Absence& other : absences)
      if (other.from <= absence.until && absence.from <= other.until) at_once.insert(other.peer);
    if (2 * at_once.size() >= peers || (hub && crash.peer == 0)) continue;
    absences.push_back(absence);
    setup->faults.crashes.push_back(crash);
  }
  for (sim::PauseOptions& pause : setup->faults.pauses)
    if (draw.chance(0.5)) pause.restart_after = draw.time(us / 1000, us / 2);
}

// Nothing where no drawn run of this seed goes together.
std::optional<sim::SimulationSetup> draw_setup(std::uint64_t seed) {
  Draw draw(seed);
  for (int attempt = 0; attempt < 100; ++attempt) {
    sim::SimulationSetup setup{.run = draw_run(draw, seed), .seed = seed, .events_max = 20'000'000};
    setup.verify_replicas = draw.chance(0.3);
    // What does not go together is drawn again.
    if (!make_topology(setup.run.topology) || !check_run(setup.run)) continue;
    if (Draw parts(mix_seed(seed, 2)); setup.run.overlap == Overlap::none && parts.chance(0.3)) {
      RunFile run = setup.run;
      run.overlap = Overlap::layerwise;
      run.trainer.task.tensors = parts.between(1, run.trainer.task.dimension);
      run.bucket_mib = static_cast<double>(parts.between(1, run.trainer.task.dimension)) * sizeof(float) / (1 << 20);
      if (check_run(run)) setup.run = std::move(run);
    }
    draw_network(draw, setup.run.topology.peers, &setup);
    if (Draw churn(mix_seed(seed, 1)); find_algorithm(setup.run.algorithm)->elastic && churn.chance(0.5)) {
      sim::SimulationSetup calm = setup;
      setup.run.membership.mode = MembershipMode::elastic;
      setup.run.deadlines.join = setup.run.deadlines.round;
      if (!check_run(setup.run)) continue;
      calm.check = false;
      const auto without = sim::simulate(calm);
      if (!without) continue;
      draw_churn(churn, std::max(without->seconds, 1e-3), &setup);
    }
    return setup;
  }
  return std::nullopt;
}

std::string describe(const sim::SimulationSetup& setup, const sim::SimulationOutcome& outcome) {
  std::string text = fmt::format("{} on {} of {}, codec {}, synchrony {}, overlap {}, {} steps{}\n", setup.run.algorithm, setup.run.topology.schedule.front().family,
                                 setup.run.topology.peers, static_cast<int>(setup.run.compression.codec),
                                 static_cast<int>(setup.run.synchrony.mode), name(setup.run.overlap), setup.run.trainer.steps,
                                 setup.run.membership.mode == MembershipMode::elastic ? fmt::format(", {} crashes", setup.faults.crashes.size()) : "");
  if (outcome.error) text += outcome.error->message + "\n";
  for (const sim::Violation& violation : outcome.violations)
    text += fmt::format("violation of {} at peer {}, round {}, {:.6g} s: {}\n", violation.checker, violation.peer, violation.round, violation.seconds,
                        violation.what);
  return text + fmt::format("replay: {}swarm --first {} --seeds 1", GOSSAMER_SWARM_FOLDER, setup.seed);
}

void write(const sim::SimulationSetup& setup, const std::string& folder) {
  ASSERT_TRUE(write_file_atomically(folder + "/run.yaml", to_yaml(setup.run)));
  ASSERT_TRUE(write_file_atomically(folder + "/network.yaml", sim::to_yaml(setup.network)));
  ASSERT_TRUE(write_file_atomically(folder + "/faults.yaml", sim::to_yaml(setup.faults)));
  fmt::print("gossamer simulate {0}/run.yaml --network {0}/network.yaml --faults {0}/faults.yaml --seed {1}\n", folder, setup.seed);
}

// A smaller view's majority was lost, or all of its members while newcomers were on their way: the good reasons for an elastic
// run to end early.
bool lost_the_majority(const sim::SimulationSetup& setup, const sim::SimulationOutcome& outcome) {
  if (setup.run.membership.mode != MembershipMode::elastic || outcome.violations_found > 0 || !outcome.error) return false;
  if (outcome.error->code == Errc::peer_gone && outcome.error->message.find("members are left") != std::string::npos) return true;
  return outcome.error->message.find("did not take it in") != std::string::npos &&
         std::all_of(outcome.peers.begin(), outcome.peers.end(), [](const sim::PeerOutcome& peer) { return peer.crashed || peer.error; });
}

struct Tally {
  std::uint64_t played = 0, elastic = 0, views = 0, returns = 0, lost = 0;
  std::map<std::string, int> algorithms;
};

void one(std::uint64_t seed, Tally* tally) {
  const auto setup = draw_setup(seed);
  if (!setup) return;
  if (!request().write.empty()) write(*setup, request().write);
  const auto outcome = sim::simulate(*setup);
  ASSERT_TRUE(outcome) << "seed " << seed << ": " << outcome.error().message;
  ++tally->played;
  ++tally->algorithms[setup->run.algorithm];
  const bool elastic = setup->run.membership.mode == MembershipMode::elastic;
  tally->elastic += elastic;
  tally->views += outcome->view;
  for (const sim::PeerOutcome& peer : outcome->peers) tally->returns += peer.lives - 1;
  if (lost_the_majority(*setup, *outcome)) {
    ++tally->lost;
    return;
  }
  EXPECT_TRUE(outcome->good()) << describe(*setup, *outcome);
  EXPECT_TRUE(std::isfinite(outcome->consensus_distance)) << describe(*setup, *outcome);
  if (setup->run.synchrony.mode == Synchrony::bulk && !elastic) {
    const auto calm = sim::simulate({.run = setup->run, .seed = seed, .check = false, .verify_replicas = setup->verify_replicas});
    ASSERT_TRUE(calm);
    EXPECT_EQ(calm->models_hash, outcome->models_hash) << "faults changed the models\n" << describe(*setup, *outcome);
  }
  if (seed % 8 == 0) {
    const auto again = sim::simulate(*setup);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->trace_hash, outcome->trace_hash) << "the same seed gave other events\n" << describe(*setup, *outcome);
  }
}

TEST(Swarm, EveryRandomRunKeepsEveryPromise) {
  Tally tally;
  for (std::uint64_t seed = request().first; seed < request().first + request().seeds; ++seed) one(seed, &tally);
  // Most seeds must find a run that goes together, and every algorithm must have had its turn.
  EXPECT_GE(10 * tally.played, 9 * request().seeds);
  if (request().seeds >= 100) {
    for (const Algorithm& algorithm : algorithms()) EXPECT_GT(tally.algorithms[std::string(algorithm.name)], 0) << algorithm.name;
    EXPECT_GT(10 * tally.elastic, request().seeds);
    EXPECT_GT(tally.views, tally.elastic);
    EXPECT_GT(tally.returns, tally.elastic / 2);
    EXPECT_LT(4 * tally.lost, tally.elastic);  // with three peers it takes little
  }
  for (const auto& [name, times] : tally.algorithms) fmt::print("{}: {} runs\n", name, times);
  fmt::print("{} elastic runs went through {} views and {} returns; {} lost their majority\n", tally.elastic, tally.views, tally.returns, tally.lost);
}

}  // namespace
}  // namespace gossamer

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& request = gossamer::request();
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--seeds") request.seeds = std::strtoull(argv[i + 1], nullptr, 10);
    else if (flag == "--first") request.first = std::strtoull(argv[i + 1], nullptr, 10);
    else if (flag == "--write") request.write = argv[i + 1];
    else argc = 0;
  }
  if (argc % 2 == 0) {
    std::fprintf(stderr, "usage: swarm [--first SEED] [--seeds COUNT] [--write FOLDER]\n");
    return 2;
  }
  return RUN_ALL_TESTS();
}
