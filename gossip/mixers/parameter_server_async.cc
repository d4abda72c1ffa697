// An asynchronous parameter server: Li et al., "Scaling Distributed Machine Learning with the Parameter Server", OSDI 2014;
// with the local steps of Downpour SGD: Dean et al., "Large Scale Distributed Deep Networks", NeurIPS 2012.
//
//     leaf, whenever it likes:   push d = x - b;   b <- b + d     (b: the hub's model as last taken, plus what was pushed since)
//     hub, as it comes:          z <- z + d / n;   answer z
//     leaf, when it is answered: x <- x + (z - b);   b <- z
//
// d is what the leaf's optimizer did since the last push: under plain SGD -eta times its gradients, taken at a model as old as
// the exchange before.  All n peers push at the same pace, so the hub's model moves by the average of what all do, as a
// synchronous server's does, but nobody waits for another leaf.  The share of a slow leaf is as small as its number of steps.
//
// The hub trains too: its own steps are pushes that take no time.  So after each exchange a peer's model is the hub's, and
//
//     z = start + 1/n sum of all that was pushed, each push once
//
// which is what is kept here; the mean of the models is not.  A leaf pushes the difference to what was decoded of its pushes
// before, so that what rounding takes from one push is in the next; what rounding takes from an answer is in no push.
#include <fmt/format.h>
#include <set>

#include "gossip/algorithms.h"
#include "gossip/mixers/mixers.h"
#include "kernels/vector.h"

namespace gossamer {
namespace {

constexpr Phase kPush = 0, kAnswer = 1;  // also Outgoing::kind

class AsyncParameterServer final : public Mixer {
 public:
  AsyncParameterServer(const MixerSetup& setup, PeerId hub)
      : setup_(setup), hub_(hub), share_(1.f / static_cast<float>(setup.peers)), base_(setup.layout->size()), theirs_(setup.layout->size()),
        move_(setup.layout->size()) {}

  std::string_view name() const override { return "parameter-server-async"; }
  MixerTraits traits() const override { return {.asynchronous = true, .each_once = true, .hub = hub_}; }
  std::size_t payload_capacity() const override { return setup_.compressor->capacity(*setup_.layout); }

  void start(std::span<const float> common) override {
    copy(common, base_.span());
    started_ = true;
  }

  Plan begin(Stream&, const RoundInfo&, std::span<const float> shadow) override {
    shadow_ = shadow;
    if (!started_) start(shadow);  // a newcomer: its first push is empty and brings it the hub's model
    Plan plan;
    if (is_hub()) {
      set_zero(theirs_.span());
      take(theirs_.span());
    } else {
      plan.send.push_back({.id = 0, .phase = kPush, .kind = kPush, .to = {hub_}});
      plan.await.push_back({hub_, kAnswer});
    }
    return plan;
  }

  Result<Encoded> encode(Stream& stream, const RoundInfo&, const Outgoing& what, std::span<std::byte> out) override {
    if (what.kind == kAnswer) {
      asked_.erase(what.to.front());
      return encode_vector(stream, setup_, base_.span(), 0, out, theirs_.span());
    }
    for (std::size_t i = 0; i < move_.size(); ++i) move_[i] = shadow_[i] - base_[i];
    GOSSAMER_TRY_ASSIGN(const Encoded encoded, encode_vector(stream, setup_, move_.span(), 0, out, theirs_.span()));
    axpy(1, theirs_.span(), base_.span());
    return encoded;
  }

  Result<Plan> arrived(Stream& stream, const RoundInfo&, std::span<const Arrival> arrivals) override {
    const Arrival& arrival = arrivals.front();
    const bool expected = is_hub() ? arrival.header.kind == kPush && asked_.insert(arrival.from).second
                                   : arrival.header.kind == kAnswer && arrival.from == hub_;
    if (!expected)
      return fail(Errc::corrupt, fmt::format("peer {} sent a payload of kind {}, which is neither a leaf's first push to the hub nor the hub's answer",
                                             arrival.from, arrival.header.kind));
    GOSSAMER_TRY(decode_vector(stream, setup_, arrival, theirs_.span()));
    Plan plan;
    if (is_hub()) {
      take(theirs_.span());
      plan.send.push_back({.id = 0, .phase = kAnswer, .kind = kAnswer, .to = {arrival.from}});
    } else {
      for (std::size_t i = 0; i < move_.size(); ++i) move_[i] = theirs_[i] - base_[i];
      copy(theirs_.span(), base_.span());
      moved_ = true;
    }
    return plan;
  }

  std::optional<Affine> result(Stream& stream, const RoundInfo&, std::span<float> add) override {
    if (!moved_) return std::nullopt;
    moved_ = false;
    return moved_by(stream, move_.span(), add);
  }

  // A leaf that leaves or comes changes nothing but the share of each.
  void view(const View& view, const Topology&, std::span<const PeerId> changed) override {
    share_ = 1.f / static_cast<float>(view.members());
    for (const PeerId peer : changed) asked_.erase(peer);
  }

  void save(Writer& writer) const override {
    writer.put<std::uint8_t>(started_);
    writer.array(base_.span());
  }
  Result<> load(Reader& reader) override {
    started_ = reader.get<std::uint8_t>() != 0;
    reader.array(base_.span());
    return reader.ok() ? Result<>{} : fail(Errc::corrupt, "the hub's model of parameter-server-async does not parse");
  }

 private:
  bool is_hub() const { return setup_.self == hub_; }

  // The hub's model takes a leaf's push and what the hub's own trainer did meanwhile; then the trainer's is the hub's.
  void take(std::span<const float> pushed) {
    for (std::size_t i = 0; i < move_.size(); ++i) {
      const float own = shadow_[i] - base_[i];
      base_[i] += share_ * (own + pushed[i]);
      move_[i] = base_[i] - shadow_[i];
    }
    moved_ = true;
  }

  MixerSetup setup_;
  PeerId hub_;
  float share_;                      // 1/n
  std::span<const float> shadow_;    // live
  AlignedBuffer<float> base_;        // leaf: b; hub: z
  AlignedBuffer<float> theirs_, move_;
  std::set<PeerId> asked_;           // hub: leaves not yet answered
  bool started_ = false;
  bool moved_ = false;
};

Result<std::unique_ptr<Mixer>> make_parameter_server_async(const MixerSetup& setup) {
  const Neighbourhood edges = setup.topology->at(0, setup.self);
  const PeerId hub = setup.peers == 2 ? 0 : edges.in.size() == setup.peers - 1 ? setup.self : edges.in.front().peer;
  return std::make_unique<AsyncParameterServer>(setup, hub);
}

}  // namespace

Algorithm parameter_server_async_algorithm() {
  return {.name = "parameter-server-async",
          .summary = "Leaves push what their steps did to the hub of a star and take its model back; nobody waits for another leaf.",
          .source = "Li et al., OSDI 2014; Dean et al., NeurIPS 2012 (Downpour SGD)",
          .shape = Shape::star,
          .asynchronous = true,
          .elastic = true,
          .make = make_parameter_server_async};
}

}  // namespace gossamer
