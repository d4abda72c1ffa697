// Gradient tracking: Pu and Nedic, "Distributed Stochastic Gradient Tracking Methods", Math. Programming 2021; in the
// adapt-then-combine order of Xu, Zhu, Soh, Xie, CDC 2015.
//
//     y_i <- (W y)_i + g_i(new) - g_i(old);      x_i <- (W (x - eta y))_i;      y = g at the start
//
// y follows the average of all gradients: their sums are equal in every step, whatever the data of each peer pull
// towards.  The hook replaces the gradient by y, the optimizer (plain SGD) takes the step, and x and y cross the
// wire in one payload.
//
// Both are mixed as differences between what both ends sent, which keeps the sum of y; a gradient that comes while a
// round is under way lands in y beside it.
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class GradientTracking final : public Mixer {
 public:
  explicit GradientTracking(const MixerSetup& setup) : setup_(setup) {
    for (auto* vector : {&tracker_, &old_, &published_, &seen_x_, &seen_y_, &theirs_, &sum_})
      *vector = AlignedBuffer<float>(setup.layout->size());
  }

  std::string_view name() const override { return "gradient-tracking"; }
  MixerTraits traits() const override { return {.each_once = true}; }
  std::size_t payload_capacity() const override { return 2 * setup_.compressor->capacity(*setup_.layout); }

  void gradient(Stream&, const RoundInfo&, std::span<float> gradient) override {
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      tracker_[i] += gradient[i] - old_[i];
      old_[i] = gradient[i];
    }
    copy(tracker_.span(), gradient);
  }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    copy(tracker_.span(), published_.span());
    set_zero(sum_.span());
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing&, std::span<std::byte> out) override {
    GOSSAMER_TRY_ASSIGN(const Encoded x, encode_vector(stream, setup_, shadow_, 0, out, seen_x_.span()));
    GOSSAMER_TRY_ASSIGN(const Encoded y, encode_vector(stream, setup_, published_.span(), 0, out.subspan(x.used), seen_y_.span()));
    return Encoded{x.used + y.used, x.codec, x.count + y.count};
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), 2 * setup_.layout->size()));
      const std::size_t half = arrival.bytes.size() / 2;  // codecs without a memory use the same bytes for every vector
      const double weight = weight_from(*info.edges, arrival.from);
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival.bytes.first(half), theirs_.span()));
      add_difference(weight, theirs_.span(), seen_x_.span(), sum_.span());
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival.bytes.subspan(half), theirs_.span()));
      add_difference(weight, theirs_.span(), seen_y_.span(), tracker_.span());
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return moved_by(stream, sum_.span(), add);
  }

  // The sum of all y lost what those who left held: y = g, as at the start.
  void view(const View&, const Topology&, std::span<const PeerId>) override { copy(old_.span(), tracker_.span()); }

  void save(Writer& writer) const override {
    writer.array(tracker_.span());
    writer.array(old_.span());
  }

  Result<> load(Reader& reader) override {
    reader.array(tracker_.span());
    reader.array(old_.span());
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the tracker of gradient-tracking does not parse");
  }

 private:
  MixerSetup setup_;
  std::span<const float> shadow_;
  AlignedBuffer<float> tracker_;    // y
  AlignedBuffer<float> old_;        // the last gradient; zero before the first, so that y starts as g
  AlignedBuffer<float> published_;  // y of the round under way
  AlignedBuffer<float> seen_x_, seen_y_, theirs_, sum_;
};

Result<std::unique_ptr<Mixer>> make_gradient_tracking(const MixerSetup& setup) { return std::make_unique<GradientTracking>(setup); }

}  // namespace

Algorithm gradient_tracking_algorithm() {
  return {.name = "gradient-tracking",
          .summary = "Every peer tracks the average gradient and steps along it.",
          .source = "Pu and Nedic, Math. Programming 2021; Xu et al., CDC 2015",
          .weights = Weights::doubly,
          .keeps_mean = true,
          .elastic = true,
          .own_momentum = true,
          .make = make_gradient_tracking};
}

}  // namespace gossamer
