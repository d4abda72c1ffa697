// AD-PSGD: Lian, Zhang, Zhang, Liu, "Asynchronous Decentralized Parallel Stochastic Gradient Descent", ICML 2018.
//
//     whenever it likes, i averages with a neighbour j:   x_i, x_j <- (x_i + x_j) / 2
//
// The one who asks (active) sends its shadow and remembers what it sent.  The one who is asked (passive)
// answers with its shadow as it is when the answer is encoded, and moves by half the difference at once; the
// active one moves when the answer comes:
//
//     passive: x_j += (s_i - s_j) / 2,      active: x_i += (s_j - s_i) / 2
//
// with s the two vectors that crossed the wire.  The two moves are each other's negative to the bit, whatever
// gradients or other exchanges land in between, so the mean moves by gradients alone.  (Overwriting with the
// average instead loses half of every gradient that lands during an exchange.)
//
// A peer that waits for its own answer still answers others, so that any connected graph works, with odd
// cycles too; the paper's bipartite graph is needed only where answers wait.  The partner is drawn from this
// round's receivers; on a schedule of matchings that is the scheduled one.
#include <fmt/format.h>
#include <map>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr Phase kAsk = 0, kAnswer = 1;  // also Outgoing::kind

class AdPsgd final : public Mixer {
 public:
  explicit AdPsgd(const MixerSetup& setup)
      : setup_(setup), sent_(setup.layout->size()), theirs_(setup.layout->size()), delta_(setup.layout->size()) {}

  std::string_view name() const override { return "ad-psgd"; }
  MixerTraits traits() const override { return {.asynchronous = true, .each_once = true}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    const auto& neighbours = info.edges->out;
    if (neighbours.empty()) return {};
    Random random(setup_.seed, Purpose::partner, info.self, info.round);
    const PeerId partner = neighbours[random.below(neighbours.size())].peer;
    Plan plan;
    plan.send.push_back({.id = 0, .phase = kAsk, .kind = kAsk, .to = {partner}});
    plan.await.push_back({partner, kAnswer});
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing& what, std::span<std::byte> out) override {
    if (what.kind == kAsk) return encode_vector(stream, setup_, shadow_, 0, out, sent_.span());
    const auto asked = asked_.find(what.to.front());
    GOSSAMER_TRY_ASSIGN(const Encoded encoded, encode_vector(stream, setup_, shadow_, 0, out, theirs_.span()));
    move_half_way(asked->second.span(), theirs_.span());
    free_.push_back(std::move(asked->second));
    asked_.erase(asked);
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo&, std::span<const Arrival> arrivals) override {
    const Arrival& arrival = arrivals.front();
    if (arrival.header.kind == kAnswer) {
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
      move_half_way(theirs_.span(), sent_.span());
      return Plan{};
    }
    if (arrival.header.kind != kAsk || asked_.contains(arrival.from))
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload of kind {} that is neither a first question nor an answer",
                                             arrival.from, arrival.header.kind));
    AlignedBuffer<float> theirs = free_.empty() ? AlignedBuffer<float>(setup_.layout->size()) : std::move(free_.back());
    if (!free_.empty()) free_.pop_back();
    GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs.span()));
    asked_.emplace(arrival.from, std::move(theirs));
    Plan plan;
    plan.send.push_back({.id = 0, .phase = kAnswer, .kind = kAnswer, .to = {arrival.from}});
    return plan;
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    if (!moved_) return std::nullopt;
    moved_ = false;
    return moved_by(stream, delta_.span(), add);
  }

  // A question to somebody who is gone moves nobody; nor does one from there.
  void view(const View&, const Topology&, std::span<const PeerId> changed) override {
    for (const PeerId peer : changed) asked_.erase(peer);
  }

 private:
  void move_half_way(std::span<const float> theirs, std::span<const float> own) {
    for (std::size_t i = 0; i < delta_.size(); ++i) delta_[i] = 0.5f * (theirs[i] - own[i]);
    moved_ = true;
  }

  MixerSetup setup_;
  std::span<const float> shadow_;             // live
  AlignedBuffer<float> sent_;                 // with the question that waits for its answer
  AlignedBuffer<float> theirs_, delta_;
  std::map<PeerId, AlignedBuffer<float>> asked_;  // questions not yet answered
  std::vector<AlignedBuffer<float>> free_;
  bool moved_ = false;
};

Result<std::unique_ptr<Mixer>> make_ad_psgd(const MixerSetup& setup) { return std::make_unique<AdPsgd>(setup); }

}  // namespace

Algorithm ad_psgd_algorithm() {
  return {.name = "ad-psgd",
          .summary = "Each peer averages with a random neighbour whenever it likes; nobody waits.",
          .source = "Lian et al., ICML 2018, arXiv 1710.06952",
          .keeps_mean = true,
          .asynchronous = true,
          .elastic = true,
          .make = make_ad_psgd};
}

}  // namespace gossamer
