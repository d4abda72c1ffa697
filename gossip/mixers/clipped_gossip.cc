// ClippedGossip: He, Karimireddy, Jaggi, "Byzantine-Robust Decentralized Learning via ClippedGossip", arXiv 2202.01545.
//
//     x_i <- x_i + sum_j w_ij clip(x_j - x_i, tau),       clip(v, tau) = v min(1, tau / |v|)
//
// so no neighbour, whatever it sends, moves a peer by more than w_ij tau a round.  What does not
// decode or is not a number moves nobody.  The mean is kept only while nothing is clipped.  With tau infinite this is D-PSGD, with
// tau = 0 nobody listens to anybody.
#include <cmath>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class ClippedGossip final : public Mixer {
 public:
  explicit ClippedGossip(const MixerSetup& setup)
      : setup_(setup), seen_(setup.layout->size()), theirs_(setup.layout->size()), sum_(setup.layout->size()) {}

  std::string_view name() const override { return "clipped-gossip"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    set_zero(sum_.span());
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    return encode_vector(stream, setup_, shadow_, 0, out, seen_.span());
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
      if (!decode_vector(stream, setup_, arrival.bytes, theirs_.span())) continue;
      const double distance = std::sqrt(squared_distance(theirs_.span(), seen_.span()));
      if (!std::isfinite(distance)) continue;
      const double clip = distance > setup_.clip ? setup_.clip / distance : 1;
      add_difference(clip * weight_from(*info.edges, arrival.from), theirs_.span(), seen_.span(), sum_.span());
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return moved_by(stream, sum_.span(), add);
  }

 private:
  MixerSetup setup_;
  std::span<const float> shadow_;
  AlignedBuffer<float> seen_, theirs_, sum_;
};

Result<std::unique_ptr<Mixer>> make_clipped_gossip(const MixerSetup& setup) {
  if (!(setup.clip >= 0))
    return fail(Errc::invalid_argument, fmt::format("clipped-gossip needs mixing.clip >= 0 (a distance between models), not {}", setup.clip));
  return std::make_unique<ClippedGossip>(setup);
}

}  // namespace

Algorithm clipped_gossip_algorithm() {
  return {.name = "clipped-gossip",
          .summary = "D-PSGD in which no neighbour moves a peer further than a bound.",
          .source = "He, Karimireddy and Jaggi 2022, arXiv 2202.01545",
          .weights = Weights::doubly,
          .elastic = true,
          .whole_vectors = true,
          .make = make_clipped_gossip};
}

}  // namespace gossamer
