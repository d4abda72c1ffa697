// What of a peer trains and exchanges: all that stands between its fabric and its membership.  Processes (runtime/peer.h) and the
// simulator (runtime/simulator/simulation.h) compose it here, so that both run the same thing.
//
// Belongs to the thread that composed it, until somebody drives its engine from another (gossip/engine.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/memory.h"
#include "base/result.h"
#include "gossip/engine.h"
#include "runtime/composition.h"
#include "runtime/elastic.h"
#include "trainer/trainer.h"
#include "transports/channel.h"

namespace gossamer {

struct PeerStackSetup {
  PeerId self = 0;
  Incarnation life = 1;
  bool newcomer = false;       // the others have begun without it
  std::uint64_t samples = 0;   // of the whole training set
  bool verify_replicas = false;  // also where the run file does not ask for it
  Duration resend_after = TransportSetup{}.resend_after;
  std::vector<Incarnation> alive, ended;  // elastic: see ElasticSetup

  // Who watches a run puts something around these.  May be empty.
  std::function<std::unique_ptr<Mixer>(std::unique_ptr<Mixer>, const LayoutPart&, std::size_t part)> around_mixer;
  std::function<std::unique_ptr<Optimizer>(std::unique_ptr<Optimizer>)> around_optimizer;
};

struct PeerStack {
  std::unique_ptr<Task> task;
  std::vector<LayoutPart> parts;
  std::vector<std::unique_ptr<Mixer>> mixers;  // one for each part
  std::unique_ptr<Transport> transport;        // introduced to nobody yet
  std::unique_ptr<Engine> engine;              // not started
  AlignedBuffer<float> first_model;            // as the task and the run's seed make it; where it lies later the engine decides
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<Elastic> elastic;  // where members may change

  RunLength length;
  TransportSetup channel;  // what `transport` was made with
  WorkerSetup working;     // what `worker` was made with

  std::span<float> model() const { return trainer->model(); }

  // Fills all of it but the task, which must be there.  The references outlive it.  Engine and trainer have a stream each where they have
  // threads of their own.
  // Errors: what the algorithm or the optimizer cannot do (Errc::invalid_argument, Errc::unsupported).
  Result<> compose(const RunFile& run, const Topology& topology, const Compressor& compressor, Fabric& fabric, const Clock& clock,
                   Stream& engine_stream, Stream& trainer_stream, PeerStackSetup setup);
};

}  // namespace gossamer
