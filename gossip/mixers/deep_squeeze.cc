// DeepSqueeze: Tang, Lian, Qiu, Yuan, Zhang, Zhang, Liu, "DeepSqueeze: Decentralization Meets Error-Compensated
// Compression", arXiv 1907.07346.
//
//     v = x + e;      c = C(v);      e = v - c          with x after the local step
//     x <- x + gamma sum_j w_ij (c_j - c_i)
//
// No replicas: any schedule will do, and a peer needs nothing of an edge's past.  The price is that models are
// compressed, not differences that shrink, so peers agree only as well as the codec is good.
#include <fmt/format.h>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class DeepSqueeze final : public Mixer {
 public:
  explicit DeepSqueeze(const MixerSetup& setup) : setup_(setup) {
    for (auto* vector : {&error_, &seen_, &theirs_, &sum_}) *vector = AlignedBuffer<float>(setup.layout->size());
  }

  std::string_view name() const override { return "deep-squeeze"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    set_zero(sum_.span());
    return exchange_with_neighbours(*info.edges);
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing&, std::span<std::byte> out) override {
    const std::uint64_t seed = mix_seed(mix_seed(setup_.seed, info.round), info.self);
    GOSSAMER_TRY_ASSIGN(const std::size_t used,
                        setup_.compressor->encode_feedback(stream, shadow_, error_.span(), *setup_.layout, seed, seen_.span(), out));
    return Encoded{used, setup_.compressor->codec(), setup_.layout->size()};
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
      add_difference(setup_.step_size * weight_from(*info.edges, arrival.from), theirs_.span(), seen_.span(), sum_.span());
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return moved_by(stream, sum_.span(), add);
  }

  void save(Writer& writer) const override { writer.array(error_.span()); }
  Result<> load(Reader& reader) override {
    reader.array(error_.span());
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the error of deep-squeeze does not parse");
  }

 private:
  MixerSetup setup_;
  std::span<const float> shadow_;
  AlignedBuffer<float> error_;  // e
  AlignedBuffer<float> seen_;   // c of this peer
  AlignedBuffer<float> theirs_, sum_;
};

Result<std::unique_ptr<Mixer>> make_deep_squeeze(const MixerSetup& setup) {
  if (!(setup.step_size > 0 && setup.step_size <= 1))
    return fail(Errc::invalid_argument, fmt::format("deep-squeeze needs 0 < mixing.step_size <= 1, not {}", setup.step_size));
  return std::make_unique<DeepSqueeze>(setup);
}

}  // namespace

Algorithm deep_squeeze_algorithm() {
  return {.name = "deep-squeeze",
          .summary = "Gossip on compressed models; each peer adds to the next model what compression dropped of the last.",
          .source = "Tang et al. 2019, arXiv 1907.07346",
          .weights = Weights::symmetric,
          .keeps_mean = true,
          .lossy_codecs = true,
          .elastic = true,
          .make = make_deep_squeeze};
}

}  // namespace gossamer
