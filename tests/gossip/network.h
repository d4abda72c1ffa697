// Peers in one process on one thread: the real engine, transport and mixers over a loopback (or any other) fabric.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "gossip/algorithms.h"
#include "gossip/engine.h"
#include "topologies/topology.h"
#include "transports/channel.h"
#include "transports/fabric.h"
#include "transports/loopback.h"

namespace gossamer::testing_support {

struct NetworkOptions {
  std::string algorithm = "d-psgd";
  CompressionOptions compression;
  double step_size = 1;
  ReplicaForm replicas = ReplicaForm::automatic;
  bool verify_replicas = false;
  std::uint64_t seed = 1;
  std::function<std::unique_ptr<Fabric>(PeerId)> make_fabric;  // loopback when empty
  std::size_t dimension = 0;
  std::vector<std::size_t> shape = {};     // of the one tensor; `dimension` alone when empty
  std::size_t rounds_open = 1;
  std::function<void(MixerSetup&)> adjust = {};  // sets what is not listed above
  std::function<std::unique_ptr<Mixer>(const MixerSetup&)> make = {};  // in place of `algorithm`
};

// One algorithm over one topology; every model is `dimension` floats.
class Network {
 public:
  Network(const Topology& topology, NetworkOptions options)
      : topology_(topology), options_(std::move(options)), layout_(Layout::flat(options_.dimension)) {
    auto compressor = make_compressor(options_.compression);
    EXPECT_TRUE(compressor) << compressor.error().message;
    compressor_ = std::move(*compressor);
    if (!options_.shape.empty()) {
      layout_ = Layout();
      layout_.add("matrix", options_.shape);
      EXPECT_EQ(layout_.size(), options_.dimension);
    }
    const auto hub = std::make_shared<LoopbackHub>();
    const std::size_t n = topology.peer_count();
    for (PeerId id = 0; id < n; ++id) {
      auto peer = std::make_unique<Peer>();
      peer->fabric = options_.make_fabric ? options_.make_fabric(id) : make_loopback(hub).value();
      MixerSetup setup{.self = id,
                       .peers = n,
                       .layout = &layout_,
                       .topology = &topology_,
                       .compressor = compressor_.get(),
                       .step_size = options_.step_size,
                       .replicas = options_.replicas,
                       .verify_replicas = options_.verify_replicas,
                       .rounds_open = options_.rounds_open,
                       .seed = options_.seed};
      if (options_.adjust) options_.adjust(setup);
      if (options_.make) {
        peer->mixer = options_.make(setup);
      } else {
        auto mixer = make_mixer(options_.algorithm, setup);
        EXPECT_TRUE(mixer) << mixer.error().message;
        peer->mixer = std::move(*mixer);
      }
      peer->transport = std::make_unique<Transport>(
          TransportSetup{.self = id, .peers = n, .run = 7, .payload_size_max = peer->mixer->payload_capacity(),
                         .resend_after = std::chrono::milliseconds(20)},
          *peer->fabric, clock_);
      peer->engine = std::make_unique<Engine>(EngineSetup{.self = id, .peers = n, .vector_size = options_.dimension, .rounds_open = options_.rounds_open},
                                              clock_, topology_, *peer->mixer, *peer->transport, peer->stream);
      peer->model.resize(options_.dimension);
      peers_.push_back(std::move(peer));
    }
    for (PeerId a = 0; a < n; ++a)
      for (PeerId b = 0; b < n; ++b) {
        if (a == b) continue;
        EXPECT_TRUE(peers_[a]->transport->set_peer(b, peers_[b]->fabric->address(), 1));
      }
  }

  std::size_t size() const { return peers_.size(); }
  std::vector<float>& model(PeerId id) { return peers_[id]->model; }
  Engine& engine(PeerId id) { return *peers_[id]->engine; }
  Mixer& mixer(PeerId id) { return *peers_[id]->mixer; }
  Fabric& fabric(PeerId id) { return *peers_[id]->fabric; }

  // Independent standard normals of the standard library's generator: the starts of the published-style traces, whose late
  // values depend on the start.
  void randomise_as_traced() {
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    for (PeerId id = 0; id < size(); ++id)
      for (float& value : model(id)) value = static_cast<float>(normal(generator));
  }

  // Independent standard normals.
  void randomise(std::uint64_t seed) {
    for (PeerId id = 0; id < size(); ++id) {
      Random random(seed, Purpose::test, id);
      for (float& value : model(id)) value = static_cast<float>(random.normal());
    }
  }

  // One exchange of everybody's model.
  Result<> round() {
    for (auto& peer : peers_) peer->engine->publish(peer->model, 0);
    return finish();
  }

  // Drives all engines until every open round has closed, and applies the corrections.
  Result<> finish() {
    for (int turns = 0; turns < 100000; ++turns) {
      bool open = false;
      for (auto& peer : peers_) {
        GOSSAMER_TRY(peer->engine->step());
        open |= peer->engine->open_rounds() > 0;
      }
      if (!open) {
        for (auto& peer : peers_) peer->engine->apply(peer->model);
        return {};
      }
    }
    return fail(Errc::timed_out, "the round does not close");
  }

  std::vector<double> mean() const {
    std::vector<double> mean(options_.dimension);
    for (const auto& peer : peers_)
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += peer->model[i];
    for (double& value : mean) value /= static_cast<double>(peers_.size());
    return mean;
  }

  // sum_i |x_i - centre|^2
  double spread(const std::vector<double>& centre) const {
    double sum = 0;
    for (const auto& peer : peers_)
      for (std::size_t i = 0; i < centre.size(); ++i) sum += (peer->model[i] - centre[i]) * (peer->model[i] - centre[i]);
    return sum;
  }

 private:
  struct Peer {
    Stream stream;  // each its own, as in a process: engines may run on threads of their own
    std::unique_ptr<Fabric> fabric;
    std::unique_ptr<Mixer> mixer;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Engine> engine;
    std::vector<float> model;
  };

  const Topology& topology_;
  NetworkOptions options_;
  Layout layout_;
  std::unique_ptr<Compressor> compressor_;
  SteadyClock clock_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace gossamer::testing_support
