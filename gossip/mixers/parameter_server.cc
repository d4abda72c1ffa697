// A parameter server as two phases on a star (Li et al., OSDI 2014; synchronous):
//
//     phase 0: every leaf sends its vector to the hub;    hub := mean of all, its own included
//     phase 1: the hub sends the mean to every leaf;      leaf := mean
//
// The hub is a peer that trains like the others.  `parameter-server` averages gradients, which under any optimizer is
// one big batch; `parameter-server-models` averages models.  The hub sums in ascending order of peers and everybody
// takes its bits.
#include <cstring>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr Phase kUp = 0, kDown = 1;

class ParameterServer final : public Mixer {
 public:
  ParameterServer(const MixerSetup& setup, Exchanges exchanges)
      : setup_(setup), exchanges_(exchanges), mean_(setup.layout->size()), theirs_(setup.layout->size()) {}

  std::string_view name() const override { return exchanges_ == Exchanges::gradient ? "parameter-server" : "parameter-server-models"; }
  MixerTraits traits() const override { return {.exchanges = exchanges_}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    copy(shadow, mean_.span());
    Plan plan;
    if (is_hub(info)) {
      for (const Edge& leaf : info.edges->in) plan.await.push_back({leaf.peer, kUp});
    } else {
      const PeerId hub = info.edges->out.front().peer;
      plan.send.push_back({.id = 0, .phase = kUp, .kind = 0, .to = {hub}});
      plan.await.push_back({hub, kDown});
    }
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    // The hub takes what its leaves decode, so that a rounding codec leaves everybody with the same bits too.
    GOSSAMER_TRY_ASSIGN(const Encoded encoded, encode_vector(stream, setup_, mean_.span(), 0, out, theirs_.span()));
    copy(theirs_.span(), mean_.span());
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    if (!is_hub(info)) {
      GOSSAMER_TRY(decode_vector(stream, setup_, arrivals.front(), mean_.span()));
      return Plan{};
    }
    set_zero(mean_.span());
    bool own_is_in = false;
    for (const Arrival& arrival : arrivals) {
      if (!own_is_in && arrival.from > info.self) {
        axpy(1, shadow_, mean_.span());
        own_is_in = true;
      }
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
      axpy(1, theirs_.span(), mean_.span());
    }
    if (!own_is_in) axpy(1, shadow_, mean_.span());
    scale(1.f / static_cast<float>(setup_.peers), mean_.span());
    Plan plan;
    plan.send.push_back({.id = 0, .phase = kDown, .kind = 0, .to = {}});
    for (const Edge& leaf : info.edges->out) plan.send.back().to.push_back(leaf.peer);
    return plan;
  }

  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    copy(mean_.span(), add);
    if (exchanges_ == Exchanges::gradient) return Affine{.a = 0};
    // A local step taken meanwhile stays.
    axpy(-1, shadow_, add);
    return Affine{};
  }

 private:
  // Of two peers the first is the hub.
  bool is_hub(const RoundInfo& info) const { return info.peers > 2 ? info.edges->in.size() == info.peers - 1 : info.self == 0; }

  MixerSetup setup_;
  Exchanges exchanges_;
  std::span<const float> shadow_;
  AlignedBuffer<float> mean_, theirs_;
};

Result<std::unique_ptr<Mixer>> make_parameter_server(const MixerSetup& setup) {
  return std::make_unique<ParameterServer>(setup, Exchanges::gradient);
}

Result<std::unique_ptr<Mixer>> make_parameter_server_models(const MixerSetup& setup) {
  return std::make_unique<ParameterServer>(setup, Exchanges::model);
}

}  // namespace

Algorithm parameter_server_algorithm() {
  return {.name = "parameter-server",
          .summary = "The hub of a star averages all gradients and sends the average back.",
          .source = "Li et al., OSDI 2014 (synchronous; the hub is a peer)",
          .exchanges = Exchanges::gradient,
          .shape = Shape::star,
          .make = make_parameter_server};
}

Algorithm parameter_server_models_algorithm() {
  return {.name = "parameter-server-models",
          .summary = "The hub of a star averages all models and sends the average back.",
          .source = "Li et al., OSDI 2014 (synchronous; the hub is a peer)",
          .shape = Shape::star,
          .keeps_mean = true,
          .make = make_parameter_server_models};
}

}  // namespace gossamer
