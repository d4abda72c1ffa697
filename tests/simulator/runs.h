// Small runs for the tests of the simulator, and the same run over loopback fabrics.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "gossip/algorithms.h"
#include "gossip/engine.h"
#include "runtime/run_file.h"
#include "runtime/simulator/simulation.h"
#include "runtime/composition.h"
#include "runtime/worker.h"
#include "trainer/trainer.h"
#include "transports/channel.h"
#include "transports/loopback.h"

namespace gossamer::testing_support {

// A quadratic whose peers want different things, so that a wrong exchange shows.
inline RunFile small_run(const std::string& algorithm, const std::string& family, std::size_t peers, std::uint64_t steps = 20) {
  RunFile run;
  run.name = "small";
  run.algorithm = algorithm;
  run.topology = family_spec(family, peers);
  run.trainer.task = {.kind = "quadratic", .dimension = 12, .condition = 4, .heterogeneity = 1, .noise = 0.1};
  run.trainer.batch_size = 1;
  run.trainer.steps = steps;
  run.trainer.optimizer.learning_rate = 0.1;
  run.deadlines.round = std::chrono::seconds(60);
  return run;
}

// The peers' last models, trained on one thread over loopback fabrics with real time.
inline std::vector<std::vector<float>> train_over_loopback(const RunFile& run) {
  struct One {
    std::unique_ptr<Fabric> fabric;
    std::unique_ptr<Task> task;
    std::vector<LayoutPart> parts;
    std::vector<std::unique_ptr<Mixer>> mixers;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Engine> engine;
    AlignedBuffer<float> model;
    std::unique_ptr<Optimizer> optimizer;
    std::unique_ptr<Trainer> trainer;
    std::unique_ptr<Worker> worker;
  };
  const auto topology = make_topology(run.topology).value();
  const auto compressor = make_compressor(run.compression).value();
  const std::size_t n = topology->peer_count();
  const auto hub = std::make_shared<LoopbackHub>();
  SteadyClock clock;
  Stream stream;
  std::vector<One> all(n);
  for (PeerId id = 0; id < n; ++id) {
    One& one = all[id];
    one.fabric = make_loopback(hub).value();
    one.task = make_task(run.trainer.task, {}, {}, run.trainer.batch_size, id, n, run.seed).value();
    const std::size_t size = one.task->layout().size();
    one.parts = cut_into_parts(run, one.task->layout());
    std::vector<EnginePart> exchanged;
    std::size_t payload_size_max = 0;
    for (const LayoutPart& part : one.parts) {
      one.mixers.push_back(make_mixer(run.algorithm, mixer_setup(run, id, *topology, *compressor, part.layout, one.mixers.size())).value());
      payload_size_max = std::max(payload_size_max, one.mixers.back()->payload_capacity());
      exchanged.push_back({part.offset, part.layout.size(), one.mixers.back().get()});
    }
    one.transport = std::make_unique<Transport>(
        TransportSetup{.self = id, .peers = n, .run = 1, .payload_size_max = payload_size_max, .window = window_for(one.parts.size())}, *one.fabric, clock);
    one.engine = std::make_unique<Engine>(EngineSetup{.self = id, .peers = n, .vector_size = size, .rounds_open = rounds_open(run)},
                                          clock, *topology, exchanged, *one.transport, stream);
    one.model = AlignedBuffer<float>(size);
    one.task->initialise(run.seed, one.model.span());
    one.engine->start(one.model.span());
    one.optimizer = make_optimizer(run.trainer.optimizer, size).value();
    one.trainer = std::make_unique<Trainer>(*one.task, *one.optimizer, run.trainer.optimizer, run.trainer.schedule,
                                            static_cast<double>(run.trainer.steps) / static_cast<double>(one.task->steps_per_epoch()),
                                            stream, one.model.span());
    one.worker = std::make_unique<Worker>(worker_setup(run, one.engine->traits(), run.trainer.steps, 1), *one.trainer, *one.engine);
  }
  for (PeerId a = 0; a < n; ++a)
    for (PeerId b = 0; b < n; ++b)
      if (a != b) {
        EXPECT_TRUE(all[a].transport->set_peer(b, all[b].fabric->address(), 1));
      }
  for (int turns = 0; turns < 100000; ++turns) {
    bool done = true;
    for (One& one : all) {
      const Wants wants = one.worker->advance();
      done &= wants == Wants::done;
      if (wants == Wants::compute) {
        EXPECT_TRUE(one.worker->compute([&](std::size_t part) {
          one.worker->publish(part);
          return one.engine->step();
        }));
      }
      EXPECT_TRUE(one.engine->step());
    }
    if (!done) continue;
    std::vector<std::vector<float>> models;
    for (const One& one : all) models.emplace_back(one.model.span().begin(), one.model.span().end());
    return models;
  }
  ADD_FAILURE() << "the run does not end";
  return {};
}

inline std::string told(const sim::SimulationOutcome& outcome) {
  std::string text;
  if (outcome.error) text += outcome.error->message + "\n";
  for (const sim::Violation& violation : outcome.violations)
    text += violation.checker + " at peer " + std::to_string(violation.peer) + ", round " + std::to_string(violation.round) + ": " +
            violation.what + "\n";
  return text;
}

inline sim::SimulationOutcome must_simulate(const sim::SimulationSetup& setup) {
  auto outcome = sim::simulate(setup);
  EXPECT_TRUE(outcome) << outcome.error().message;
  return outcome ? std::move(*outcome) : sim::SimulationOutcome{};
}

// Everything that a repaired network may do.
inline sim::FaultPlan rough_weather() {
  return {.loss = 0.05, .duplicate = 0.1, .reorder = 0.2, .reorder_delay = std::chrono::milliseconds(5), .refuse = 0.05};
}

}  // namespace gossamer::testing_support
