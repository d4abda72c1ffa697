// All-reduce as an exact schedule of slices on a ring of all peers (Patarasuk and Yuan 2009).
//
// The vector is cut into n slices.  In n-1 phases each peer passes a partial sum of one slice on and adds
// what it gets; then n-1 phases carry the finished slices round.  Every peer sends 2 (n-1)/n of the vector,
// and every slice is summed in one order, so all peers end with the same bits.
#include <cstring>
#include <fmt/format.h>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"

namespace gossamer {
namespace {

class RingAllReduce final : public Mixer {
 public:
  explicit RingAllReduce(const MixerSetup& setup) : setup_(setup), sum_(setup.layout->size()) {}

  std::string_view name() const override { return "all-reduce"; }
  MixerTraits traits() const override { return {.exchanges = Exchanges::gradient, .uses_graph = false}; }
  std::size_t payload_capacity() const override { return (slice_size_max()) * sizeof(float); }

  Plan begin(Stream&, const RoundInfo&, std::span<const float> shadow) override {
    std::copy(shadow.begin(), shadow.end(), sum_.data());
    phase_ = 0;
    return plan();
  }

  Result<Encoded> encode(Stream&, const RoundInfo&, const Outgoing& what, std::span<std::byte> out) override {
    const auto slice = span_of(what.id);
    std::memcpy(out.data(), slice.data(), slice.size_bytes());
    return Encoded{slice.size_bytes(), CodecId::none, slice.size()};
  }

  Result<Plan> arrived(Stream&, const RoundInfo&, std::span<const Arrival> arrivals) override {
    const Arrival& arrival = arrivals.front();
    const auto slice = span_of(slice_in(phase_));
    GOSSAMER_TRY(check_payload(arrival, CodecId::none, slice.size()));
    if (arrival.bytes.size() != slice.size_bytes())
      return fail(Errc::corrupt, fmt::format("peer {} sent {} bytes for a slice of {}", arrival.from, arrival.bytes.size(), slice.size_bytes()));
    if (phase_ < peers() - 1) {
      // The partial sum that came is added to first, the own value last: one order for every slice.
      for (std::size_t i = 0; i < slice.size(); ++i) {
        float theirs;
        std::memcpy(&theirs, arrival.bytes.data() + i * sizeof(float), sizeof theirs);
        slice[i] = theirs + slice[i];
      }
    } else {
      std::memcpy(slice.data(), arrival.bytes.data(), slice.size_bytes());
    }
    ++phase_;
    return plan();
  }

  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    const float scale = 1.f / static_cast<float>(peers());
    for (std::size_t i = 0; i < sum_.size(); ++i) add[i] = scale * sum_[i];
    return Affine{.a = 0};
  }

 private:
  std::size_t peers() const { return setup_.peers; }
  std::size_t slice_size_max() const { return (sum_.size() + peers() - 1) / peers(); }

  std::span<float> span_of(std::size_t slice) {
    const std::size_t begin = sum_.size() * slice / peers(), end = sum_.size() * (slice + 1) / peers();
    return sum_.span().subspan(begin, end - begin);
  }

  // In phase p peer i passes on slice i - p (reducing) or i + 1 - p' (gathering), which is the one it finished last.
  std::size_t slice_out(Phase phase) const { return (setup_.self + 2 * peers() - phase) % peers(); }
  std::size_t slice_in(Phase phase) const { return (setup_.self + 2 * peers() - phase - 1) % peers(); }

  Plan plan() const {
    if (phase_ >= 2 * (peers() - 1)) return {};
    const PeerId next = static_cast<PeerId>((setup_.self + 1) % peers());
    const PeerId previous = static_cast<PeerId>((setup_.self + peers() - 1) % peers());
    Plan plan;
    plan.send.push_back({.id = static_cast<std::uint32_t>(slice_out(phase_)), .phase = phase_, .kind = 0, .to = {next}});
    plan.await.push_back({previous, phase_});
    return plan;
  }

  MixerSetup setup_;
  AlignedBuffer<float> sum_;
  Phase phase_ = 0;
};

Result<std::unique_ptr<Mixer>> make_all_reduce(const MixerSetup& setup) {
  if (setup.peers > 16384) return fail(Errc::invalid_argument, "ring all-reduce among more than 16384 peers has too many phases; use gossip");
  return std::make_unique<RingAllReduce>(setup);
}

}  // namespace

Algorithm all_reduce_algorithm() {
  return {.name = "all-reduce",
          .summary = "Exact average of the gradients by a ring of slices; equals one big batch under any optimizer.",
          .source = "Patarasuk and Yuan 2009 (ring all-reduce)",
          .exchanges = Exchanges::gradient,
          .plain_floats = true,
          .make = make_all_reduce};
}

}  // namespace gossamer
