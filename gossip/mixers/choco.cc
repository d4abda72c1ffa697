// CHOCO-SGD: Koloskova, Stich, Jaggi, ICML 2019; Koloskova, Lin, Stich, Jaggi, ICLR 2020.
//
// Both ends of an edge hold the same replica h of the sender's model.  The sender compresses how far its
// model is from the replica, everybody who holds it adds the *decoded* difference, and the model moves
// towards the neighbours' replicas:
//
//     q_i = Q(x_i - h_i);   h_i += q_i  at i and at its neighbours
//     x_i += gamma * sum_j w_ij (h_j - h_i)
//
// (the order of the ICML paper: exchange, then gossip; with `overlap: delayed` the same lines are the
// order of the ICLR paper).  Momentum and weight decay belong to the local step and are not touched.
//
// Replicas start at the model that all peers start from (start()), where there is one: then not even the first
// differences carry more than a step.  Else they start at 0, as in the papers.
//
// Two forms:
//
// * aggregate: one own replica h_i and one sum r_i = sum_j w_ij (h_j - h_i), so memory does not grow with the
//   degree.  Right only while W never changes: r_i has the old weights baked in.  Refused on schedules.
//   The authors keep s_i = sum_j w_ij h_j and subtract h_i when they mix; with weights such as 1/3, whose
//   float32 values do not sum to 1, that pulls the mean by 3e-8 of itself each round.  r_i does not.  It is kept
//   in double: a rounding error in it is never made good and moves the model in every later round (with
//   sign compression the mean had drifted by 2e-5 of itself after 1000 rounds in float32).
// * per edge: a replica for each direction of each edge, touched when that edge is active.  One payload per
//   edge.  Works on any schedule, and keeps the mean exactly: what an edge adds at one end,
//   gamma w (h_ji - h_ij), it takes at the other.  Where an edge has one direction only, its head adds
//   gamma w h and its tail takes the same away, which needs W doubly stochastic and no more.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <xxhash.h>

#include "base/random.h"
#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr std::uint16_t kHashed = 1;  // Outgoing::kind: 8 bytes of replica hash follow the payload
constexpr std::size_t kHashSize = sizeof(std::uint64_t);

class Choco : public Mixer {
 public:
  explicit Choco(const MixerSetup& setup) : setup_(setup) {}

  std::string_view name() const override { return "choco-sgd"; }
  MixerTraits traits() const override { return {.each_once = true}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout) + kHashSize; }

 protected:
  // The codec's randomness for this sender, round and payload; receivers need no seed, it is in the bytes.
  std::uint64_t codec_seed(const RoundInfo& info, std::uint32_t payload) const {
    return mix_seed(mix_seed(setup_.seed, info.round), (std::uint64_t{info.self} << 32) | payload);
  }

  Result<Encoded> encode_towards(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<const float> x,
                                 std::span<float> replica, std::span<std::byte> out) {
    GOSSAMER_TRY_ASSIGN(std::size_t used,
                        setup_.compressor->encode_difference(stream, x, replica, *setup_.layout, codec_seed(info, what.id), out));
    if (what.kind & kHashed) {
      const std::uint64_t hash = XXH3_64bits(replica.data(), replica.size_bytes());
      std::memcpy(out.data() + used, &hash, kHashSize);
      used += kHashSize;
    }
    return Encoded{used, setup_.compressor->codec(), setup_.layout->size()};
  }

  // The codec's bytes of a payload, without the hash behind them.
  Result<std::span<const std::byte>> codec_bytes(const Arrival& arrival) const {
    GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
    if (!(arrival.header.kind & kHashed)) return arrival.bytes;
    if (arrival.bytes.size() < kHashSize)
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload too short for its hash", arrival.from));
    return arrival.bytes.first(arrival.bytes.size() - kHashSize);
  }

  // Compares a replica with the hash that its owner sent along.
  Result<> verify(const Arrival& arrival, std::span<const float> replica) const {
    if (!(arrival.header.kind & kHashed)) return {};
    std::uint64_t theirs = 0;
    std::memcpy(&theirs, arrival.bytes.data() + arrival.bytes.size() - kHashSize, kHashSize);
    if (theirs != XXH3_64bits(replica.data(), replica.size_bytes()))
      return fail(Errc::corrupt, fmt::format("the replica of peer {} has parted from its owner's in round {}: a difference was lost or "
                                             "applied twice",
                                             arrival.from, arrival.header.round));
    return {};
  }

  std::uint16_t kind() const { return setup_.verify_replicas ? kHashed : 0; }
  float gamma() const { return static_cast<float>(setup_.step_size); }

  MixerSetup setup_;
  std::span<const float> shadow_;
};

class ChocoPerEdge final : public Choco {
 public:
  explicit ChocoPerEdge(const MixerSetup& setup) : Choco(setup), sum_(setup.layout->size()) {}

  void start(std::span<const float> common) override { common_.assign(common.begin(), common.end()); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    std::fill_n(sum_.data(), sum_.size(), 0.f);
    Plan plan;
    for (const Edge& edge : info.edges->out) plan.send.push_back({.id = edge.peer, .phase = 0, .kind = kind(), .to = {edge.peer}});
    for (const Edge& edge : info.edges->in) plan.await.push_back({edge.peer, 0});
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    return encode_towards(stream, info, what, shadow_, replicas(what.to.front()).own.span(), out);
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    auto edge = info.edges->in.begin();
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY_ASSIGN(const auto bytes, codec_bytes(arrival));
      Replicas& pair = replicas(arrival.from);
      while (edge->peer != arrival.from) ++edge;
      const WeightedPayload q{bytes, gamma() * static_cast<float>(edge->weight)};
      if (mirrored(*edge, info.edges->out)) {  // theirs += q;  sum += weight (theirs - own)
        GOSSAMER_TRY(setup_.compressor->decode(stream, {&q, 1}, *setup_.layout,
                                               {.target = DecodeTo::follow, .out = pair.theirs.span(), .own = pair.own.span(), .sum = sum_.span()}));
      } else {
        GOSSAMER_TRY(setup_.compressor->add_decoded(stream, bytes, *setup_.layout, 1, pair.theirs.span()));
        axpy(q.weight, pair.theirs.span(), sum_.span());
      }
      GOSSAMER_TRY(verify(arrival, pair.theirs.span()));
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo& info, std::span<float> add) override {
    for (const Edge& edge : info.edges->out)
      if (!mirrored(edge, info.edges->in)) axpy(-gamma() * static_cast<float>(edge.weight), replicas(edge.peer).own.span(), sum_.span());
    return moved_by(stream, sum_.span(), add);
  }

  // Both ends of an edge to another life start at 0: the newcomer has not seen where the others started.
  void view(const View& view, const Topology&, std::span<const PeerId> changed) override {
    for (const PeerId peer : changed) edges_.erase(peer);
    lives_ = view.lives;
  }

  std::span<const float> replica(PeerId peer, Replica which) const override {
    const auto found = edges_.find(peer);
    if (found == edges_.end()) return {};
    return which == Replica::own ? found->second.own.span() : found->second.theirs.span();
  }

  void save(Writer& writer) const override {
    writer.array(std::span<const float>(common_));
    writer.put<std::uint64_t>(edges_.size());
    for (const auto& [peer, pair] : edges_) {
      writer.put(peer);
      writer.array(pair.own.span());
      writer.array(pair.theirs.span());
    }
  }

  Result<> load(Reader& reader) override {
    edges_.clear();
    const auto common = reader.get<std::uint64_t>();
    if (common != 0 && common != setup_.layout->size()) return fail(Errc::corrupt, "replicas of choco-sgd are of another model");
    common_.resize(common);
    for (float& value : common_) value = reader.get<float>();
    for (auto left = reader.get<std::uint64_t>(); left > 0 && reader.ok(); --left) {
      Replicas& pair = replicas(reader.get<PeerId>());
      reader.array(pair.own.span());
      reader.array(pair.theirs.span());
    }
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "replicas of choco-sgd do not parse");
  }

 private:
  struct Replicas {
    AlignedBuffer<float> own;     // of this peer's model, as the other end holds it
    AlignedBuffer<float> theirs;  // of the other end's model
  };

  // The same edge with the same weight stands in the other list too.
  static bool mirrored(const Edge& edge, const std::vector<Edge>& others) {
    return std::find(others.begin(), others.end(), edge) != others.end();
  }

  Replicas& replicas(PeerId peer) {
    auto found = edges_.find(peer);
    if (found == edges_.end()) {
      found = edges_.emplace(peer, Replicas{AlignedBuffer<float>(setup_.layout->size()), AlignedBuffer<float>(setup_.layout->size())}).first;
      if (!common_.empty() && (lives_.empty() || lives_[peer] == 1)) {
        copy(common_, found->second.own.span());
        copy(common_, found->second.theirs.span());
      }
    }
    return found->second;
  }

  std::vector<float> common_;  // where the replicas of an edge not met yet start; empty: at 0
  std::map<PeerId, Replicas> edges_;
  std::vector<Incarnation> lives_;  // empty: everybody's first
  AlignedBuffer<float> sum_;
};

class ChocoAggregate final : public Choco {
 public:
  explicit ChocoAggregate(const MixerSetup& setup)
      : Choco(setup), own_(setup.layout->size()), sum_(setup.layout->size()) {}

  // Every peer's replica is the same, so r_i = 0 as it is.
  void start(std::span<const float> common) override { copy(common, own_.span()); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    Plan plan = exchange_with_neighbours(*info.edges);
    for (Outgoing& what : plan.send) what.kind = 0;  // nobody holds a replica to compare with, only the sum
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo& info, const Outgoing& what, std::span<std::byte> out) override {
    GOSSAMER_TRY_ASSIGN(const Encoded encoded, encode_towards(stream, info, what, shadow_, own_.span(), out));
    double leaving = 0;
    for (const Edge& edge : info.edges->out) leaving += edge.weight;
    GOSSAMER_TRY(accumulate(stream, out.first(encoded.used), -leaving));
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo& info, std::span<const Arrival> arrivals) override {
    auto edge = info.edges->in.begin();
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY_ASSIGN(const auto bytes, codec_bytes(arrival));
      while (edge->peer != arrival.from) ++edge;
      GOSSAMER_TRY(accumulate(stream, bytes, edge->weight));
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    return Affine{.squared_norm = narrow(stream, setup_.step_size, sum_.span(), add)};
  }

  void save(Writer& writer) const override {
    writer.array(own_.span());
    writer.array(sum_.span());
  }

  Result<> load(Reader& reader) override {
    reader.array(own_.span());
    reader.array(sum_.span());
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "replicas of choco-sgd do not parse");
  }

 private:
  // sum += weight * q
  Result<> accumulate(Stream& stream, std::span<const std::byte> q, double weight) {
    const WeightedPayload one{q};
    return setup_.compressor->decode(stream, {&one, 1}, *setup_.layout,
                                     {.target = DecodeTo::wide, .wide = sum_.span(), .wide_weight = weight});
  }

  AlignedBuffer<float> own_;   // h_i
  AlignedBuffer<double> sum_;  // r_i = sum_j w_ij (h_j - h_i)
};

Result<std::unique_ptr<Mixer>> make_choco(const MixerSetup& setup) {
  if (!(setup.step_size > 0 && setup.step_size <= 1))
    return fail(Errc::invalid_argument, fmt::format("choco-sgd needs 0 < mixing.step_size <= 1, not {}", setup.step_size));
  const bool is_static = setup.topology->period() == 1;
  if (setup.replicas == ReplicaForm::aggregate && !is_static)
    return fail(Errc::invalid_argument,
                fmt::format("mixing.replicas: aggregate is right only while the graph never changes, and {} changes every round; use "
                            "mixing.replicas: per-edge, or a static graph",
                            setup.topology->name()));
  if (setup.replicas == ReplicaForm::aggregate && setup.elastic)
    return fail(Errc::invalid_argument, "mixing.replicas: aggregate has the weights of everybody in its sum, also of those who leave; use mixing.replicas: "
                                        "per-edge with membership.mode: elastic");
  if (setup.replicas == ReplicaForm::per_edge || !is_static || setup.elastic) return std::make_unique<ChocoPerEdge>(setup);
  return std::make_unique<ChocoAggregate>(setup);
}

}  // namespace

Algorithm choco_algorithm() {
  return {.name = "choco-sgd",
          .summary = "Gossip on compressed differences to replicas that both ends keep.",
          .source = "Koloskova et al., ICML 2019 and ICLR 2020, arXiv 1902.00340 and 1907.09356",
          .weights = Weights::doubly,
          .keeps_mean = true,
          .lossy_codecs = true,
          .elastic = true,
          .make = make_choco};
}

}  // namespace gossamer
