// Stochastic gradient push: Assran, Loizou, Ballas, Rabbat, ICML 2019 (push-sum: Kempe, Dobra, Gehrke, FOCS 2003).
//
// Every peer holds a share x of the models' mass and a weight w, and trains the ratio z = x / w:
//
//     x_i <- x_i - eta g(z_i)
//     to each out-neighbour j: (p_ji x_i, p_ji w_i);   keep (p_ii x_i, p_ii w_i)
//     x_i += sum of what came,   w_i likewise;   z_i = x_i / w_i
//
// Only the sender's weights must sum to 1, so edges may have a direction and every peer may have another
// number of receivers.  The sum of all x and the sum of all w, counted with what is under way, never change;
// on a doubly stochastic W every w stays 1 and this is D-PSGD.
//
// The payload carries (x, w) unscaled and the receiver multiplies by p_ji, the weight of the edge: one payload
// serves all receivers.  x and w are split when it is encoded.  With rounds that overlap (the paper's
// overlapped SGP) a late arrival is simply added to what x and w have become.
//
// The trainer's model is z.  What it changed since is the published vector minus what the mixer expected to
// see, and goes to x in full: the gradient step is taken on x, not on w z.
//
// w is double, on the wire too: with many receivers it falls below what 16 bits hold.  Products are taken in
// double because three times the float nearest to 1/3 is more than 1, round after round.
#include <cstring>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr std::size_t kWeightSize = sizeof(double);

class Sgp final : public Mixer {
 public:
  explicit Sgp(const MixerSetup& setup)
      : setup_(setup), x_(setup.layout->size()), expected_(setup.layout->size()), theirs_(setup.layout->size()) {}

  std::string_view name() const override { return "sgp"; }
  MixerTraits traits() const override { return {.each_once = true}; }
  std::size_t payload_capacity() const override { return kWeightSize + setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    if (started_) {
      for (std::size_t i = 0; i < x_.size(); ++i) x_[i] += shadow[i] - expected_[i];
    } else {
      copy(shadow, x_.span());
      started_ = true;
    }
    copy(shadow, expected_.span());
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing&, std::span<std::byte> out) override {
    std::memcpy(out.data(), &weight_, kWeightSize);
    // theirs_ is what the receivers will see; with a rounding codec the difference stays here.
    GOSSAMER_TRY_ASSIGN(Encoded encoded, encode_vector(stream, setup_, x_.span(), 0, out.subspan(kWeightSize), theirs_.span()));
    encoded.used += kWeightSize;
    double leaving = 0;
    for (const Edge& edge : info.edges->out) leaving += edge.weight;
    gain(-leaving, theirs_.span());
    weight_ -= leaving * weight_;
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
      double weight = 0;
      if (arrival.bytes.size() < kWeightSize) return fail(Errc::corrupt, fmt::format("peer {} sent no push-sum weight", arrival.from));
      std::memcpy(&weight, arrival.bytes.data(), kWeightSize);
      if (!(weight > 0 && weight <= static_cast<double>(setup_.peers) * (1 + 1e-9)))
        return fail(Errc::corrupt, fmt::format("peer {} sent the push-sum weight {}, which is not between 0 and the number of peers",
                                               arrival.from, weight));
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival.bytes.subspan(kWeightSize), theirs_.span()));
      const double share = weight_from(*info.edges, arrival.from);
      gain(share, theirs_.span());
      weight_ += share * weight;
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    for (std::size_t i = 0; i < x_.size(); ++i) {
      add[i] = static_cast<float>(x_[i] / weight_) - expected_[i];
      expected_[i] += add[i];
    }
    return Affine{};
  }

  std::optional<Mass> mass() const override {
    if (!started_) return std::nullopt;
    return Mass{weight_, x_.span(), expected_.span()};
  }

  // What those who left held is lost to the sums: everybody starts again from the model it trains, with weight 1.
  void view(const View&, const Topology&, std::span<const PeerId>) override {
    started_ = false;
    weight_ = 1;
  }

  void save(Writer& writer) const override {
    writer.put<std::uint8_t>(started_);
    writer.put(weight_);
    writer.array(x_.span());
    writer.array(expected_.span());
  }

  Result<> load(Reader& reader) override {
    started_ = reader.get<std::uint8_t>() != 0;
    weight_ = reader.get<double>();
    reader.array(x_.span());
    reader.array(expected_.span());
    return reader.ok() && weight_ > 0 ? Result<>{} : fail(Errc::corrupt, "the state of sgp does not parse");
  }

 private:
  // x += share * what
  void gain(double share, std::span<const float> what) {
    for (std::size_t i = 0; i < x_.size(); ++i)
      x_[i] = static_cast<float>(static_cast<double>(x_[i]) + share * static_cast<double>(what[i]));
  }

  MixerSetup setup_;
  AlignedBuffer<float> x_;         // the share of the mass
  AlignedBuffer<float> expected_;  // the trainer's model, if it changed nothing
  AlignedBuffer<float> theirs_;
  double weight_ = 1;
  bool started_ = false;
};

Result<std::unique_ptr<Mixer>> make_sgp(const MixerSetup& setup) { return std::make_unique<Sgp>(setup); }

}  // namespace

Algorithm sgp_algorithm() {
  return {.name = "sgp",
          .summary = "Push-sum: models and weights flow along directed edges, each peer trains their ratio.",
          .source = "Assran et al., ICML 2019, arXiv 1811.10792",
          .weights = Weights::columns,
          .rounds_overlap = true,
          .elastic = true,
          .make = make_sgp};
}

}  // namespace gossamer
