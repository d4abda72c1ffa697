// Mixers between engine and algorithm that do one thing wrong, to see that a checker notices.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "gossip/mixer.h"

namespace gossamer::testing_support {

// Does nothing wrong yet.
class Wrong : public Mixer {
 public:
  explicit Wrong(std::unique_ptr<Mixer> inner) : inner_(std::move(inner)) {}
  std::string_view name() const override { return inner_->name(); }
  MixerTraits traits() const override { return inner_->traits(); }
  std::size_t payload_capacity() const override { return inner_->payload_capacity(); }
  void start(std::span<const float> common) override { inner_->start(common); }
  void gradient(Stream& stream, const RoundInfo& info, std::span<float> gradient) override { inner_->gradient(stream, info, gradient); }
  Plan begin(Stream& stream, const RoundInfo& info, std::span<const float> shadow) override { return inner_->begin(stream, info, shadow); }
  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    return inner_->encode(stream, info, what, out);
  }
  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    return inner_->arrived(stream, info, arrivals);
  }
  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override { return inner_->result(stream, info, add); }
  Result<double> mix(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals, std::span<const float> vector,
                     std::span<float> to) override {
    return inner_->mix(stream, info, arrivals, vector, to);
  }
  void view(const View& view, const Topology& graph, std::span<const PeerId> changed) override { inner_->view(view, graph, changed); }
  std::span<const float> replica(PeerId peer, Replica which) const override { return inner_->replica(peer, which); }
  std::optional<Mass> mass() const override { return inner_->mass(); }

 protected:
  std::unique_ptr<Mixer> inner_;
};

// Moves its own model by more than the algorithm says.
class Biased : public Wrong {
 public:
  using Wrong::Wrong;
  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    const auto affine = inner_->result(stream, info, add);
    add[0] += bias(info);
    return affine;
  }
  Result<double> mix(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals, std::span<const float> vector,
                     std::span<float> to) override {
    const auto moved = inner_->mix(stream, info, arrivals, vector, to);
    to[0] += bias(info);
    return moved;
  }

 protected:
  virtual float bias(const RoundInfo& info) const = 0;
};

// For SimulationSetup::wrap: `Kind` at one peer, in each of its lives.
template <class Kind>
std::function<std::unique_ptr<Mixer>(PeerId, std::unique_ptr<Mixer>)> at_peer(PeerId wrong) {
  return [wrong](PeerId peer, std::unique_ptr<Mixer> mixer) -> std::unique_ptr<Mixer> {
    if (peer != wrong) return mixer;
    return std::make_unique<Kind>(std::move(mixer));
  };
}

}  // namespace gossamer::testing_support
