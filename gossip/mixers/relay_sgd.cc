// RelaySGD: Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi, "RelaySum for Decentralized Deep Learning on
// Heterogeneous Data", NeurIPS 2021.
//
// On a tree, what came over one edge is passed on over all the others, one edge a round:
//
//     m_{i->j} = x_i + sum of m_{k->i} of the round before, over neighbours k other than j;   c_{i->j} counts likewise, from 1
//     x_i <- ( x_i (n - sum_k c_{k->i}) + sum_k m_{k->i} ) / n
//
// After as many rounds as the tree is wide every model is in the sum exactly once, as it was as many rounds ago as its peer
// is edges away: a uniform average, whatever the data of each peer.  Until then, and where something is missing, the
// count says how much, and the own model takes its place.
//
// Both sums are over n models, so the mean is taken in double.
#include <cstring>
#include <fmt/format.h>
#include <map>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr std::size_t kCountSize = sizeof(std::uint64_t);

class RelaySgd final : public Mixer {
 public:
  explicit RelaySgd(const MixerSetup& setup)
      : setup_(setup), members_(setup.peers), message_(setup.layout->size()), seen_(setup.layout->size()) {
    listen_to(*setup.topology);
  }

  std::string_view name() const override { return "relay-sgd"; }
  MixerTraits traits() const override { return {}; }
  std::size_t payload_capacity() const override { return kCountSize + setup_.compressor->capacity(*setup_.layout); }

  Plan begin(Stream&, const RoundInfo& info, std::span<const float> shadow) override {
    shadow_ = shadow;
    Plan plan;
    for (const Edge& edge : info.edges->out) plan.send.push_back({.id = edge.peer, .phase = 0, .kind = 0, .to = {edge.peer}});
    for (const Edge& edge : info.edges->in) plan.await.push_back({edge.peer, 0});
    return plan;
  }

  // All messages of a round are encoded before its arrivals replace what is relayed.
  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing& what, std::span<std::byte> out) override {
    copy(shadow_, message_.span());
    std::uint64_t count = 1;
    for (const auto& [from, heard] : heard_) {
      if (from == what.to.front()) continue;
      axpy(1, heard.sum.span(), message_.span());
      count += heard.count;
    }
    std::memcpy(out.data(), &count, kCountSize);
    GOSSAMER_TRY_ASSIGN(Encoded encoded, encode_vector(stream, setup_, message_.span(), 0, out.subspan(kCountSize), seen_.span()));
    encoded.used += kCountSize;
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo&, std::span<const Arrival> arrivals) override {
    for (const Arrival& arrival : arrivals) {
      GOSSAMER_TRY(check_payload(arrival, setup_.compressor->codec(), setup_.layout->size()));
      Heard& heard = heard_.at(arrival.from);
      if (arrival.bytes.size() < kCountSize) return fail(Errc::corrupt, fmt::format("peer {} sent no count", arrival.from));
      std::memcpy(&heard.count, arrival.bytes.data(), kCountSize);
      if (heard.count < 1 || heard.count >= members_)
        return fail(Errc::corrupt, fmt::format("peer {} sent the sum of {} models, of {} peers", arrival.from, heard.count, members_));
      GOSSAMER_TRY(decode_vector(stream, setup_, arrival.bytes.subspan(kCountSize), heard.sum.span()));
    }
    return Plan{};
  }

  std::optional<Affine> result(Stream&, const RoundInfo&, std::span<float> add) override {
    set_zero(add);
    std::uint64_t count = 0;
    for (const auto& [from, heard] : heard_) {
      axpy(1, heard.sum.span(), add);
      count += heard.count;
    }
    const double own = static_cast<double>(count), n = static_cast<double>(members_);
    for (std::size_t i = 0; i < add.size(); ++i)
      add[i] = static_cast<float>((static_cast<double>(add[i]) - own * static_cast<double>(shadow_[i])) / n);
    return Affine{};
  }

  // What was relayed counts models of those who left, and on other ways: it starts anew.
  void view(const View& view, const Topology& graph, std::span<const PeerId>) override {
    members_ = view.members();
    listen_to(graph);
  }

  void save(Writer& writer) const override {
    for (const auto& [from, heard] : heard_) {
      writer.put(heard.count);
      writer.array(heard.sum.span());
    }
  }

  Result<> load(Reader& reader) override {
    for (auto& [from, heard] : heard_) {
      heard.count = reader.get<std::uint64_t>();
      reader.array(heard.sum.span());
    }
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the sums of relay-sgd do not parse");
  }

 private:
  struct Heard {
    AlignedBuffer<float> sum;  // the last message from this neighbour
    std::uint64_t count = 0;   // of models in it
  };

  void listen_to(const Topology& tree) {
    heard_.clear();
    for (const Edge& edge : tree.at(0, setup_.self).in) heard_[edge.peer].sum = AlignedBuffer<float>(setup_.layout->size());
  }

  MixerSetup setup_;
  std::size_t members_;
  std::map<PeerId, Heard> heard_;
  std::span<const float> shadow_;
  AlignedBuffer<float> message_, seen_;
};

Result<std::unique_ptr<Mixer>> make_relay_sgd(const MixerSetup& setup) { return std::make_unique<RelaySgd>(setup); }

}  // namespace

Algorithm relay_sgd_algorithm() {
  return {.name = "relay-sgd",
          .summary = "Sums of models are relayed through a tree: a uniform average, each model as old as it is far.",
          .source = "Vogels et al., NeurIPS 2021",
          .shape = Shape::tree,
          .elastic = true,
          .make = make_relay_sgd};
}

}  // namespace gossamer
