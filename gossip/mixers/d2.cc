// D2: Tang, Lian, Yan, Zhang, Liu, "D2: Decentralized Training over Decentralized Data", ICML 2018.
//
//     x_{t+1} = W (2 x_t - x_{t-1} - eta_t g_t + eta_{t-1} g_{t-1}),      x_1 = W (x_0 - eta_0 g_0)
//
// The published vector is s_t = x_t - eta_t g_t, and c_{t-1} = x_t - s_{t-1} is the correction of the round before,
// so the bracket is z_t = s_t + c_{t-1} and
//
//     c_t = c_{t-1} + sum_j w_ij (z_j - z_i)
//
// is all there is: no gradient is kept, and a learning rate that changes weighs each gradient with its own.
// All c sum to zero, so the mean is that of D-PSGD.
//
// Stable only while the smallest eigenvalue of W is above -1/3.  A ring of an even number of peers with weights 1/3
// has exactly -1/3.
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"
#include "topologies/check.h"

namespace gossamer {
namespace {

class D2 final : public Mixer {
 public:
  explicit D2(const MixerSetup& setup)
      : setup_(setup), correction_(setup.layout->size()), z_(setup.layout->size()), seen_(setup.layout->size()), theirs_(setup.layout->size()) {}

  std::string_view name() const override { return "d2"; }
  MixerTraits traits() const override { return {.each_once = true}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    for (std::size_t i = 0; i < z_.size(); ++i) z_[i] = shadow[i] + correction_[i];
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    return encode_vector(stream, setup_, z_.span(), 0, out, seen_.span());
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
      add_difference(weight_from(*info.edges, arrival.from), theirs_.span(), seen_.span(), correction_.span());
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return moved_by(stream, correction_.span(), add);
  }

  void save(Writer& writer) const override { writer.array(correction_.span()); }
  Result<> load(Reader& reader) override {
    reader.array(correction_.span());
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the correction of d2 does not parse");
  }

 private:
  MixerSetup setup_;
  AlignedBuffer<float> correction_;  // c
  AlignedBuffer<float> z_, seen_, theirs_;
};

Result<std::unique_ptr<Mixer>> make_d2(const MixerSetup& setup) {
  if (setup.self != 0) return std::make_unique<D2>(setup);  // the eigenvalue is the same from everywhere, and peer 0 looks
  std::optional<double> least = setup.topology->facts().lambda_min;
  if (!least) {
    GOSSAMER_TRY_ASSIGN(const TopologyReport report, check_topology(*setup.topology));
    least = report.lambda_min;
  }
  if (!least || !(*least > -1. / 3 + 1e-9))
    return fail(Errc::invalid_argument,
                fmt::format("d2 diverges unless the smallest eigenvalue of W is above -1/3, and that of {} is {:.4g}; use weights: lazy, "
                            "or algorithm: gradient-tracking",
                            setup.topology->name(), least.value_or(-1)));
  return std::make_unique<D2>(setup);
}

}  // namespace

Algorithm d2_algorithm() {
  return {.name = "d2",
          .summary = "D-PSGD with each peer's last correction carried over, which cancels how its data differ from the others'.",
          .source = "Tang et al., ICML 2018",
          .weights = Weights::symmetric,
          .shape = Shape::fixed,
          .keeps_mean = true,
          .make = make_d2};
}

}  // namespace gossamer
