// D-PSGD: Lian et al., "Can Decentralized Algorithms Outperform Centralized Algorithms?", NeurIPS 2017.
//
//     x_i <- x_i + sum_j w_ij (x_j - x_i)        over this round's neighbours j
//
// written as a correction to the published snapshot, so that a gradient step taken meanwhile is neither
// lost nor averaged twice.  Symmetric weights make all corrections sum to zero: the mean is kept.
//
// With a rounding codec (fp16, bf16) the difference is taken between the rounded models of both ends,
// Q(x_j) - Q(x_i), which keeps the mean where Q(x_j) - x_i would not.
//
// Where rounds overlap (synchrony: stale) a correction may be s rounds late, and x <- x + l (x of s rounds ago) with l an
// eigenvalue of W - I, which lies in [-2, 0], oscillates without bound unless -l < 2 sin(pi / (2 (2s + 1))).  So each correction
// is damped by sin(pi / (2 (2s + 1))): 1/2, 0.309, 0.223, ... for s = 1, 2, 3.  (Levin and May 1976, on delayed linear maps.)
#include <cmath>
#include <fmt/format.h>
#include <numbers>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class Dpsgd final : public Mixer {
 public:
  explicit Dpsgd(const MixerSetup& setup)
      : setup_(setup), damping_(std::sin(std::numbers::pi / (4 * static_cast<double>(setup.rounds_open) - 2))), open_(setup.rounds_open) {
    if (!exact())
      for (Open& open : open_) open.rounded = AlignedBuffer<float>(setup.layout->size());
  }

  std::string_view name() const override { return "d-psgd"; }
  MixerTraits traits() const override { return {.payload_is_snapshot = exact(), .mixes_in_one_pass = exact()}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    Open& open = open_[info.slot];
    open.model = shadow;
    open.mixed = false;
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing&, std::span<std::byte> out) override {
    Open& open = open_[info.slot];
    if (exact() && info.payload_kept && reinterpret_cast<const std::byte*>(open.model.data()) == out.data())
      return Encoded{open.model.size_bytes(), setup_.compressor->codec(), open.model.size()};
    GOSSAMER_TRY_ASSIGN(const std::size_t used, setup_.compressor->encode(stream, open.model, *setup_.layout, 0, out));
    if (!exact()) {
      GOSSAMER_TRY(decode_vector(stream, setup_, out.first(used), open.rounded.span()));
      open.model = open.rounded.span();
    } else if (info.payload_kept) {
      open.model = {reinterpret_cast<const float*>(out.data()), setup_.layout->size()};
    }
    return Encoded{used, setup_.compressor->codec(), setup_.layout->size()};
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    Open& open = open_[info.slot];
    auto edge = info.edges->in.begin();
    std::vector<WeightedPayload> models;
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
      while (edge->peer != arrival.from) ++edge;
      models.push_back({arrival.bytes, static_cast<float>(damping_ * edge->weight)});
    }
    // All neighbours in one pass, out of their mailboxes or their own memory.
    if (open.sum.size() == 0) open.sum = AlignedBuffer<float>(setup_.layout->size());
    open.mixed = true;
    GOSSAMER_TRY(setup_.compressor->decode(stream, models, *setup_.layout,
                                           {.target = DecodeTo::difference, .out = open.sum.span(), .own = open.model}));
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    Open& open = open_[info.slot];
    if (open.mixed) return moved_by(stream, open.sum.span(), add);
    set_zero(add);  // nobody was there
    return Affine{};
  }

  Result<double> mix(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals, std::span<const float> vector,
                     std::span<float> to) override {
    auto edge = info.edges->in.begin();
    std::vector<WeightedVector> models;
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
      if (arrival.bytes.size() != vector.size_bytes())
        return fail(Errc::corrupt, fmt::format("peer {} sent {} bytes where {} floats were due", arrival.from, arrival.bytes.size(), vector.size()));
      while (edge->peer != arrival.from) ++edge;
      models.push_back({static_cast<float>(damping_ * edge->weight), {reinterpret_cast<const float*>(arrival.bytes.data()), vector.size()}});
    }
    if (const auto moved = gossamer::mix(stream, models, vector, to)) return *moved;
    if (to.data() != vector.data() && !all_finite(vector)) return fail(Errc::diverged, "this peer's own model has a value that is NaN or infinite");
    for (std::size_t i = 0; i < models.size(); ++i)
      if (!all_finite(models[i].x)) return fail(Errc::corrupt, fmt::format("peer {} sent a value that is NaN or infinite", arrivals[i].from));
    return fail(Errc::diverged, "the difference to a neighbour's model is too large for a float");
  }

 private:
  struct Open {
    std::span<const float> model;  // as the neighbours see it: rounded where the codec rounds
    AlignedBuffer<float> sum, rounded;
    bool mixed = false;  // sum is this round's
  };

  bool exact() const { return setup_.compressor->codec() == CodecId::none; }

  MixerSetup setup_;
  double damping_;  // 1 where rounds do not overlap
  std::vector<Open> open_;
};

Result<std::unique_ptr<Mixer>> make_dpsgd(const MixerSetup& setup) { return std::make_unique<Dpsgd>(setup); }

}  // namespace

Algorithm dpsgd_algorithm() {
  return {.name = "d-psgd",
          .summary = "Every peer averages its model with its neighbours' models.",
          .source = "Lian et al., NeurIPS 2017, arXiv 1705.09056",
          .weights = Weights::doubly,
          .keeps_mean = true,
          .rounds_overlap = true,
          .elastic = true,
          .make = make_dpsgd};
}

}  // namespace gossamer
