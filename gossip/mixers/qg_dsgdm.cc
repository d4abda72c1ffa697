// Quasi-global momentum: Lin, Karimireddy, Stich, Jaggi, "Quasi-Global Momentum", ICML 2021, arXiv 2102.04761.
//
//     d = beta m + g;      x_half = x - eta d;      x' = sum_j w_ij x_half_j
//     m <- mu m + (1 - mu) (x - x') / eta,          mu = beta
//
// so the momentum follows where the mixed model went, not where this peer's own data pulled it.
//
// With c the correction of the round, x - x' is what the local steps took, sum eta d, minus c; over a window of several
// local steps both are divided by the sum of their eta.  The optimizer must be plain SGD: momentum is here.
// With momentum 0 this is D-PSGD.
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class QgDsgdm final : public Mixer {
 public:
  explicit QgDsgdm(const MixerSetup& setup) : setup_(setup) {
    for (auto* vector : {&momentum_, &steps_, &window_, &seen_, &theirs_, &sum_}) *vector = AlignedBuffer<float>(setup.layout->size());
  }

  std::string_view name() const override { return "qg-dsgdm"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  void gradient(Stream&, const RoundInfo& info, std::span<float> gradient) override {
    axpy(static_cast<float>(setup_.momentum), momentum_.span(), gradient);
    axpy(static_cast<float>(info.learning_rate), gradient, steps_.span());
    rates_ += info.learning_rate;
  }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    set_zero(sum_.span());
    std::swap(steps_, window_);
    set_zero(steps_.span());
    window_rates_ = std::exchange(rates_, 0);
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    return encode_vector(stream, setup_, shadow_, 0, out, seen_.span());
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
      add_difference(weight_from(*info.edges, arrival.from), theirs_.span(), seen_.span(), sum_.span());
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    const Affine affine = moved_by(stream, sum_.span(), add);
    if (!(window_rates_ > 0)) return affine;  // a learning rate of 0 says nothing of a direction
    const auto mu = static_cast<float>(setup_.momentum);
    const auto per_rate = static_cast<float>((1 - setup_.momentum) / window_rates_);
    for (std::size_t i = 0; i < sum_.size(); ++i) momentum_[i] = mu * momentum_[i] + per_rate * (window_[i] - sum_[i]);
    return affine;
  }

  void save(Writer& writer) const override {
    writer.array(momentum_.span());
    writer.array(steps_.span());
    writer.put(rates_);
  }

  Result<> load(Reader& reader) override {
    reader.array(momentum_.span());
    reader.array(steps_.span());
    rates_ = reader.get<double>();
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the momentum of qg-dsgdm does not parse");
  }

 private:
  MixerSetup setup_;
  std::span<const float> shadow_;
  AlignedBuffer<float> momentum_;         // m
  AlignedBuffer<float> steps_, window_;   // sum of eta d since the last publication, and of the round under way
  double rates_ = 0, window_rates_ = 0;   // sums of eta over the same
  AlignedBuffer<float> seen_, theirs_, sum_;
};

Result<std::unique_ptr<Mixer>> make_qg_dsgdm(const MixerSetup& setup) {
  if (!(setup.momentum >= 0 && setup.momentum < 1))
    return fail(Errc::invalid_argument, fmt::format("qg-dsgdm needs 0 <= mixing.momentum < 1, not {}", setup.momentum));
  return std::make_unique<QgDsgdm>(setup);
}

}  // namespace

Algorithm qg_dsgdm_algorithm() {
  return {.name = "qg-dsgdm",
          .summary = "D-PSGD with a momentum that follows the mixed model instead of the local gradient.",
          .source = "Lin et al., ICML 2021, arXiv 2102.04761",
          .weights = Weights::doubly,
          .keeps_mean = true,
          .elastic = true,
          .own_momentum = true,
          .make = make_qg_dsgdm};
}

}  // namespace gossamer
