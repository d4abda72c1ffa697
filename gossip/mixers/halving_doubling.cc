// All-reduce by recursive halving and doubling (Thakur, Rabenseifner, Gropp, IJHPCA 2005), for n a power of two.
//
// The vector is cut into n slices.  In log2 n phases each peer sends half of the range it still sums to the peer
// at half the distance of the phase before, and adds the half it gets; then log2 n phases pass the finished ranges back.
// As many bytes as the ring, 2 (n-1)/n of the vector, in 2 log2 n phases instead of 2 (n-1).  Every slice is
// finished at one peer, so all end with the same bits.
#include <bit>
#include <cstring>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

class HalvingDoubling final : public Mixer {
 public:
  explicit HalvingDoubling(const MixerSetup& setup)
      : setup_(setup), levels_(static_cast<Phase>(std::bit_width(setup.peers) - 1)), sum_(setup.layout->size()) {}

  std::string_view name() const override { return "all-reduce-halving-doubling"; }
  MixerTraits traits() const override { return {.exchanges = Exchanges::gradient, .uses_graph = false}; }
  std::size_t payload_capacity() const override { return (sum_.size() + 1) / 2 * sizeof(float) + sizeof(float); }

  Plan begin(Stream&, const RoundInfo&, std::span<const float> shadow) override {
    copy(shadow, sum_.span());
    phase_ = 0;
    return plan();
  }

  Result<Encoded> encode(Stream&, const RoundInfo&, const Outgoing& what, std::span<std::byte> out) override {
    const auto range = outgoing(what.phase);
    if (!range.empty()) std::memcpy(out.data(), range.data(), range.size_bytes());
    return Encoded{range.size_bytes(), CodecId::none, range.size()};
  }

  Result<Plan> arrived(Stream&, const RoundInfo&, std::span<const Arrival> arrivals) override {
    const Arrival& arrival = arrivals.front();
    const auto range = incoming(phase_);
    GOSSAMER_TRY(check_payload(arrival, CodecId::none, range.size()));
    if (arrival.bytes.size() != range.size_bytes())
      return fail(Errc::corrupt, fmt::format("peer {} sent {} bytes for a range of {}", arrival.from, arrival.bytes.size(), range.size_bytes()));
    for (std::size_t i = 0; i < range.size(); ++i) {
      float theirs;
      std::memcpy(&theirs, arrival.bytes.data() + i * sizeof(float), sizeof theirs);
      range[i] = phase_ < levels_ ? range[i] + theirs : theirs;
    }
    ++phase_;
    return plan();
  }

  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    const float scale = 1.f / static_cast<float>(setup_.peers);
    for (std::size_t i = 0; i < sum_.size(); ++i) add[i] = scale * sum_[i];
    return Affine{.a = 0};
  }

 private:
  // What `peer` sums after `level` halvings: an aligned block of n / 2^level slices around its own.
  std::span<float> range(std::size_t peer, std::size_t level) {
    const std::size_t n = setup_.peers, width = n >> level, first = peer & ~(width - 1);
    const std::size_t begin = sum_.size() * first / n, end = sum_.size() * (first + width) / n;
    return sum_.span().subspan(begin, end - begin);
  }

  // While halving the distances are n/2, n/4, ..., 1; while doubling 1, 2, ..., n/2.
  std::size_t partner(Phase phase) const {
    return setup_.self ^ (phase < levels_ ? setup_.peers >> (phase + 1) : std::size_t{1} << (phase - levels_));
  }
  std::span<float> outgoing(Phase phase) {
    return phase < levels_ ? range(partner(phase), phase + 1u) : range(setup_.self, 2u * levels_ - phase);
  }
  std::span<float> incoming(Phase phase) {
    return phase < levels_ ? range(setup_.self, phase + 1u) : range(partner(phase), 2u * levels_ - phase);
  }

  Plan plan() const {
    if (phase_ >= 2 * levels_) return {};
    const auto other = static_cast<PeerId>(partner(phase_));
    Plan plan;
    plan.send.push_back({.id = 0, .phase = phase_, .kind = 0, .to = {other}});
    plan.await.push_back({other, phase_});
    return plan;
  }

  MixerSetup setup_;
  Phase levels_;
  AlignedBuffer<float> sum_;
  Phase phase_ = 0;
};

Result<std::unique_ptr<Mixer>> make_halving_doubling(const MixerSetup& setup) { return std::make_unique<HalvingDoubling>(setup); }

}  // namespace

Algorithm halving_doubling_algorithm() {
  return {.name = "all-reduce-halving-doubling",
          .summary = "The same average in 2 log2 n phases, for a power of two of peers.",
          .source = "Thakur, Rabenseifner and Gropp 2005",
          .exchanges = Exchanges::gradient,
          .shape = Shape::power_of_two,
          .plain_floats = true,
          .make = make_halving_doubling};
}

}  // namespace gossamer
